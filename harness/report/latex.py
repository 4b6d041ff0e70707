"""The tables for a paper, in LaTeX with booktabs: claims, the leaderboard of each task, effects of axes.

A document that compiles as it is with pdflatex; each table is a longtable that can be copied out of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.pipeline.evaluations import metric_label
from harness.report.board import Board, Row
from harness.report.collect import ReportData
from harness.report.methods import levels
from harness.report.verdicts import Verdict
from harness.report.words import (
    DAGGER,
    DASH,
    MINUS,
    RETRACTED,
    TIMES,
    interval,
    score,
    signed,
    signed_interval,
)

SPECIAL = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",  # else an argument of the line break before it
    "]": "{]}",
    "\N{NO-BREAK SPACE}": "~",
    MINUS: "$-$",
    DASH: "--",
    TIMES: r"$\times$",
    DAGGER: r"\dag{}",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
    "\N{MIDDLE DOT}": r"$\cdot$",
    "\N{LEFT DOUBLE QUOTATION MARK}": "``",
    "\N{RIGHT DOUBLE QUOTATION MARK}": "''",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
}
PREAMBLE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage[a4paper,landscape,margin=15mm]{geometry}
\usepackage{booktabs,caption,longtable}
\setlength{\LTcapwidth}{\linewidth}
\begin{document}
\small
"""
WIDE = r"p{0.3\linewidth}"


def render_latex(data: ReportData) -> str:
    """The document; everything that is not this file's own is escaped."""
    parts = [PREAMBLE, f"\\section*{{{escaped(data.name)}}}\n", f"{escaped(data.notes)}\n" if data.notes else ""]
    verdicts = [(found.says, one) for found in data.overview.findings for one in found.results]
    if verdicts:
        parts.append(_claims(verdicts))
    parts += [_leaderboard(board) for board in data.overview.boards if any(row.estimates for row in board.rows)]
    for table in data.effects:
        kinds = "".join("l" if at in table.words else "r" for at in range(len(table.columns)))
        parts.append(longtable(f"{table.title}. {table.note}", kinds, table.columns, [table.rows]))
    return "\n".join(filter(None, [*parts, "\\end{document}\n"]))


def escaped(text: str) -> str:
    """Text as LaTeX shows it. What pdflatex has no letter for is written as its number."""
    return "".join(SPECIAL.get(character) or _letter(character) for character in text)


def _letter(character: str) -> str:
    if (
        " " <= character <= "~"
        or "\N{LATIN CAPITAL LETTER A WITH GRAVE}" <= character <= "\N{LATIN SMALL LETTER Y WITH DIAERESIS}"
    ):
        return character
    return " " if character.isspace() else f"U+{ord(character):04X}"


def longtable(caption: str, kinds: str, columns: Sequence[str], groups: Sequence[Sequence[Sequence[str]]]) -> str:
    """A table that may run over pages, groups of rows apart. Captions and cells are plain text.

    Args:
        kinds: the columns' kinds, such as `lrr`.
    """
    lines = [f"\\begin{{longtable}}{{{kinds}}}", f"\\caption*{{{escaped(caption)}}}\\\\", "\\toprule"]
    lines += [_line(columns), "\\midrule", "\\endhead", "\\bottomrule", "\\endfoot"]
    for at, rows in enumerate(groups):
        lines += [*(["\\midrule"] if at else []), *map(_line, rows)]
    return "\n".join([*lines, "\\end{longtable}\n"])


def _line(cells: Sequence[str]) -> str:
    return " & ".join(map(escaped, cells)) + r" \\"


def _claims(verdicts: Sequence[tuple[str, Verdict]]) -> str:
    columns = ("Claim", "On", "Verdict", "Difference", "Problems", "Seeds", "Detectable")
    caption = "Claims. Differences are shares with 95 % intervals over problems and every seed that varies."
    dates = dict.fromkeys(one.first_scored for _, one in verdicts if one.exploratory)
    if dates:
        caption += f" Exploratory: written after the test problems were first scored ({', '.join(dates)})."
    return longtable(caption, f"{WIDE}p{{0.18\\linewidth}}lrrrr", columns, [[_claim(*one) for one in verdicts]])


def _claim(says: str, one: Verdict) -> tuple[str, ...]:
    word = f"{one.word}, exploratory" if one.exploratory else one.word
    if one.difference is None:
        return (says, one.title, word, "", "", "", "")
    gap = one.difference
    effect = "" if one.power.effect is None else score(one.power.effect)
    difference = f"{signed(gap.estimate)} {signed_interval(gap.low, gap.high)}"
    return (says, one.title, word, difference, f"{one.problems:,}", one.seeds, effect)


def _leaderboard(board: Board) -> str:
    metrics = board.key_metrics
    order = ("Order",) if board.has_places else ()
    columns = ("", "Seeds", *(f"{metric_label(metric)}{board.mark(metric)}" for metric in metrics), *order)
    groups = [[tuple(_cells(board, row)) for _, row in group if row.estimates] for group in board.groups]
    estimates = (one for row in board.rows for one in row.estimates.values())
    caption = f"{board.title}, with {levels(estimates)} intervals. {board.order}."
    if any(board.mark(metric) for metric in metrics):
        caption += f" {DAGGER} N above a quarter of the pool."
    return longtable(caption, f"ll{'r' * (len(columns) - 2)}", columns, [group for group in groups if group])


def _cells(board: Board, row: Row) -> Iterator[str]:
    yield row.label
    yield row.seeds
    for metric in board.key_metrics:
        one = row.estimates.get(metric)
        doubt = f" ({RETRACTED})" if row.doubt(metric) else ""
        yield "" if one is None else f"{score(one.estimate)} {interval(one.low, one.high)}{doubt}"
    if board.has_places:
        yield str(row.places.get(board.main, ""))
