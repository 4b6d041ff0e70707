"""When two stated answers are one: classes of equal answers among the candidates of a problem.

`canonical` reads numbers in their usual spellings (1,000 · 1000.0 · $0.50 · .5 · 1/2 · \\frac{1}{2}) and compares every
other answer by its normalised text. `answer_classes` also asks math-verify about what is left of mathematics.

Nothing an answer says is run or solved without a bound: math-verify sees only short answers made of known LaTeX
commands with small exponents, through its LaTeX grammar and never through its parser of Python expressions, and a
bounded number of different ones a problem. Everything else is compared as text. The bounds are counts and not seconds,
because a result must not depend on how busy a machine is; math-verify's own timeouts are signals and stay off.
"""

from __future__ import annotations

import logging
import math
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import combinations
from typing import Any

LONGEST_MATHEMATICS = 128
"""Characters; a longer answer is compared as text."""

MOST_EXPRESSIONS = 32
"""Different answers of one problem that math-verify reads; further ones, in order of appearance, are texts."""

MOST_COMPARISONS = 64
"""Pairs of them that it compares, of those whose values do not tell them apart."""

LARGEST_POWER = 1_000
"""The product of all numbers that stand in exponents: 9^{9^{9}} has more digits than memory holds."""

SAME_NUMBER = 1e-5
"""Relative distance within which math-verify is asked about two numbers. It rounds to six decimals and would take
.0000001 for .0000002."""

Key = tuple[str, str]
"""(`number`, `percent` or `text`, canonical spelling)."""

PACKAGES = ("math-verify", "latex2sympy2-extended", "sympy")
"""The packages whose versions decide classes of answers; identity of what uses `answer_classes`."""

_SUPERSCRIPTS = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_ALIKE = str.maketrans(
    {
        **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # full-width forms
        **dict.fromkeys("\N{MINUS SIGN}\N{EN DASH}\N{HYPHEN}\N{NON-BREAKING HYPHEN}", "-"),
        **dict.fromkeys("\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}\N{IDEOGRAPHIC SPACE}", " "),
        "\N{MULTIPLICATION SIGN}": r"\times ",
        "\N{MIDDLE DOT}": r"\cdot ",
        "\N{DIVISION SIGN}": "/",
        "\N{FRACTION SLASH}": "/",
        "\N{GREEK SMALL LETTER PI}": r"\pi ",
        "\N{INFINITY}": r"\infty ",
        "\N{ELEMENT OF}": r"\in ",
        "\N{LESS-THAN OR EQUAL TO}": r"\le ",
        "\N{GREATER-THAN OR EQUAL TO}": r"\ge ",
        "\N{DEGREE SIGN}": r"^\circ",
    }
)
_SPELLINGS = (
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\(?:left|right)(?![A-Za-z])"), ""),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\([%$])"), r"\1"),
    (re.compile(r"\\[!,;: ]|~|\\q?quad(?![A-Za-z])"), " "),
    (re.compile(r"\s+"), " "),
)
_WRAPPED = re.compile(
    r"\$\$?(?P<dollars>[^$]+)\$\$?|\\\((?P<round>.*)\\\)|\\\[(?P<square>.*)\\\]|\*\*(?P<bold>[^*]+)\*\*"
    r"|\\(?:boxed|text|textbf|textrm|mathrm|mathbf)\s*\{(?P<braces>[^{}]*|(?:[^{}]|\{[^{}]*\})*)\}"
    r"|(?P<quote>[\"'`])(?P<quoted>[^\"'`]+)(?P=quote)|\{(?P<group>[^{}]*)\}"
)
_NAMED = re.compile(r"[A-Za-z]\s*(?:=\s*(?P<value>[^=,;]+)|\\in(?![A-Za-z])\s*(?P<set>.+))")
_CHOICE = re.compile(r"[(\[]?([A-Za-z])[)\].:]?")

_SHORT_INTEGER = re.compile("-?[0-9]{1,18}")
_DIGITS = r"[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,3}(?:[ '][0-9]{3})+|[0-9]+"
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?) ?[$€£¥₹]? ?(?P<inner>[+-]?)(?P<whole>{_DIGITS})?(?P<part>\.[0-9]*)?"
    r"(?:[eE](?P<power>[+-]?[0-9]{1,3}))? ?"
    r"(?:(?P<percent>%|percent|per cent)|[$€£¥₹]|dollars?|usd|euros?|eur|pounds?)?",
    re.IGNORECASE,
)
_FRACTION = re.compile(
    rf"(?P<sign>[+-]?) ?[$€£¥₹]?(?:(?P<whole>{_DIGITS}) ?(?=\\)|(?P<mixed>[0-9]+) (?=[0-9]))?"
    rf"(?:(?P<top>{_DIGITS}) ?/ ?(?P<bottom>{_DIGITS})"
    rf"|\\frac ?(?:\{{ ?(?P<over>[+-]?(?:{_DIGITS})) ?\}}|(?P<over1>[0-9]))"
    rf" ?(?:\{{ ?(?P<under>{_DIGITS}) ?\}}|(?P<under1>[0-9])))"
)

_COMMANDS = (
    "frac|sqrt|pi|cdot|times|div|pm|mp|infty|cup|cap|in|leq?|geq?|lt|gt|neq?|circ|alpha|beta|gamma|theta|lambda|phi"
    "|sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|log|ln|exp|text|mathrm|mathbf|mathbb|emptyset|overline|ldots"
)
_TOKEN = re.compile(
    rf"\\(?:{_COMMANDS})(?![A-Za-z])|\\(?:begin|end) ?\{{[pb]matrix\}}|\\\\|\\[{{}}|]|[0-9]{{1,30}}|[A-Za-z]{{1,3}}"
    r"|[-+*/^=<>(),.|{}\[\]&% ]"
)
_RELATION = re.compile(r"[=<>]|\\(?:leq?|geq?|lt|gt|neq?)(?![A-Za-z])")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_VARIABLE = re.compile(r"[A-Za-z]")
_HARD_TO_SOLVE = re.compile(
    r"\^|\\(?:sqrt|sin|cos|tan|cot|sec|csc|arc[a-z]+|log|ln|exp)(?![A-Za-z])|/ ?[^0-9 ]|\{[^}]*[A-Za-z]"
)
_EXPONENT = re.compile(
    r"\^ ?(?:\{(?P<braced>(?:[^{}^]|\{[^{}^]*\})*)\}|(?P<digits>-?[0-9]+)|\\circ|(?P<letter>[A-Za-z]))"
)
_CALCULATED = re.compile(r"[0-9\\^=<>+*/]|(?<=\S)-")


def canonical(answer: str) -> Key:
    """An answer's kind and canonical spelling: equal answers in the plain sense have equal keys."""
    if _SHORT_INTEGER.fullmatch(answer):
        return "number", str(int(answer))
    text = _normalised(answer)
    number = _fraction(text) if len(text) <= LONGEST_MATHEMATICS else None
    if number is None:
        return "text", _as_text(text)
    value, is_percent = number
    return "percent" if is_percent else "number", str(value)


def answer_classes(answers: Sequence[str | None]) -> list[int | None]:
    """The class of each answer of one problem, counted from 0 in order of appearance; None where none is stated.

    A class is closed: whatever equals one of its members belongs to it. Equal are answers with one canonical form and
    those that math-verify holds equal in either direction. A percentage is the number before its sign where another
    candidate states that number (50 % and 50), else its value (50 % and 0.5). `x = 5` is 5, `x \\in [1, 2]` is [1, 2].
    Units in LaTeX and of up to three letters (`5 cm`) are left out, as math-verify does; longer words make a text.
    """
    keys = [None if answer is None else canonical(answer) for answer in answers]
    different = list(dict.fromkeys(key for key in keys if key is not None))
    roots: dict[Key, Key] = {key: key for key in different}

    def root(key: Key) -> Key:
        while roots[key] != key:
            key = roots[key]
        return key

    def join(first: Key, second: Key) -> None:
        roots[root(second)] = root(first)

    for key in different:
        if key[0] == "percent":
            for number in (Fraction(key[1]), Fraction(key[1]) / 100):
                if ("number", str(number)) in roots:
                    join(("number", str(number)), key)
                    break
    spelled: dict[Key, str] = {}
    for answer, of_answer in zip(answers, keys, strict=True):
        if answer is not None and of_answer is not None:
            spelled.setdefault(of_answer, _normalised(answer))
    for first, second in _equal_expressions(spelled):
        join(first, second)
    numbers: dict[Key, int] = {}
    return [None if key is None else numbers.setdefault(root(key), len(numbers)) for key in keys]


def compared_as_text(answers: Sequence[str | None]) -> int:
    """How many of the stated answers of one problem are neither plain numbers nor read by math-verify."""
    stated = [(canonical(answer), answer) for answer in answers if answer is not None]
    texts: dict[Key, str] = {}
    for key, answer in stated:
        if key[0] == "text":
            texts.setdefault(key, _normalised(answer))
    unread = texts.keys() - {key for key in _hard(texts) if _parsed(texts[key])}
    return sum(key in unread for key, _ in stated)


def _hard(spelled: Mapping[Key, str]) -> list[Key]:
    """The answers that math-verify is asked to read."""
    return [key for key, text in spelled.items() if key[0] == "text" and _is_mathematics(text)][:MOST_EXPRESSIONS]


def _equal_expressions(spelled: dict[Key, str]) -> list[tuple[Key, Key]]:
    """The pairs of answers that math-verify holds equal, at least one of them more than a plain number."""
    hard = _hard(spelled)
    numbers = {key: float(Fraction(key[1])) for key in spelled if key[0] == "number" and _fits(Fraction(key[1]))}
    endless = [
        key for key in numbers if not _ends(Fraction(key[1]))
    ]  # such as 1/3, which a decimal may be rounded from
    if not hard and not endless:
        return []
    parsed = {key: _parsed(spelled[key]) for key in hard}
    values = {key: value for key in hard if (value := _value(parsed[key])) is not None}
    without = [key for key in hard if key not in values]  # sets, intervals, equations, matrices
    asked = [
        *_close(combinations(values, 2), values),
        *_close(((one, other) for one in values for other in numbers), {**values, **numbers}),
        *_close(((one, other) for one in endless for other in numbers if one != other), numbers),
        *((one, other) for one, other in combinations(without, 2) if not _unlike(spelled[one], spelled[other])),
    ]
    parsed |= {key: _parsed(_latex_of(key[1])) for pair in asked for key in pair if key[0] == "number"}
    return [(one, other) for one, other in asked[:MOST_COMPARISONS] if _verified(parsed[one], parsed[other])]


def _close(pairs: Iterable[tuple[Key, Key]], values: Mapping[Key, float]) -> Iterator[tuple[Key, Key]]:
    for one, other in pairs:
        if math.isclose(values[one], values[other], rel_tol=SAME_NUMBER):
            yield one, other


def _unlike(one: str, other: str) -> bool:
    """Whether one lists in order, (1, 2), and the other without, {1, 2}: math-verify lets a bare `1, 2` be both, and
    through it (1, 2) would be (2, 1).
    """
    ordered = [text[0] in "([" for text in (one, other) if "," in text]
    return len(set(ordered)) == 2


# ------------------------------------------------------------------------------------------------ plain answers


def _normalised(answer: str) -> str:
    """One spelling for forms of characters, wrappers, spaces and LaTeX variants that say the same."""
    text = answer.translate(_ALIKE)
    if not text.isascii():
        text = _SUPERSCRIPTS.sub(lambda found: f"^{{{''.join(str(unicodedata.digit(one)) for one in found[0])}}}", text)
        text = "".join(_plain_character(one) for one in text)
    for pattern, spelling in _SPELLINGS:
        text = pattern.sub(spelling, text)
    text = text.strip()
    if len(text) > LONGEST_MATHEMATICS:
        return text
    while True:
        stripped = text.removesuffix(".").strip() if not text.endswith("..") else text
        match = _WRAPPED.fullmatch(stripped) or _NAMED.fullmatch(stripped)
        inner = stripped if match is None else _inside(match)
        inner = inner.strip()
        if inner.startswith("(") and inner.endswith(")") and _fraction(inner[1:-1].strip()) is not None:
            inner = inner[1:-1].strip()
        if inner == text or not inner:
            return inner or text
        text = inner


def _inside(match: re.Match[str]) -> str:
    groups = match.groupdict()
    groups.pop("quote", None)
    return next((found for found in groups.values() if found is not None), "")


def _plain_character(one: str) -> str:
    if one.isdecimal():
        return str(unicodedata.decimal(one))
    split = unicodedata.decomposition(one)
    if split.startswith("<fraction>"):  # ½ is 1/2, and 2½ is 2 1/2
        return " " + "".join(chr(int(code, 16)) for code in split.split()[1:]).replace("\N{FRACTION SLASH}", "/")
    return one


def _as_text(text: str) -> str:
    choice = _CHOICE.fullmatch(text)
    return (choice[1] if choice else text).casefold()


def _fraction(text: str) -> tuple[Fraction, bool] | None:
    """(exact value, whether it is a percentage) of a plain number or fraction; None of anything else."""
    match = _NUMBER.fullmatch(text)
    if match is not None:
        whole, part = match["whole"], match["part"] or ""
        if (whole is None and len(part) < 2) or (match["sign"] and match["inner"]):
            return None
        sign = -1 if "-" in match["sign"] + match["inner"] else 1
        digits = f"{_without_marks(whole or '0')}{part if len(part) > 1 else ''}"
        return sign * Fraction(digits) * Fraction(10) ** int(match["power"] or 0), match["percent"] is not None
    match = _FRACTION.fullmatch(text)
    if match is None:
        return None
    top = Fraction(_without_marks(match["top"] or match["over"] or match["over1"]))
    bottom = Fraction(_without_marks(match["bottom"] or match["under"] or match["under1"]))
    if not bottom:
        return None
    value = top / bottom + Fraction(_without_marks(match["whole"] or match["mixed"] or "0"))
    return -value if match["sign"] == "-" else value, False


def _without_marks(digits: str) -> str:
    return digits.replace(",", "").replace(" ", "").replace("'", "")


def _ends(number: Fraction) -> bool:
    """Whether its decimals come to an end."""
    bottom = number.denominator
    for prime in (2, 5):
        while bottom % prime == 0:
            bottom //= prime
    return bottom == 1


def _fits(number: Fraction) -> bool:
    """Whether it is a float: neither beyond the largest, nor so small that it becomes 0."""
    if abs(number.numerator) > abs(number.denominator) << 1_000:
        return False
    return float(number) != 0.0 or number == 0


# ------------------------------------------------------------------------------------------------- math-verify


def _is_mathematics(text: str) -> bool:
    """Whether math-verify may read it: short, of known parts, with small exponents, and no sentence."""
    if len(text) > LONGEST_MATHEMATICS or not _CALCULATED.search(text):
        return False
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None or (token[0].isalpha() and text[token.end() : token.end() + 1].isalpha()):
            return False
        at = token.end()
    exponents = list(_EXPONENT.finditer(text))
    if len(exponents) != text.count("^") or "**" in text:
        return False
    numbers = re.findall("[0-9]+", " ".join(found["braced"] or found["digits"] or "" for found in exponents))
    if math.prod(max(1, int(number)) for number in numbers) > LARGEST_POWER:
        return False
    return _RELATION.search(text) is None or _is_solved_at_once(text)


def _is_solved_at_once(text: str) -> bool:
    """Whether an equation or inequality is so plain that math-verify, which solves it, is done in a moment: every
    variable once, in no power, function or denominator.
    """
    variables = _VARIABLE.findall(_COMMAND.sub(" ", text))
    return len(set(variables)) == len(variables) and _HARD_TO_SOLVE.search(text) is None


def _latex_of(spelled: str) -> str:
    """A plain number as math-verify reads it: decimals stay decimals, which it compares by rounding."""
    number = Fraction(spelled)
    if number.denominator == 1:
        return spelled
    decimal = repr(float(number))
    return decimal if _ends(number) and "e" not in decimal else rf"\frac{{{number.numerator}}}{{{number.denominator}}}"


def _library() -> Any:
    """math-verify, imported when first needed (it takes most of a second) and silent about what it cannot read."""
    import math_verify

    for name in ("math_verify", "latex2sympy2_extended"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return math_verify


def _parsed(text: str) -> list[Any]:
    library = _library()
    reading = [library.LatexExtractionConfig()]
    found: list[Any] = library.parse(f"${text}$", reading, fallback_mode="no_fallback", parsing_timeout=0)
    return found


def _value(parsed: list[Any]) -> float | None:
    """What an expression comes to with fixed numbers for its variables, so that only those that agree there are
    compared; None of sets, equations and the like.
    """
    from sympy import Expr, MatrixBase

    if len(parsed) != 1 or not isinstance(parsed[0], Expr) or isinstance(parsed[0], MatrixBase):
        return None
    places = {symbol: 0.5 + zlib.crc32(str(symbol).encode()) / 2**32 for symbol in parsed[0].free_symbols}
    try:
        value = complex(parsed[0].doit().evalf(15, subs=places))
    except (TypeError, ValueError, ArithmeticError, AttributeError, NotImplementedError):
        return None
    return value.real if value.imag == 0 and math.isfinite(value.real) else None


def _verified(one: list[Any], other: list[Any]) -> bool:
    verify = _library().verify
    return bool(verify(one, other, timeout_seconds=0) or verify(other, one, timeout_seconds=0))
