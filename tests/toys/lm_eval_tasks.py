"""Tasks of lm-evaluation-harness on local files: options that are ranked, and answers that code of the task judges."""

from __future__ import annotations

import json
from pathlib import Path

DOCS = [
    {"question": f"def add_{number}(a, b):", "options": ["return a + b", "a plus b", "nothing"], "gold": number % 3}
    for number in range(8)
]
OPTIONS = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{options}}}}"
doc_to_target: gold
"""
ANSWERS = """\
include: options.yaml
task: answers
output_type: generate_until
doc_to_target: "{{gold}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 4}
process_results: !function own.judge
metric_list:
  - {metric: length, aggregation: mean, higher_is_better: false}
  - {metric: short, aggregation: mean, higher_is_better: true}
filter_list:
  - {name: first, filter: [{function: take_first}]}
  - {name: stripped, filter: [{function: remove_whitespace}, {function: take_first}]}
"""
OWN = "def judge(doc, results):\n    return {'length': len(results[0]), 'short': 1 / (1 + len(results[0]))}\n"


def write_lm_eval_tasks(folder: Path) -> Path:
    """The tasks `options` and `answers` in a new folder."""
    folder.mkdir()
    data = folder / "docs.jsonl"
    data.write_text("".join(json.dumps(doc) + "\n" for doc in DOCS), encoding="utf-8")
    (folder / "options.yaml").write_text(OPTIONS.format(name="options", data=data), encoding="utf-8")
    (folder / "answers.yaml").write_text(ANSWERS, encoding="utf-8")
    (folder / "own.py").write_text(OWN, encoding="utf-8")
    return folder
