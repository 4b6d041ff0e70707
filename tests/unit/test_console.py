"""What commands print: any text on any terminal, nothing cropped where it is no terminal."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from harness import __version__
from harness.cli.app import app
from harness.cli.console import output, print_anything
from harness.cli.groups import GROUPS, first_sentence
from harness.cli.run_command import run_command
from harness.cli.tables import print_table, table


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_text_can_be_printed(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    print_anything()
    output().print("1 \N{MULTIPLICATION SIGN} 2, \N{MINUS SIGN}3 \N{HORIZONTAL ELLIPSIS} 数 \udcff")
    sys.stdout.flush()
    shown = raw.getvalue().decode(encoding)
    if encoding == "ascii":
        assert shown == "1 x 2, -3 ... \\u6570 \\udcff\n"
    else:
        assert "1 \N{MULTIPLICATION SIGN} 2" in shown
        assert shown.endswith("\\udcff\n")


def test_what_goes_to_a_file_is_not_folded(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    made = table("", "name", "number", right=("number",))
    made.add_row("a setting with a long name, " * 5, "0.123456")
    print_table(made)
    assert any("0.123456" in line and line.count("long name") == 5 for line in capsys.readouterr().out.splitlines())


def test_text_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    text = "[red]a[/i] :x:"
    output().print(text)
    made = table(text, text)
    made.add_row(text)
    print_table(made)
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == [text] * 4


def test_help_shows_whole_short_sentences_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["-h"]) == 0
    shown = capsys.readouterr().out
    group: Any = typer.main.get_command(app)
    assert {name for names in GROUPS.values() for name in names} == set(group.commands)
    for name, command in group.commands.items():
        sentence = first_sentence(command.help)
        assert len(sentence) <= 60
        assert sentence.endswith(".")
        assert re.search(rf"^  {name} +{re.escape(sentence)}$", shown, re.MULTILINE)
    assert max(map(len, shown.splitlines())) <= 80
    assert "--install-completion" in shown


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--version"]) == 0
    assert capsys.readouterr().out == f"harness {__version__}\n"


def test_a_path_that_cannot_be_is_one_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    (tmp_path / "store").mkdir()
    for path in (loop, loop / "below", tmp_path / ("n" * 300), tmp_path / "store" / ("n" * 300) / "x"):
        for arguments in (
            ["validate", path],
            ["plan", path],
            ["ls", "--workdir", path],
            ["show", "ab", "--workdir", path],
            ["show", path, "--workdir", tmp_path],
            ["compare", "a", "b", "--workdir", path],
            ["import", "pool", path, "--name", "a", "--licence", "b", "--source", "c", "--workdir", tmp_path],
            ["import", "checkpoint", path, "--name", "a", "--licence", "b", "--source", "c", "--workdir", tmp_path],
        ):
            assert run_command([str(argument) for argument in arguments]) == 2
            assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("kind", ["nonsense", "n" * 1000, "../encode", "en\0code"])
@pytest.mark.parametrize("how", [[], ["--kind"]])
def test_a_kind_that_is_none_is_told_with_those_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, how: list[str]
) -> None:
    (tmp_path / "store").mkdir()
    assert run_command(["ls", *how, kind, "--workdir", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "trunk_state" in told
    assert len(told) < 1500


def test_a_kind_may_be_an_argument_or_an_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "store").mkdir()
    for how in ([], ["--kind"]):
        assert run_command(["ls", *how, "trunk_state", "--workdir", str(tmp_path)]) == 0
        assert "0 stages" in capsys.readouterr().out
