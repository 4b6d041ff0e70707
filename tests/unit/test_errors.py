"""What a user reads of a problem, and that problems travel between processes whole."""

from __future__ import annotations

import inspect
import pickle

import pytest

from harness import errors
from harness.errors import CorruptArtifact, DataError, HarnessError, ProblemList, RecipeError

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, HarnessError)]


def test_a_problem_is_told_as_rule_value_remedy() -> None:
    error = RecipeError("`n` must be small", "it is 9", "lower it", "recipe.yaml:3")
    assert str(error) == "recipe.yaml:3: `n` must be small, but it is 9; lower it"
    assert (error.rule, error.value, error.remedy, error.where) == (
        "`n` must be small", "it is 9", "lower it", "recipe.yaml:3"
    )  # fmt: skip
    assert str(HarnessError("it must hold")) == "it must hold"
    assert str(HarnessError("it must hold", remedy="mend it")) == "it must hold; mend it"


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if cls is not ProblemList])
def test_problems_survive_a_process_boundary(cls: type[HarnessError]) -> None:
    error = cls("rule", "value", "remedy", "where")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert str(again) == str(error)
    assert again.exit_code == error.exit_code


def test_a_list_of_problems_survives_a_process_boundary() -> None:
    problems = ProblemList([RecipeError("first", where="a:1"), DataError("second")])
    again = pickle.loads(pickle.dumps(problems))
    assert str(again) == str(problems) == "a:1: first\nsecond"
    assert [type(one) for one in again.problems] == [RecipeError, DataError]


def test_exit_codes() -> None:
    expected = {
        "HarnessError": 1, "StageError": 1, "DataError": 1, "TrainingDiverged": 1, "TrainingStopped": 1,
        "CorruptArtifact": 1, "LeaseLost": 1,
        "RecipeError": 2, "MissingRequirement": 2, "StoreError": 2, "PlanError": 2,
    }  # fmt: skip
    assert {cls.__name__: cls.exit_code for cls in CLASSES if cls is not ProblemList} == expected
    assert ProblemList([CorruptArtifact("x")]).exit_code == 1
    assert ProblemList([CorruptArtifact("x"), RecipeError("y")]).exit_code == 2


def test_the_docstring_draws_every_class() -> None:
    assert errors.__doc__ is not None
    missing = [cls.__name__ for cls in CLASSES if cls.__name__ not in errors.__doc__]
    assert missing == []
