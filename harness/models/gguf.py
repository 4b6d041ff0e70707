"""A GGUF file becomes an ordinary model folder, once: safetensors, tokenizer, chat template, and a check that it works.

The library reads the quantised tensors; the folder holds plain bf16 weights, which every engine and the training read.
"""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from harness.errors import CorruptArtifact, MissingRequirement, reason_of
from harness.models.folder import SOURCE_FILE, is_complete
from harness.models.perplexity import MOST_PERPLEXITY, fixed_text, perplexity
from harness.models.sources import NOT_LOADED, load_causal_model, load_tokenizer, make_savable
from harness.store.identity import file_digest


def convert_gguf(gguf: Path, folder: Path, *, most_perplexity: float = MOST_PERPLEXITY) -> dict[str, Any]:
    """Write the model of a GGUF file into `folder`, whole or not at all; a folder made from the same file stays.

    Args:
        gguf: the file; its name ends in .gguf.
        folder: to be made; its parent too.
        most_perplexity: on the fixed text, of what was written.

    Returns:
        Facts, also in the folder's source.json: `gguf_sha256`, `perplexity`, `transformers`.

    Raises:
        MissingRequirement: there is no such file, or it cannot be read as a model.
        CorruptArtifact: what was written does not speak, or reads text otherwise than the GGUF file's tokenizer.
    """
    if not gguf.is_file():
        raise MissingRequirement("a GGUF model must be a file", f"{gguf} is none", "correct the path")
    digest = file_digest(gguf)
    if is_complete(folder, {"gguf_sha256": digest}):
        facts: dict[str, Any] = json.loads((folder / SOURCE_FILE).read_text(encoding="utf-8"))
        return facts
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        tokenizer = _write(gguf, partial)
        facts = {
            "gguf_sha256": digest,
            "perplexity": _checked(gguf, partial, tokenizer, most_perplexity),
            "transformers": transformers.__version__,
        }
        (partial / SOURCE_FILE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return facts


def _write(gguf: Path, folder: Path) -> Any:
    """Writes weights, configurations and tokenizer; returns the tokenizer as the GGUF file gives it."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        rebuilt = _without_quantization(loaded)
        make_savable(rebuilt, gguf)
    except (*NOT_LOADED, struct.error) as error:
        raise MissingRequirement(
            "a GGUF file must hold a model that transformers reads",
            f"{gguf} cannot be read: {type(error).__name__}: {reason_of(error)}",
            "fetch the file again, or use the model's safetensors weights",
        ) from error
    rebuilt.save_pretrained(folder)
    tokenizer.model_max_length = loaded.config.get_text_config().max_position_embeddings
    tokenizer.save_pretrained(folder)
    return tokenizer


def _without_quantization(loaded: PreTrainedModel) -> PreTrainedModel:
    """The same weights in a fresh bf16 model: the loaded one would be saved as if it were still quantised."""
    configuration = type(loaded.config).from_dict(
        {key: value for key, value in loaded.config.to_dict().items() if key != "quantization_config"}
    )
    with torch.random.fork_rng(devices=[]):  # the weights that are drawn here are overwritten
        rebuilt: PreTrainedModel = AutoModelForCausalLM.from_config(configuration, dtype=torch.bfloat16)
    rebuilt.load_state_dict(loaded.state_dict())
    rebuilt.generation_config = loaded.generation_config
    return rebuilt


def _checked(gguf: Path, folder: Path, tokenizer: Any, most: float) -> float:
    """The perplexity of what lies in the folder, loaded as anyone would."""
    text = fixed_text()
    saved = load_tokenizer(folder)
    if saved.encode(text) != tokenizer.encode(text) or saved.chat_template != tokenizer.chat_template:
        raise CorruptArtifact(
            "a converted tokenizer must read text as its GGUF file's does", f"the one of {gguf} does not"
        )
    found = perplexity(load_causal_model(folder), saved, text)
    if not found <= most:  # also where it is no number
        raise CorruptArtifact(
            f"a converted model must have a perplexity of at most {most:g} on the fixed text",
            f"{gguf} has {found:g}",
            "use the model's safetensors weights: this GGUF file is read wrongly",
        )
    return found
