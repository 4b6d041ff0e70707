"""corpus: functions of installed packages, cleaned and split by package."""

from __future__ import annotations

from collections import Counter
from typing import Any

from harness.corpus.clean import clean, split_by_package
from harness.corpus.python_packages import read_functions
from harness.errors import DataError
from harness.stages.context import StageContext
from harness.store.artifacts import Corpus

SPLITS = ("heldout", "base", "train")


def run(context: StageContext) -> dict[str, Any]:
    """Read, clean, split and write; the result counts what was kept and why the rest was not."""
    spec = context.spec
    read: Counter[str] = Counter()
    kept, dropped = clean(
        read_functions(spec["packages"], counts=read),
        min_characters=spec["min_characters"],
        max_characters=spec["max_characters"],
        min_docstring_characters=spec["min_docstring_characters"],
        near_duplicate_threshold=spec["near_duplicate"],
        seed=spec["seed"],
    )
    if not kept:
        raise DataError("a corpus must hold functions", f"none of {read['functions']:,} was kept", "widen the bounds")
    splits = split_by_package(kept, base=spec["base"], heldout=spec["heldout"])
    rows = [
        {
            "split": split,
            "package": function.package,
            "module": function.module,
            "qualified_name": function.qualified_name,
            "docstring": function.docstring,
            "source": function.source,
        }
        for split in SPLITS
        for function in splits[split]
    ]
    Corpus(context.directory).write(rows)
    return {
        "groups": len(splits["base"]),
        "characters": sum(len(row["docstring"]) + len(row["source"]) for row in rows if row["split"] == "base"),
        "kept": {split: len(splits[split]) for split in SPLITS},
        "read": dict(sorted(read.items())),
        "cleaning": dict(sorted(dropped.items())),
    }
