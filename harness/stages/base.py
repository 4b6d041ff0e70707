"""base: a tiny decoder trained from scratch as a plain language model; every arm starts from it."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer as BPETokenizer

from harness.models.reward_model import RewardModel
from harness.models.sources import tiny_model
from harness.pipeline.training_kinds import BASE
from harness.stages.context import StageContext
from harness.stages.order import epochs_order
from harness.stages.train import anneal, facts, run_training, settings_of, whole_steps
from harness.store.artifacts import Checkpoint, Tokenizer, Tokens

MAX_POSITIONS = 2048  # rotary positions need no table; this only bounds what other programs may feed it


def run(context: StageContext) -> dict[str, Any]:
    """Train on code and reasoning texts; weights from the data seed."""
    spec = BASE.read(context.spec)
    shape = spec.shape
    tokenizer = BPETokenizer.from_file(str(context.input("tokenizer", Tokenizer).path))
    backbone = tiny_model(
        shape.family,
        vocabulary=tokenizer.get_vocab_size(),
        hidden_size=shape.hidden_size,
        layers=shape.layers,
        heads=shape.heads,
        key_value_heads=shape.key_value_heads,
        intermediate_size=shape.intermediate_size,
        max_positions=MAX_POSITIONS,
        tie_embeddings=shape.tie_embeddings,
        seed=spec.seed,
    )
    model = RewardModel(backbone, head_seed=spec.seed)
    sources = [tokens.open() for _, tokens in context.inputs_like("tokens", Tokens)]
    steps = whole_steps(spec.texts, spec.training.global_batch, "`model.base.texts`")
    order = epochs_order(spec.seed, [len(source) for source in sources], steps * spec.training.global_batch)
    schedule = anneal(spec.schedule, spec.training.learning_rate, steps)
    result = run_training(
        context, model, sources, order, settings=settings_of(spec.training, schedule), stop_step=steps
    )
    model.save(Checkpoint(context.directory).model)
    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    return {**facts(result), "texts": sum(len(source) for source in sources), "parameters": parameters}
