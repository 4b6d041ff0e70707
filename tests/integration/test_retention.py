"""Retention: the likelihood stage against plain transformers, and its values on the board beside the base's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import harness
from harness.cli.workspace import Workspace
from harness.pipeline.graph import Stage
from harness.stages import likelihood
from harness.store.artifacts import Checkpoint, ProblemValues, Scores, Tokens
from tests.integration.pipelines import TINY, folder_of, of_kind, record_of, run
from tests.integration.shell import Shell

ASKED = ("--set", "evaluate.retention=true")


def plainly(model: torch.nn.Module, before: np.ndarray, text: np.ndarray) -> tuple[float, int]:
    """(-ln p of a text after what stands before it, tokens predicted), one sequence at a time."""
    ids = torch.from_numpy(np.concatenate([before, text]).astype(np.int64))[None]
    with torch.inference_mode():
        logits = model(ids).logits[0, :-1].double()
    losses = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
    first = max(len(before) - 1, 0)
    return float(losses[first:].sum()), len(losses) - first


def test_retention_equals_plain_transformers_and_stands_on_the_board(
    shell: Shell, copy: Callable[..., Workspace]
) -> None:
    workspace = copy("evaluate.retention=true", "name=tiny")
    added = [one for one in workspace.work().to_run if one.kind.name != "analysis"]
    assert sorted(one.kind.name for one in added) == ["likelihood", "likelihood", "retention", "retention"]
    assert not run(workspace, added).failed
    means: dict[str, float] = {}
    for stage in of_kind(workspace, "retention"):
        scored = stage.inputs["scores"].stage
        means[scored.inputs["checkpoint"].stage.kind.name] = as_transformers(workspace, scored, stage)
    assert set(means) == {"base", "pretrain"}
    assert means["base"] != pytest.approx(means["pretrain"], rel=1e-3)
    assert shell("report", TINY, *ASKED, "--name", "tiny", "--workdir", workspace.workdir) == 0, shell.err
    told = (workspace.reports / "report.md").read_text(encoding="utf-8")
    assert "1/perplexity, code" in told
    assert f"{means['base']:.3f}" in told
    assert f"{means['pretrain']:.3f}" in told
    assert shell("compare", "rm+lm", "no-pmp", "--workdir", workspace.workdir) == 0, shell.err
    assert "1/perplexity" in shell.out
    assert set(harness.scores(workspace.workdir, "tiny", "code")["row"]) == {
        "rm+lm",
        "length",
        "ngrams",
        "prompt_overlap",
    }


def test_retention_needs_held_out_pairs(shell: Shell) -> None:
    assert shell("validate", TINY, *ASKED, "--set", "evaluate.code_pairs=null") == 2
    assert "add `code_pairs`" in shell.err


def as_transformers(workspace: Workspace, scored: Stage, values: Stage) -> float:
    """Hold a likelihood stage and the values made of it to plain transformers; the mean probability of code."""
    store = workspace.store
    model = AutoModelForCausalLM.from_pretrained(
        Checkpoint(folder_of(store, scored.inputs["checkpoint"].stage)).model
    ).eval()
    reader = Tokens(folder_of(store, scored.inputs["tokens"].stage)).open()
    rows = [(row["group"], row["response"], row["score"]) for row in Scores(folder_of(store, scored)).rows()]
    found = {(group, response): score for group, response, score in rows}
    totals, probabilities = np.zeros((2, 2)), []
    for number, row in enumerate(reader.rows):
        prompt, chosen, _ = reader.group(number)
        for response, (before, text) in enumerate([(prompt, chosen), (likelihood.NO_TOKENS, prompt)]):
            loss, count = plainly(model, before, text)
            totals[response] += loss, count
            assert found[int(row), response] == pytest.approx(-loss / count, abs=1e-5)
        probabilities.append(np.exp(found[int(row), 0]))
    result = record_of(store, scored).result
    assert result["perplexity"]["chosen"] == pytest.approx(np.exp(totals[0, 0] / totals[0, 1]), rel=1e-5)
    assert result["perplexity"]["prompts"] == pytest.approx(np.exp(totals[1, 0] / totals[1, 1]), rel=1e-5)
    stored = [
        one["value"] for one in ProblemValues(folder_of(store, values)).rows() if one["metric"] == "code_probability"
    ]
    assert stored == pytest.approx(probabilities)
    return float(np.mean(stored))
