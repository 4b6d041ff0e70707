"""The report as Markdown: the numbers and the words, no figures, for reading in a terminal or a code review."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from markupsafe import Markup

from harness.report.collect import ReportData
from harness.report.figures import balance_tables
from harness.report.render import environment
from harness.report.retention_figures import retention_table

SPECIAL = str.maketrans(
    {"\\": "\\\\", "|": "\\|", "<": "&lt;", ">": "&gt;", "*": "\\*", "_": "\\_", "`": "\\`", "[": "\\[", "\n": " "}
)


def render_markdown(data: ReportData) -> str:
    """The whole report; every value in the template is escaped."""
    jinja = environment(escape=True, finalize=plain)
    jinja.globals["table"] = table
    text = jinja.get_template("report.md").render(
        data=data,
        settings={one.name: one for one in data.settings},
        retention=retention_table(data.overview.boards),
        balance=balance_tables(data.curves),
    )
    lines = text.splitlines()
    return "\n".join(line for at, line in enumerate(lines) if line or (at and lines[at - 1])) + "\n"


def plain(value: object) -> Markup:
    """Text that Markdown shows as it is; what a macro or `table` wrote stays."""
    return value if isinstance(value, Markup) else Markup(str(value).translate(SPECIAL))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], words: Collection[int] = (0,)) -> Markup:
    """A Markdown table; all columns but `words` are flush right."""
    rule = ["---" if at in words else "---:" for at in range(len(columns))]
    head, *body = ("| " + " | ".join(map(plain, line)) + " |" for line in (columns, *rows))
    return Markup("\n".join([head, "| " + " | ".join(rule) + " |", *body]))
