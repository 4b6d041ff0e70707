"""Tables in LaTeX: every row has the cells of its header, and nothing that a recipe or a task wrote is a command."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.collect import collect
from harness.report.latex import escaped, longtable, render_latex
from harness.report.overview import overview
from harness.store.store import Store
from tests.report_store import HOSTILE, analyse, fill, small

COMMANDS = (
    *("textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar", "textquotedbl"),
    *("times", "dag", "ldots", "cdot"),
)
ALLOWED = re.compile(rf"\\[&%$#_{{}}]|\\(?:{'|'.join(COMMANDS)})\{{\}}|\$(?:-|\\times|\\cdot)\$|\{{[][]\}}|~")
SPECIAL = re.compile(r"[\\{}$&#^_%~]")
HARD = [
    "100 % of {a} & b_c^2 $ # ~ \\input{/etc/passwd} % | < > \"'`",
    "[x]",
    "\N{MINUS SIGN}0.1 \N{MULTIPLICATION SIGN} ß é 漢 \n",
    HOSTILE,
    "",
]


@given(st.text())
def test_text_holds_no_special_character(text: str) -> None:
    found = escaped(text)
    assert not SPECIAL.search(ALLOWED.sub("", found)), found
    assert "\n" not in found
    assert all(ord(character) < 0x100 for character in found)


@given(st.lists(st.lists(st.text(), min_size=3, max_size=3), min_size=1, max_size=4))
def test_rows_have_the_cells_of_their_header(rows: list[list[str]]) -> None:
    lines = cells_of(longtable("caption", "lrr", ["a & b", "c", "d"], [rows, rows]))
    assert [len(line) for line in lines] == [3] * (1 + 2 * len(rows))
    assert lines[1] == [escaped(cell).strip() for cell in rows[0]]


def cells_of(table: str) -> list[list[str]]:
    lines = (line.removesuffix(r"\\") for line in table.splitlines() if line.endswith(r" \\"))
    return [[cell.strip() for cell in re.split(r"(?<!\\)&", line)] for line in lines]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    store = Store(tmp_path_factory.mktemp("latex") / "store")
    plan = small("name=a_b", "notes='100 % & {more} \\input{x}'")
    fill(plan, store)
    return render_latex(collect(plan, store, overview(plan, store, analyse(plan, store))))


def test_a_report_has_its_boards_as_tables(text: str) -> None:
    tables = re.findall(r"\\begin\{longtable\}\{(\w*)\}\n(.*?)\\end\{longtable\}", text, re.DOTALL)
    assert [re.search(r"caption\*\{([^,]*)", table)[1] for _, table in tables] == [  # type: ignore[index]
        "arithmetic",
        "logic",
        "held-out code pairs",
    ]
    for kinds, table in tables:
        assert {len(line) for line in cells_of(table)} == {len(kinds)}
    assert "rm+lm & " in text
    assert r"\section*{a\_b}" in text
    assert r"100 \% \& \{more\} \textbackslash{}input\{x\}" in text


if shutil.which("pdflatex"):  # the other tests say enough on a machine without TeX

    def test_the_tables_compile(text: str, tmp_path: Path) -> None:
        hard = longtable(" ".join(HARD), "lrr", HARD[:3], [[HARD[:3], HARD[2:]]])
        (tmp_path / "report.tex").write_text(
            text.replace(r"\end{document}", hard + r"\end{document}"), encoding="utf-8"
        )
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "report.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
