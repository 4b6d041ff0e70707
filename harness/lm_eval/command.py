"""lm-eval's own command on a reward model: its arguments, its tasks, its output; only the model is ours.

lm-eval finds no plugins, and its command makes a model by name before it looks at tasks. So while the command runs, the
function that it calls to evaluate is one that gives it our model, which sees the tasks before anything is computed.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import lm_eval
import torch
from lm_eval.__main__ import cli_evaluate
from pydantic import Field, ValidationError
from transformers.utils import logging

from harness.engines.base import Dtype, Generator
from harness.engines.prompts import Format
from harness.errors import HarnessError, ProblemList, RecipeError, reason_of
from harness.lm_eval.candidates import Candidates, Sampled, Stored
from harness.lm_eval.model import Metrics, RewardModelLM, prepare
from harness.lm_eval.rewards import ModelFiles, TextRewards
from harness.models.reward_model import Precision
from harness.recipe.fields import MOST_SEED, MOST_TOKENS, Block

NAME = "reward-model"
"""Of our model where lm-eval's output names one; its `pretrained` is the stage or folder."""

MODEL_OPTIONS = ("--model", "-M")
ROWS = 4  # packed rows computed together where `--batch_size` says nothing

Prompts = Mapping[str, Sequence[str]]
"""Prompt, without white space around it -> its stored candidates."""


class Options(Block):
    """What `--model_args` takes."""

    text: Literal["raw", "chat"] = "raw"
    max_tokens: Annotated[int, Field(ge=8, le=MOST_TOKENS)] | None = None
    precision: Precision = "fp32"
    metrics: Metrics = "all"
    seed: Annotated[int, Field(ge=0, le=MOST_SEED)] = 0
    candidates: str | None = None
    generator: str | None = None
    engine: Literal["transformers", "vllm"] = "transformers"
    format: Format = "raw"
    dtype: Dtype = "fp32"
    context: Annotated[int, Field(ge=32, le=MOST_TOKENS)] | None = None
    samples: Annotated[int, Field(ge=1, le=65_536)] = 8
    temperature: Annotated[float, Field(gt=0.0, le=10.0)] = 0.7
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    trust_remote_code: bool = False  # lm-eval's own argument of this name comes here too


def run_lm_eval(files: ModelFiles, arguments: Sequence[str], *, stored: Callable[[str], Prompts]) -> None:
    """Run lm-eval's command; it prints and writes its results itself.

    Args:
        arguments: lm-eval's own.
        stored: reads the candidates of a stage, by its name.

    Raises:
        SystemExit: lm-eval's arguments are wrong, or ask for its help.
        RecipeError: a model is named in them, or lm-eval refuses them, its tasks or their data.
        ProblemList: wrong `--model_args`, or tasks that rewards cannot answer.
    """
    logging.disable_progress_bar()
    named = [one for one in arguments if one in MODEL_OPTIONS or one.startswith((f"{MODEL_OPTIONS[0]}=", "-M"))]
    if named:
        raise RecipeError("lm-eval's model is the reward model", f"the arguments say {named[0]}", "drop it")
    program = ["lm-eval", "run", *arguments[bool(arguments[:1] == ["run"]) :], MODEL_OPTIONS[0], NAME]
    try:
        with _called_as(program), _evaluating_by(partial(_evaluate, files, stored)):
            cli_evaluate()
    except HarnessError:
        raise
    except Exception as error:  # whatever lm-eval, a task or the library of its data raises
        if _is_ours(error):
            raise
        said = f"{type(error).__name__}: {reason_of(error)}"
        remedy = "correct them; `harness lm-eval STAGE -- --help` lists the arguments"
        raise RecipeError("lm-eval must accept its arguments and tasks", f"it says {said}", remedy) from None


def _evaluate(
    files: ModelFiles,
    stored: Callable[[str], Prompts],
    *,
    model: str,
    model_args: dict[str, Any],
    task_manager: Any,
    **given: Any,
) -> Any:
    """lm-eval's `simple_evaluate` on our model."""
    options = _options(model_args)
    if given["apply_chat_template"]:
        raise RecipeError(
            "a prompt's special tokens are made by the model's own template",
            "lm-eval is told to write them into its text (`--apply_chat_template`)",
            "use `--model_args text=chat`",
        )
    device = _device(given["device"])
    rewards = TextRewards(
        files,
        text=options.text,
        precision=options.precision,
        max_tokens=options.max_tokens,
        device=device,
        rows=given["batch_size"] if isinstance(given["batch_size"], int) else ROWS,
    )
    candidates = _candidates(options, stored, device)
    load = task_manager.load

    def load_checked(names: Any) -> Any:
        loaded = load(names)
        prepare(
            loaded["tasks"],
            metrics=options.metrics,
            writes=candidates is not None,
            judged=not given["predict_only"],
        )
        rewards.open()
        return loaded

    task_manager.load = load_checked
    model_args["pretrained"] = files.name
    return _simple_evaluate(
        model=RewardModelLM(rewards, candidates, seed=options.seed),
        model_args=model_args,
        task_manager=task_manager,
        **given,
    )


def _simple_evaluate(**given: Any) -> Any:
    from lm_eval.evaluator import simple_evaluate  # imports half of the world, which wrong arguments do not wait for

    return simple_evaluate(**given)


def _options(given: Mapping[str, Any]) -> Options:
    texts = ("candidates", "generator")  # lm-eval reads what looks like a number as one
    read = {key: str(value) if key in texts else value for key, value in given.items()}
    try:
        options = Options.model_validate(read)
    except ValidationError as error:
        known = f"valid here: {', '.join(Options.model_fields)}"
        raise ProblemList(
            [
                RecipeError(
                    f"`{one['loc'][0]}` of `--model_args` must be one of its arguments with a value that fits",
                    f"it is {str(one['input'])[:80]!r} ({one['msg']})",
                    known,
                )
                for one in error.errors()
            ]
        ) from None
    if options.candidates is not None and options.generator is not None:
        raise RecipeError("candidates are stored or sampled", "`--model_args` names both", "name one")
    return options


def _device(asked: str | None) -> str:
    """The device asked for. lm-eval's default is a GPU, and its own models take the CPU where there is none.

    Raises:
        RecipeError: torch cannot compute on it.
    """
    if asked is None or asked.startswith("cuda"):
        asked = asked or "cuda"
        if not torch.cuda.is_available():
            return "cpu"
    try:
        torch.empty(0, device=asked)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise RecipeError("`--device` must be one of this machine's", reason_of(error), "correct it") from None
    return asked


def _candidates(options: Options, stored: Callable[[str], Prompts], device: str) -> Candidates | None:
    if options.candidates is not None:
        return Stored(name=options.candidates, by_prompt=stored(options.candidates))
    if options.generator is None:
        return None
    from harness.models.folder import require_model

    require_model(Path(options.generator))
    return Sampled(
        open=partial(_open_generator, options, device),
        samples=options.samples,
        temperature=options.temperature,
        top_p=options.top_p,
        seed=options.seed,
    )


def _open_generator(options: Options, device: str) -> AbstractContextManager[Generator]:
    assert options.generator is not None
    if options.engine == "vllm":
        from harness.engines.vllm_engine import VllmGenerator

        return VllmGenerator(
            options.generator,
            prompt_format=options.format,
            dtype=options.dtype,
            context=options.context,
            trust_remote_code=options.trust_remote_code,
        )
    from harness.engines.transformers_engine import TransformersGenerator

    generator = TransformersGenerator(
        options.generator,
        prompt_format=options.format,
        dtype=options.dtype,
        context=options.context,
        device=device,
        trust_remote_code=options.trust_remote_code,
    )
    return nullcontext(generator)


@contextmanager
def _called_as(program: Sequence[str]) -> Iterator[None]:
    """The process's arguments, which lm-eval reads and may change."""
    before = sys.argv
    sys.argv = list(program)
    try:
        yield
    finally:
        sys.argv = before


@contextmanager
def _evaluating_by(evaluate: Callable[..., Any]) -> Iterator[None]:
    """lm-eval's command takes `simple_evaluate` from its package, which makes the name at its first use."""
    lm_eval.simple_evaluate = evaluate
    try:
        yield
    finally:
        del lm_eval.simple_evaluate


def _is_ours(error: Exception) -> bool:
    """Whether it was raised where rewards or candidates are made, and not where lm-eval reads or judges."""
    modules = {RewardModelLM.__module__, TextRewards.__module__, Sampled.__module__}
    return any(frame.f_globals.get("__name__") in modules for frame, _ in traceback.walk_tb(error.__traceback__))
