"""Who proposes points, as a recipe names them; and how its parameters are asked for.

It, `study.py` and `trials.py` alone import Optuna.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib.util import find_spec
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial
from optuna.trial import TrialState as Optuna

from harness.errors import RecipeError
from harness.recipe.search import Choices, LogRatio, Parameter, Pruner, Range, Sampler, label_of

AT = "at"
"""Of an arm that is no point of the space: which parameters it has."""
FIXED = "fixed_params"  # Optuna's word for what an enqueued trial is to have
NEEDED = {"CmaEsSampler": "cmaes"}  # a package that Optuna does not bring, and misses only in the first draw
# Samplers that lay out the whole space by their seed, and would lay out another for every trial.
LAID_OUT = ("GridSampler", "QMCSampler", "BruteForceSampler")

optuna.logging.set_verbosity(optuna.logging.ERROR)


def make_sampler(block: Sampler, seed: int, *, parallel: bool = False) -> BaseSampler:
    """The sampler that a recipe names.

    Raises:
        RecipeError: there is not one of that name, or it does not take these arguments.
    """
    arguments = dict(block.arguments)
    needed = NEEDED.get(block.kind)
    if needed is not None and find_spec(needed) is None:
        rule = "`search.sampler.kind` must have the package that it needs"
        raise RecipeError(rule, f"{block.kind} needs {needed}", f"pip install {needed}, or choose another sampler")
    kind = _class_of("sampler", block.kind, optuna.samplers, BaseSampler)
    if block.kind == "TPESampler" and parallel:
        arguments.setdefault("constant_liar", True)  # else trials that run side by side are nearly the same
    made: BaseSampler = _made("sampler", kind, {"seed": seed} | arguments)
    return made


def make_pruner(block: Pruner | None) -> optuna.pruners.BasePruner:
    """The pruner that a recipe names; without one, none.

    Raises:
        RecipeError: as `make_sampler`.
    """
    if block is None:
        return optuna.pruners.NopPruner()
    kind = _class_of("pruner", block.kind, optuna.pruners, optuna.pruners.BasePruner)
    made: optuna.pruners.BasePruner = _made("pruner", kind, block.arguments)
    return made


def _class_of(key: str, name: str, module: Any, base: type) -> Any:
    known = sorted(one for one in module.__all__ if isinstance(getattr(module, one, None), type))
    known = [one for one in known if issubclass(getattr(module, one), base) and not one.startswith("Base")]
    if name not in known:
        value = f"{name!r} is not one of {', '.join(known)}"
        raise RecipeError(f"`search.{key}.kind` must be a class of {module.__name__}", value, "correct the name")
    return getattr(module, name)


def _made(key: str, kind: Any, arguments: Mapping[str, Any]) -> Any:
    try:
        with quiet():
            return kind(**arguments)
    except (TypeError, ValueError, ImportError) as error:
        told = str(error).splitlines()[0]
        rule = f"`search.{key}.arguments` must be those of {kind.__name__}"
        raise RecipeError(rule, told, "correct them") from None


@contextmanager
def quiet() -> Iterator[None]:
    """Without what Optuna warns of: that parts used here are new, and that an arm's value lies outside a range."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Points(optuna.Study):
    """A study as samplers see it: points of the space alone, without arms, which lack parameters."""

    exhausted = False

    def _get_trials(self, *arguments: Any, **named: Any) -> list[FrozenTrial]:
        found = super()._get_trials(*arguments, **named)
        return [trial for trial in found if AT not in trial.user_attrs]

    def stop(self) -> None:
        """A sampler says that there are no further points."""
        self.exhausted = True


class Seeded(BaseSampler):
    """A sampler whose draws depend on the seed, the trial's number and the history alone: a driver that is started
    again, or works beside others, repeats nobody's draws."""

    def __init__(self, make: Callable[[int], BaseSampler], seed: int, *, laid_out: bool) -> None:
        self._make, self._seed, self._laid_out = make, seed, laid_out
        self._sampler = make(seed)
        self._points: Points | None = None

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        if not self._laid_out:
            self._sampler = self._make((self._seed + trial.number) % (1 << 32))
        self._sampler.before_trial(self._seen(study), trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if FIXED in trial.system_attrs:
            return {}  # nothing is drawn for it
        return self._sampler.infer_relative_search_space(self._seen(study), trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._sampler.sample_relative(self._seen(study), trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._sampler.sample_independent(self._seen(study), trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: Optuna, values: Sequence[float] | None
    ) -> None:
        if AT in trial.user_attrs:
            return
        with suppress(KeyError) if FIXED in trial.system_attrs else nullcontext():
            self._sampler.after_trial(self._seen(study), trial, state, values)  # GridSampler looks for an arm's cell

    def is_exhausted(self, study: optuna.Study) -> bool:
        """Whether every point of the space was tried."""
        points, sampler = self._seen(study), self._sampler
        return points.exhausted or (isinstance(sampler, optuna.samplers.GridSampler) and sampler.is_exhausted(points))

    def _seen(self, study: optuna.Study) -> Points:
        if self._points is None:
            self._points = Points(study.study_name, study._storage, self._sampler, study.pruner)
        return self._points


def suggest(trial: Trial, path: str, parameter: Parameter) -> Any:
    if isinstance(parameter, Choices):
        return trial.suggest_categorical(path, [label_of(choice) for choice in parameter.choices])
    if isinstance(parameter, LogRatio):
        return trial.suggest_float(path, *map(float, parameter.log_ratio))
    if parameter.whole:
        return trial.suggest_int(
            path, int(parameter.low), int(parameter.high), step=int(parameter.step or 1), log=parameter.log
        )
    step = None if parameter.step is None else float(parameter.step)
    return trial.suggest_float(path, float(parameter.low), float(parameter.high), step=step, log=parameter.log)


def lies_in(parameter: Parameter, value: Any) -> bool:
    if isinstance(parameter, Choices):
        return label_of(value) in [label_of(choice) for choice in parameter.choices]
    low, high = parameter.log_ratio if isinstance(parameter, LogRatio) else (parameter.low, parameter.high)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        return False
    step = parameter.step if isinstance(parameter, Range) else None
    return step is None or abs((value - low) / step - round((value - low) / step)) < 1e-9
