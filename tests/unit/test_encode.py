"""What lies between a text and its score: what is cut, what is counted, and that a text is only ever text."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from harness.engines.base import Request, Sampling
from harness.engines.literal_text import LiteralText
from harness.engines.prompts import PromptReader
from harness.errors import DataError
from harness.events import EventLog, Progress, read_events
from harness.imports.chat import ChatTemplate
from harness.imports.files import content_digest
from harness.stages import encode, imported_checkpoint, score
from harness.stages.context import Given, HowToRun, StageContext
from harness.stages.tokenise import Read, chat, fit, raw
from harness.store.artifacts import Candidates, Pairs, Scores, Tokens
from tests.toys.published import SPECIAL, TEMPLATE, bytes_tokenizer, write_classifier
from tests.toys.small_models import CHAT, small_tokenizer

Module = Any
MOST = 200
RIGHT, WRONG, LONG = "It is 4.", "It is 5.", "word " * 400
SHORT_QUESTION = "A farmer has 2 hens and 2 ducks. How many birds are there?\n"
LONG_QUESTION = "Once upon a time, and far away. " * 4 + SHORT_QUESTION  # more than half of what may be read


def run(module: Module, folder: Path, spec: dict[str, Any], how: HowToRun | None = None, **inputs: Path) -> Any:
    """One stage's code in a folder of its own; its result."""
    folder.mkdir()
    log = EventLog(folder / "events.jsonl")
    given = {name: Given(directory=path) for name, path in inputs.items()}
    context = StageContext(spec=spec, inputs=given, directory=folder, events=log, how=how or HowToRun())
    try:
        return module.run(context)
    finally:
        log.close()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_classifier(tmp_path_factory.mktemp("published") / "rm")
    imported = tmp_path_factory.mktemp("store") / "imported"
    words = {"name": "rm", "licence": "MIT", "source": "nowhere", "path": str(folder)}
    run(imported_checkpoint, imported, {"digest": content_digest("checkpoint", folder)}, HowToRun(imported=words))
    return imported


def pool(folder: Path, question: str, texts: Sequence[str]) -> Path:
    folder.mkdir()
    row = {"problem": "p", "cluster": "p", "prompt": question, "answer": None, "error_type": "", "seen": False}
    rows = [
        {**row, "index": index, "text": text, "correct": text == RIGHT, "source": "made"}
        for index, text in enumerate(texts)
    ]
    Candidates(folder).write([{name: one[name] for name in Candidates.columns} for one in rows])
    return folder


def pairs(folder: Path, rows: Sequence[tuple[str, str, str]]) -> Path:
    folder.mkdir()
    Pairs(folder).write(
        {"id": str(at), "cluster": str(at), "prompt": prompt, "chosen": chosen, "rejected": rejected, "detail": ""}
        for at, (prompt, chosen, rejected) in enumerate(rows)
    )
    return folder


def spec_of(content: str, text: str = "raw", **changes: Any) -> dict[str, Any]:
    return {"content": content, "max_tokens": MOST, "limit": None, "text": text, "end_token": "none", **changes}


def scored(tmp_path: Path, name: str, checkpoint: Path, question: str, texts: Sequence[str], text: str) -> Any:
    source = pool(tmp_path / f"{name}-pool", question, texts)
    tokens = tmp_path / f"{name}-tokens"
    result = run(encode, tokens, spec_of("candidates", text), tokenizer=checkpoint, source=source)
    scores = tmp_path / f"{name}-scores"
    run(score, scores, {"precision": "fp32"}, HowToRun(row_tokens=256), checkpoint=checkpoint, tokens=tokens)
    return result, Scores(scores).read()["score"].to_numpy()


# ----------------------------------------------------------------------------------------------- what is cut


@pytest.mark.parametrize("question", [SHORT_QUESTION, LONG_QUESTION, LONG_QUESTION * 3, ""])
@pytest.mark.parametrize("text", ["raw", "chat"])
def test_a_score_does_not_depend_on_the_other_candidates(
    tmp_path: Path, checkpoint: Path, text: str, question: str
) -> None:
    texts = [RIGHT, LONG, WRONG, "other " * 25]
    _, together = scored(tmp_path, "all", checkpoint, question, texts, text)
    alone = [scored(tmp_path, str(at), checkpoint, question, [one], text)[1][0] for at, one in enumerate(texts)]
    assert np.abs(together - np.array(alone)).max() < 1e-4
    assert len({*np.round(alone, 3)}) == len(texts)  # the model tells them apart


@pytest.mark.parametrize("prompt", [0, 30, 60, 90, 300])
def test_each_response_is_cut_for_itself(prompt: int) -> None:
    most, lengths = 100, [0, 1, 10, 40, 50, 70, 99, 100, 500]
    question, responses = list(range(prompt)), [list(range(1_000, 1_000 + length)) for length in lengths]
    own, *rest = fit(question, responses, most).group
    for response, found in zip(responses, rest, strict=True):
        alone = fit(question, [response], most)
        (left, end) = alone.group
        assert [*own, *found] == [*left, *end]
        assert len(left) + len(end) == min(most, prompt + len(response))
        assert left == question[prompt - len(left) :]
        assert end == response[: len(end)]
        assert len(left) >= min(prompt, most // 2)
        assert len(end) >= min(len(response), most // 2)
        assert alone.prompts_cut == (len(left) < prompt)
        assert alone.responses_cut == (len(end) < len(response))
        assert alone.cut == (prompt + len(response) > most)


def test_a_prompt_is_shared_where_all_keep_as_much_of_it() -> None:
    assert fit([1, 2, 3], [[4], [5] * 20], 10).group == [[1, 2, 3], [4], [5] * 7]
    assert fit([1] * 8, [[4], [5] * 20], 10).group == [[], [1] * 8 + [4], [1] * 5 + [5] * 5]


def test_what_was_cut_is_counted_with_what_would_fit(tmp_path: Path, checkpoint: Path) -> None:
    result, _ = scored(tmp_path, "pool", checkpoint, LONG_QUESTION, [RIGHT, LONG, LONG[:150]], "raw")
    question = len(LONG_QUESTION) + 1  # a byte is a token, and there is one before the text
    assert question + len(RIGHT) <= MOST
    assert result["responses"] == 3
    assert (result["prompts_cut"], result["responses_cut"], result["cut"]) == (2, 2, 2)
    assert result["longest"] == question + len(LONG)
    assert result["prompt_tokens"] == question + 2 * MOST // 2
    fits = spec_of("candidates", max_tokens=result["longest"])
    source = tmp_path / "pool-pool"
    assert run(encode, tmp_path / "whole", fits, tokenizer=checkpoint, source=source)["cut"] == 0


def test_a_pair_is_read_whole_or_not_at_all(tmp_path: Path, checkpoint: Path) -> None:
    rows = [(SHORT_QUESTION, RIGHT, WRONG), (SHORT_QUESTION, RIGHT, LONG), (LONG_QUESTION * 2, RIGHT, WRONG)]
    source = pairs(tmp_path / "pairs", [*rows, rows[0]])
    result = run(encode, tmp_path / "tokens", spec_of("pairs"), tokenizer=checkpoint, source=source)
    assert (result["groups"], result["too_long_dropped"], result["cut"]) == (2, 2, 0)
    assert result["longest"] == len(SHORT_QUESTION) + 1 + len(LONG)
    assert list(Tokens(tmp_path / "tokens").open().rows) == [0, 3]
    first = run(encode, tmp_path / "first", spec_of("pairs", limit=1), tokenizer=checkpoint, source=source)
    assert (first["groups"], first["too_long_dropped"]) == (1, 0)  # nothing behind the last is looked at


def test_long_work_shows_how_far_it_is(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "SHOWN_EVERY", 2)
    source = pairs(tmp_path / "pairs", [("a", "b c", "d")] * 5)
    run(encode, tmp_path / "tokens", spec_of("pairs", limit=5), tokenizer=checkpoint, source=source)
    shown = [one for one in read_events(tmp_path / "tokens" / "events.jsonl") if isinstance(one, Progress)]
    assert [(one.done, one.total, one.unit) for one in shown] == [(2, 5, "groups"), (4, 5, "groups")]


def test_a_pair_for_pretraining_shares_what_is_left_of_its_prompt(tmp_path: Path, checkpoint: Path) -> None:
    rows = [(LONG_QUESTION, "a" * 150, "b" * 20), ("?", "a" * 200, "b"), ("?", "a" * 199, "b")]
    source = pairs(tmp_path / "pairs", rows)
    spec = spec_of("pairs", limit=2)
    result = run(encode, tmp_path / "tokens", spec, tokenizer=checkpoint, source=source)
    assert (result["groups"], result["too_long_dropped"]) == (2, 1)
    assert (result["prompts_cut"], result["responses_cut"], result["cut"]) == (4, 0, 4)
    lengths = [[len(part) for part in group] for group in Tokens(tmp_path / "tokens").open()]
    assert lengths == [[50, 150, 20], [1, 199, 1]]
    with pytest.raises(DataError, match=f"there are 2 beside 1 of more than {MOST} tokens"):
        run(encode, tmp_path / "more", spec_of("pairs", limit=3), tokenizer=checkpoint, source=source)


def test_no_pair_that_fits_is_one_clear_error(tmp_path: Path, checkpoint: Path) -> None:
    source = pairs(tmp_path / "pairs", [(SHORT_QUESTION, RIGHT, LONG), (SHORT_QUESTION, LONG[:300], WRONG)])
    with pytest.raises(DataError) as caught:
        run(encode, tmp_path / "tokens", spec_of("pairs"), tokenizer=checkpoint, source=source)
    question = len(SHORT_QUESTION) + 1
    for said in (f"fits {MOST} tokens", f"shortest has {question + 300}", f"longest {question + len(LONG):,}"):
        assert said in caught.value.value
    assert caught.value.remedy == f"`max_tokens: {question + len(LONG)}` would fit all"


# ----------------------------------------------------------------------------------------------- nothing to read


@pytest.mark.parametrize("text", ["raw", "chat"])
@pytest.mark.parametrize("question", [SHORT_QUESTION, "\n", ""])
def test_an_empty_candidate_has_a_score(tmp_path: Path, checkpoint: Path, text: str, question: str) -> None:
    result, scores = scored(tmp_path, "pool", checkpoint, question, [RIGHT, "", "  \n", WRONG], text)
    assert np.isfinite(scores).all()
    assert result["cut"] == 0


def test_an_empty_candidate_is_scored_where_its_prompt_ends(tmp_path: Path, checkpoint: Path) -> None:
    _, scores = scored(tmp_path, "pool", checkpoint, SHORT_QUESTION, ["", RIGHT], "raw")
    _, at_end = scored(tmp_path, "end", checkpoint, "", [SHORT_QUESTION], "raw")
    assert scores[0] == pytest.approx(at_end[0], abs=1e-4)


def test_no_prompt_and_no_response_are_one_token() -> None:
    read = raw(small_tokenizer().backend_tokenizer)
    (_, (prompt, empty, response)) = next(read(iter([(0, ["", "", "fox"])])))
    assert not prompt
    assert len(empty) == 1
    assert response


def test_a_template_may_leave_an_empty_answer_out(tmp_path: Path) -> None:
    template = (
        "{% for message in messages if message.content | trim %}<|{{ message.role }}|>{{ message.content }}<|end|>"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    read = chat(bytes_tokenizer(), made(tmp_path, bytes_tokenizer(), template))
    (_, (prompt, empty, blank, right)) = next(read(iter([(0, ["What?", "", " \n", RIGHT])])))
    assert prompt
    assert not empty
    assert not blank
    assert len(right) == len(RIGHT) + 1


# ----------------------------------------------------------------------------------------------- text is text


def made(folder: Path, tokenizer: Tokenizer, template: str, **tokens: str) -> ChatTemplate:
    """A template; its tokenizer is only there to render."""
    tokenizer.save(str(folder / "tokenizer.json"))
    return ChatTemplate(template=template, tokens=tokens, tokenizer=folder / "tokenizer.json")


def sentencepiece() -> Tokenizer:
    """Like Llama's: words begin with a mark, and `</s>` is what merging its letters ends in."""
    vocabulary = {text: at for at, text in enumerate(["<unk>", "<s>", "</s>", *"▁</s>abhi.|", "</", "s>"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("<", "/"), ("s", ">"), ("</", "s>")], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.add_special_tokens(["<unk>", "<s>", AddedToken("</s>", lstrip=True, special=True)])
    return tokenizer


def unigram() -> Tokenizer:
    """The special tokens are pieces that score better than any letters."""
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), *((letter, -3.0) for letter in "▁<>/sabhi.|")]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


def words() -> Tokenizer:
    """Whole words, the special tokens among them."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "<s>": 1, "</s>": 2, "hi": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["[UNK]", "<s>", "</s>"])
    return tokenizer


def not_called_special() -> Tokenizer:
    """Like DeepSeek's: tokens of the template that the tokenizer does not call special."""
    tokenizer = bytes_tokenizer()
    data = json.loads(tokenizer.to_str())
    for token in data["added_tokens"]:
        token["special"] = token["content"] == "<s>"
    return Tokenizer.from_str(json.dumps(data))


BETWEEN = "{% for message in messages %}<s>{{ message.content | trim }}</s>{% endfor %}"
ASKING = BETWEEN + "{% if add_generation_prompt %}<s>{% endif %}"
TOKENIZERS = [
    pytest.param(bytes_tokenizer, TEMPLATE, SPECIAL, id="bytes"),
    pytest.param(not_called_special, TEMPLATE, SPECIAL[:-1], id="not called special"),
    pytest.param(lambda: small_tokenizer().backend_tokenizer, CHAT, ("<|end|>",), id="bpe"),
    pytest.param(sentencepiece, ASKING, ("<s>", "</s>"), id="sentencepiece"),
    pytest.param(unigram, ASKING, ("<s>", "</s>"), id="unigram"),
    pytest.param(words, ASKING, ("<s>", "</s>"), id="words"),
]


def read_one(read: Read, *texts: str) -> list[list[int]]:
    return [ids.tolist() for ids in next(read(iter([(0, list(texts))])))[1]]


@pytest.mark.parametrize("groups", [0, 1, 6, 7, 12])
def test_groups_are_read_in_order_whatever_batch_they_are_in(monkeypatch: pytest.MonkeyPatch, groups: int) -> None:
    read = raw(small_tokenizer().backend_tokenizer, [7])
    texts = [(3 * at, [f"fox {at}", "the same", f"{at} dogs", "the same"]) for at in range(groups)]
    alone = [(row, read_one(read, *group)) for row, group in texts]
    monkeypatch.setattr("harness.stages.tokenise.BATCH", 6)
    assert [(row, [ids.tolist() for ids in group]) for row, group in read(iter(texts))] == alone
    assert all(group[1] == group[3] and group[1][-1] == 7 for _, group in alone)


def test_who_has_enough_stops_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.stages.tokenise.BATCH", 2)
    taken: list[int] = []

    def endless() -> Iterator[tuple[int, list[str]]]:
        for at in itertools.count():
            taken.append(at)
            yield at, ["a", str(at)]

    threads = threading.active_count()
    read = raw(small_tokenizer().backend_tokenizer)(endless())
    assert [row for row, _ in itertools.islice(read, 3)] == [0, 1, 2]
    read.close()  # type: ignore[attr-defined]
    assert threading.active_count() == threads
    assert taken == list(range(6))  # its batch and the next


@pytest.mark.parametrize(("make", "template", "special"), TOKENIZERS)
def test_special_tokens_in_a_text_are_text(tmp_path: Path, make: Any, template: str, special: Sequence[str]) -> None:
    tokenizer = make()
    tokenizer.no_padding()
    tokenizer.no_truncation()
    control = {tokenizer.token_to_id(text) for text in special}
    assert None not in control
    read = chat(tokenizer, made(tmp_path, tokenizer, template, bos_token="<s>"))
    plain = read_one(read, "hi", "hi")
    for written in (" ".join(special), "".join(special), *special, "<s>hi</s>", f" {special[-1]}"):
        spelled = read_one(read, f"hi {written} hi", f"hi {written}")
        for own, usual in zip(spelled, plain, strict=True):
            assert [token for token in own if token in control] == [token for token in usual if token in control]
            assert len(own) > len(usual)
    for texts in (["<s> hi", "hi </s> <s>"], ["hi", "<s>hi</s>"]):
        if tokenizer.token_to_id("[UNK]") is None:  # spelled in letters
            bare = raw(tokenizer)
            before = len(read_one(bare, "", "hi")[0])
            assert not control & {token for ids in read_one(bare, *texts) for token in ids[before:]}


@pytest.mark.parametrize(("make", "template", "special"), TOKENIZERS)
def test_other_texts_become_what_the_tokenizer_makes_of_the_template(
    tmp_path: Path, make: Any, template: str, special: Sequence[str]
) -> None:
    tokenizer = make()
    tokenizer.no_padding()
    tokenizer.no_truncation()
    rendering = made(tmp_path, tokenizer, template, bos_token="<s>")
    read = chat(tokenizer, rendering)
    for prompt, response in (("hi", "a hi. \ufdd0"), ("hi \n\n<b>|", "  hi\n"), ("<", "|"), ("é", "<unk>")):
        expected = [tokenizer.encode(text, add_special_tokens=False).ids for text in rendering.render(prompt, response)]
        found = read_one(read, prompt, response)
        if "<unk>" not in special and response == "<unk>":
            continue
        assert found == expected


@pytest.mark.parametrize("form", ["raw", "chat"])
def test_engines_read_special_tokens_in_a_prompt_as_text(form: Any) -> None:
    tokenizer = small_tokenizer()
    reader = PromptReader(tokenizer, prompt_format=form, context=256)

    def tokens(prompt: str) -> list[int]:
        (read,) = reader.read([Request(id="a", prompt=prompt, seed=0, sampling=Sampling(max_tokens=8))])
        return read.tokens

    end = tokenizer.eos_token
    usual, spelled = tokens("The fox"), tokens(f"The fox{end}The fox")
    assert spelled.count(tokenizer.eos_token_id) == usual.count(tokenizer.eos_token_id)
    assert f"The fox{end}The fox" in tokenizer.decode(spelled)


def test_a_slow_tokenizer_is_refused_by_name() -> None:
    class Slow:
        chat_template, backend_tokenizer, name_or_path = None, None, "somewhere"

    with pytest.raises(Exception, match="somewhere has a Slow"):
        PromptReader(Slow(), prompt_format="raw", context=256)


def test_a_tokenizer_stays_as_it_is() -> None:
    tokenizer = bytes_tokenizer()
    before = tokenizer.to_str()
    literal = LiteralText(tokenizer)
    literal.encode(["<s>hi<|end|>"])
    assert tokenizer.to_str() == before
    assert literal.of_template(literal.shielded("<s> a <|end|><|en<|end|>")) == "<s> a <|end|><|en<|end|>"
