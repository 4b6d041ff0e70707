"""Words of any script, for searching text by runs of words.

Scripts that put no spaces between words would give one word a sentence. Each of their characters is a word instead.
How many characters say as much as a word differs, so a character is worth a share of one (`worth`): an ideograph a
whole word, a kana half of one, a letter of a script of South East Asia (Thai, Lao, Khmer, Burmese, ...) a quarter.
Marks above and below letters do not count: they would cut words of Hindi or Arabic in pieces.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

WORD = 4  # what a word is worth, so that shares of one are whole numbers

_IDEOGRAPHS = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00016fe0-\U00018dff\U0001b170-\U0001b2ff\U00020000-\U0003ffff"  # Nushu, Tangut, Khitan; extensions of Han
)
_SYLLABLES = "\u3040-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff\uff66-\uff9f\ua000-\ua48f\U0001aff0-\U0001b16f"
_LETTERS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f\ua980-\ua9ff\uaa60-\uaadf"
    "\U000116d0-\U000116ff\U00011700-\U0001174f"
)
_UNSPACED = _IDEOGRAPHS + _SYLLABLES + _LETTERS
_ANY_WORD = rf"(?=\w)[{_UNSPACED}]|[^\W{_UNSPACED}]+"
_WORDS = re.compile(_ANY_WORD)
_TOKENS = re.compile(rf"{_ANY_WORD}|[^\w\s]")
_PLAIN_TOKENS = re.compile(r"\w+|[^\w\s]")
_ASCII_WORDS = bytes(code if re.match(r"\w", chr(code)) else ord(" ") for code in range(128)).ljust(256)
_WORTH_LESS = ((re.compile(f"[{_SYLLABLES}]"), WORD // 2), (re.compile(f"[{_LETTERS}]"), WORD // 4))


class _Marks(dict[int, int | None]):
    """For `str.translate`: each character by itself, and nothing for a mark."""

    def __missing__(self, code: int) -> int | None:
        self[code] = None if unicodedata.category(chr(code)).startswith("M") else code
        return self[code]


_WITHOUT_MARKS = _Marks()


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without marks; what can be written in several ways (NFKC) is one of them."""
    if text.isascii():  # the same three times as fast: every document's words are looked at
        return text.lower().encode().translate(_ASCII_WORDS).decode().split()
    return _WORDS.findall(unicodedata.normalize("NFKC", text).lower().translate(_WITHOUT_MARKS))


def tokens_of(text: str) -> list[str]:
    """Words and signs of a text, as they are written."""
    return (_PLAIN_TOKENS if text.isascii() else _TOKENS).findall(text)


def worth(words: Sequence[str]) -> list[int]:
    """What each word is worth, in parts of `WORD`."""
    return [WORD if len(word) > 1 or word.isascii() else _worth(word) for word in words]


def _worth(character: str) -> int:
    return next((less for characters, less in _WORTH_LESS if characters.match(character)), WORD)
