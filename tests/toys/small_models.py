"""Folders of tiny real models with a tokenizer, as any engine loads them."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast

from harness.models.sources import tiny_model

TEXTS = [
    "def add(a, b):\n    return a + b\n",
    "The quick brown fox jumps over the lazy dog.",
    "0123456789 -*/(){}[]:;<>=!",
]
END = "<|end|>"
CHAT = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
CONTEXT = 128


def small_tokenizer(*, chat: str | None = CHAT) -> PreTrainedTokenizerFast:
    """A byte-level BPE whose tokens are all plain ASCII, so that any tokens are a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    printable = "".join(chr(code) for code in range(32, 127)) + "\n"
    trainer = trainers.BpeTrainer(vocab_size=160, special_tokens=[END], show_progress=False)
    tokenizer.train_from_iterator([*TEXTS, printable], trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, model_max_length=CONTEXT)
    if chat is not None:
        wrapped.chat_template = chat
    return wrapped


def save_small_model(folder: Path, *, chat: str | None = CHAT, seed: int = 3, sharpness: float = 8.0) -> Path:
    """A Llama of two layers in fp32. Fresh weights are so small that every token is as likely: they are enlarged."""
    tokenizer = small_tokenizer(chat=chat)
    model = tiny_model(
        "llama",
        vocabulary=len(tokenizer),
        hidden_size=64,
        layers=2,
        heads=2,
        key_value_heads=1,
        intermediate_size=96,
        max_positions=CONTEXT,
        tie_embeddings=False,
        seed=seed,
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(sharpness)
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
