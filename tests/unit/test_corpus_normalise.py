"""Normalisation: one spelling whatever the formatting, stable under repetition; descriptions cut where they should."""

from __future__ import annotations

import ast

import pytest

from harness.corpus.normalise import (
    compiles,
    describe,
    describes,
    normalise,
    parse_function,
    print_function,
    prints_alike,
)
from harness.corpus.python_packages import read_functions


def test_formatting_comments_decorators_and_docstring_leave_no_trace() -> None:
    plain = "def f(a, b=1):\n    return {'key': a + b}"
    dressed = '''
    @decorated(by="something")
    def f( a,
           b = 1 ):
        """Say what it does."""
        # and why
        return {"key" : (a +
                         b)}   # here
    '''
    assert normalise(plain) == normalise(dressed) == plain


def test_a_body_of_only_a_docstring_becomes_pass() -> None:
    assert normalise('async def f():\n    """Nothing."""') == "async def f():\n    pass"


def test_normalising_real_functions_again_changes_nothing_and_keeps_their_meaning() -> None:
    functions = list(read_functions(["argparse", "email", "statistics", "typing"]))
    assert len(functions) > 300
    for function in functions:
        assert normalise(function.source) == function.source
        assert compiles(function.source)
        tree = ast.parse(function.source).body[0]
        assert isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef)
        assert ast.get_docstring(tree) is None
        assert tree.decorator_list == []


@pytest.mark.parametrize(
    "source", ["", "a = 1", "def f(): pass\ndef g(): pass", "def f(:", "def f():\n    '\0'", "class A:\n    pass"]
)
def test_what_is_not_one_function_raises(source: str) -> None:
    with pytest.raises(SyntaxError):
        normalise(source)


def test_compiles_refuses_what_only_the_compiler_sees() -> None:
    assert compiles("def f():\n    return 1 is 1")  # warns, and that is all
    assert not compiles("def f():\n    break")


@pytest.mark.parametrize(
    ("docstring", "description"),
    [
        ("Add two.\n\n    Slowly.\n\n    Args:\n        a: one.", "Add two.\n\nSlowly."),
        ("Add two.\n\nParameters\n----------\na : int", "Add two."),
        ("Add two.\n:param a: one", "Add two."),
        ("Add two.\n>>> add(1, 1)\n2", "Add two."),
        ("Returns the sum.\n\nReturns:\n    it", "Returns the sum."),
        (":func:`add` with a twist.", ":func:`add` with a twist."),
        (">>> add(1, 1)\n2", ""),
        ("", ""),
    ],
)
def test_a_description_ends_where_lists_begin(docstring: str, description: str) -> None:
    assert describe(docstring, 200) == description


@pytest.mark.parametrize(
    ("characters", "description"),
    [
        (100, "First one here.\n\nSecond."),
        (24, "First one here.\n\nSecond."),
        (23, "First one here."),
        (15, "First one here."),
        (14, "First one"),
        (5, "First"),
        (3, "Fir"),
    ],
)
def test_a_description_is_clipped_by_paragraph_then_by_word(characters: int, description: str) -> None:
    assert describe("First one here.\n\nSecond.", characters) == description


@pytest.mark.parametrize("characters", [0, 1, 8, 20, 60])
def test_whether_a_description_is_long_enough_is_told_as_by_describing(characters: int) -> None:
    docstrings = [function.docstring for function in read_functions(["email", "statistics", "logging", "unittest"])]
    docstrings += [
        "",
        " \n",
        "\n      \n  A line.\n  ======\n",
        "Args: a long list of things\n",
        "Head\n----\nMore of it.",
    ]
    docstrings += [
        "\x0c\x0cA page\x0cArgs: that are listed",
        "  >>> a_doctest_of_some_length()",
        "-----\nAfter a rule.",
    ]
    docstrings += [f"\n\t{docstring}\t" for docstring in docstrings]
    for docstring in docstrings:
        assert describes(docstring, characters) == (len(describe(docstring, len(docstring))) >= characters), docstring


def test_only_what_may_print_otherwise_is_printed_again() -> None:
    """The quick answer is that of printing every function of some packages twice."""
    functions = list(read_functions(["email", "logging", "unittest", "typing", "inspect"]))
    assert len(functions) > 300
    for function in functions:
        assert function.node is not None
        assert prints_alike(function.node, function.source) == (normalise(function.source) == function.source)


@pytest.mark.parametrize(
    ("source", "alike"),
    [
        ("def f(a):\n    'One.'\n    'Two.'\n    return a", False),
        ("def f(a):\n    'One.'\n    a = 'Two.'\n    return a", True),
        ("def f(a):\n    'One.'\n    return f'{a!r:>{10}} of {\"it\"}'", True),
        ("def f(a):\n    return 'that is it of' + 'f' + a", True),
        ("async def f(a):\n    u'One.'\n    'Two.'\n    return await a", False),
    ],
)
def test_whether_a_printed_function_prints_alike(source: str, alike: bool) -> None:
    node = parse_function(source)
    printed = print_function(node)
    assert prints_alike(node, printed) == (normalise(printed) == printed) == alike
