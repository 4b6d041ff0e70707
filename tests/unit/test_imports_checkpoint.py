"""Published reward models: our scores are transformers' own, texts become the publisher's tokens, bad ones are told."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from harness.engines import templates
from harness.errors import DataError, HarnessError, RecipeError
from harness.events import EventLog, read_events
from harness.imports.chat import ChatTemplate
from harness.imports.files import content_digest, content_files
from harness.models.reward_model import RewardModel
from harness.stages import encode, imported_checkpoint, score
from harness.stages.context import Given, HowToRun, StageContext
from harness.store.artifacts import ImportedCheckpoint, Pairs, Scores, Tokens
from tests.toys.published import TEMPLATE, rows_of_pairs, write_classifier, write_tokenizer

WORDS = {"name": "my-rm", "licence": "MIT", "source": "nowhere"}
TOLERANCE = 1e-4
Module = Any
DEFAULT = HowToRun()


def run(module: Module, folder: Path, spec: dict[str, Any], how: HowToRun = DEFAULT, **inputs: Path) -> dict[str, Any]:
    """Run one stage's code in a folder of its own."""
    folder.mkdir()
    log = EventLog(folder / "events.jsonl")
    given = {name: Given(directory=path) for name, path in inputs.items()}
    try:
        result: dict[str, Any] = module.run(
            StageContext(spec=spec, inputs=given, directory=folder, events=log, how=how)
        )
    finally:
        log.close()
    return result


def imported(folder: Path, into: Path) -> dict[str, Any]:
    how = HowToRun(imported={**WORDS, "path": str(folder)})
    return run(imported_checkpoint, into, {"digest": content_digest("checkpoint", folder)}, how)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    folder = tmp_path / "pairs"
    folder.mkdir()
    rows = [{"id": str(at), "cluster": str(at), "detail": "", **row} for at, row in enumerate(rows_of_pairs(6))]
    Pairs(folder).write([{name: row[name] for name in Pairs.columns} for row in rows])
    return folder


def published_logits(folder: Path, groups: list[list[np.ndarray[Any, Any]]]) -> list[list[float]]:
    """What transformers itself gives, a sequence at a time, so that no padding can matter."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        return [
            [
                float(model(input_ids=torch.tensor([[*prompt.tolist(), *response.tolist()]])).logits[0, 0])
                for response in responses
            ]
            for prompt, *responses in groups
        ]


@pytest.mark.parametrize("text", ["raw", "chat"])
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_scores_are_those_of_transformers_on_the_same_tokens(
    tmp_path: Path, pairs: Path, family: str, text: str
) -> None:
    folder = write_classifier(tmp_path / "published", family)
    facts = imported(folder, tmp_path / "imported")
    assert facts["family"] == family
    assert facts["chat"]
    spec = {"content": "pairs", "max_tokens": 512, "limit": None, "text": text, "end_token": "none"}
    run(encode, tmp_path / "tokens", spec, tokenizer=tmp_path / "imported", source=pairs)
    how = HowToRun(row_tokens=256, rows_per_micro_batch=3)
    run(
        score,
        tmp_path / "scores",
        {"precision": "fp32"},
        how,
        checkpoint=tmp_path / "imported",
        tokens=tmp_path / "tokens",
    )
    ours = Scores(tmp_path / "scores").read()["score"].to_numpy().reshape(-1, 2)
    theirs = np.array(published_logits(folder, list(Tokens(tmp_path / "tokens").open())))
    assert np.abs(ours - theirs).max() < TOLERANCE
    assert np.unique(theirs.round(3)).size > 6  # the model tells texts apart, or the comparison would say nothing


@pytest.mark.parametrize("text", ["raw", "chat"])
def test_texts_become_the_tokens_their_publisher_would_give_them(tmp_path: Path, pairs: Path, text: str) -> None:
    folder = write_classifier(tmp_path / "published")
    imported(folder, tmp_path / "imported")
    spec = {"content": "pairs", "max_tokens": 512, "limit": None, "text": text, "end_token": "none"}
    run(encode, tmp_path / "tokens", spec, tokenizer=tmp_path / "imported", source=pairs)
    theirs = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), chat_template=TEMPLATE, bos_token="<s>", eos_token="<|end|>"
    )
    theirs.backend_tokenizer.no_truncation()
    for row, (prompt, chosen, rejected) in zip(rows_of_pairs(6), Tokens(tmp_path / "tokens").open(), strict=True):
        for side, response in (("chosen", chosen), ("rejected", rejected)):
            if text == "raw":
                expected = theirs(row["prompt"] + row[side], padding=False, truncation=False)["input_ids"]
            else:
                asked = {"role": "user", "content": row["prompt"].strip()}
                answered = [asked, {"role": "assistant", "content": row[side]}]
                rendered = theirs.apply_chat_template(answered, tokenize=False)
                expected = theirs(rendered, add_special_tokens=False, padding=False, truncation=False)["input_ids"]
            assert [*prompt.tolist(), *response.tolist()] == expected


def test_a_folder_of_our_own_is_read_as_it_was_saved(tmp_path: Path) -> None:
    imported(write_classifier(tmp_path / "published"), tmp_path / "first")
    own = tmp_path / "own"
    RewardModel.load(ImportedCheckpoint(tmp_path / "first").model).save(own)
    write_tokenizer(own, chat=False)
    facts = imported(own, tmp_path / "second")
    assert not facts["chat"]
    for name in ("model.safetensors", "reward_head.safetensors"):
        first = load_file(ImportedCheckpoint(tmp_path / "first").model / name)
        second = load_file(ImportedCheckpoint(tmp_path / "second").model / name)
        assert first.keys() == second.keys()
        assert all(np.array_equal(first[key], second[key]) for key in first)


def test_only_the_known_files_of_a_folder_count(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "published")
    before = content_digest("checkpoint", folder)
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    (folder / "modeling_evil.py").write_text("raise SystemExit('run')")
    (folder / "model.safetensors.bak").write_text("x")
    assert content_digest("checkpoint", folder) == before
    imported(folder, tmp_path / "imported")
    assert not list((tmp_path / "imported").rglob("*.bin")) + list((tmp_path / "imported").rglob("*.py"))
    (folder / "tokenizer_config.json").write_text("{}")
    assert content_digest("checkpoint", folder) != before


def edit(name: str, **changes: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        data = json.loads((folder / name).read_text())
        data.update(changes)
        (folder / name).write_text(json.dumps(data))

    return apply


def weights(**changes: np.ndarray[Any, Any] | None) -> Callable[[Path], None]:
    """Replaces weights, or drops those that are None."""

    def apply(folder: Path) -> None:
        held: dict[str, Any] = {**load_file(folder / "model.safetensors"), **changes}
        kept = {name: value for name, value in held.items() if value is not None}
        save_file(kept, folder / "model.safetensors")

    return apply


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


INDEX = b'{"weight_map": {"score.weight": "../model.safetensors"}}'


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (write("config.json", b"[]"), "config.json must be one"),
        (write("config.json", b"{"), "config.json must be one"),
        (edit("config.json", model_type=None), "config.json must name a model_type"),
        (edit("config.json", model_type="nonsense"), "model type `nonsense`"),
        (edit("config.json", hidden_size=32), "model.embed_tokens.weight of it is (261, 16) instead of (261, 32)"),
        (edit("config.json", num_hidden_layers=100_000), "`num_hidden_layers` of a model must not exceed 2,048"),
        (edit("config.json", head_dim=10**9), "`head_dim` of a model must not exceed 2,048"),
        (edit("config.json", pad_token_id=90_000), "Padding_idx must be within num_embeddings"),
        (write("reward_head.safetensors", b"no tensors"), "must have one head"),
        (edit("config.json", architectures=["LlamaForCausalLM"]), "must be a ForSequenceClassification or our own"),
        (edit("config.json", auto_map={"AutoConfig": "modeling_evil.Config"}), "code of its own"),
        (edit("config.json", quantization_config={"bits": 4}), "quantised weights"),
        (
            weights(**{"score.weight": np.zeros((2, 16), np.float32)}),
            "must have one label, but `score.weight` is (2, 16)",
        ),
        (weights(**{"score.weight": None}), "must hold `score.weight`"),
        (weights(**{"score.bias": np.zeros(1, np.float32)}), "must have no bias"),
        (weights(**{"model.layers.1.mlp.up_proj.weight": None}), "must be whole"),
        (weights(**{"model.norm.weight": np.ones(16, np.int8)}), "must be floating-point numbers"),
        (write("model.safetensors", b"\x80\x04cos\nsystem\n"), "weights must be whole safetensors"),
        (write("model.safetensors.index.json", INDEX), "an index must name files of its folder"),
        (write("model.safetensors.index.json", b"{}"), "must be JSON with a `weight_map`"),
        (write("tokenizer.json", b"{}"), "tokenizer.json must be one of the tokenizers library"),
        (write("tokenizer_config.json", b"[1]"), "tokenizer_config.json must be a mapping"),
        (write("chat_template.jinja", b"caf\xe9"), "a chat template must be UTF-8"),
    ],
)
def test_what_is_no_such_reward_model_is_refused(tmp_path: Path, spoil: Callable[[Path], None], says: str) -> None:
    folder = write_classifier(tmp_path / "published")
    spoil(folder)
    with pytest.raises(HarnessError) as refused:
        imported(folder, tmp_path / "imported")
    assert says in str(refused.value)
    assert not (tmp_path / "imported" / "incoming").exists()


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "published")
    data = json.loads((folder / "tokenizer.json").read_text())
    data["model"]["vocab"]["zzz"] = 90_000
    (folder / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(DataError, match="the tokenizer must fit the embeddings, but id 90000 of 261 rows"):
        imported(folder, tmp_path / "imported")


@pytest.mark.parametrize("absent", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_folder_without_its_files_is_refused_before_anything_runs(tmp_path: Path, absent: str) -> None:
    folder = write_classifier(tmp_path / "published")
    (folder / absent).unlink()
    with pytest.raises(HarnessError, match=absent.replace(".", r"\.")):
        content_files("checkpoint", folder)


def test_links_may_lead_to_a_hubs_blobs_and_nowhere_else(tmp_path: Path) -> None:
    snapshot = write_classifier(tmp_path / "hub" / "snapshots" / "abc")
    (tmp_path / "hub" / "blobs").mkdir()
    for name, place in (("config.json", tmp_path / "hub" / "blobs" / "1"), ("tokenizer.json", tmp_path / "secret")):
        shutil.move(snapshot / name, place)
        (snapshot / name).symlink_to(place)
    with pytest.raises(RecipeError, match=r"tokenizer\.json links out of it"):
        content_files("checkpoint", snapshot)
    (snapshot / "tokenizer.json").unlink()
    shutil.move(tmp_path / "secret", snapshot / "tokenizer.json")
    assert "config.json" in content_files("checkpoint", snapshot)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (
            "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}>{% endif %}",
            "continuation",
        ),
        ("{% if messages[0].content != 'a' %}{{ raise_exception('not this') }}{% endif %}" + TEMPLATE, "not this"),
    ],
)
def test_a_template_that_cannot_be_used_is_told(tmp_path: Path, pairs: Path, template: str, says: str) -> None:
    folder = write_classifier(tmp_path / "published")
    edit("tokenizer_config.json", chat_template=template)(folder)
    imported(folder, tmp_path / "imported")
    spec = {"content": "pairs", "max_tokens": 512, "limit": None, "text": "chat", "end_token": "none"}
    with pytest.raises(HarnessError) as refused:
        run(encode, tmp_path / "tokens", spec, tokenizer=tmp_path / "imported", source=pairs)
    assert says in str(refused.value)


def test_a_change_while_importing_is_noticed(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "published")
    spec = {"digest": content_digest("checkpoint", folder)}
    edit("config.json", rms_norm_eps=1e-3)(folder)
    with pytest.raises(DataError, match="it changed meanwhile"):
        run(imported_checkpoint, tmp_path / "new", spec, HowToRun(imported={**WORDS, "path": str(folder)}))
    with pytest.raises(DataError, match="dropped or damaged; `harness import checkpoint` again"):
        run(imported_checkpoint, tmp_path / "none", spec)


# --------------------------------------------------------------------------------------------- templates from outside


def with_template(folder: Path, template: str) -> Path:
    write_classifier(folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**settings, "chat_template": template}), encoding="utf-8")
    return folder


def test_a_template_that_asks_for_the_day_is_told_the_same_one_every_day(tmp_path: Path, pairs: Path) -> None:
    """Llama 3's do, where there is a clock."""
    clock = "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% endif %}" + TEMPLATE
    fixed = "26 Jul 2024" + TEMPLATE
    templates = {"a": clock, "b": fixed}
    results = [
        imported(with_template(tmp_path / name, template), tmp_path / f"{name}-in")
        for name, template in templates.items()
    ]
    assert [result.get("chat_day") for result in results] == ["2024-07-26", None]
    warnings = [[event for event in read_events(tmp_path / f"{name}-in" / "events.jsonl")] for name in ("a", "b")]
    assert ["always given 2024-07-26" in str(events) for events in warnings] == [True, False]
    spec = {"content": "pairs", "max_tokens": 512, "text": "chat", "limit": None, "end_token": "none"}
    ids = []
    for name in ("a", "b"):
        run(encode, tmp_path / f"{name}-ids", spec, tokenizer=tmp_path / f"{name}-in", source=pairs)
        ids.append([[part.tolist() for part in group] for group in Tokens(tmp_path / f"{name}-ids").open()])
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ [1, 2, 3] | random }}" + TEMPLATE, "at random"),
        ("{{ [[1, 2], [3]] | map('random') | join }}" + TEMPLATE, "at random"),
        ("{{ lipsum() }}" + TEMPLATE, "at random"),
        ("{{ joiner() }}" + TEMPLATE, "place in memory"),
        ("{{ 9 ** 9 ** 9 }}", "powers"),
        ("{{ 'a' * 10000000000 }}", "MemoryError"),
        ("{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}", "MemoryError"),
        ("{% if %}", "must be one"),
        ("{{ nobody.knows.this }}", "must render"),
        ("{{ raise_exception('no system turn') }}", "must render, but it says: no system turn"),
        ("{{ messages.__class__.__mro__[1].__subclasses__() }}", "must render"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "0.2 seconds"),
    ],
)
def test_templates_that_no_stage_could_use_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str, told: str
) -> None:
    limit = resource.getrlimit(resource.RLIMIT_AS)
    if "seconds" in told:
        monkeypatch.setattr(templates, "MOST_SECONDS", 0.2)
    with pytest.raises(DataError, match=told):
        imported(with_template(tmp_path / "published", template), tmp_path / "in")
    assert resource.getrlimit(resource.RLIMIT_AS) == limit


def test_an_address_in_a_text_is_text(tmp_path: Path) -> None:
    imported(write_classifier(tmp_path / "published"), tmp_path / "in")
    made = ImportedCheckpoint(tmp_path / "in")
    printed = "<object object at 0x7f00deadbeef>"
    assert printed in "".join(ChatTemplate.load(made.chat, made.tokenizer).render("print(object())", printed))


def shards(folder: Path, *parts: dict[str, np.ndarray[Any, Any]]) -> None:
    """The weights in shards, with an index that names the last of those that hold a tensor."""
    (folder / "model.safetensors").unlink()
    index = {}
    for number, part in enumerate(parts, start=1):
        name = f"model-{number:05}-of-{len(parts):05}.safetensors"
        save_file(part, folder / name, metadata={"format": "pt"})
        index |= dict.fromkeys(part, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def test_a_weight_that_stands_in_two_shards_is_refused(tmp_path: Path) -> None:
    """Which of them counts would depend on who reads."""
    folder = write_classifier(tmp_path / "published")
    held = load_file(folder / "model.safetensors")
    first, second = dict(list(held.items())[::2]), dict(list(held.items())[1::2])
    whole = shutil.copytree(folder, tmp_path / "whole")
    shards(whole, first, second)
    imported(whole, tmp_path / "in")
    shards(folder, first, {**second, **{name: first[name] * 2 for name in list(first)[:1]}})
    with pytest.raises(DataError, match="a weight must be in one file"):
        imported(folder, tmp_path / "other")
