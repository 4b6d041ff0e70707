"""Scripts without spaces: problems and near copies are found in them, and stock phrases are no problems."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from harness.corpus.decontaminate import Contamination, Problem, ProblemIndex, contamination_of
from harness.corpus.document import Document
from harness.corpus.near import NearDuplicates, shingle_hashes
from harness.corpus.words import WORD, tokens_of, words_of, worth

CHINESE = "小明有二十三个苹果,星期二又摘了两倍那么多的苹果,然后把其中的四分之一送给了弟弟。他最后还剩下多少个苹果?"
JAPANESE = (
    "太郎さんは月曜日にりんごを二十三個とり、火曜日にはその二倍のりんごをとりました。"
    "全部の四分の一を弟にあげると、りんごは何個残りますか。"
)
THAI = "สมชายเก็บแอปเปิลได้ยี่สิบสามผลในวันจันทร์และเก็บได้อีกสองเท่าในวันอังคารจากนั้นแบ่งหนึ่งในสี่ของทั้งหมดให้น้องชายเขาเหลือแอปเปิลกี่ผล"
KHMER = "សុខបេះផ្លែប៉ោមបានម្ភៃបីផ្លែនៅថ្ងៃចន្ទហើយបេះបានពីរដងនៅថ្ងៃអង្គារបន្ទាប់មកចែកមួយភាគបួនទៅឱ្យប្អូនប្រុសតើគាត់នៅសល់ផ្លែប៉ោមប៉ុន្មាន"
HINDI = "अन्ना ने सोमवार को तेईस सेब तोड़े और मंगलवार को उससे दोगुने फिर उसने सबका एक चौथाई अपने भाई को दे दिया"
PROBLEMS = {"chinese": CHINESE, "japanese": JAPANESE, "thai": THAI, "khmer": KHMER, "hindi": HINDI}
AROUND = ("前のことば。", "後のことば。")


def document(text: str) -> Document:
    return Document(cluster="c", path="a", language="text", description="", text=text)


def contamination(**texts: str) -> Contamination:
    problems = [Problem(task=name, id=name, text=text) for name, text in texts.items()]
    return Contamination(ProblemIndex(problems, n=13, threshold=0.0))


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_planted_copy_and_a_part_of_one_are_found(name: str) -> None:
    text = PROBLEMS[name]
    checked = contamination(**PROBLEMS)
    assert contamination_of([checked.counted()])["checked"] == dict.fromkeys(sorted(PROBLEMS), 1)
    for planted in (text, text[: len(text) * 3 // 4], unicodedata.normalize("NFD", text)):
        assert checked.holds_a_problem(document(planted.join(AROUND)))
        assert checked.counted()["examples"][-1]["problem"] == name
    assert not checked.holds_a_problem(document("".join(reversed(text))))


@pytest.mark.parametrize(
    ("problem", "phrase"),
    [
        (JAPANESE + "これを計算することができるようになりました。", "することができるようになりました。"),
        (THAI + "กรุงเทพมหานครเป็นเมืองหลวง", "เขาอยู่ที่กรุงเทพมหานคร"),
        (HINDI, "उसने सबका एक चौथाई लिया"),
    ],
)
def test_a_stock_phrase_or_a_name_is_no_problem(problem: str, phrase: str) -> None:
    assert not contamination(t=problem).holds_a_problem(document(phrase))


def test_what_is_too_short_is_counted_by_task() -> None:
    checked = contamination(short="几个苹果?", kana="りんごはいくつですか", chinese=CHINESE)
    found = contamination_of([checked.counted()])
    assert (found["checked"], found["too_short"]) == ({"chinese": 1}, {"kana": 1, "short": 1})


def test_forms_of_one_character_are_one() -> None:
    halved = "ﾀﾛｳは１２３個のリンゴを買って、ﾊﾅｺに４５個あげました。残りはいくつでしょうか。"
    assert contamination(t=halved).holds_a_problem(document(unicodedata.normalize("NFKC", halved)))


def test_words_and_what_they_are_worth() -> None:
    words = words_of("Он сказал: これは漢字 abc ไทย 12")
    assert words == ["он", "сказал", "こ", "れ", "は", "漢", "字", "abc", "ไ", "ท", "ย", "12"]
    half, quarter = WORD // 2, WORD // 4
    assert worth(words) == [WORD, WORD, half, half, half, WORD, WORD, WORD, quarter, quarter, quarter, WORD]
    assert tokens_of("これは, naïve!") == ["こ", "れ", "は", ",", "naïve", "!"]
    assert tokens_of("x_1 = [2]") == ["x_1", "=", "[", "2", "]"]


@pytest.mark.parametrize("name", ["chinese", "japanese", "thai"])
def test_near_copies_are_found(name: str, tmp_path: Path) -> None:
    text = PROBLEMS[name]
    texts = [text * 2, text * 2 + text[:3], "".join(reversed(text * 2))]
    with NearDuplicates(threshold=0.8, seed=0, scratch=tmp_path) as near:
        assert near.copies(shingle_hashes(texts)) == [None, 0, None]
