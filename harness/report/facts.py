"""A table of facts in plain text, the shape in which every section hands its numbers to HTML and Markdown."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A titled table. Columns are set flush right, but for those of `words`; `note` stands under it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: Collection[int] = (0,)
    note: str = ""
