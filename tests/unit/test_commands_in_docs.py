"""Every `harness …` command that the documents show is one that the program accepts. Nothing is run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from harness.cli.app import app
from harness.pipeline.kinds import KINDS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("recipes/**/*.md")])
LINE = "^(?:\\$ )?(?:\\S*/)?harness ([a-z][^\N{BLACK RIGHT-POINTING TRIANGLE}\\n]*)$"
DIARIES = ("CHANGELOG.md", "log.md")  # of what was, at its time


def commands(text: str) -> Iterator[str]:
    """Commands in blocks, one a line, and in `code` that begins with `harness`."""
    for index, part in enumerate(re.split(r"^```.*\n", text.replace("\\\n", " "), flags=re.MULTILINE)):
        if index % 2 == 1:
            yield from re.findall(LINE, part, re.MULTILINE)
        else:
            yield from (" ".join(code.split()) for code in re.findall(r"`(?:\S*/)?harness ([a-z][^`]*)`", part))


SHOWN = {
    f"{document.relative_to(ROOT)}: harness {command}": command
    for document in DOCUMENTS
    if document.name not in DIARIES
    for command in commands(document.read_text(encoding="utf-8"))
}


def group() -> Any:
    return typer.main.get_command(app)


def test_there_are_commands() -> None:
    assert len(SHOWN) > 40


@pytest.mark.parametrize("place", SHOWN)
def test_a_command_in_a_document_parses(place: str) -> None:
    words = shlex.split(
        SHOWN[place].replace("[--workdir DIR]", "--workdir DIR").replace("LM-EVAL'S", ""), comments=True
    )
    names, words = ([words[0]], words[1:]) if "|" not in words else ([one for one in words if one != "|"], [])
    for name in names:  # `ls | show | diff` are several
        command, rest = group().commands[name], words
        if hasattr(command, "commands"):
            command, rest = command.commands[words[0]], words[1:]
        for parameter in command.params:  # a sentence may name a command without its arguments
            parameter.required = False
        with command.make_context(name, [word for word in rest if word != "..."]) as made:
            assert name != "ls" or made.params["kind"] in {None, *KINDS}
