"""`harness.results` and `harness.scores` against the records and artifacts they are made from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import harness
from harness.cli.workspace import Workspace
from harness.errors import CorruptArtifact, StoreError
from harness.evaluation.best_of_n import best_of_n
from harness.report.index import write_index
from harness.store.artifacts import Candidates, Pairs, Scores
from tests.integration.pipelines import TINY, folder_of, of_kind, record_of
from tests.integration.shell import Shell


@pytest.fixture
def reported(shell: Shell, copy: Callable[..., Workspace]) -> Workspace:
    workspace = copy()
    assert shell("report", TINY, "--workdir", workspace.workdir) == 0
    return workspace


# -------------------------------------------------------------------------------------------------------- results


def test_results_are_the_records(reported: Workspace) -> None:
    table = harness.results(reported.workdir)
    assert table.done.all()
    assert set(table.retracted) == {""}
    for variant in (*reported.plan.variants, *reported.plan.references):
        for outcome in variant.outcomes:
            result = record_of(reported.store, outcome.stage).result
            lines = table[table.stage == outcome.stage.name]
            pool = outcome.metric == "pool_baselines"
            if not pool:
                lines = lines[lines.row == variant.setting]
            found = {
                f"{row}/{metric}" if pool else metric: value
                for row, metric, value in lines[["row", "metric", "value"]].itertuples(index=False)
            }
            assert found == result["means"]
            assert set(lines.problems) == {result["pairs"] if outcome.metric == "pair_accuracy" else result["problems"]}
            assert set(lines.task) == {outcome.task}
            assert set(lines.evaluation) == {"best_of_n" if pool else outcome.metric}


def test_a_recipe_that_was_not_reported_is_told_with_those_that_were(reported: Workspace) -> None:
    for look in (harness.results, harness.scores):
        with pytest.raises(StoreError, match=r"no recipe 'tinny' in .*; reported here: tiny$"):
            look(reported.workdir, recipe="tinny")


def test_results_name_rows_seeds_and_axes(reported: Workspace) -> None:
    table = harness.results(reported.workdir, recipe="tiny")
    references = ["mean", "majority", "shortest", "longest", "oracle", "length", "ngrams", "prompt_overlap"]
    assert list(dict.fromkeys(table.row)) == ["rm+lm", "no-pmp", *references]
    assert table.pretrain_seed.dtype == table.finetune_seed.dtype == pd.Int64Dtype()
    settings = table[table.kind == "setting"]
    assert (settings["axis.loss"] == settings.row).all()
    assert table[table.kind == "reference"]["axis.loss"].isna().all()
    assert settings[settings.row == "no-pmp"].pretrain_seed.isna().all()
    assert (settings[settings.row == "rm+lm"].pretrain_seed == 0).all()


def test_what_is_not_done_has_a_line_and_no_value(reported: Workspace) -> None:
    stage = of_kind(reported, "best_of_n")[0]
    reported.store.discard(record_of(reported.store, stage))
    table = harness.results(str(reported.workdir))
    (line,) = table[table.stage == stage.name].to_dict("records")
    assert (line["metric"], line["done"]) == ("area", False)
    assert np.isnan(line["value"])


def test_results_of_nothing_are_refused(tmp_path: Path, finished: Workspace) -> None:
    with pytest.raises(StoreError, match="harness report"):
        harness.results(tmp_path)
    write_index(finished.plan, tmp_path / "reports" / "tiny")
    with pytest.raises(StoreError, match="no recipe 'other'"):
        harness.results(tmp_path, recipe="other")
    assert not harness.results(tmp_path).done.any()


# --------------------------------------------------------------------------------------------------------- scores


def test_scores_give_best_of_n_by_hand(reported: Workspace) -> None:
    table = harness.scores(reported.workdir, "tiny", task="logic")
    known = harness.results(reported.workdir)
    decided = table.groupby(["row", "problem"]).correct.transform("nunique") == 1
    assert not (table.score.isna() & ~decided).any()
    table.score = table.score.fillna(0)  # any number will do where all candidates are right, or all are wrong
    for row in ("rm+lm", "no-pmp", "length", "ngrams"):
        pools = [
            pool.sort_values("candidate")
            for _, pool in table[(table.row == row) & (table.evaluation == "best_of_n")].groupby("problem")
        ]
        assert len(pools) == 8
        for size in (1, 2, 4):
            mean = np.mean([best_of_n(pool.score, pool.correct, [size])[0] for pool in pools])
            (value,) = known[(known.row == row) & (known.metric == f"bon@{size}")].value
            assert value == pytest.approx(mean, abs=1e-6)
        pairs = table[(table.row == row) & (table.evaluation == "pair_accuracy")].pivot(
            index="problem", columns="candidate", values="score"
        )
        accuracy = ((pairs[0] > pairs[1]) + 0.5 * (pairs[0] == pairs[1])).mean()
        (value,) = known[(known.row == row) & (known.metric == "pair_accuracy") & (known.task == "logic")].value
        assert value == pytest.approx(accuracy, abs=1e-6)


def test_scores_hold_every_response_as_it_is(reported: Workspace) -> None:
    (stage,) = of_kind(reported, "candidates")
    rows = Candidates(folder_of(reported.store, stage)).rows()
    table = harness.scores(reported.workdir, "tiny")
    pool = table[(table.row == "length") & table.source.notna()]
    assert pool.problem.tolist() == [row["problem"] for row in rows]
    assert pool.length.tolist() == [len(row["text"]) for row in rows]
    assert pool.correct.tolist() == [row["correct"] for row in rows]
    assert set(pool.source) == {"simulated"}
    assert pool.candidate.tolist() == [row["index"] for row in rows]
    (probe,) = {
        outcome.stage for variant in reported.plan.variants for outcome in variant.outcomes if outcome.task == "code"
    }
    code = table[(table.task == "code") & (table.row == "rm+lm")]
    pairs = Pairs(folder_of(reported.store, probe.inputs["pairs"].stage)).rows()
    scores = Scores(folder_of(reported.store, probe.inputs["scores"].stage)).rows()
    assert code.problem.tolist() == [pairs[one["group"]]["id"] for one in scores]
    assert code.score.tolist() == [one["score"] for one in scores]
    assert code.candidate.tolist() == [one["response"] for one in scores]
    assert (code.correct == (code.candidate == 0)).all()
    assert code.finetune_seed.isna().all()
    sides = [pairs[one["group"]]["rejected" if one["response"] else "chosen"] for one in scores]
    assert code.length.tolist() == [len(side) for side in sides]


def test_a_line_for_every_row_that_an_evaluation_is_of(reported: Workspace) -> None:
    table = harness.scores(reported.workdir, "tiny")
    wanted = {
        (variant.setting, outcome.task, None if outcome.task == "code" else variant.finetune_seed)
        for variant in (*reported.plan.variants, *reported.plan.references)
        for outcome in variant.outcomes
        if outcome.metric != "pool_baselines"
    }
    found = table[["row", "task", "finetune_seed"]].drop_duplicates().astype(object)
    assert {tuple(None if pd.isna(cell) else cell for cell in line) for line in found.to_numpy()} == wanted
    assert list(table.columns) == [
        *("problem", "candidate", "source", "length", "correct", "score"),
        *("row", "pretrain_seed", "finetune_seed", "task", "evaluation"),
    ]
    whole = ("candidate", "length", "pretrain_seed", "finetune_seed")
    assert [str(table[name].dtype).lower() for name in whole] == ["int64"] * 4


def test_rows_have_the_names_of_the_last_report(shell: Shell, reported: Workspace) -> None:
    renamed = ("--name", "tiny", "--set", "ablations.axes.loss={both: {}, no-pmp: {pretrain: null}}")
    assert shell("report", TINY, "--workdir", reported.workdir, *renamed) == 0, shell.err
    table = harness.scores(reported.workdir, "tiny")
    assert "rm+lm = both" in set(table.row), "another value of an axis that is the same setting is a name of it"
    assert "rm+lm" not in set(table.row)


def test_evaluations_asked_for_no_more_have_no_scores(shell: Shell, reported: Workspace) -> None:
    fewer = ("--name", "tiny", "--set", "evaluate.pair_accuracy=null", "--set", "evaluate.code_pairs=null")
    assert shell("report", TINY, "--workdir", reported.workdir, *fewer) == 0
    table = harness.scores(reported.workdir, "tiny")
    assert set(table.task) == {"logic"}
    assert table.source.notna().all()


def test_dropped_scores_are_left_out_with_a_warning(shell: Shell, reported: Workspace) -> None:
    drop = ("--set", "runtime.keep={score: record}")
    assert shell("gc", TINY, "--workdir", reported.workdir, *drop) == 0
    with pytest.warns(UserWarning, match="scores of 5 evaluations were dropped and are left out"):
        table = harness.scores(reported.workdir, "tiny")
    assert set(table.row) == {"length", "ngrams", "prompt_overlap"}


def test_damaged_scores_are_refused(reported: Workspace) -> None:
    stage = of_kind(reported, "score")[0]
    path = folder_of(reported.store, stage) / Scores.file
    path.write_bytes(os.urandom(path.stat().st_size))
    with pytest.raises(CorruptArtifact, match=f"{stage.fingerprint[:12]}/{Scores.file} is not as its record has it"):
        harness.scores(reported.workdir, "tiny")


def test_scores_of_nothing_are_refused(finished: Workspace, reported: Workspace, tmp_path: Path) -> None:
    write_index(finished.plan, tmp_path / "reports" / "tiny")
    with pytest.raises(StoreError, match="'tiny' has none"):
        harness.scores(tmp_path, "tiny")
    with pytest.raises(StoreError, match="on 'other'"):
        harness.scores(reported.workdir, "tiny", task="other")
