"""Tasks of lm-eval are found among its own files as it finds them, and no YAML makes planning endless."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import MissingRequirement
from harness.sources.lm_eval_tasks import UNRESOLVED, LmEvalName, find_lm_eval_task


def test_tasks_of_lm_eval_are_found_whether_or_not_their_keys_are_quoted() -> None:
    plain, quoted = (find_lm_eval_task(LmEvalName(name, None)) for name in ("gsm8k", "mmlu_abstract_algebra"))
    assert (plain.dataset, plain.subset, plain.revision) == ("openai/gsm8k", "main", UNRESOLVED)
    assert (plain.metrics, plain.filters) == (("exact_match",), ("strict-match", "flexible-extract"))
    assert (quoted.dataset, quoted.subset, quoted.revision) == ("cais/mmlu", "abstract_algebra", UNRESOLVED)
    assert list(quoted.files) == sorted(quoted.files)
    assert {Path(name).name for name in quoted.files} == {"_default_template_yaml", "mmlu_abstract_algebra.yaml"}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("mmlu", "'mmlu' is a group of tasks; name tasks, such as"),
        ("ai2_arc", "'ai2_arc' is a tag of tasks; name tasks, such as arc_easy"),
        ("mmlu_abstract_algebr", "did you mean `mmlu_abstract_algebra`?"),
        ("wikitext", "no metric between 0 and 1 of each document"),
        ("humaneval", "runs code that a model writes"),
        ("squadv2", "is a Python class"),
    ],
)
def test_what_is_no_task_to_judge_by_document_is_refused(name: str, told: str) -> None:
    with pytest.raises(MissingRequirement) as error:
        find_lm_eval_task(LmEvalName(name, None))
    assert told in error.value.one_line()


def test_aliases_of_aliases_are_read_once(tmp_path: Path) -> None:
    lines = ["task: many", "dataset_path: json", "output_type: multiple_choice", "level_0: &level_0 [!function own.f]"]
    lines += [f"level_{at}: &level_{at} [{', '.join([f'*level_{at - 1}'] * 10)}]" for at in range(1, 12)]
    lines += [f"dataset_kwargs: {{data_files: {tmp_path / 'docs.jsonl'}}}"]
    (tmp_path / "many.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "docs.jsonl").write_text("{}\n", encoding="utf-8")
    (tmp_path / "own.py").write_text("f = None\n", encoding="utf-8")
    found = find_lm_eval_task(LmEvalName("many", str(tmp_path)))
    assert [Path(name).name for name in found.files] == ["docs.jsonl", "many.yaml", "own.py"]
