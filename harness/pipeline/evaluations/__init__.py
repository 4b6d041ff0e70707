"""The evaluations there are: a file each in this folder, found by its name."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType

from harness.errors import RecipeError
from harness.pipeline.evaluation import Evaluation
from harness.recipe.fields import EVALUATIONS as NAMES
from harness.recipe.schema import Experiment

MODULES = tuple(importlib.import_module(f"{__name__}.{name}") for name in NAMES)

EVALUATIONS: Mapping[str, Evaluation] = MappingProxyType(
    {
        found.name: found()
        for module in MODULES
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, Evaluation) and found.__module__ == module.__name__
    }
)
"""By name, in the order in which tables have them."""


_OWN: dict[str, Evaluation] = {}
"""Evaluations of recipes' own that were imported."""

_BY_METRIC: dict[str, Evaluation] = {}


def evaluation_named(name: str) -> Evaluation:
    """A built-in evaluation, or one of a recipe's own by `package.module:Class`, which is imported here.

    Raises:
        RecipeError: there is none, or it is no evaluation.
    """
    known = EVALUATIONS.get(name) or _OWN.get(name)
    if known is not None:
        return known
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise RecipeError(
            f"evaluation {name!r} must be importable", f"{type(error).__name__}: {error}", "correct the name"
        ) from None
    if not (isinstance(found, type) and issubclass(found, Evaluation)):
        raise RecipeError(f"evaluation {name!r} must be an `Evaluation`", "it is none", "derive it from that class")
    made = found()
    if made.name != name:
        raise RecipeError(f"evaluation {name!r} must be called so", f"its `name` is {made.name!r}", "set it to that")
    for metric in made.labels:
        if any(other.has(metric) for other in EVALUATIONS.values()):
            raise RecipeError(f"metrics of {name!r} must have names of their own", f"{metric!r} is taken", "rename it")
    _OWN[name] = made
    return made


def evaluation_of(outcome: str) -> Evaluation:
    """The evaluation whose numbers an outcome is of: its values, or the baselines of what it judges."""
    return next(
        (one for one in EVALUATIONS.values() if one.baselined and one.baselined.name == outcome), None
    ) or evaluation_named(outcome)


def evaluation_with(metric: str) -> Evaluation:
    """The evaluation that a metric belongs to."""
    if metric not in _BY_METRIC:  # no other has it: own ones with such a metric are refused
        _BY_METRIC[metric] = next(one for one in (*EVALUATIONS.values(), *_OWN.values()) if one.has(metric))
    return _BY_METRIC[metric]


def headline(evaluation: str) -> str:
    """The metric by which rows are compared."""
    return evaluation_named(evaluation).headline


def metric_label(metric: str) -> str:
    """A metric's name in prose."""
    return evaluation_with(metric).label(metric)


def headline_label(evaluation: str) -> str:
    """The name in prose of the metric by which rows are compared."""
    return metric_label(headline(evaluation))


def evaluations_of(experiment: Experiment) -> list[Evaluation]:
    """The evaluations that a recipe asks for, in the order in which tables have them."""
    built_in = [one for one in EVALUATIONS.values() if one.tasks(experiment) or one.of_pretraining(experiment)]
    return [*built_in, *(evaluation_named(name) for name in experiment.evaluate.others if name not in EVALUATIONS)]
