"""From a file to a validated recipe: every mistake at once, each where it stands; nothing imported, nothing guessed."""

from __future__ import annotations

import copy
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import MissingRequirement, ProblemList, RecipeError
from harness.pairs.sites import KINDS
from harness.plan.plan import Plan, make_plan
from harness.recipe.fields import TASKS
from harness.recipe.inheritance import MOST_PARENTS
from harness.recipe.load import LoadedRecipe, load_recipe
from harness.recipe.pairs import MUTATION_KINDS

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "recipes" / "tiny.yaml"
RECIPES = sorted(path for path in (ROOT / "recipes").rglob("*.yaml") if path.parent.name != "overlay")
Load = Callable[..., LoadedRecipe]

TEXT = """\
name: small
seeds: {data: 0, pretrain: 2, finetune: 3}
model:
  source: tiny
  hidden_size: 32
  base: {texts: 64, learning_rate: 3e-3, schedule: {kind: cosine}, global_batch: 8}
corpus:
  kind: python_packages
  packages: [email, logging, http]
  heldout: [http]
  base: [logging]
pairs:
  count: 160
  prompt: {from: docstring}
  chosen: {from: reference}
  rejected: {from: mutation, edits: [1, 3]}
tasks:
  sums:
    kind: gsm_symbolic
    problems: {base: 8, finetune: 32, dev: 8, test: 12}
pretrain:
  loss: {rm: 1.0, lm: 1.0}
  learning_rate: 3e-3
  schedule: {kind: wsd, warmup_pairs: 16}
  global_batch: 8
finetune:
  tasks: [sums]
  samples: 32
  learning_rate: 1e-3
  schedule: {kind: linear}
  global_batch: 8
evaluate:
  best_of_n:
    tasks: [sums]
    n: [1, 2, 4]
    candidates: {engine: simulated, samples: 8}
ablations:
  axes:
    loss:
      both: {}
      rm: {pretrain.loss: {lm: 0.0}}
    pairs.count: [80, 160]
"""


def write(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str, *assignments: str) -> list[str]:
    """What is said of a recipe that must be refused: one line a problem, without the folder's name."""
    with pytest.raises(ProblemList) as caught:
        load_recipe(write(folder, text), assignments)
    assert caught.value.exit_code == 2
    assert all(isinstance(problem, RecipeError) for problem in caught.value.problems)
    return [line.replace(f"{folder}/", "") for line in str(caught.value).splitlines()]


def changed(old: str, new: str) -> str:
    assert TEXT.count(old) == 1, old
    return TEXT.replace(old, new)


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def test_a_valid_recipe(tmp_path: Path) -> None:
    loaded = load_recipe(write(tmp_path, TEXT))
    recipe = loaded.recipe
    assert (recipe.name, recipe.seeds.pretrain, recipe.seeds.finetune) == ("small", 2, 3)
    assert recipe.pretrain is not None
    assert recipe.pretrain.learning_rate == 0.003
    assert [setting.name for setting in loaded.settings] == [
        "both, count=80", "both, count=160", "rm, count=80", "rm, count=160"
    ]  # fmt: skip
    assert loaded.settings[2].values == {"loss": "rm", "pairs.count": "count=80"}
    last = loaded.settings[3].experiment
    assert last.pretrain is not None
    assert (last.pretrain.loss.rm, last.pretrain.loss.lm, last.pairs.count) == (1.0, 0.0, 160)
    assert recipe.pretrain.loss.lm == 1.0
    assert loaded.path == tmp_path / "recipe.yaml"


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_committed_recipes_are_valid(path: Path) -> None:
    assert load_recipe(path).settings


def test_a_recipe_cannot_be_changed(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, TEXT)).recipe
    with pytest.raises(ValueError, match="frozen"):
        recipe.pairs.count = 3  # type: ignore[misc]


# ------------------------------------------------------------------------------------------------ what is refused

SLIPS = {
    "typo": ("  global_batch: 8\nfinetune", "  global_bach: 8\nfinetune", [
        "recipe.yaml:21: `pretrain.global_batch` is required; add it",
        "recipe.yaml:25: unknown key `pretrain.global_bach`; did you mean `global_batch`?",
    ]),
    "typo far from any key": ("name: small", "name: small\nzzzz: 1", [
        "recipe.yaml:2: unknown key `zzzz`; valid here: ablations, baseline, claims, corpus, "
        "evaluate, finetune, model, name, notes, pairs, plugins, pretrain, runtime, search, seeds, tags, tasks",
    ]),
    "typo of a block": ("pairs:\n", "pears:\n", [
        "recipe.yaml:1: `pairs` is required; add it",
        "recipe.yaml:12: unknown key `pears`; did you mean `pairs`?",
    ]),
    "wrong type": ("  hidden_size: 32", "  hidden_size: wide", [
        "recipe.yaml:5: `model.hidden_size` expects a whole number, got 'wide'",
    ]),
    "missing": ("  count: 160\n", "", [
        "recipe.yaml:12: `pairs.count` is required; add it",
    ]),
    "out of bounds": ("learning_rate: 1e-3", "learning_rate: 10.0", [
        "recipe.yaml:29: `finetune.learning_rate` expects at most 1, got 10.0",
    ]),
    "unknown variant": ("{kind: wsd, warmup_pairs: 16}", "{kind: wsb, warmup_pairs: 16}", [
        "recipe.yaml:24: `pretrain.schedule.kind` expects one of 'wsd', 'cosine', 'linear', 'constant', got 'wsb'; "
        "did you mean `wsd`?",
    ]),
    "variant not named": ("{kind: wsd, warmup_pairs: 16}", "{warmup_pairs: 16}", [
        "recipe.yaml:24: `pretrain.schedule.kind` is required; add it",
    ]),
    "key of another variant": ("{kind: wsd, warmup_pairs: 16}", "{kind: wsd, warmup: 0.1}", [
        "recipe.yaml:24: `pretrain.schedule.warmup_pairs` is required; add it",
        "recipe.yaml:24: unknown key `pretrain.schedule.warmup`; did you mean `warmup_pairs`?",
    ]),
    "a schedule the base model has not": ("schedule: {kind: cosine}", "schedule: {kind: wsd, warmup_pairs: 8}", [
        "recipe.yaml:6: `model.base.schedule.kind` expects 'cosine', 'linear' or 'constant', got 'wsd'",
        "recipe.yaml:6: unknown key `model.base.schedule.warmup_pairs`; did you mean `warmup`?",
    ]),
    "side": ("{from: mutation, edits: [1, 3]}", "{from: mutatoin}", [
        "recipe.yaml:16: `pairs.rejected`: a side's `from` must be `reference`, `mutation`, `model`, `shuffled` or "
        "`package.module:name`, but it is 'mutatoin'; set `from`",
    ]),
    "inside a tuple": ("edits: [1, 3]", "edits: [1, 0]", [
        "recipe.yaml:16: `pairs.rejected.edits.1` expects at least 1, got 0",
    ]),
    "contradiction in a block": ("edits: [1, 3]", "edits: [3, 1]", [
        "recipe.yaml:16: `pairs.rejected`: `edits` is [fewest, most], but [3, 1] is not ascending; swap them",
    ]),
    "contradiction between keys": ("n: [1, 2, 4]", "n: [1, 2, 16]", [
        "recipe.yaml:35: `evaluate.best_of_n.n` must not exceed the candidate pool, but it requests N = 16 of 8 "
        "samples; lower `n` or raise `candidates.samples`",
    ]),
    "no loss at all": ("{rm: 1.0, lm: 1.0}", "{rm: 0.0, lm: 0.0}", [
        "recipe.yaml:22: `pretrain.loss`: at least one of `rm` and `lm` must be above 0, but both are 0; raise one, or "
        "drop the stage",
    ]),
    "a decay inside the warm-up": ("warmup_pairs: 16", "warmup_pairs: 150", [
        "recipe.yaml:24: `pretrain.schedule.decay` must start after `warmup_pairs`, but with 160 pairs it starts at "
        "144, inside a warm-up of 150; raise `pairs.count`, lower `warmup_pairs`, or set "
        "`schedule.allow_decay_inside_warmup: true`",
        # 80 pairs are an axis's own contradiction
        "recipe.yaml:42: `pretrain.schedule.decay` must start after `warmup_pairs`, but with 80 pairs it starts at 72, "
        "inside a warm-up of 150; raise `pairs.count`, lower `warmup_pairs`, or set "
        "`schedule.allow_decay_inside_warmup: true`",
    ]),
    "packages never read": ("heldout: [http]", "heldout: [htpp]", [
        "recipe.yaml:10: `corpus`: `heldout`, `dev` and `base` must name packages of `packages`, but 'htpp' is not one "
        "of email, logging, http; correct the name or add the package",
    ]),
    "a tiny base model without texts": ("  base: [logging]\n", "", [
        "recipe.yaml:7: `corpus.base` must leave something to read with `model.source: tiny`, but it is empty; name a "
        "package for it",
    ]),
    "a built-in task that is none": ("kind: gsm_symbolic", "kind: gsm_symbolik", [
        "recipe.yaml:19: `tasks.sums.kind` must be built in or `package.module:name`, but 'gsm_symbolik' is not one of "
        f"{', '.join(TASKS)}; correct the name",
    ]),
    "an engine that is none": ("engine: simulated", "engine: simulation", [
        "recipe.yaml:36: `evaluate.best_of_n.candidates.engine` must be built in or `package.module:name`, but "
        "'simulation' is not one of simulated, model; correct the name",
    ]),
    "code of a package not listed": ("kind: gsm_symbolic", "kind: my_tasks.sums:Sums", [
        "recipe.yaml:19: `tasks.sums.kind` may load code only from packages listed under `plugins`, but "
        "'my_tasks.sums:Sums' is in 'my_tasks'; add `plugins: [my_tasks]`",
    ]),
    "a base smaller than its batch": ("texts: 64", "texts: 7", [
        "recipe.yaml:6: `model.base`: `texts` must fill a global batch, but 7 are fewer than `global_batch` = 8; raise "
        "it or lower the batch",
    ]),
    "override of what is no experiment": ("{pretrain.loss: {lm: 0.0}}", "{seeds.pretrain: 3}", [
        "recipe.yaml:41: an axis may override model, corpus, pairs, tasks, pretrain, finetune, evaluate, but it "
        "overrides `seeds.pretrain`; correct the path",
    ]),
    "misspelt override": ("{pretrain.loss: {lm: 0.0}}", "{pretrian.loss: {lm: 0.0}}", [
        "recipe.yaml:41: an axis may override model, corpus, pairs, tasks, pretrain, finetune, evaluate, but it "
        "overrides `pretrian.loss`; did you mean `pretrain`?",
    ]),
    "misspelt key of an override": ("{pretrain.loss: {lm: 0.0}}", "{pretrain.loss.marign: 0.0}", [
        "recipe.yaml:41: unknown key `pretrain.loss.marign`; did you mean `margin`?",
    ]),
    "bad value of an override": ("{pretrain.loss: {lm: 0.0}}", "{pretrain.loss: {lm: -1.0}}", [
        "recipe.yaml:41: `pretrain.loss.lm` expects at least 0, got -1.0",
    ]),
    "bad value of a path axis": ("[80, 160]", "[80,\n    many]", [
        "recipe.yaml:43: `pairs.count` expects a whole number, got 'many'",
    ]),
    "contradiction of one value of a path axis": ("[80, 160]", "[80,\n    7]", [
        "recipe.yaml:43: `pairs.count` must fill a global batch, but 7 pairs are fewer than `pretrain.global_batch` = "
        "8; raise the count or lower the batch",
    ]),
    "override through nothing": ("rm: {pretrain.loss: {lm: 0.0}}", "no: {pretrain: null, pretrain.loss: {}}", [
        "recipe.yaml:41: `pretrain.loss` must lead through blocks, but `pretrain` is null; override the whole block "
        "instead",
    ]),
    "an axis that is no axis": ("      rm: {pretrain.loss: {lm: 0.0}}", "      rm: pretrain.loss", [
        "recipe.yaml:41: `ablations.axes.loss.rm` expects a mapping, got 'pretrain.loss'",
    ]),
    "an axis without values": ("[80, 160]", "[]", [
        "recipe.yaml:42: axis `pairs.count` must have values, but it has none; add one or drop the axis",
    ]),
    "dev problems that are not there": ("dev: 8, test: 12}", "test: 12}", [
        "recipe.yaml:35: `evaluate.best_of_n.tasks` must name tasks with dev problems, but `tasks.sums.problems.dev` "
        "is 0; add some, or set `evaluate.split: test`",
    ], "evaluate:\n", "evaluate:\n  split: dev\n"),
    "dev problems that judge and calibrate": ("evaluate:\n", "evaluate:\n  split: dev\n  failures: calibrated\n", [
        "recipe.yaml:32: `evaluate`: `failures: calibrated` fits temperatures on dev problems, which must not judge as "
        "well, but `split` is dev; set `failures: scores`, or `split: test`",
    ]),
    "two splits on one board": ("rm: {pretrain.loss: {lm: 0.0}}", "dev: {evaluate.split: dev}", [
        "recipe.yaml:41: all settings of a recipe must be judged on one split, but `evaluate.split` is dev here and "
        "test in the recipe; drop the override; a second recipe of another name shares what both train",
    ]),
    "test problems for a choice": ("finetune:\n", "finetune:\n  select: {split: test, every_steps: 2}\n", [
        "recipe.yaml:27: `finetune.select.split` expects 'dev', got 'test'",
    ]),
}  # fmt: skip


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_told_where_it_stands(tmp_path: Path, slip: str) -> None:
    old, new, told, *more = SLIPS[slip]
    assert problems(tmp_path, changed(old, new).replace(*(more or ("", "")))) == told


def test_everything_at_once(tmp_path: Path) -> None:
    text = TEXT
    for name in ("wrong type", "typo", "missing", "side", "bad value of an override", "out of bounds"):
        old, new, _ = SLIPS[name]
        text = text.replace(old, new)
    told = problems(tmp_path, text)
    for part in (
        "hidden_size",
        "global_bach",
        "`pretrain.global_batch`",
        "pairs.count",
        "`from`",
        "loss.lm",
        "at most",
    ):
        assert any(part in line for line in told), part
    assert len(told) == len(set(told)) == 7
    for line in told:
        assert re.match(r"recipe\.yaml:\d+: .+(, got .+|; .+)", line)


def test_all_contradictions_at_once(tmp_path: Path) -> None:
    text = TEXT.replace("tasks: [sums]", "tasks: [summs]").replace("samples: 32", "samples: 7")
    text = text.replace("engine: simulated", "engine: mine:Engine")
    told = problems(tmp_path, text)
    assert [line.split(",")[0] for line in told] == [
        "recipe.yaml:27: `finetune.tasks` must name tasks of `tasks`",
        "recipe.yaml:34: `evaluate.best_of_n.tasks` must name tasks of `tasks`",
        "recipe.yaml:28: `finetune.samples` must fill a global batch",
        "recipe.yaml:36: `evaluate.best_of_n.candidates.engine` may load code only from packages listed under "
        "`plugins`",
    ]


def test_a_task_may_not_take_the_name_of_the_code_pairs(tmp_path: Path) -> None:
    told = problems(tmp_path, TEXT.replace("sums", "code"))
    assert told == [
        "recipe.yaml:18: `tasks.code` must be called otherwise, but it is the name of the code pairs; rename it"
    ]


def test_reference_scorers_bound_the_tasks(tmp_path: Path) -> None:
    """A scorer fitted on every task for every task: a plan of 2,000 tasks would name 4 million inputs a scorer."""
    recipe = yaml.safe_load(TEXT)
    (task,) = recipe["tasks"].values()
    recipe["tasks"] = {f"task{number}": task for number in range(2_000)}
    recipe["finetune"] |= {"tasks": list(recipe["tasks"])[:51], "samples": 51}
    recipe["evaluate"]["best_of_n"]["tasks"] = list(recipe["tasks"])
    (told,) = problems(tmp_path, yaml.safe_dump(recipe))
    assert "must not exceed 100,000 with reference scorers, but 51 × 2,000 is 102,000; take fewer" in told
    recipe["evaluate"]["reference_scorers"] = []
    (tmp_path / "none.yaml").write_text(yaml.safe_dump(recipe))
    load_recipe(tmp_path / "none.yaml")


def test_held_out_code_alone_is_an_evaluation(tmp_path: Path) -> None:
    """A recipe about PMP alone trains no more than that; one that judges nothing is refused."""
    recipe = yaml.safe_load(TEXT)
    recipe["evaluate"] = {"code_pairs": {"count": 16}}
    (tmp_path / "code.yaml").write_text(yaml.safe_dump(recipe))
    plan = make_plan(load_recipe(tmp_path / "code.yaml"))
    kinds = {stage.kind.name for stage in plan.stages}
    assert {"pretrain", "score", "pair_accuracy"} <= kinds
    assert not {"finetune", "best_of_n", "candidates", "preferences"} & kinds
    assert all(variant.pretrained and not variant.finetuned for variant in plan.variants)
    recipe["ablations"]["axes"]["loss"] = {"both": {}, "none": {"pretrain": None}}
    (told,) = problems(tmp_path, yaml.safe_dump(recipe))
    assert "`evaluate` must judge every setting, but `code_pairs` judges reward heads that PMP has trained" in told
    recipe["evaluate"] = {"reference_scorers": []}
    (told,) = problems(tmp_path, yaml.safe_dump(recipe))
    assert "`evaluate` must name an evaluation, but it names none; add `best_of_n` or `code_pairs`" in told


STRICT = {
    "seeds: {data: 0": ["seeds: {data: 0.0", "seeds: {data: '0'", "seeds: {data: true", "seeds: {data: null"],
    "name: small": ["name: 3", "name: true", "name: ''", "name: a b", "name: ../up", "name: null", "name: [small]"],
    "hidden_size: 32": ["hidden_size: 32.0", "hidden_size: '32'", "hidden_size: yes", "hidden_size: [32]"],
    "learning_rate: 1e-3": [
        "learning_rate: '1e-3'",
        "learning_rate: true",
        "learning_rate: .nan",
        "learning_rate: .inf",
    ],
    "edits: [1, 3]": ["edits: [1]", "edits: [1, 2, 3]", "edits: 1", "edits: {1: 3}", "edits: [1.0, 3]"],
    "{rm: 1.0, lm: 1.0}": ["{rm: .nan}", "{rm: .inf}", "{lm: no}", "[1.0, 1.0]", "1.0"],
    "finetune:\n": [
        "finetune:\n  select: yes\n",
        "finetune:\n  weight_decay: .nan\n",
        "finetune:\n  clip_norm: .inf\n",
    ],
    "count: 160": ["count: 1_000_000_001", "count: 1e2", "count: -1", "count: 0"],
    "source: tiny": ["source: tiny\n  tie_embeddings: yes", "source: tiny\n  tie_embeddings: 1", "source: moon"],
}


@pytest.mark.parametrize(("old", "new"), [(old, new) for old, ways in STRICT.items() for new in ways])
def test_types_are_strict(tmp_path: Path, old: str, new: str) -> None:
    text = changed(old, new)
    line = line_of(text, new) + new.rstrip("\n").count("\n")
    assert {told.split(": ")[0] for told in problems(tmp_path, text)} == {f"recipe.yaml:{line}"}


def test_whole_numbers_are_good_floats(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, changed("{rm: 1.0, lm: 1.0}", "{rm: 1, lm: 2}"))).recipe
    assert recipe.pretrain is not None
    assert (recipe.pretrain.loss.rm, recipe.pretrain.loss.lm) == (1.0, 2.0)
    assert type(recipe.pretrain.loss.lm) is float


# ------------------------------------------------------------------------------------------------ --set and extends


def test_assignments_override(tmp_path: Path) -> None:
    path = write(tmp_path, TEXT)
    loaded = load_recipe(
        path, ["pairs.count=240", "pretrain.loss={rm: 0.5}", "runtime.slots=2", "ablations=null", "notes=no"]
    )
    assert [setting.name for setting in loaded.settings] == ["base"]
    recipe = loaded.recipe
    assert recipe.pretrain is not None
    assert (recipe.pairs.count, recipe.pretrain.loss.rm, recipe.pretrain.loss.lm) == (240, 0.5, 1.0)
    assert (recipe.runtime.slots, recipe.notes) == (2, "no")
    assert load_recipe(path, ["pretrain=null", "ablations="]).recipe.pretrain is None
    assert load_recipe(path, ["pairs.count=80", "pairs.count=88"]).recipe.pairs.count == 88
    later = load_recipe(path, ["tasks.more={kind: circuit_logic, problems: {finetune: 8, dev: 8, test: 8}}"])
    assert list(later.recipe.tasks) == ["sums", "more"]


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("pairs.count=abc", "`pairs.count` expects a whole number, got 'abc'"),
        ("pairs.cuont=5", "unknown key `pairs.cuont`; did you mean `count`?"),
        ("pretrain.loss={rm: -1}", "`pretrain.loss.rm` expects at least 0, got -1"),
        ("finetune.tasks=[other]", "`finetune.tasks` must name tasks of `tasks`, but 'other' is not one of sums; "
                                   "correct the name or add the task"),
        ("name.x=1", "`name.x` must lead through blocks, but `name` is 'small'; override the whole block instead"),
        ("pairs.count", "`--set` takes path=value, but got 'pairs.count'; e.g. pairs.count=500"),
        ("=3", "`--set` takes path=value, but got '=3'; e.g. pairs.count=500"),
        ("pairs..count=3", "`--set` takes path=value, but got 'pairs..count=3'; e.g. pairs.count=500"),
    ],
)  # fmt: skip
def test_a_bad_assignment_is_told_as_such(tmp_path: Path, assignment: str, told: str) -> None:
    assert problems(tmp_path, TEXT, assignment) == [f"--set {assignment}: {told}"]


def test_an_assignment_must_be_yaml(tmp_path: Path) -> None:
    [told] = problems(tmp_path, TEXT, "pairs.count=[1")
    assert told.startswith("--set pairs.count=[1")
    assert "must be valid YAML" in told


def test_a_recipe_extends_another(tmp_path: Path) -> None:
    write(tmp_path, TEXT, "base.yaml")
    (tmp_path / "more").mkdir()
    middle = (
        "extends: ../base.yaml\nname: middle\npretrain:\n  loss: {lm: 0.5}\n  schedule: {kind: cosine, warmup: 0.1}\n"
    )
    write(tmp_path / "more", middle, "middle.yaml")
    path = write(
        tmp_path, "extends: more/middle.yaml\npretrain: {learning_rate: 1e-4}\nablations: {axes: {loss: {rm: {}}}}\n"
    )
    recipe = load_recipe(path).recipe
    assert recipe.name == "middle"
    assert recipe.pretrain is not None
    assert (recipe.pretrain.loss.rm, recipe.pretrain.loss.lm, recipe.pretrain.learning_rate) == (1.0, 0.5, 1e-4)
    assert recipe.pretrain.schedule.model_dump() == {"kind": "cosine", "warmup": 0.1}  # another kind replaces
    assert list(recipe.ablations.axes) == ["loss", "pairs.count"]  # mappings merge
    assert recipe.pairs.count == 160


def test_an_exclusion_that_names_nothing_is_located_where_it_is_written(tmp_path: Path) -> None:
    write(tmp_path, TEXT, "base.yaml")
    child = "name: child\nextends: base.yaml\nablations:\n  exclude:\n    - {loss: both}\n    - {loss: lmm}\n"
    [told] = problems(tmp_path, child)
    assert told.startswith("recipe.yaml:6: `exclude` must name values of axis `loss`")


def test_a_combination_that_is_not_allowed_is_named_with_its_exclusion(tmp_path: Path) -> None:
    write(tmp_path, TEXT, "base.yaml")
    axes = "{loss: null, pairs.count: [80, 160], pretrain.loss.rm: [0, 1], pretrain.loss.lm: [0, 1]}"
    exclusion = "exclude: [{pretrain.loss.rm: rm=0, pretrain.loss.lm: lm=0}]"
    [told] = problems(tmp_path, f"extends: base.yaml\nablations: {{axes: {axes}}}\n")
    assert "at least one of `rm` and `lm` must be above 0 (combination rm=0, lm=0)" in told
    assert f"leave it out: `{exclusion}`" in told
    path = write(tmp_path, f"extends: base.yaml\nablations: {{axes: {axes}, {exclusion}}}\n")
    assert len(load_recipe(path).settings) == 6
    [told] = problems(tmp_path, f"extends: base.yaml\nablations: {{axes: {axes.replace('80', 'many')}, {exclusion}}}\n")
    assert "combination" not in told


def test_null_drops_what_a_parent_compares(tmp_path: Path) -> None:
    write(tmp_path, TEXT, "base.yaml")
    path = write(tmp_path, "extends: base.yaml\nablations: {axes: {loss: null, finetune.head: [carry, reinit]}}\n")
    assert list(load_recipe(path).recipe.ablations.axes) == ["pairs.count", "finetune.head"]
    path = write(tmp_path, "extends: base.yaml\nablations: null\n")
    assert [setting.name for setting in load_recipe(path).settings] == ["base"]


@pytest.mark.parametrize(
    ("child", "path"),
    [
        ("tasks: {logic: null}", "tasks.logic"),
        ("ablations: {axes: {loss: {rm: null}}}", "ablations.axes.loss.rm"),
        ("pairs: {judges: {static_too: null}}", "pairs.judges.static_too"),
        ("evaluate: {imported: {row: null}}", "evaluate.imported.row"),
        ("runtime: {keep: {base: null}}", "runtime.keep.base"),
        ("tags: {colour: null}", "tags.colour"),
        ("ablations: {axes: {pairs.count: null}}", "ablations.axes.pairs.count"),
    ],
)
def test_null_removes_a_named_entry_of_the_parent_or_is_told(tmp_path: Path, child: str, path: str) -> None:
    write(tmp_path, "name: parent\n", "base.yaml")
    [told] = problems(tmp_path, f"name: child\nextends: base.yaml\n{child}\n")
    assert told == (
        f"recipe.yaml:3: `{path}: null` removes an entry of the recipe that is extended, but there is no `{path}` to "
        "remove; correct the name or drop the line"
    )


def test_null_removes_tasks_and_values_of_axes(tmp_path: Path) -> None:
    logic = "tasks: {logic: {kind: circuit_logic, problems: {base: 0, finetune: 8, dev: 4, test: 4}}}\n"
    write(tmp_path, TEXT, "base.yaml")
    both = write(tmp_path, f"extends: base.yaml\n{logic}", "both.yaml")
    assert list(load_recipe(both).recipe.tasks) == ["sums", "logic"]
    for recipe in (
        load_recipe(write(tmp_path, "extends: both.yaml\ntasks: {logic: null}\n")).recipe,
        load_recipe(both, ["tasks.logic=null"]).recipe,
        load_recipe(
            write(tmp_path, "extends: both.yaml\nablations: {axes: {with: {all: {}, few: {tasks.logic: null}}}}\n")
        )
        .settings[-1]
        .experiment,
    ):
        assert list(recipe.tasks) == ["sums"]
    path = write(tmp_path, "extends: base.yaml\nablations: {axes: {loss: {rm: null}}}\n")
    assert [one.name for one in load_recipe(path).settings] == ["both, count=80", "both, count=160"]
    write(tmp_path, "extends: both.yaml\ntasks: {logic: null}\n", "removed.yaml")
    assert (
        "there is no `tasks.logic` to remove" in problems(tmp_path, "extends: removed.yaml\ntasks: {logic: null}\n")[0]
    )
    [told] = problems(tmp_path, TEXT, "tasks.frobs=null")
    assert told.startswith("--set tasks.frobs=null: `tasks.frobs: null` removes an entry")


def test_mistakes_of_a_chain_stand_in_their_files(tmp_path: Path) -> None:
    write(tmp_path, TEXT.replace("count: 160", "count: many"), "base.yaml")
    told = problems(tmp_path, "extends: base.yaml\n\npretrain: {learning_rte: 1e-4}\n")
    assert told == [
        "base.yaml:13: `pairs.count` expects a whole number, got 'many'",
        "recipe.yaml:3: unknown key `pretrain.learning_rte`; did you mean `learning_rate`?",
    ]


def test_chains_end(tmp_path: Path) -> None:
    write(tmp_path, "name: a\nextends: b.yaml\n", "a.yaml")
    write(tmp_path, "extends: recipe.yaml\n", "b.yaml")
    assert problems(tmp_path, "extends: a.yaml\n") == [
        "b.yaml:1: `extends` must end, but recipe.yaml comes back to itself; break the circle"
    ]
    assert problems(tmp_path, "name: x\nextends: recipe.yaml\n") == [
        "recipe.yaml:2: `extends` must end, but recipe.yaml comes back to itself; break the circle"
    ]
    assert problems(tmp_path, "extends: nowhere.yaml\n")[0].startswith("recipe.yaml:1: `extends` must name a recipe")
    assert problems(tmp_path, "extends: [base.yaml,\n  3]\n") == [
        "recipe.yaml:2: `extends` must be a file name or a list of them, but got 3; name a recipe"
    ]
    write(tmp_path, TEXT, "base.yaml")
    assert problems(tmp_path, "extends:\n  - base.yaml\n  - a.yaml\n") == [
        "b.yaml:1: `extends` must end, but recipe.yaml comes back to itself; break the circle"
    ]
    assert problems(tmp_path, "extends:\n  - base.yaml\n  - nowhere.yaml\n")[0].startswith("recipe.yaml:3: `extends`")
    for number in range(MOST_PARENTS):  # each twice: read again and again they would be 2 to the power of their number
        write(tmp_path, f"extends: [{number + 1}.yaml, {number + 1}.yaml]\n", f"{number}.yaml")
    write(tmp_path, TEXT, f"{MOST_PARENTS}.yaml")
    [told] = problems(tmp_path, "extends: 0.yaml\n")
    assert f"a recipe may extend {MOST_PARENTS} files" in told
    load_recipe(write(tmp_path, "extends: 1.yaml\n".replace("1", str(MOST_PARENTS - 1))))


def test_a_list_is_laid_on_one_another_in_order(tmp_path: Path) -> None:
    write(tmp_path, TEXT, "base.yaml")
    write(tmp_path, "extends: base.yaml\npretrain: {learning_rate: 2e-3}\nfinetune: {samples: 16}\n", "first.yaml")
    overlay = "extends: []\n\npretrain: {learning_rate: 1e-3}\nablations: {axes: {loss: {rm: null}}}\n"
    write(tmp_path, overlay, "overlay.yaml")
    listed = "extends: [first.yaml, overlay.yaml]\npairs: {count: 320}\n"
    loaded = load_recipe(write(tmp_path, listed))
    recipe = loaded.recipe
    assert recipe.pretrain is not None
    assert (recipe.pretrain.learning_rate, recipe.finetune.samples, recipe.pairs.count) == (1e-3, 16, 320)
    assert [one.name for one in loaded.settings] == ["both, count=80", "both, count=160"]
    assert [
        Path(loaded.where(path)).name for path in ("pretrain.learning_rate", "finetune.samples", "pairs.count")
    ] == [
        "overlay.yaml:3",
        "first.yaml:3",
        "recipe.yaml:2",
    ]
    write(tmp_path, overlay.replace("rm: null", "frob: null"), "overlay.yaml")
    [told] = problems(tmp_path, listed)
    assert told.startswith("overlay.yaml:4: `ablations.axes.loss.frob: null` removes an entry")


def test_what_replaces_instead_of_merging(tmp_path: Path) -> None:
    axes = "ablations: {axes: {source: {a: {finetune.samples: 8, finetune.head: reinit}, b: {}}, kind: [1]}}\n"
    write(tmp_path, TEXT + axes if "ablations" not in TEXT else TEXT.partition("ablations:")[0] + axes, "base.yaml")
    pairs = "{prompt: {from: docstring}, construction: reference-weak, chosen: null, rejected: null, weak: {model: "
    pairs += "{source: packaged, name: smollm2-135m-instruct}}}"
    write(tmp_path, f"extends: base.yaml\nablations: {{axes: {{kind: null}}}}\npairs: {pairs}\n", "written.yaml")
    mutated = "{count: 80, prompt: {from: docstring}, chosen: {from: reference}, rejected: {from: mutation}}"
    axis = "ablations: {axes: {source: {a: {finetune.samples: 16}}}}"
    loaded = load_recipe(write(tmp_path, f"extends: written.yaml\npairs: {mutated}\n{axis}\n"))
    assert [(one.name, one.experiment.finetune.samples, one.experiment.finetune.head) for one in loaded.settings] == [
        ("a", 16, "carry"),  # a value is one: not with the head that it had
        ("b", 32, "carry"),  # an axis called as what tells variants of blocks apart is not one of them
    ]
    assert loaded.recipe.pairs.model_dump(by_alias=True)["rejected"]["from"] == "mutation"


def test_claims_come_along_where_they_are_named(tmp_path: Path) -> None:
    claims = "claims:\n" + "".join(
        f"  {name}: {{says: {name}, better: {{loss: both}}, than: {{loss: rm}}, on: {{best_of_n: all}}, margin: 0.1}}\n"
        for name in ("one", "two", "three")
    )
    write(tmp_path, TEXT + claims, "base.yaml")
    write(tmp_path, "extends: []\n", "overlay.yaml")
    for extended in ("base.yaml", "[base.yaml, overlay.yaml]"):
        named = f"extends: {extended}\nclaims: {{three: {{}}, one: {{says: another, margin: null}}}}\n"
        found = load_recipe(write(tmp_path, named)).recipe.claims
        assert [(name, one.says, one.margin) for name, one in found.items()] == [
            ("three", "three", 0.1),
            ("one", "another", None),
        ]
        assert load_recipe(write(tmp_path, f"extends: {extended}\n")).recipe.claims == {}


# ---------------------------------------------------------------------------------------------------- plugins


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package whose import leaves a trace in the file this returns."""
    witness = tmp_path / "imported"
    package = tmp_path / "site" / "my_plugin"
    (package / "inner").mkdir(parents=True)
    trace = f"with open({str(witness)!r}, 'a') as file:\n    file.write(__name__ + '\\n')\n"
    names = {
        "__init__.py": "loss = None\n",
        "tasks.py": "from harness.tasks.built_in.gsm_symbolic import GsmSymbolic as Sums\nclass Engine: ...\n",
        "inner/__init__.py": "def chosen(): ...\nif True:\n    rejected = chosen\n",
        "inner/losses.py": "from math import *\n",  # nobody knows what that brings along
    }
    for file, text in names.items():
        (package / file).write_text(text + trace)
    monkeypatch.syspath_prepend(package.parent)
    yield witness
    for name in [name for name in sys.modules if name.split(".")[0] == "my_plugin"]:
        del sys.modules[name]


def with_plugins(recipe: dict[str, Any]) -> dict[str, Any]:
    recipe["plugins"] = ["my_plugin"]
    recipe["tasks"]["sums"]["kind"] = "my_plugin.tasks:Sums"
    recipe["pretrain"]["loss"] = {"rm": 1.0, "kind": "my_plugin.inner.losses:hinge"}
    recipe["finetune"]["loss"] = {"rm": 1.0, "kind": "my_plugin:loss"}
    recipe["pairs"]["chosen"] = {"from": "my_plugin.inner:chosen", "options": {"words": 3}}
    recipe["pairs"]["rejected"] = {"from": "my_plugin.inner:rejected"}
    recipe["evaluate"]["best_of_n"]["candidates"]["engine"] = "my_plugin.tasks:Engine"
    return recipe


def test_loading_imports_no_plugin_and_planning_the_tasks_alone(
    plugin: Path, recipe: dict[str, Any], load: Load
) -> None:
    """A task says where its data is from; nothing else of a recipe's own is run before its stage."""
    loaded = load(with_plugins(recipe))
    assert not plugin.exists()
    assert not any(name.startswith("my_plugin") for name in sys.modules)
    assert len(make_plan(loaded).stages) > 20
    assert plugin.read_text().split() == ["my_plugin", "my_plugin.tasks"]
    plugin.unlink()
    __import__("my_plugin.inner.losses")
    assert plugin.read_text().split() == ["my_plugin.inner", "my_plugin.inner.losses"]


def test_plugins_must_be_listed(recipe: dict[str, Any], load: Load) -> None:
    data = with_plugins(recipe)
    del data["plugins"]
    with pytest.raises(ProblemList) as caught:
        load(data)
    paths = [problem.rule.split("`")[1] for problem in caught.value.problems]
    assert paths == [
        "tasks.sums.kind", "evaluate.best_of_n.candidates.engine", "finetune.loss.kind", "pretrain.loss.kind",
        "pairs.chosen.from", "pairs.rejected.from",
    ]  # fmt: skip
    assert all(problem.remedy == "add `plugins: [my_plugin]`" for problem in caught.value.problems)
    data["plugins"] = ["my_plugin.tasks", "my"]  # a package is its top-level name
    with pytest.raises(ProblemList):
        load(data)


def test_a_plugin_that_is_not_installed_is_told(recipe: dict[str, Any], planned: Callable[..., Plan]) -> None:
    with pytest.raises(MissingRequirement, match="there is no module 'my_plugin"):
        planned(with_plugins(recipe))


def test_mutation_kinds_are_those_there_are() -> None:
    assert set(MUTATION_KINDS) == set(KINDS)


# ------------------------------------------------------------------------------------------------ settings share


def test_untouched_blocks_are_shared_by_settings(tmp_path: Path) -> None:
    loaded = load_recipe(write(tmp_path, TEXT))
    for setting in loaded.settings:
        assert setting.experiment.corpus is loaded.recipe.corpus
        assert setting.experiment.evaluate is loaded.recipe.evaluate
    assert loaded.settings[0].experiment.pairs is not loaded.settings[1].experiment.pairs


def test_a_setting_is_the_recipe_with_its_overrides(recipe: dict[str, Any], load: Load) -> None:
    recipe["ablations"] = {
        "axes": {"pairs.max_tokens": [64, 128], "head": {"a": {}, "b": {"finetune": {"head": "reinit"}}}}
    }
    for setting in load(recipe).settings:
        alone = copy.deepcopy(recipe)
        del alone["ablations"]
        alone["pairs"]["max_tokens"] = int(setting.values["pairs.max_tokens"].split("=")[1])
        alone["finetune"]["head"] = {"a": "carry", "b": "reinit"}[setting.values["head"]]
        assert setting.experiment == load(alone).recipe


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seeds.data", 1 << 32),
        ("seeds.data", 1 << 64),
        ("seeds.pretrain", 1 << 64),
        ("pairs.count", 1 << 64),
        ("evaluate.best_of_n.n", [1, 1 << 64]),
        ("evaluate.best_of_n.candidates.samples", 1 << 64),
        ("tasks.logic.problems.test", 1 << 64),
        ("tasks.logic.max_tokens", 1 << 64),
        ("tasks.logic.options", {"max_characters": 1 << 64}),
        ("pretrain.loss.rm", 1e300),
    ],
)
def test_a_number_that_would_overflow_later_is_told_where_it_stands(path: str, value: object) -> None:
    with pytest.raises(ProblemList) as caught:
        load_recipe(TINY, [f"{path}={json.dumps(value)}"])
    (told,) = {problem.one_line() for problem in caught.value.problems}
    assert path in told
