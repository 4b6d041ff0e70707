"""The `runtime` block: where and how a recipe runs. Nothing of it is part of any identity."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from harness.recipe.fields import (
    MOST_TOKENS,
    Block,
    Count,
    Line,
    NotNegative,
    Positive,
    as_tuple,
    problem,
    without_nulls,
)


class Budget(Block):
    """What a run may cost: it is refused before anything starts where what is left of its plan is estimated above."""

    hours: Positive | None = Field(None, description="On this machine.")
    stages: Count | None = Field(None, description="Left to run.")
    gpu_hours: Positive | None = Field(None, description="Of the GPUs that `gpus` states.")
    disk_gb: Positive | None = Field(None, description="On the workdir's disk at the peak, in 10^9 bytes.")
    pairs_a_document: Positive | None = Field(
        None, description="Training pairs constructed of each document of the corpus; checked once it is read."
    )


class Gpus(Block):
    """The GPUs that `plan` prices for; nothing runs otherwise for it."""

    kind: Literal["a100-40gb", "a100-80gb", "l40s", "h100", "h200", "b200"] = Field("h100", description="Which GPU.")
    count: Annotated[int, Field(ge=1, le=65_536)] = Field(
        1, description="How many; where nothing is said, as many as one training takes."
    )
    utilisation: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        0.35, description="Share of the peak in bf16 that training and scoring reach."
    )
    writing_utilisation: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        0.05, description="The same where a model writes texts, which memory bounds."
    )


Address = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*:[0-9]{1,5}$", max_length=255)]
Keep = Literal["state", "weights", "record"]
StageKind = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,64}$")]


class TrainingRuntime(Block):
    """How a training is spread over processes, and what it computes twice to need less memory."""

    processes: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="Of one training on a machine: one a GPU, or on the CPU sharing a stage's threads."
    )
    nodes: Annotated[int, Field(ge=1, le=4096)] = Field(1, description="Machines that train together.")
    launch: Annotated[tuple[Line, ...], BeforeValidator(as_tuple)] = Field(
        (), description="Words before torchrun's command that start it once on every machine: [srun, --nodes=8, ...]."
    )
    rendezvous: Address | None = Field(
        None, description="host:port of the machine where they meet. Default: this one and a free port."
    )
    sharing: Literal["ddp", "fsdp", "hsdp"] = Field(
        "ddp",
        description="Every process holds all weights (ddp), a part of them (fsdp, FSDP2), or a part of its machine's "
        "(hsdp), which exchanges gradients alone between machines.",
    )
    activation_checkpointing: bool | Literal["selective"] = Field(
        False,
        description="Compute layers again in the backward pass; `selective`: all but matrix products and attention.",
    )
    compile: bool | None = Field(
        None, description="Each layer by torch.compile. Default: with FlexAttention, which is on GPUs."
    )

    @model_validator(mode="after")
    def _consistent(self) -> TrainingRuntime:
        if self.nodes > 1 and not self.launch:
            raise problem(
                "several nodes need `launch`, which starts a command once on each",
                f"there are {self.nodes} nodes and no `launch`",
                "with Slurm: launch: [srun, --ntasks-per-node=1]",
            )
        return self


class Runtime(Block):
    """How to run; never part of any identity."""

    executor: Literal["local"] = Field("local", description="Where stages run: in processes of this machine.")
    workdir: Line = Field("workdir", description="Relative to where `harness` is called.")
    slots: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="Stages on the CPU at once; on GPUs, each that is visible has one. Default: one a core."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="`auto`: a GPU where there is one.")
    tensor_parallel: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="GPUs that share a model which writes texts."
    )
    row_tokens: Annotated[int, Field(ge=16, le=MOST_TOKENS)] = Field(256, description="Token budget of a packed row.")
    rows_per_micro_batch: Annotated[int, Field(ge=1, le=65_536)] = Field(4, description="Packed rows a pass.")
    checkpoint_seconds: NotNegative = Field(
        60.0,
        description="Training is resumable to the last such point. Longer where saving would take more than a tenth of "
        "the time; 0 saves after every step.",
    )
    log_every: Count = Field(10, description="Training steps between two points of a curve.")
    keep: Annotated[
        dict[StageKind, Keep], BeforeValidator(without_nulls, json_schema_input_type=dict[StageKind, Keep | None])
    ] = Field(default_factory=dict, description="What `gc` leaves of a stage kind.")
    loss_balance_every: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        200, description="Training steps between two measurements of each loss's own gradient; 0 makes none."
    )
    on_imbalance: Literal["warn", "stop"] = Field(
        "warn", description="What to do where one loss's gradient dominates the other's after warm-up."
    )
    training: TrainingRuntime = Field(TrainingRuntime(), description="Processes and memory of a training.")
    stale_code: Literal["keep", "rerun"] = Field(
        "keep", description="What to do where a stage's source changed at the same code version."
    )
    budget: Budget = Field(Budget(), description="What a run may cost. Default: anything.")
    gpus: Gpus = Field(Gpus(), description="What `plan` prices for.")
    tracking: Literal["mlflow", "none"] = Field("mlflow", description="Where runs are shown beside the report.")
    tracking_uri: Line | None = Field(
        None, description="An MLflow tracking URI. Default: an sqlite database in the workdir."
    )

    @property
    def priced_gpus(self) -> Gpus:
        """`gpus`, with as many as one training takes where it does not say how many."""
        if "count" in self.gpus.model_fields_set:
            return self.gpus
        return self.gpus.model_copy(update={"count": self.training.processes * self.training.nodes})
