"""Datasets of the hub, streamed. The only file that imports `datasets` (the extra `hub`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from harness.corpus.tables import row_of, sizes_of
from harness.corpus.tally import Tally
from harness.errors import DataError, MissingRequirement, reason_of
from harness.pipeline.corpus import HubPart
from harness.sources.resolve import needs_hub

_BATCH_ROWS = 100


def read_huggingface(spec: HubPart, columns: Sequence[str], counts: Tally) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of every row of a split, in the dataset's order, downloaded as they are read.

    A row's place is its number in the split, or in the file where only one is read.

    Args:
        spec: `id`, `revision`, `configuration`, `data_files` and `split` of the recipe's block.
        columns: those read; others are not decoded.
        counts: "rows_too_large" and "rows_unreadable" (a value is damaged) are added to it.

    Raises:
        MissingRequirement: `datasets` is not installed, the hub cannot be reached, or has no such dataset or file.
        DataError: the dataset has no such columns, or its files turn out to be damaged.
    """
    needs_hub()
    import datasets

    datasets.disable_progress_bars()
    try:
        dataset = datasets.load_dataset(
            spec.id,
            spec.configuration,
            data_files=None if spec.data_files is None else list(spec.data_files),
            split=spec.split,
            revision=spec.revision,
            streaming=True,
        )
        there = dataset.column_names
        if there is None:
            first = next(iter(dataset.with_format("arrow")), None)
            there = [] if first is None else first.column_names
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise MissingRequirement(
            f"the dataset {spec.id!r} must be on a hub that can be reached",
            f"{type(error).__name__}: {reason_of(error)}",
            "correct `corpus.id`, `revision`, `data_files` or `split`, or look at the network and HF_ENDPOINT",
        ) from error
    if not there:
        return
    missing = [name for name in columns if name not in there]
    if missing:
        raise DataError(
            "every column of the corpus must be there",
            f"{spec.id} has no {', '.join(missing)} but {', '.join(sorted(there))}",
            "correct `corpus.columns`",
        )
    place = spec.data_files[0] if spec.data_files and len(spec.data_files) == 1 else spec.split
    number = 0
    try:
        tables = dataset.select_columns(list(columns)).with_format("arrow").iter(batch_size=_BATCH_ROWS)
        for batch in (batch for table in tables for batch in table.to_batches()):
            for index, size in enumerate(sizes_of(batch)):
                row = row_of(batch, index, size, f"{place}:{number}", counts)
                if row is not None:
                    yield f"{place}:{number}", row
                number += 1
    except (OSError, ValueError, OverflowError, pa.ArrowException, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            "every file of the dataset must be readable",
            f"{place} of {spec.id} is not, after row {number:,} ({type(error).__name__}: {reason_of(error)})",
            "run again if the network failed, else take another `corpus.split` or `data_files`",
        ) from error


def resolved_commit(dataset: str, revision: str) -> str:
    """The commit that a revision means now, or "unresolved" where the hub does not say."""
    import huggingface_hub

    try:
        facts = huggingface_hub.HfApi().dataset_info(dataset, revision=revision)
    except (OSError, ValueError, huggingface_hub.errors.HfHubHTTPError, huggingface_hub.errors.OfflineModeIsEnabled):
        return "unresolved"
    return facts.sha or "unresolved"
