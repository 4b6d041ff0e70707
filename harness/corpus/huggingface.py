"""Datasets of the hub, streamed. The only file that imports `datasets` (the extra `hub`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from harness.errors import DataError, MissingRequirement
from harness.plan.sources import needs_hub
from harness.plan.text_files import reason_of


def read_huggingface(spec: Mapping[str, Any], columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of every row of a split, in the dataset's order, downloaded as they are read.

    A row's place is its number in the split, or in the file where only one is read.

    Args:
        spec: `id`, `revision`, `configuration`, `data_files` and `split` of the recipe's block.
        columns: those read; others are not decoded where the format allows it.

    Raises:
        MissingRequirement: `datasets` is not installed, the hub cannot be reached, or has no such dataset or file.
        DataError: the dataset has no such columns, or a row of it cannot be read.
    """
    needs_hub()
    import datasets

    datasets.disable_progress_bars()
    try:
        dataset = datasets.load_dataset(
            spec["id"],
            spec["configuration"],
            data_files=None if spec["data_files"] is None else list(spec["data_files"]),
            split=spec["split"],
            revision=spec["revision"],
            streaming=True,
        )
        first = None if dataset.column_names else next(iter(dataset), None)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise MissingRequirement(
            f"the dataset {spec['id']!r} must be on a hub that can be reached",
            f"{type(error).__name__}: {reason_of(error)}",
            "correct `corpus.id`, `revision`, `data_files` or `split`, or look at the network and HF_ENDPOINT",
        ) from error
    there = dataset.column_names or list(first or ())
    if not there:
        return
    missing = [name for name in columns if name not in there]
    if missing:
        raise DataError(
            "every column of the corpus must be there",
            f"{spec['id']} has no {', '.join(missing)} but {', '.join(sorted(there))}",
            "correct `corpus.columns`",
        )
    place = spec["data_files"][0] if spec["data_files"] and len(spec["data_files"]) == 1 else spec["split"]
    number = 0
    try:
        for number, row in enumerate(dataset.select_columns(list(columns)), start=1):
            yield f"{place}:{number - 1}", {name: row[name] for name in columns}
    except (OSError, ValueError, OverflowError, pa.ArrowException, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            "every row of the dataset must be readable",
            f"{place} of {spec['id']} is not behind row {number:,} ({type(error).__name__}: {reason_of(error)})",
            "run again if the network failed, else take another `corpus.split` or `data_files`",
        ) from error


def resolved_commit(spec: Mapping[str, Any]) -> str:
    """The commit that a revision means now, or "unresolved" where the hub does not say."""
    import huggingface_hub

    try:
        facts = huggingface_hub.HfApi().dataset_info(spec["id"], revision=spec["revision"])
    except (OSError, ValueError, huggingface_hub.errors.HfHubHTTPError, huggingface_hub.errors.OfflineModeIsEnabled):
        return "unresolved"
    return facts.sha or "unresolved"
