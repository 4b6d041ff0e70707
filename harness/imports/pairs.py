"""Preference pairs from outside, in the columns of `Pairs`: as many as there are, in a few bytes of memory a pair."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from harness.errors import DataError
from harness.imports.tables import Rows
from harness.sources.fields import Fields
from harness.store.artifacts import Pairs
from harness.store.identity import text_key

Pair = Mapping[str, Any]


def write_pairs(read: Callable[[], Rows], into: Pairs, show: Callable[[int], None] = lambda pairs: None) -> None:
    """Check pairs from outside and write them. Those with equal prompts are one cluster unless the file names clusters.

    Args:
        read: the rows, from the beginning; called again where two of them contradict each other.
        show: called with how many pairs have been read.

    Raises:
        DataError: a wrong field, an id twice, or two sides that are the same.
    """
    ids, prompts = array("Q"), array("Q")

    def noted() -> Iterator[Pair]:
        for number, (_, pair) in enumerate(_pairs(read()), start=1):
            ids.append(text_key(pair["id"]))
            prompts.append(0 if pair["cluster"] else text_key(pair["prompt"] or f"\0{pair['id']}"))
            show(number)
            yield pair

    with tempfile.TemporaryDirectory(dir=into.directory) as folder:
        as_read = Pairs(Path(folder))
        as_read.write(noted())
        _check_ids(np.frombuffer(ids, np.uint64), read)
        into.write(_clustered(as_read, np.frombuffer(prompts, np.uint64)))


def _pairs(rows: Rows) -> Iterator[tuple[str, Pair]]:
    """(place, pair), with `cluster` "" where the file names none."""
    for number, (place, row) in enumerate(rows):
        fields = Fields(row, place)
        pair = {
            "id": fields.optional_name("id", str(number)),
            "cluster": fields.optional_name("cluster", ""),
            "prompt": fields.text("prompt", may_be_empty=True),
            "chosen": fields.text("chosen"),
            "rejected": fields.text("rejected"),
            "detail": fields.optional_name("detail", ""),
        }
        if pair["chosen"] == pair["rejected"]:
            raise DataError("`chosen` and `rejected` must differ", "they are the same", "drop the pair", place)
        yield place, pair


def _check_ids(hashes: NDArray[np.uint64], read: Callable[[], Rows]) -> None:
    """Texts of one hash are rare, so the rows are read again to tell whether an id stands there twice, and where."""
    order = np.argsort(hashes, kind="stable")
    again = np.sort(order[1:][hashes[order][1:] == hashes[order][:-1]])
    if not len(again):
        return
    repeated = set(hashes[again].tolist())
    seen: set[str] = set()
    for place, pair in islice(_pairs(read()), int(again[-1]) + 1):
        if text_key(pair["id"]) in repeated:
            if pair["id"] in seen:
                value = f"{pair['id']!r} appears again"
                raise DataError("the id of a pair must be unique", value, "rename or drop it", place)
            seen.add(pair["id"])


def _clustered(pairs: Pairs, prompts: NDArray[np.uint64]) -> Iterator[Pair]:
    """The pairs, those without a cluster in that of the first pair with their prompt, by its id.

    Args:
        prompts: (pairs,) hashes of prompts; 0 where the file names the cluster.
    """
    _, first, of_prompt = np.unique(prompts, return_index=True, return_inverse=True)
    names = pairs.read(columns=["id"])["id"].cast(pa.large_string()).combine_chunks()
    at = 0
    for batch in pairs.batches():
        inferred = names.take(pa.array(first[of_prompt[at : at + len(batch)]])).to_pylist()
        for row, name in zip(batch.to_pylist(), inferred, strict=True):
            yield {**row, "cluster": row["cluster"] or name}
        at += len(batch)


def facts_of(pairs: Pairs) -> dict[str, int]:
    """How many pairs, clusters and characters a set has, for its record."""
    clusters = pairs.read(columns=["cluster"])["cluster"]
    return {
        "groups": len(clusters),
        "clusters": pa.compute.count_distinct(clusters).as_py(),
        "characters": sum(
            pa.compute.sum(pa.compute.utf8_length(column)).as_py()
            for batch in pairs.batches(["prompt", "chosen", "rejected"])
            for column in batch.columns
        ),
    }
