"""What a plan would cost: tokens, FLOPs and time a stage, each with the basis it rests on. Standard library only.

Tokens come from encode records where they exist, else from the characters of finished data stages, else from the
recipe's bounds; times from finished stages of the same store where there are any, else from stated assumptions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.plan.graph import Stage
from harness.plan.kinds import KINDS
from harness.store.store import Snapshot, Store

Basis = Literal["measured", "from shape", "from characters", "assumed"]

# Used only until something was measured in this workdir; `plan` says so.
ASSUMED_CHARACTERS_PER_TOKEN = 3.0
ASSUMED_TOKENS_PER_RESPONSE = 60.0
ASSUMED_FLOPS_PER_SECOND = 3.0e10  # one CPU thread on a tiny model
ASSUMED_SECONDS = {"corpus_part": 5.0, "corpus": 2.0}  # of some ten thousand functions: reading; finding copies
ASSUMED_IMPORTED_PAIRS = 2_000
ASSUMED_BASE_DOCUMENTS = 1_000  # of a corpus, for the base model
ASSUMED_OTHER_SECONDS = 0.5  # any other data or evaluation stage
MODEL_INPUTS = ("base", "trunk", "start", "checkpoint", "model")  # on the way from a stage to the model it runs
BACKWARD_FACTOR = 3.0  # forward plus twice that for the backward pass (Kaplan et al. 2020, section 2.1)


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """Cost of one stage. `tokens` and `flops` are 0 for stages that run no model."""

    stage: Stage
    tokens: float
    flops: float
    seconds: float
    basis: Basis


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Costs of the stages left to run; `seconds` is the wall time on so many slots, by list scheduling."""

    costs: tuple[StageCost, ...]
    seconds: float
    speed_basis: Basis

    @property
    def tokens(self) -> float:
        return sum(cost.tokens for cost in self.costs)

    @property
    def flops(self) -> float:
        return sum(cost.flops for cost in self.costs)


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


def estimate(stages: Sequence[Stage], everything: Sequence[Stage], store: Store, slots: int) -> Estimate:
    """Costs of `stages` (those left to run) given what `everything` in the plan has already measured."""
    known = Snapshot(store)
    speed, seconds_of, speed_basis = _measured_speeds(everything, known)
    costs = []
    for stage in stages:
        tokens, basis = _tokens(stage, known)
        flops = _flops(stage, tokens, known)
        assumed = ASSUMED_SECONDS.get(stage.kind, ASSUMED_OTHER_SECONDS)
        seconds = flops / speed if flops else seconds_of.get(stage.kind, assumed)
        costs.append(StageCost(stage=stage, tokens=tokens, flops=flops, seconds=seconds, basis=basis))
    return Estimate(costs=tuple(costs), seconds=_makespan(costs, slots), speed_basis=speed_basis)


def _measured_speeds(stages: Sequence[Stage], known: Snapshot) -> tuple[float, dict[str, float], Basis]:
    """FLOP/s of finished model stages, and mean seconds of every other finished kind."""
    flops = seconds = 0.0
    times: dict[str, list[float]] = defaultdict(list)
    for stage in stages:
        record = known.record(stage.kind, stage.fingerprint)
        if record is None:
            continue
        spent = float(known.store.run_facts(record)["seconds"])
        work = _flops(stage, _tokens(stage, known)[0], known)
        if work:
            flops, seconds = flops + work, seconds + spent
        else:
            times[stage.kind].append(spent)
    means = {kind: sum(values) / len(values) for kind, values in times.items()}
    if seconds:
        return flops / seconds, means, "measured"
    return ASSUMED_FLOPS_PER_SECOND, means, "assumed"


def _tokens(stage: Stage, known: Snapshot) -> tuple[float, Basis]:
    """Tokens a model stage reads: its groups times the mean tokens of a group."""
    if "writer" in stage.spec:
        return _tokens_written(stage, known)
    sources = [item.stage for name, item in stage.inputs.items() if name.startswith("tokens")]
    if not KINDS[stage.kind].accelerated or not sources:
        return 0.0, "measured"
    read = [tokens_a_group(source, known) for source in sources]
    mean = sum(tokens for tokens, _, _ in read) / len(read)
    bases = [basis for _, _, basis in read]
    basis: Basis = "assumed" if "assumed" in bases else "from characters" if "from characters" in bases else "measured"
    if stage.kind == "score":
        return mean * read[0][1], basis
    return mean * groups_read(stage), basis


def _tokens_written(stage: Stage, known: Snapshot) -> tuple[float, Basis]:
    """Tokens that a model reads and writes for a range of slots or problems."""
    record = known.record(stage.kind, stage.fingerprint)
    texts = texts_asked(stage)
    if record is not None and "tokens" in record.result:
        return float(record.result["tokens"]) + texts * ASSUMED_TOKENS_PER_RESPONSE, "measured"
    read = 3 if stage.kind == "judgements" else 1  # a judge is shown the prompt and both sides
    return texts * (read + 1) * ASSUMED_TOKENS_PER_RESPONSE, "assumed"


def texts_asked(stage: Stage) -> int:
    """Texts that a model is to write, or a judge to read, for a range of slots or problems."""
    spec = stage.spec
    if stage.kind == "judgements":  # two a pair, one in either order
        slots = slots_of(stage.inputs["pairs"].stage)
        return 2 * (slots if spec["most_pairs"] is None else min(slots, int(spec["most_pairs"])))
    return (int(spec["stop"]) - int(spec["start"])) * int(spec.get("samples", spec.get("drafts", 1)))


def slots_of(pairs: Stage) -> int:
    """Construction slots of pairs or of a part of them; of imported ones, which nobody has counted, an assumption."""
    if pairs.kind == "pairs_part":
        return int(pairs.spec["stop"]) - int(pairs.spec["start"])
    inputs = [item.stage for item in pairs.inputs.values() if item.stage.kind in ("pairs_part", "consistent_part")]
    return sum(map(slots_of, inputs)) if inputs else ASSUMED_IMPORTED_PAIRS


def groups_read(stage: Stage) -> int:
    """Groups a training stage reads, repeats counted; of a trunk state those since the state before it."""
    spec = stage.spec
    if stage.kind == "base":
        return int(spec["texts"])
    if stage.kind == "finetune":
        return int(spec["samples"])
    batch = int(spec["training"]["global_batch"])
    if stage.kind == "trunk_state":
        forks = [stage.inputs["fork"].stage] if "fork" in stage.inputs else []
        before = max((int(other.spec["step"]) for other in (*stage.after, *forks)), default=0)
        return (int(spec["step"]) - before) * batch
    return (int(spec["stop_step"]) - int(spec["start_step"])) * batch


def tokens_a_group(encode: Stage, known: Snapshot) -> tuple[float, int, Basis]:
    """(mean tokens, groups, basis) of an encode stage."""
    record = known.record(encode.kind, encode.fingerprint)
    if record is not None and record.result["groups"]:
        return record.result["tokens"] / record.result["groups"], record.result["groups"], "measured"
    source = encode.inputs["source"].stage
    record = known.record(source.kind, source.fingerprint)
    groups = _groups_asked(encode)
    if record is not None and "characters" in record.result:
        return (
            record.result["characters"] / record.result["groups"] / ASSUMED_CHARACTERS_PER_TOKEN,
            groups,
            ("from characters"),
        )
    return (responses_a_group(encode, known) + 1) * ASSUMED_TOKENS_PER_RESPONSE, groups, "assumed"


def responses_a_group(encode: Stage, known: Snapshot) -> float:
    """Responses behind each prompt: one of a text, two of a pair, all candidates of a problem."""
    responses = {"texts": 1.0, "pairs": 2.0}.get(encode.spec["content"])
    if responses is not None:
        return responses
    return candidates_a_problem(encode.inputs["source"].stage, known)


def candidates_a_problem(candidates: Stage, known: Snapshot) -> float:
    """Of a pool that is drawn here or comes from outside."""
    if candidates.kind == "pool_candidates":
        pool = candidates.inputs["pool"].stage
        record = known.record(pool.kind, pool.fingerprint)
        return 1.0 if record is None else record.result["candidates"] / record.result["problems"]
    part = next(iter(candidates.inputs.values())).stage
    return float(part.spec["samples"])


def _groups_asked(encode: Stage) -> int:
    source = encode.inputs["source"].stage
    if encode.spec["limit"] is not None:
        return int(encode.spec["limit"])
    if source.kind in ("preferences", "pool_preferences"):
        return int(source.spec["count"])
    if source.kind == "pool_candidates":
        return int(source.inputs["problems"].stage.spec["problems"]["test"])
    if source.kind == "candidates":
        return max(int(part.stage.spec["stop"]) for part in source.inputs.values())
    if source.kind == "problems":  # the base model's texts
        return int(source.spec["problems"]["base"])
    return ASSUMED_BASE_DOCUMENTS if source.kind == "corpus" else slots_of(source)


def _flops(stage: Stage, tokens: float, known: Snapshot) -> float:
    """6 FLOPs a weight and token in training, 2 in scoring and writing; the vocabulary matrix only where it is used."""
    if not tokens:
        return 0.0
    judged = stage.inputs.get("checkpoint") if stage.kind == "score" else None
    if judged is not None and judged.stage.kind == "imported_checkpoint":
        checkpoint = judged.stage
        record = known.record(checkpoint.kind, checkpoint.fingerprint)
        return 0.0 if record is None else 2.0 * record.result["layer_parameters"] * tokens
    shape = model_shape(stage, known)
    if shape is None:
        return 0.0
    layers, vocabulary = parameters(shape)
    if "writer" in stage.spec:
        return 2.0 * (layers + vocabulary) * tokens
    if stage.kind == "score":
        return 2.0 * layers * tokens
    loss = stage.spec["training"]["loss"]
    predicted = tokens / 3 if loss["rm"] else tokens  # of prompt, chosen and rejected, the chosen third
    head = vocabulary * predicted if loss["lm"] else 0.0
    return 2.0 * BACKWARD_FACTOR * (layers * tokens + head)


def model_origin(stage: Stage) -> Stage:
    """The stage that the model which a stage runs comes from: `base` or `pretrained`."""
    while stage.kind not in ("base", "pretrained"):
        stage = next(item.stage for name, item in stage.inputs.items() if name.partition("-")[0] in MODEL_INPUTS)
    return stage


def model_shape(stage: Stage, known: Snapshot) -> Mapping[str, Any] | None:
    """The shape of the model that a stage runs; None while nobody has looked into a model from outside."""
    stage = model_origin(stage)
    shape: Mapping[str, Any] | None = stage.spec.get("shape")
    record = known.record(stage.kind, stage.fingerprint)
    return record.result.get("shape") if shape is None and record is not None else shape


def _makespan(costs: Sequence[StageCost], slots: int) -> float:
    """Wall seconds by list scheduling in plan order (inputs first) on identical slots."""
    ends: dict[str, float] = {}
    free = [0.0] * max(1, slots)
    for cost in costs:
        before = [item.stage for item in cost.stage.inputs.values()] + cost.stage.after + cost.stage.gates
        ready = max((ends.get(stage.fingerprint, 0.0) for stage in before), default=0.0)
        slot = min(range(len(free)), key=lambda index: max(free[index], ready))
        end = max(free[slot], ready) + cost.seconds
        free[slot] = end
        ends[cost.stage.fingerprint] = end
    return max(free)
