"""A recipe with `finetune.tune`, run: what was chosen stands in every output, and outlives what was not chosen."""

from __future__ import annotations

import json
from collections.abc import Callable

from harness.cli.workspace import Workspace
from harness.report.status import look
from harness.store.artifacts import Checkpoint
from harness.tracking.build import build_view
from tests.integration.pipelines import TINY, folder_of, left, only, record_of, tiny
from tests.integration.shell import Shell

RATES = (1.0e-9, 3.0e-3)  # the second is the recipe's own
TUNED = (
    "name=tuned",
    f"finetune.tune={{learning_rate: [{RATES[0]}, {RATES[1]}]}}",
    "ablations.axes.loss={rm+lm: null}",
    "runtime.keep={finetune: record}",
)


def test_what_was_chosen_is_told_and_outlives_the_other_tries(shell: Shell, copy: Callable[..., Workspace]) -> None:
    workdir = copy().workdir
    words = (TINY, "--workdir", workdir, *(word for one in TUNED for word in ("--set", one)))
    assert shell("run", *words) == 0
    workspace = tiny(workdir, *TUNED)
    store, chosen = workspace.store, only(workspace, "tuned")
    result = record_of(store, chosen).result
    values = [one["value"] for one in result["tries"]]
    assert result["chosen"] == values.index(max(values))
    end = ("smallest", "largest")[result["chosen"]]
    assert result["edges"] == {"learning_rate": end}

    reports = workdir / "reports" / "tuned"
    told = f"{RATES[result['chosen']]:g} in 1"
    for name in ("report.html", "report.md"):
        text = (reports / name).read_text()
        assert told in text
        assert f"the {end} tried in 1 of 1" in text
    trained = json.loads((reports / "report.json").read_text())
    assert [one["name"] for one in trained["settings"]] == ["no-pmp"]

    states = {key: status.state for key, status in look(workspace.plan.stages, store).items()}
    (variant,) = (run for run in build_view(workspace.plan, store, states, None).runs if run.kind == "variant")
    assert variant.tags["tuned.learning_rate"] == f"{RATES[result['chosen']]} (the {end} tried)"
    assert len(variant.metrics["finetune/loss_rm"]) == 4  # 32 pairs, 8 a step: the chosen training's curve

    assert shell("gc", *words) == 0
    assert list(Checkpoint(folder_of(store, chosen)).model.rglob("*.safetensors"))
    tries = [folder_of(store, item.stage) for name, item in chosen.inputs.items() if name.startswith("checkpoint")]
    assert not any(list(Checkpoint(folder).model.rglob("*.safetensors")) for folder in tries)
    assert left(workspace) == []
