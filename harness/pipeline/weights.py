"""How large models are: their weights by shape, what checkpoints take on disk, what a token costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.pipeline.graph import Stage
from harness.pipeline.kind import Known
from harness.pipeline.shapes import published_shapes
from harness.sources.models import cached_shape, folder_shape

FP32 = 4  # bytes of a weight in training, and of each of Adam's two moments, whatever the precision computed in
MOMENTS = 2
PUBLISHED = 2  # bytes of a weight of a model from outside (bf16)

# What safetensors says of each tensor: one of a weight, three of its moments and their count with torch's own metadata.
HEADER, MOMENT_HEADERS = 100, 600
CHECKPOINT_FILES = 1_200  # configurations, head and description

FORWARD = 2.0  # FLOPs a weight and token
BACKWARD_FACTOR = 3.0  # forward plus twice that for the backward pass (Kaplan et al. 2020, section 2.1)

NORMS = {"gemma2": 4, "gemma3": 4}
"""Norms of a layer, of families with more than two: Gemma's have one after attention and MLP as well."""
QUERY_KEY_NORMS = ("qwen3", "gemma3")

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

    @classmethod
    def of(cls, shape: Mapping[str, Any]) -> Weights:
        """Of a shape as `sources.models.shape_of` gives it."""
        layers, vocabulary = parameters(shape)
        tied = bool(shape["tie_embeddings"])
        return cls(
            layers=layers,
            vocabulary=vocabulary,
            count=layers + vocabulary * (1 if tied else 2),
            only_lm=0 if tied else vocabulary,
            tensors=shape["layers"] * len(_layer(shape)) + (2 if tied else 3),
            width=shape["hidden_size"],
        )

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
    """(weights in the layers, weights of one vocabulary matrix) of a shape as `sources.models.shape_of` gives it."""
    width = shape["hidden_size"]
    return shape["layers"] * sum(_layer(shape)) + width, shape["vocabulary"] * width


def _layer(shape: Mapping[str, Any]) -> list[int]:
    """Weights of each tensor of a layer, as transformers builds the family."""
    family, width, inner = shape["family"], shape["hidden_size"], shape["intermediate_size"]
    head = shape.get("head_size") or width // shape["heads"]
    query, key_value = shape["heads"] * head, shape["key_value_heads"] * head
    tensors = [width * query, width * key_value, width * key_value, query * width]
    tensors += 3 * [width * inner]
    tensors += NORMS.get(family, 2) * [width]
    if family in QUERY_KEY_NORMS:
        tensors += [head, head]
    if family == "qwen2":
        tensors += [query, key_value, key_value]
    elif shape.get("attention_bias") and family != "mistral":
        tensors += [query, key_value, key_value, width]
    if shape.get("mlp_bias") and family == "llama":
        tensors += [inner, inner, width]
    return tensors


def model_origin(stage: Stage, known: Known) -> Stage:
    """The stage that the model which a stage runs comes from: trained here from nothing, or brought in."""
    return known.once(("origin", stage), lambda: _origin(stage, known))


def _origin(stage: Stage, known: Known) -> Stage:
    on = _model_input(stage)
    return stage if on is None else model_origin(on, known)


def _model_input(stage: Stage) -> Stage | None:
    """The input that holds the model, of a stage that continues or runs one."""
    return next((item.stage for name, item in stage.inputs.items() if name.partition("-")[0] in MODEL_INPUTS), None)


ShapeSource = Literal["record", "cached config", "shapes.yaml", "shapes.yaml, unverified"]


def model_shape(stage: Stage, known: Known) -> Mapping[str, Any] | None:
    """The shape of the model that a stage runs; None where nothing tells it.

    Of a model from outside that is not there yet it is as the hub's local cache has its config.json, else as
    `shapes.yaml` has it: for estimates alone, and no part of any identity.
    """
    return _shape(model_origin(stage, known), known)[0]


def shape_source(stage: Stage, known: Known) -> ShapeSource | None:
    """Where the size of the model that a stage runs is known from; None where it is not.

    "record" stands for all that is certain: a recipe's own shape, a folder's config.json, a finished stage's record.
    """
    return _shape(model_origin(stage, known), known)[1]


def _shape(origin: Stage, known: Known) -> tuple[Mapping[str, Any] | None, ShapeSource | None]:
    return known.once(("shape", origin.fingerprint), lambda: _find_shape(origin, known))


def _find_shape(origin: Stage, known: Known) -> tuple[Mapping[str, Any] | None, ShapeSource | None]:
    spec, record = origin.identity["spec"], known.record(origin)
    shape: Mapping[str, Any] | None = spec.get("shape")
    if spec.get("source") == "folder" and origin.source_path:
        shape = folder_shape(Path(origin.source_path))  # says more than the shape in its identity
    if shape is None and record is not None:
        shape = record.result.get("shape")
    if shape is not None or (record is not None and "parameters" in record.result):
        return shape, "record"
    if spec.get("source") != "hub":
        return None, None
    shape = cached_shape(spec["id"], spec["revision"])
    if shape is not None:
        return shape, "cached config"
    published = published_shapes().get(spec["id"])
    if published is None:
        return None, None
    return published.shape, "shapes.yaml" if published.verified else "shapes.yaml, unverified"


def weights_of(stage: Stage, known: Known) -> Weights | None:
    """The model that a stage runs; None where nothing tells its size."""
    origin = model_origin(stage, known)
    return known.once(("weights", origin.fingerprint), lambda: _weights(origin, known))


def _weights(origin: Stage, known: Known) -> Weights | None:
    shape = model_shape(origin, known)
    if shape is not None:
        return Weights.of(shape)
    record = known.record(origin)
    if record is None or "parameters" not in record.result:
        return None
    count = int(record.result["parameters"])
    layers = int(record.result.get("layer_parameters", 0))
    return Weights(layers=layers, vocabulary=0, count=count, only_lm=0, tensors=0, width=0)
