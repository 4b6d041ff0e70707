"""How large models are: their weights by shape, what checkpoints take on disk, what a token costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.pipeline.graph import Stage
from harness.pipeline.kind import Known

FP32 = 4  # bytes of a weight in training, and of each of Adam's two moments, whatever the precision computed in
MOMENTS = 2
PUBLISHED = 2  # bytes of a weight of a model from outside (bf16)

# What safetensors says of each tensor: one of a weight, three of its moments and their count with torch's own metadata.
HEADER, MOMENT_HEADERS = 100, 600
TENSORS_A_LAYER = {"llama": 9, "qwen2": 12}
CHECKPOINT_FILES = 1_200  # configurations, head and description

FORWARD = 2.0  # FLOPs a weight and token
BACKWARD_FACTOR = 3.0  # forward plus twice that for the backward pass (Kaplan et al. 2020, section 2.1)

MODEL_INPUTS = ("base", "trunk", "start", "checkpoint", "model")  # on the way from a stage to the model it runs


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A model: weights in its layers, of one vocabulary matrix, all of them, those that only its LM head uses, how many
    tensors they are, the head's width."""

    layers: int
    vocabulary: int
    count: int
    only_lm: int
    tensors: int
    width: int

    def checkpoint(self, precision: int = FP32) -> float:
        """Bytes of a checkpoint."""
        return precision * self.count + FP32 * self.width + HEADER * self.tensors + CHECKPOINT_FILES

    def moments(self, *, rm: bool, lm: bool, backbone: bool = True) -> float:
        """Bytes of Adam's moments for the weights that these losses move: see `training.optimizer.select_parameters`.

        Args:
            backbone: whether more than the head is trained.
        """
        trained = self.width if rm else 0
        if not backbone:
            return MOMENTS * FP32 * trained + MOMENT_HEADERS
        trained += self.count if lm else self.count - self.only_lm
        return MOMENTS * FP32 * trained + MOMENT_HEADERS * self.tensors


def parameters(shape: Mapping[str, Any]) -> tuple[int, int]:
    """(weights in the layers, weights of one vocabulary matrix) of a Llama- or Qwen2-family shape."""
    width, heads = shape["hidden_size"], shape["heads"]
    head_width = width // heads
    key_value = shape["key_value_heads"] * head_width
    attention = 2 * width * width + 2 * width * key_value
    if shape["family"] == "qwen2":
        attention += width + 2 * key_value  # biases of query, key and value
    layer = attention + 3 * width * shape["intermediate_size"] + 2 * width
    return shape["layers"] * layer + width, shape["vocabulary"] * width


def model_origin(stage: Stage) -> Stage:
    """The stage that the model which a stage runs comes from: trained here from nothing, or brought in."""
    while (on := _model_input(stage)) is not None:
        stage = on
    return stage


def _model_input(stage: Stage) -> Stage | None:
    """The input that holds the model, of a stage that continues or runs one."""
    return next((item.stage for name, item in stage.inputs.items() if name.partition("-")[0] in MODEL_INPUTS), None)


def model_shape(stage: Stage, known: Known) -> Mapping[str, Any] | None:
    """The shape of the model that a stage runs; None while nobody has looked into a model from outside."""
    origin = model_origin(stage)
    shape: Mapping[str, Any] | None = origin.identity["spec"].get("shape")
    record = known.record(origin)
    return record.result.get("shape") if shape is None and record is not None else shape


def weights_of(stage: Stage, known: Known) -> Weights | None:
    """The model that a stage runs; None while nobody has looked into a model from outside."""
    origin = model_origin(stage)
    return known.once(("weights", origin.fingerprint), lambda: _weights(origin, known))


def _weights(origin: Stage, known: Known) -> Weights | None:
    shape = model_shape(origin, known)
    if shape is not None:
        layers, vocabulary = parameters(shape)
        tied = bool(shape["tie_embeddings"])
        return Weights(
            layers=layers,
            vocabulary=vocabulary,
            count=layers + vocabulary * (1 if tied else 2),
            only_lm=0 if tied else vocabulary,
            tensors=shape["layers"] * TENSORS_A_LAYER[shape["family"]] + (2 if tied else 3),
            width=shape["hidden_size"],
        )
    record = known.record(origin)
    if record is None or "parameters" not in record.result:
        return None
    count = int(record.result["parameters"])
    layers = int(record.result.get("layer_parameters", 0))
    return Weights(layers=layers, vocabulary=0, count=count, only_lm=0, tensors=0, width=0)
