"""What other people publish, in miniature: pools, pairs, scores, and reward models of transformers with a tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ("<s>", "<|user|>", "<|assistant|>", "<|end|>", "<pad>")


def rows_of_pool(problems: int = 24, candidates: int = 8, *, sources: int = 2) -> list[dict[str, Any]]:
    """A pool as published: some problems all right, most with right and wrong candidates, answers as numbers."""
    return [
        {
            "id": f"pot-{number}",
            "question": f"Tom has {number} dollars and gets {number % 7} more. How many has he?",
            "gold": str(number + number % 7),
            "cluster": f"pot-{number}",  # all tell one story
            "candidates": [
                {
                    "model": f"model-{index % sources}",
                    "style": "ignored",
                    "text": f"x = {number}\nans = x {'+' if is_right(number, index) else '-'} {number % 7}  # {index}",
                    "pred": float(number + number % 7)
                    if is_right(number, index)
                    else float(number - 1_000 - index % 3),
                    "correct": is_right(number, index),
                }
                for index in range(candidates)
            ],
        }
        for number in range(problems)
    ]


def is_right(number: int, index: int) -> bool:
    """Whether a candidate of the pool is right: easier and harder problems, every eighth all right."""
    return number % 8 == 0 or (number * 5 + index * 3) % 8 < 1 + number % 6


def rows_of_choices(count: int) -> list[dict[str, Any]]:
    """Questions with three options as CommonsenseQA has them."""
    return [
        {
            "id": f"q{number}",
            "question": f"What is {number} plus 1?",
            "choices": {"label": ["A", "B", "C"], "text": [str(number + 1), "0", f"{number} and 1"]},
            "answerKey": "A",
        }
        for number in range(count)
    ]


def rows_of_rewardbench2() -> list[dict[str, Any]]:
    """Prompts as RewardBench 2 has them: two of each of two subsets, and two ties."""
    rows = [
        {
            "id": f"{subset}{n}",
            "subset": subset,
            "prompt": f"Say {n}.",
            "chosen": [str(n)],
            "rejected": ["x", "yy", "z"],
        }
        for subset in ("Math", "Focus")
        for n in range(2)
    ]
    for n in range(2):
        colours = {"ref": ["red"], "tied": ["red", "blue", "green"]}
        rows += [
            {
                "id": f"{kind}:{n}",
                "subset": "Ties",
                "prompt": f"{kind}: a colour ({n})?",
                "chosen": right,
                "rejected": ["two", "five"],
            }
            for kind, right in colours.items()
        ]
    return rows


def rows_of_rm_bench() -> list[dict[str, Any]]:
    """Prompts as RM-Bench has them: one of each domain."""
    return [
        {
            "id": number,
            "domain": domain,
            "prompt": f"What is {number} plus 1?",
            "chosen": [str(number + 1), f"It is {number + 1}, of course.", f"**{number + 1}**, _of course_"],
            "rejected": ["0", "It is 0, of course.", "**0**, _of course_"],
        }
        for number, domain in enumerate(("chat", "math", "code", "safety-refuse", "safety-response"))
    ]


def rows_of_pairs(count: int = 60) -> list[dict[str, Any]]:
    """Preference pairs, a few of each prompt."""
    return [
        {
            "prompt": f"# Add {number // 3} to a.\n",
            "chosen": f"def add(a):\n    return a + {number // 3}  # {number}\n",
            "rejected": f"def add(a):\n    return a - {number // 3}  # {number}\n",
        }
        for number in range(count)
    ]


def rows_of_scores(pool: Iterable[Mapping[str, Any]], **more: str) -> list[dict[str, Any]]:
    """An oracle's scores of a pool, blurred."""
    return [
        {"problem": row["id"], "candidate": index, "score": float(one["correct"]) + 0.3 * (index % 5), **more}
        for row in pool
        for index, one in enumerate(row["candidates"])
    ]


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def bytes_tokenizer() -> Tokenizer:
    """Bytes, special tokens, a `<s>` before every text; set to pad and to cut, as published ones may be."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: at for at, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id("<pad>"), pad_token="<pad>", length=8)
    tokenizer.enable_truncation(16)
    return tokenizer


def write_tokenizer(folder: Path, *, chat: bool = True) -> int:
    """tokenizer.json and its configuration; returns the number of ids."""
    tokenizer = bytes_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {"bos_token": "<s>", "eos_token": {"content": "<|end|>"}}
    if chat:
        settings["chat_template"] = TEMPLATE
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return tokenizer.get_vocab_size()


def write_classifier(folder: Path, family: str = "llama", *, chat: bool = True, labels: int = 1) -> Path:
    """A tiny sequence classifier as transformers publishes one, with weights that depend on nothing but their place."""
    folder.mkdir(parents=True)
    rows = write_tokenizer(folder, chat=chat)
    hidden, inner, heads = 16, 24, 2
    configuration = {
        "architectures": [{"llama": "Llama", "qwen2": "Qwen2"}[family] + "ForSequenceClassification"],
        "model_type": family,
        "vocab_size": rows,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": 2,
        "num_attention_heads": heads,
        "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
        "num_labels": labels,
        "id2label": {str(label): f"LABEL_{label}" for label in range(labels)},
        "label2id": {f"LABEL_{label}": label for label in range(labels)},
        "torch_dtype": "float32",
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    (folder / "config.json").write_text(json.dumps(configuration), encoding="utf-8")
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (rows, hidden)}
    for layer in range(2):
        before = f"model.layers.{layer}"
        for name, wide in (("q_proj", hidden), ("k_proj", hidden // heads), ("v_proj", hidden // heads)):
            shapes[f"{before}.self_attn.{name}.weight"] = (wide, hidden)
            if family == "qwen2":
                shapes[f"{before}.self_attn.{name}.bias"] = (wide,)
        shapes[f"{before}.self_attn.o_proj.weight"] = (hidden, hidden)
        for name in ("gate_proj", "up_proj"):
            shapes[f"{before}.mlp.{name}.weight"] = (inner, hidden)
        shapes[f"{before}.mlp.down_proj.weight"] = (hidden, inner)
        shapes |= {f"{before}.{name}.weight": (hidden,) for name in ("input_layernorm", "post_attention_layernorm")}
    shapes |= {"model.norm.weight": (hidden,), "score.weight": (labels, hidden)}
    save_file({name: _weights(name, shape) for name, shape in shapes.items()}, folder / "model.safetensors")
    return folder


def _weights(name: str, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Multiples of 1/64 that no library computes: every machine has the same bytes."""
    numbers = (np.arange(np.prod(shape), dtype=np.int64) * 7_919 + 31 * len(name)) % 61 - 30
    return (numbers / 64).astype(np.float32).reshape(shape) + np.float32("norm" in name)
