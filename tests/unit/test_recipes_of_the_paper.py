"""The recipes of the paper and its open questions: what each asks for, where its values come from, and that it plans.

Data of the hub is assumed as published, and nothing is asked of the hub.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness.cli.workspace import open_workspace
from harness.errors import ProblemList
from harness.pipeline.kind import Known
from harness.plan.claims import claims_power
from harness.plan.cost import estimate
from harness.plan.match import matching
from harness.plan.plan import Plan
from harness.plan.price import price_of
from harness.recipe.load import load_recipe
from harness.store.store import Snapshot, Store

ROOT = Path(__file__).parents[2]
FOLDERS = ("paper", "open-questions", "controls")
SOURCES = ("paper", "released code", "derived", "unverified", "ours")
WANT_IMPORTS = ("open-questions/pair-order", "paper/coding")  # of a reward model, of pools of candidates

# recipe -> settings, and runs of PMP, which settings share that differ in fine-tuning alone
ASKED = {
    "paper/main": (12, 9),
    "paper/main-7b": (12, 9),
    "paper/loss-combinations": (48, 27),
    "paper/loss-combinations-dev": (48, 27),
    "paper/pair-count": (15, 15),
    "paper/pair-count-full": (36, 12),
    "paper/pair-construction": (18, 18),
    "paper/data-source": (6, 6),
    "paper/schedule": (6, 6),
    "paper/end-token": (9, 9),
    "paper/sample-efficiency": (40, 3),
    "paper/architectures": (18, 9),
    "paper/generator-families": (6, 6),
    "paper/coding": (4, 9),
    "open-questions/two-million": (6, 3),
    "open-questions/cross-family": (27, 27),
    "open-questions/generator-strength": (27, 27),
    "open-questions/beyond-mathematics": (8, 3),
    "open-questions/loss-weights": (1, 3),
    "open-questions/non-code-pmp": (12, 9),
    "open-questions/where-the-lm-term-belongs": (18, 6),
    "open-questions/pair-properties": (7, 21),
    "open-questions/pair-order": (3, 9),
    "controls/what-is-preference": (33, 18),  # three wait for counted tokens, and share their trunks
}


def test_each_asks_for_what_it_says_and_is_in_the_table_of_questions() -> None:
    found = {f"{folder}/{path.stem}": path for folder in FOLDERS for path in (ROOT / "recipes" / folder).glob("*.yaml")}
    assert {name: len(load_recipe(path).settings) for name, path in found.items()} == {
        name: settings for name, (settings, _) in ASKED.items()
    }
    questions = (ROOT / "docs" / "questions.md").read_text(encoding="utf-8")
    assert not [name for name in ASKED if f"`{name.split('/')[1]}.yaml`" not in questions]


@pytest.mark.parametrize("name", ASKED)
def test_every_value_names_its_source(name: str) -> None:
    text = (ROOT / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
    assert "Question:" in text
    assert "Settled by:" in text
    assert re.search(r"Nothing here was\s+(# )?run by us", text)
    for line in text.splitlines():
        if re.match(r"#|extends:|name:|notes:", line):
            continue
        value, _, source = re.sub(r"[\w.-]+: (null|\{\})", "", line).partition("#")
        assert not re.search(r"[:-] +[^\s{]|\[", value) or any(word in source for word in SOURCES), line


def test_the_table_of_questions_has_the_prices_that_were_worked_out() -> None:
    """By tests/bench/bench_paper.py, which plans all of them together."""
    found = json.loads((ROOT / "tests" / "bench" / "results" / "paper.json").read_text(encoding="utf-8"))
    hours = {Path(one["recipe"]).stem: f"{one['hours']:,.0f}" for one in found["recipes"]}
    questions = (ROOT / "docs" / "questions.md").read_text(encoding="utf-8")
    told = {}
    for line in questions.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 6 and (name := re.match(r"`([\w-]+)\.yaml`", cells[2])):
            told.setdefault(name[1], cells[4])
    assert {told.pop(Path(name).name) for name in WANT_IMPORTS} == {""}
    assert told == {name: hours[name] for name in told}
    assert f"{found['gpu_hours']:,.0f} H100-hours instead of {found['gpu_hours_apart']:,.0f}" in questions


def test_imports_that_a_recipe_lacks_are_named_before_anything_is_planned(tmp_path: Path) -> None:
    with pytest.raises(ProblemList) as told:
        open_workspace(ROOT / "recipes" / "paper" / "coding.yaml", [], tmp_path)
    lines = [str(one) for one in told.value.problems]
    pools = ("humaneval-candidates", "mbpp-candidates", "code-ultrafeedback")
    assert len(lines) == len(pools)
    for line, name in zip(lines, pools, strict=True):
        assert re.search(rf"coding\.yaml:\d+: .*`harness import pool PATH --name {name} ", line)


# ------------------------------------------------------------------------------------------------------- plans


def planned(name: str, folder: Path) -> Plan:
    """One fine-tuning seed, since what several share is no business of these recipes, and few parts."""
    path = ROOT / "recipes" / f"{name}.yaml"
    count = load_recipe(path).data["pairs"]["count"]
    fewer = ["seeds.finetune=1", f"pairs.part_size={count}"]
    return open_workspace(path, fewer, folder / "workdir", fetches=False).plan


def asked(plan: Plan) -> int:
    """Settings, those included that are planned once their tokens are counted."""
    return len(plan.settings) + sum(matching(one) is not None for one in plan.loaded.waiting)


def fits(plan: Plan, folder: Path) -> bool:
    """Whether every model's size is known, and each stage fits the GPU that the recipe is priced for."""
    store, runtime = Store(folder / "store"), plan.loaded.recipe.runtime
    known = Known(Snapshot(store), plan.stages)
    price = price_of(estimate(plan.stages, plan.stages, store, 1, known).costs, known, runtime)
    return price.fits and not price.unknown


def trained(plan: Plan, kind: str) -> set[str]:
    return {stage.fingerprint for stage in plan.stages if stage.kind.name == kind}


def test_each_plans_and_shares_what_it_trains(tmp_path: Path) -> None:
    plans = {name: planned(name, tmp_path) for name in ASKED if name not in WANT_IMPORTS}
    assert {name: (asked(plan), len(trained(plan, "pretrain"))) for name, plan in plans.items()} == {
        name: asked for name, asked in ASKED.items() if name not in WANT_IMPORTS
    }
    # The analysis will have what claims compare; one fine-tuning seed, as here, is too few for those against no PMP.
    claims = [one for plan in plans.values() for one in claims_power(plan, Store(tmp_path / "workdir" / "store"))]
    assert len({one.claim for one in claims}) > 20
    assert {one.lacking.partition(":")[0] for one in claims} == {"", "1 fine-tuning seed"}
    assert not [name for name, plan in plans.items() if not fits(plan, tmp_path)]
    # What recipes say they share, in one workdir, is the same stage.
    loss_combinations = [plans[f"paper/loss-combinations{end}"] for end in ("", "-dev")]
    assert len({frozenset(trained(plan, "finetune")) for plan in loss_combinations}) == 1
    # The paper's fine-tuning is one of those that are tried, for each arm and size: it is trained once.
    sizes, runs, tries = 10, 3 + 1, 4 * 2 * 2  # three PMP seeds and no PMP
    tuned = plans["paper/sample-efficiency"]
    assert len(trained(tuned, "tuned")) == sizes * runs
    assert len(trained(tuned, "finetune")) == sizes * runs * tries
    assert trained(plans["paper/main"], "pretrain") < trained(plans["paper/loss-combinations"], "pretrain")
    assert trained(plans["open-questions/two-million"], "finetune") < trained(
        plans["open-questions/where-the-lm-term-belongs"], "finetune"
    )
