"""A recipe with everything that can come from outside, and the assets it names."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from harness.cli.run_command import run_command
from harness.cli.workspace import Workspace, open_workspace
from tests.integration.pipelines import TINY
from tests.toys.lm_eval_tasks import write_lm_eval_tasks
from tests.toys.published import (
    rows_of_choices,
    rows_of_pairs,
    rows_of_pool,
    rows_of_rewardbench2,
    rows_of_rm_bench,
    rows_of_scores,
    write_classifier,
    write_lines,
)
from tests.toys.small_models import save_small_model

# Kinds of stages that only this recipe has; all others are in the tiny one.
OUTSIDE = frozenset(
    {
        "imported_checkpoint",
        "imported_pairs",
        "imported_pool",
        "imported_scores",
        "split_pairs",
        "aligned_scores",
        "pretrained",
        "descriptions_part",
        "writings_part",
        "judgements",
        "consistent_part",
        "average",
        "tuned",
        "tally",
        "options",
        "choices",
        "choice_baselines",
        "rewardbench2",
        "rm_bench",
        "likelihood",
        "retention",
        "lm_eval_task",
        "lm_eval",
        "altered",
        "robustness",
        "effects",
    }
)
# One kind of each way in which a stage writes: a table, tokens, a training, scores, JSON, and parts put together.
SAMPLE = ("pairs_part", "encode", "finetune", "score", "analysis", "corpus")
HOSTILE = "</script><script>alert(1)</script>"
WORDS = ("--licence", "MIT", "--source", "example.org/a b")
IMPORTED_PAIRS = {
    "import": "a-pairs",
    "count": 40,
    "heldout": 0.3,
    "flip_rate": 0.1,
    "end_token": "eos",
    "order": {"checkpoint": "a-checkpoint", "first": "easiest"},
}
RECIPE: dict[str, Any] = {
    "extends": str(TINY),
    "name": "from-outside",
    "tasks": {
        "pot": {
            "kind": "pool",
            "import": "a-pool",
            "problems": {"finetune": 10, "dev": 4, "test": 8},
            "max_tokens": 256,
        }
    },
    "finetune": {"tasks": ["logic", "pot"], "samples": 16},
    "evaluate": {
        "best_of_n": {"tasks": ["logic", "pot"]},
        "pair_accuracy": {"tasks": ["pot"], "samples": 12},
        "choices": {"tasks": ["pot", "everyday"]},
        "imported": {
            "my-rm": {"checkpoint": "a-checkpoint", "text": "chat", "max_tokens": 512},
            "published": {"scores": "a-scores"},
        },
    },
    "ablations": {
        "axes": {
            "loss": None,
            "pairs": {
                "made": {
                    "evaluate.rewardbench2": {"tasks": ["best_of_four"]},
                    "evaluate.rm_bench": {"tasks": ["styles"]},
                    "evaluate.robustness": {"tasks": ["logic"]},
                },
                "imported": {"pairs": IMPORTED_PAIRS},
                "matched": {"pretrain.match": {"flops": "made"}},  # waits until its tokens are counted
                "averaged": {
                    "pretrain.average": {"over": "seeds", "count": 2},
                    "finetune.tasks": ["logic"],
                    "finetune.tune": {"epochs": [1, 2]},
                },
            },
        }
    },
}


def written_by(model: Path) -> dict[str, Any]:
    """Overrides: pairs whose descriptions and sides a model writes."""
    writer = {"model": {"source": "folder", "path": str(model)}, "engine": "transformers", "precision": "fp32"}
    return {
        "pairs.quality": {"on_fail": "warn"},
        "pairs.prompt": {"from": "description", "describer": {**writer, "max_tokens": 12}},
        "pairs.chosen": {"from": "model", **writer, "temperature": 0.2, "max_tokens": 16},
        "pairs.rejected": {"from": "model", **writer, "description_share": 0.5, "max_tokens": 16},
        "pairs.judges": {"small": {**writer, "max_tokens": 4}, "rm": {"checkpoint": "a-checkpoint", "text": "chat"}},
        "pairs.filter": {"min_agreement": 0.0},
        "pairs.match_length": {"drafts": 2, "tolerance": 10.0},
    }


def recipe_of(folder: Path) -> dict[str, Any]:
    """The recipe, with a setting whose pairs a tiny model writes and one that starts from that model."""
    model = save_small_model(folder / "small")
    recipe = copy.deepcopy(RECIPE)
    for task, kind, part, rows in (
        ("everyday", "commonsense_qa", "validation", rows_of_choices(8)),
        ("best_of_four", "rewardbench2", "test", rows_of_rewardbench2()),
        ("styles", "rm_bench", "test", rows_of_rm_bench()),
    ):
        place = {part: str(write_lines(folder / f"{task}.jsonl", rows))}
        recipe["tasks"][task] = {"kind": kind, "path": place, "problems": {"test": "all"}}
    tasks = write_lm_eval_tasks(folder / "lm_eval")
    made = recipe["ablations"]["axes"]["pairs"]["made"]
    made["evaluate.retention"] = {"lm_eval": {"tasks": ["options"], "include_path": str(tasks), "limit": 4}}
    recipe["ablations"]["axes"]["pairs"]["written"] = written_by(model)
    says = {"says": "Made pairs help", "better": "made", "than": "imported", "on": {"best_of_n": ["logic"]}}
    recipe["claims"] = {"made": says}
    recipe["ablations"]["include"] = [
        {"name": "pretrained", "set": {"model": {"source": "folder", "path": str(model)}}}
    ]
    return recipe


def pool_rows() -> list[dict[str, Any]]:
    """A pool of 8 candidates a problem, with a text in it that must not be run by any browser."""
    rows = rows_of_pool(24, 8)
    for number, row in enumerate(rows):
        for index, candidate in enumerate(row["candidates"]):
            candidate["logprob"] = -1.0 - (number + 3 * index) % 8
        row["question"] += f" {HOSTILE}"
        row["candidates"][0]["text"] += f"\n{HOSTILE}"
    return rows


def write_assets(folder: Path) -> dict[str, Path]:
    """One asset of every kind."""
    pool = pool_rows()
    return {
        "pool": write_lines(folder / "pool.jsonl", pool),
        "pairs": write_lines(folder / "pairs.jsonl", rows_of_pairs(90)),
        "scores": write_lines(folder / "scores.jsonl", rows_of_scores(pool, task="pot")),
        "checkpoint": write_classifier(folder / "checkpoint", "qwen2"),
    }


def harness_import(what: str, path: Path, workdir: Path, *more: str) -> int:
    words = more or ("--name", f"a-{what}", *WORDS)
    return run_command(["import", what, str(path), *words, "--workdir", str(workdir)])


def words_of(what: str) -> dict[str, str]:
    """What the run recipe's assets are said to be: texts that no page may run."""
    return {"name": f"a-{what}", "licence": HOSTILE, "source": f"{HOSTILE} & more"}


def run_with_assets(folder: Path) -> None:
    """Import everything and run the recipe, by the commands."""
    for what, path in write_assets(folder).items():
        words = [word for key, value in words_of(what).items() for word in (f"--{key}", value)]
        assert harness_import(what, path, folder / "w", *words) == 0
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(recipe_of(folder), sort_keys=False), encoding="utf-8")
    assert run_command(["run", str(recipe), "--workdir", str(folder / "w")]) == 0


def workspace_of(folder: Path) -> Workspace:
    """What was run there."""
    return open_workspace(folder / "recipe.yaml", [], folder / "w")
