"""The report as Markdown: the numbers and the words, no figures, for reading in a terminal or a code review."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.report.board import HEADLINE, Board, Row
from harness.report.collect import ReportData
from harness.report.facts import Facts
from harness.report.words import FEW_SEEDS, VERDICTS, interval, metric_label, score, signed, signed_interval

SPECIAL = str.maketrans(
    {"\\": "\\\\", "|": "\\|", "<": "&lt;", ">": "&gt;", "*": "\\*", "_": "\\_", "`": "\\`", "[": "\\[", "\n": " "}
)


def render_markdown(data: ReportData) -> str:
    """The whole report."""
    blocks = [f"# {plain(data.name)}", plain(data.notes)]
    for caution in data.cautions:
        items = "".join(f"\n> - {plain(item)}" for item in caution.items)
        blocks.append(f"> **{plain(caution.title)}.** {plain(caution.text)}{items}")
    blocks.append("\n".join(f"- {plain(name)}: {plain(value)}" for name, value in data.facts))
    for board in data.overview.boards:
        blocks += _board(data, board)
    blocks.append("## Settings")
    differing = [(setting.name, "; ".join(setting.differs), f"{setting.pairs:,}") for setting in data.settings]
    blocks.append(table(("setting", "differs from the base", "PMP pairs"), differing, {2}))
    blocks.append("## Training")
    blocks += _facts(data.training)
    if data.probes.rows:
        blocks += [f"### {plain(data.probes.title)}", *_facts(data.probes)]
    blocks.append("## Data")
    for facts in data.data:
        blocks += [f"### {plain(facts.title)}", *_facts(facts)]
    blocks.append("## Sharing, time and memory")
    blocks.append(plain(" ".join(data.shared)))
    for facts in data.times:
        blocks += [f"### {plain(facts.title)}", *_facts(facts)]
    blocks += ["## Methods", *(plain(paragraph) for paragraph in data.methods)]
    blocks += ["## Records", *_records(data)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return text.translate(SPECIAL)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """A Markdown table; `numbers` are flush right."""
    right = set(numbers)
    lines = [columns, ["---:" if at in right else "---" for at in range(len(columns))]]
    cells = [[plain(cell) for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in (lines[0], lines[1], *cells))


def _facts(facts: Facts) -> list[str]:
    if not facts.rows:
        return []
    return [table(facts.columns, facts.rows, facts.numbers), plain(facts.note)]


def _board(data: ReportData, board: Board) -> list[str]:
    blocks = [f"## {plain(board.title)}"]
    for finding in data.overview.findings:
        if finding.task == board.task:
            blocks.append("\n".join(f"- {plain(sentence)}" for sentence in finding.sentences))
    metrics = _metrics(board)
    main = "best_of_n" if "best_of_n" in board.evaluations else "pair_accuracy"
    order = ["order"] if any(row.places for row in board.settings) else []
    columns = ["", "seeds", *(metric_label(metric) + _mark(board, metric) for metric in metrics), *order, "remarks"]
    rows = []
    for row in board.rows:
        place = [str(row.places.get(main, "")) for _ in order]
        rows.append(
            [row.label, row.seeds, *(number(row, metric) for metric in metrics), *place, "; ".join(_remarks(row))]
        )
    blocks.append(table(columns, rows, range(2, 2 + len(metrics))))
    if not order:
        blocks.append(f"{FEW_SEEDS}.")
    if board.sizes:
        sizes = ", ".join(str(size) for size in board.area_sizes)
        blocks.append(f"BoN area: mean over N = {sizes}." if sizes else "No BoN area: it needs 8 candidates a problem.")
    if any(_mark(board, metric) for metric in metrics):
        blocks.append("† N above a quarter of the pool.")
    blocks.append(_comparisons(board))
    return blocks


def _metrics(board: Board) -> list[str]:
    found = {metric for row in board.rows for metric in row.estimates}
    order = ["area", *(f"bon@{size}" for size in board.sizes)]
    order += ["pair_accuracy", "right_over_wrong", "right_over_wrong_seen", "right_over_wrong_unseen"]
    wanted = [metric for metric in order if metric in found]
    return wanted or [HEADLINE[evaluation] for evaluation in board.evaluations]


def _mark(board: Board, metric: str) -> str:
    return "†" if metric.startswith("bon@") and board.overlaps(int(metric.removeprefix("bon@"))) else ""


def number(row: Row, metric: str) -> str:
    """An estimate with its interval, "" where there is none."""
    found = row.estimates.get(metric)
    if not found:
        return ""
    text = f"{score(found.estimate)} {interval(found.low, found.high)}"
    return f"~~{text}~~" if row.doubt(metric) else text


def _remarks(row: Row) -> list[str]:
    """Why numbers are missing or struck out."""
    return [*dict.fromkeys(row.retracted.values()), *row.gap_lines]


def _comparisons(board: Board) -> str:
    rows = []
    for row in board.compared:
        for evaluation in board.evaluations:
            gap, above = row.differences.get(evaluation), row.above.get(evaluation)
            if gap is None and above is None:
                continue
            rows.append(
                (
                    row.label,
                    metric_label(HEADLINE[evaluation]),
                    f"{signed(gap.estimate)} {signed_interval(gap.low, gap.high)}" if gap else "",
                    VERDICTS[above.above] if above else "",
                    f"{signed(above.difference.estimate)} "
                    f"{signed_interval(above.difference.low, above.difference.high)} ({above.reference})"
                    if above
                    else "",
                )
            )
    if not rows:
        return ""
    columns = ("", "metric", f"difference from {board.baseline}", "above shallow", "difference from the best of them")
    return table(columns, rows, {2, 4})


def _records(data: ReportData) -> list[str]:
    blocks = []
    for origin in data.origins:
        chains = "\n".join(f"- {' ← '.join(f'`{link.name}`' for link in chain)}" for chain in origin.chains)
        blocks.append(f"{plain(origin.task)}, {plain(origin.row)}:\n\n{chains}")
    if data.unfinished.rows:
        blocks += [f"### {plain(data.unfinished.title)}", *_facts(data.unfinished)]
    return blocks
