"""What a source's texts become: functions of Python files, documents of the rest, and their own descriptions."""

from __future__ import annotations

from collections import Counter

import pytest

from harness.corpus.document import Document, leading_description, unpack
from harness.corpus.tally import Tally

FILE = '''"""A module."""

class Shelf:
    def add(self, book):
        """Put a book on the shelf."""
        # A comment that the normal form loses.
        self.books.append( book )

def undocumented(a):
    return a

def double(a):
    "Twice the number."
    return 2*a
'''


def document(text: str, *, language: str = "python", description: str = "") -> Document:
    return Document(cluster="repo", path="repo/a", language=language, description=description, text=text)


def unpacked(whole: Document, chunk_characters: int | None = None) -> tuple[list[Document], Tally]:
    counts = Tally()
    return list(unpack(whole, chunk_characters=chunk_characters, counts=counts)), counts


def test_a_python_file_is_its_documented_functions_in_normal_form() -> None:
    found, counts = unpacked(document(FILE))
    assert [(one.name, one.description, one.text) for one in found] == [
        ("Shelf.add", "Put a book on the shelf.", "def add(self, book):\n    self.books.append(book)"),
        ("double", "Twice the number.", "def double(a):\n    return 2 * a"),
    ]
    assert {(one.unit, one.cluster, one.path) for one in found} == {("function", "repo", "repo/a")}
    assert counts == {"functions": 2}


def test_a_python_file_that_cannot_be_parsed_is_counted() -> None:
    assert unpacked(document("def broken(:")) == ([], Counter(unparsable_files=1))
    assert unpacked(document("x = 1")) == ([], Counter())
    nested = "def f():\n    return " + "(" * 5_000 + ")" * 5_000
    assert unpacked(document(nested)) == ([], Counter(unparsable_files=1))


def test_python_with_a_description_is_one_function_or_a_document() -> None:
    (function,), _ = unpacked(document('def f(a):\n    """Own."""\n    return  a', description="Given."))
    assert (function.unit, function.description, function.text) == ("function", "Given.", "def f(a):\n    return a")
    for text in ("a = 1", FILE, "def broken(:"):
        (whole,), _ = unpacked(document(text, description="Given."))
        assert (whole.unit, whole.description, whole.text) == ("document", "Given.", text)


@pytest.mark.parametrize(
    ("language", "text", "description", "rest"),
    [
        ("go", "// Package a adds.\n// It is small.\npackage a\n", "Package a adds.\nIt is small.", "package a"),
        ("c", "/*\n * Sorts a list.\n * Stable.\n */\nint sort();\n", "Sorts a list.\nStable.", "int sort();"),
        ("shell", "#!/bin/sh\n# Says hello.\necho hello\n", "Says hello.", "echo hello"),
        ("sql", "-- All users.\nselect 1", "All users.", "select 1"),
        ("java", "class A {}\n// later", "", "class A {}\n// later"),
        ("text", "A question?\n\nAn answer.\n\nMore of it.\n", "A question?", "An answer.\n\nMore of it."),
        ("markdown", "# Title of it\n \nThe text.", "Title of it", "The text."),
        ("text", "One paragraph\nof two lines.", "", "One paragraph\nof two lines."),
    ],
)
def test_what_a_text_says_about_itself(language: str, text: str, description: str, rest: str) -> None:
    assert leading_description(text, language) == (description, rest)
    (whole,), _ = unpacked(document(text, language=language))
    assert (whole.unit, whole.description, whole.text) == ("document", description, rest)


def test_a_description_of_its_own_is_kept_and_the_text_left_alone() -> None:
    (whole,), _ = unpacked(document("Answer.\n\nMore.", language="text", description="Question?"))
    assert (whole.description, whole.text) == ("Question?", "Answer.\n\nMore.")


def test_chunks_are_whole_lines_that_make_up_the_text() -> None:
    lines = [f"line {number} of the text" for number in range(40)]
    pieces, _ = unpacked(document("\n".join(lines), language="text", description="All lines."), 100)
    assert all(0 < len(piece.text) <= 100 for piece in pieces)
    assert "\n".join(piece.text for piece in pieces).split("\n") == lines
    assert {piece.description for piece in pieces} == {"All lines."}
    one_line, _ = unpacked(document("x" * 250, language="text", description="No line ends."), 100)
    assert [len(piece.text) for piece in one_line] == [100, 100, 50]


def test_functions_are_never_cut() -> None:
    text = "def f(a):\n" + "".join(f"    a = a + {number}\n" for number in range(50)) + "    return a"
    (function,), _ = unpacked(document(text, description="Adds."), 100)
    assert function.text == text
