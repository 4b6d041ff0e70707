"""Tables for people: never cropped, and never folded inside a number or a word, however narrow the terminal is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from harness.cli.console import output

GAP = 2  # columns between two columns of a table


def table(title: str, *columns: str, right: tuple[str, ...] = (), whole: tuple[str, ...] = ()) -> Table:
    """An empty table in the house style.

    Args:
        right: columns of numbers; they are aligned to the right and kept on one line.
        whole: other columns that are kept on one line, e.g. names.
    """
    made = Table(title=title, title_justify="left", box=None, padding=(0, GAP, 0, 0), pad_edge=False)
    made.header_style = "bold"
    for column in columns:
        kept = column in right or column in whole
        made.add_column(column, justify="right" if column in right else "left", overflow="fold", no_wrap=kept)
    return made


def print_table(shown: Table, console: Console | None = None) -> None:
    """Print a table within the width of the console.

    Columns of text are wrapped at spaces. Where that is not enough, the table is continued below with the columns that
    did not fit, its first column repeated. Where even the first two columns do not fit, each row becomes a paragraph
    of one line per cell.
    """
    console = console or output()
    if shown.title:
        console.print(Text(str(shown.title), style="italic"), soft_wrap=True)
    sizes = [_size(console, column) for column in shown.columns]
    if sizes[0].minimum + max((size.minimum + GAP for size in sizes[1:]), default=0) > console.width:
        _print_paragraphs(console, shown)
        return
    for chosen in _pieces([size.minimum for size in sizes], console.width):
        widths = _widths([sizes[index] for index in chosen], console.width)
        columns = [shown.columns[index] for index in chosen]
        console.print(_piece(columns, widths), soft_wrap=False)


def _size(console: Console, column: Column) -> Measurement:
    """The least and the greatest width that a column makes use of."""
    options = console.options.update(width=10**6)
    sizes = [Measurement.get(console, options, cell) for cell in (column.header, *column.cells)]
    most = max(size.maximum for size in sizes)
    return Measurement(most if column.no_wrap else max(size.minimum for size in sizes), most)


def _pieces(least: Sequence[int], width: int) -> Iterator[list[int]]:
    """Columns, by position, of each part of a table that fits; the first column begins each."""
    chosen = [0]
    for index in range(1, len(least)):
        if sum(least[one] + GAP for one in chosen) + least[index] > width:
            yield chosen
            chosen = [0]
        chosen.append(index)
    yield chosen


def _widths(sizes: Sequence[Measurement], width: int) -> list[int]:
    """Widths that fit: the widest columns that can be wrapped give way first."""
    widths = [size.maximum for size in sizes]
    excess = sum(widths) + GAP * (len(widths) - 1) - width
    while excess > 0:
        widest = max(
            (index for index, size in enumerate(sizes) if widths[index] > size.minimum), key=widths.__getitem__
        )
        widths[widest] -= 1
        excess -= 1
    return widths


def _piece(columns: Sequence[Column], widths: Sequence[int]) -> Table:
    made = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        made.add_column(column.header, justify=column.justify, overflow="fold", width=width, no_wrap=column.no_wrap)
    for cells in zip(*(column.cells for column in columns), strict=True):
        made.add_row(*cells)
    return made


def _print_paragraphs(console: Console, shown: Table) -> None:
    names = [str(column.header) for column in shown.columns]
    indent = max(map(cell_len, names[1:]), default=0) + GAP
    for key, *cells in zip(*(column.cells for column in shown.columns), strict=True):
        console.print(Text(str(key)) if isinstance(key, str) else key, soft_wrap=True)
        for name, cell in zip(names[1:], cells, strict=True):
            if str(cell):
                line = Text(f"  {name:{indent}}").append(cell if isinstance(cell, Text) else Text(str(cell)))
                console.print(line, soft_wrap=True)
