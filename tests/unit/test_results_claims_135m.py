"""Numbers of results/claims-135m/README.md, recomputed from the committed scores without any code of the harness."""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Callable
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

RESULTS = Path(__file__).parents[2] / "results" / "claims-135m"
MINUS = "\N{MINUS SIGN}"
Measure = Callable[[pd.DataFrame], float]
SIZES = (2, 4)  # of the Best-of-N area of pools of sixteen


def chosen_wins(scores: pd.DataFrame) -> pd.DataFrame:
    """A line a pair and model: 1 where the right response scores higher, 1/2 on a tie; and who wrote the sides."""
    keys = ["pretrain_seed", "finetune_seed", "problem"]
    sides = [scores[scores.candidate == side].set_index(keys) for side in (0, 1)]
    difference = sides[0].score - sides[1].score
    win = (difference > 0) + (difference == 0) / 2
    return pd.DataFrame({"win": win, "right": sides[0].source, "wrong": sides[1].source}).reset_index()


def mean_of_models(values: pd.DataFrame, column: str) -> float:
    """Every model counts alike; each was judged on the same problems."""
    models = values.groupby(["pretrain_seed", "finetune_seed"], dropna=False)[column].mean()
    return float(models.mean())


def pair_accuracy(scores: pd.DataFrame) -> float:
    return mean_of_models(chosen_wins(scores), "win")


def source_balanced(scores: pd.DataFrame) -> float:
    """How often a right a beats a wrong b, and a right b a wrong a: their mean, over couples by harmonic counts."""
    wins = chosen_wins(scores)
    models = len(wins.groupby(["pretrain_seed", "finetune_seed"], dropna=False))
    table = wins.groupby(["right", "wrong"]).win.agg(["mean", "count"])
    value = weight = 0.0
    for (a, b), (ab, n_ab) in table.iterrows():
        if a < b and (b, a) in table.index:
            ba, n_ba = table.loc[(b, a)]
            n_ab, n_ba = n_ab / models, n_ba / models
            harmonic = 2 * n_ab * n_ba / (n_ab + n_ba)
            value, weight = value + harmonic * (ab + ba) / 2, weight + harmonic
    return value / weight


def best_of(scores: np.ndarray, correct: np.ndarray, size: int) -> float:
    """Expected correctness of the highest score among `size` random candidates; equal scores share."""
    if correct.all() or not correct.any():
        return float(correct[0])
    total = 0.0
    for score in np.unique(scores):
        tied = scores == score
        ways = comb(int((scores <= score).sum()), size) - comb(int((scores < score).sum()), size)
        total += ways * correct[tied].mean()
    return total / comb(len(scores), size)


def bon(scores: pd.DataFrame, sizes: tuple[int, ...] = SIZES) -> float:
    rows = [
        (*key, np.mean([best_of(pool.score.to_numpy(), pool.correct.to_numpy(), size) for size in sizes]))
        for key, pool in scores.groupby(["pretrain_seed", "finetune_seed", "problem"], dropna=False)
    ]
    return mean_of_models(pd.DataFrame(rows, columns=["pretrain_seed", "finetune_seed", "problem", "value"]), "value")


MEASURES = {
    "GSM8K pairs, balanced by writer": ("gsm8k", "pair_accuracy", source_balanced),
    "GSM8K pairs": ("gsm8k", "pair_accuracy", pair_accuracy),
    "SVAMP pairs": ("svamp", "pair_accuracy", pair_accuracy),
    "SVAMP Best-of-N": ("svamp", "best_of_n", bon),
    "held-out code pairs": ("code", "pair_accuracy", pair_accuracy),
}
SIZES_DONE = (40, 80, 160, 400)
ROWS = {"n-grams": "ngrams", "prompt overlap": "prompt_overlap"}
ROWS |= {f"no PMP, {size}": f"no-pmp, samples={size}" for size in SIZES_DONE}
ROWS |= {f"RM+LM, {size}": f"rm+lm, samples={size}" for size in SIZES_DONE}
ROWS |= {"source prior": "source_prior", "RM, 80": "rm, samples=80", "LM, 80": "lm, samples=80"}


def table_of(page: str, start: str = "| row |") -> list[dict[str, str]]:
    """The page's table whose heading begins like this."""
    lines = page[page.index(start) :].partition("\n\n")[0].splitlines()
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(head, row, strict=True)) for row in rows]


@functools.cache
def scored(row: str, task: str, evaluation: str) -> pd.DataFrame:
    scores = _scores()
    return scores[(scores.row == row) & (scores.task == task) & (scores.evaluation == evaluation)]


@functools.cache
def _scores() -> pd.DataFrame:
    return pd.read_parquet(RESULTS / "scores.parquet")


@functools.cache
def value(measure: Measure, row: str, task: str, evaluation: str) -> float | None:
    found = scored(row, task, evaluation)
    return measure(found) if len(found) else None


def test_every_number_of_the_table_is_that_of_the_scores() -> None:
    page = (RESULTS / "README.md").read_text(encoding="utf-8").replace(MINUS, "-")
    rows = {row["row"]: row for row in table_of(page)}
    assert len(rows) == 19
    for column, (task, evaluation, measure) in MEASURES.items():
        values = {name: value(measure, ROWS.get(name, name), task, evaluation) for name in rows}
        found = {name: one for name, one in values.items() if one is not None}
        for size in SIZES_DONE:
            if f"no PMP, {size}" in found:
                found[f"difference at {size}"] = found[f"RM+LM, {size}"] - found[f"no PMP, {size}"]
        if rows["mean of the differences"][column]:
            found["mean of the differences"] = np.mean([found[f"difference at {size}"] for size in SIZES_DONE])
        shown = {name: float(row[column].split()[0]) for name, row in rows.items() if row[column]}
        assert shown == pytest.approx(found, abs=0.00051), column


def test_the_intervals_of_the_page_are_the_reports() -> None:
    page, report = ((RESULTS / name).read_text(encoding="utf-8") for name in ("README.md", "report.md"))

    def told(start: str) -> str:
        """The difference in the report's line that begins like this, as the page writes numbers."""
        difference = report.partition(start)[2].partition(" |")[0].replace("\\[", "[")
        estimate, interval = difference.split(" ", 1)
        return (
            f"{estimate} {interval.replace('+', '')}".replace("0.", ".")
            .replace(f"{MINUS}.000 ", ".000 ")
            .replace("+.000 ", ".000 ")
        )

    tasks = {
        "GSM8K pairs": "gsm8k, pair accuracy",
        "SVAMP pairs": "svamp, pair accuracy",
        "SVAMP Best-of-N": "svamp, BoN area",
    }
    lines = {line["row"]: line for line in table_of(page)}
    for column, task in tasks.items():
        assert lines["mean of the differences"][column] == told(f"| pmp | rm+lm | {task} | ")
        for size in SIZES_DONE:
            start = f"| rm+lm, samples={size} | no-pmp, samples={size} | {task} | "
            assert lines[f"difference at {size}"][column] == told(start), (size, column)
    alone = [told(f"| pmp | {arm} | gsm8k, pair accuracy | ") for arm in ("rm", "lm")]
    assert "(GSM8K: RM {}, LM {})".format(*alone) in page
    assert f"GSM8K's pairs gain {told('| samples | 400 | gsm8k, pair accuracy | ').removeprefix('+')}" in page
    assert f"The same on SVAMP is {told('| samples | 400 | svamp, pair accuracy | ').removeprefix('+')}" in page
    balanced = "GSM8K pairs, balanced by writer"
    tested = [
        line.strip("|").split("|") for line in report.splitlines() if re.match(r"\| [^|]+ \| rm\+lm.* against ", line)
    ]
    shown = table_of(page, "| claim |")
    assert len(tested) == len(shown) == 18
    says = ""
    for line, claim in zip(shown, tested, strict=True):
        says = line["claim"].partition(" (of")[0].partition(" (by")[0] or says
        cells = [cell.strip() for cell in claim]
        assert (says, line["verdict"], line["problems"]) == (cells[0], cells[3], cells[5])
        assert {**tasks, balanced: "gsm8k, pair accuracy, source-balanced"}[line["judged on"]] == cells[2]
        assert line["difference"] == told(f"| {cells[1]} | {cells[2]} | {cells[3]} | ")
        assert line["detectable"] == cells[7].replace("0.", ".")
    assert lines["mean of the differences"][balanced] == shown[3]["difference"]
    assert [lines[f"difference at {size}"][balanced] for size in (80, 400)] == [
        shown[0]["difference"],
        shown[6]["difference"],
    ]


def test_differences_that_claims_and_prose_name_are_those_of_the_scores() -> None:
    page = (RESULTS / "README.md").read_text(encoding="utf-8").replace(MINUS, "-")
    no_pmp, both = ({size: f"{arm}, samples={size}" for size in SIZES_DONE} for arm in ("no-pmp", "rm+lm"))
    contrasts = [  # in the order of the claims
        [(both[80], no_pmp[80])],
        [(both[size], no_pmp[size]) for size in SIZES_DONE],
        [(both[400], no_pmp[400])],
        [(both[80], no_pmp[400])],
        [(both[80], "lm, samples=80")],
        [(both[80], "rm, samples=80")],
    ]

    def difference(more: str, less: str, column: str) -> float:
        task, evaluation, measure = MEASURES[column]
        values = [value(measure, row, task, evaluation) for row in (more, less)]
        assert values[0] is not None
        assert values[1] is not None
        return values[0] - values[1]

    claims = table_of(page, "| claim |")
    assert len(claims) == 3 * len(contrasts)
    for at, line in enumerate(claims):
        found = np.mean([difference(more, less, line["judged on"]) for more, less in contrasts[at // 3]])
        assert float(line["difference"].split()[0]) == pytest.approx(found, abs=0.00051), line
    code = "held-out code pairs"
    for more, less, column, told in (
        (both[80], "prompt_overlap", code, "are {} [.090, .226] above the"),
        ("rm, samples=80", "prompt_overlap", code, "with RM alone {} [.040, .190]"),
        (both[80], "rm, samples=80", code, "RM+LM is {} [-.004, .091]"),
        ("rm, samples=80", "lm, samples=80", "GSM8K pairs", "RM is {} [-.069, .118] above LM"),
    ):
        assert told.format(f"{difference(more, less, column):.3f}".replace("0.", ".")) in page


def test_the_intervals_of_rows_are_the_leaderboards() -> None:
    metrics = {pair_accuracy: "pair_accuracy", source_balanced: "source_balanced", bon: "area"}
    with open(RESULTS / "leaderboard.csv", encoding="utf-8", newline="") as file:
        known = {(one["row"], one["task"], one["metric"]): one for one in csv.DictReader(file)}
    checked = 0
    for line in table_of((RESULTS / "README.md").read_text(encoding="utf-8")):
        for column, (task, _, measure) in MEASURES.items():
            if line["row"].endswith(tuple(f", {size}" for size in SIZES_DONE)) and line[column]:
                found = known[ROWS[line["row"]], task, metrics[measure]]
                low, high = (f"{float(found[bound]):.2f}".replace("0.", ".", 1) for bound in ("low", "high"))
                assert line[column].endswith(f" [{low}, {high}]"), (line["row"], column)
                checked += 1
    assert checked == 2 * len(SIZES_DONE) * 4 + 2 * 4 + len(SIZES_DONE) + 1  # code: each RM+LM, and RM


def test_the_ceiling_of_svamp_is_that_of_the_pools() -> None:
    pools = scored("no-pmp, samples=80", "svamp", "best_of_n")
    pools = pools[pools.finetune_seed == 0].assign(score=lambda one: one.correct)
    right, best = pools.groupby("problem").correct.mean().mean(), bon(pools, (4,))
    told = f"a random candidate is right at {right:.3f}, the best of four at {best:.3f}".replace("0.", ".")
    assert told in (RESULTS / "README.md").read_text(encoding="utf-8")


def test_the_fine_tuning_seeds_that_the_page_names_are_those_of_the_scores() -> None:
    found = scored("no-pmp, samples=80", "gsm8k", "pair_accuracy")
    seeds = sorted(source_balanced(one) for _, one in found.groupby("finetune_seed"))
    told = "{:.3f},\n  {:.3f} and {:.3f} on GSM8K's balanced pairs".format(*seeds).replace("0.", ".")
    assert " ".join(told.split()) in " ".join((RESULTS / "README.md").read_text(encoding="utf-8").split())


def test_the_leaderboard_is_that_of_the_scores() -> None:
    headline = {"pair_accuracy": pair_accuracy, "source_balanced": source_balanced, "area": bon}
    compared = 0
    with open(RESULTS / "leaderboard.csv", encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            evaluation = "best_of_n" if line["metric"] == "area" else "pair_accuracy"
            measure = headline.get(line["metric"])
            found = value(measure, line["row"], line["task"], evaluation) if measure and line["estimate"] else None
            if found is not None:
                assert float(line["estimate"]) == pytest.approx(found, abs=2e-6), line["row"]
                compared += 1
    assert compared >= 25
