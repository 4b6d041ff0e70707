"""The typed things stages hand on. Each class knows its own files; nobody else names a file inside an artifact.

How tables and tokens lie on disk is in `tables` and `tokens`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from harness.store.record import write_json
from harness.store.tables import Artifact as Artifact
from harness.store.tables import Table as Table
from harness.store.tables import TextTable as TextTable
from harness.store.tables import link
from harness.store.tokens import TokenReader as TokenReader
from harness.store.tokens import open_tokens, write_tokens

UNKNOWN_ERROR = "unknown"
"""Error type of a wrong candidate of which nobody says what is wrong with it."""


class Corpus(TextTable):
    """Cleaned documents of any source, in the order read.

    `split` is train, base, heldout or dev, and splits share no `cluster` (a package, a repository); `unit` is
    "function" (one documented Python function in normal form) or "document"; `path` is the module or file it is from;
    `name` is empty for what has none. `text` does not repeat `description`. `licence` is empty where the source names
    none.
    """

    file = "corpus.parquet"
    columns = ("split", "cluster", "path", "name", "unit", "language", "licence", "description", "text")


class CorpusPart(Table):
    """Documents of a part of a corpus that may be kept, and `facts` about all that were read.

    `key` tells a text from others, `shingles` are 64-bit hashes of its shingles: what copies are found by.
    """

    file = "part.parquet"
    columns = (*Corpus.columns[1:], "key", "shingles")

    def write_facts(self, facts: Mapping[str, Any]) -> None:
        write_json(self.directory / "facts.json", facts)

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.directory / "facts.json").read_bytes())
        return facts


class Problems(Table):
    """Problems of one task. `cluster` is what splits keep together; `metadata` is JSON text.

    `solution` is in the task's plain wording, `text` the whole problem with its solution as a policy would write it.
    """

    file = "problems.parquet"
    columns = ("id", "cluster", "split", "prompt", "answer", "solution", "text", "metadata")


class Pairs(TextTable):
    """Preferences: one prompt, a chosen and a rejected response; `detail` says how the rejected one came about.

    Whoever writes a text with a model may add how it ended ("stop" or "length") and its tokens.
    """

    file = "pairs.parquet"
    columns = ("id", "cluster", "prompt", "chosen", "rejected", "detail")
    optional = ("chosen_finish_reason", "rejected_finish_reason", "chosen_tokens", "rejected_tokens", "language")


class Judgements(Table):
    """A judge's answers on some rows of a pair set: the chance, 0 to 1, that the chosen side is the better one.

    Asked with the chosen side first and with the rejected side first; NaN where there was no answer.
    """

    numbers = True
    file = "judgements.parquet"
    columns = ("row", "chosen_first", "rejected_first")


class JsonFile(Artifact):
    """One file of JSON."""

    file: ClassVar[str]

    @property
    def path(self) -> Path:
        return self.directory / self.file


class PairQuality(JsonFile):
    """What a pair set is worth: `numbers` as in the record, and `examples`."""

    file = "quality.json"


class Writings(Table):
    """Texts a model wrote, a row a construction slot and draft.

    `finish_reason` is stop or length (cut at the most tokens).
    """

    file = "writings.parquet"
    columns = ("slot", "draft", "text", "finish_reason", "prompt_tokens_cut", "tokens")


class LmEvalDocuments(Table):
    """The documents that a task of lm-eval judges by: its number, lm-eval's digest, and the document as JSON."""

    file = "documents.parquet"
    columns = ("id", "digest", "document")


class Candidates(Table):
    """Candidate solutions, problem after problem. `seen` is whether fine-tuning pairs show this error type.

    `source` is who wrote the text: an engine, or a published pool's model. `logprob` stands where all are known: the
    natural logarithm of the chance with which it was drawn, of the whole text.
    """

    file = "candidates.parquet"
    columns = ("problem", "cluster", "prompt", "index", "text", "answer", "correct", "error_type", "seen", "source")
    optional = ("logprob",)


class Scores(Table):
    """One reward a response: `group` is the source row (pairs) or problem number (candidates)."""

    numbers = True
    file = "scores.parquet"
    columns = ("group", "response", "score")


class CandidateScores(Table):
    """Scores from outside, by problem and candidate index; `task` is "" where the file names none."""

    numbers = True
    file = "candidate_scores.parquet"
    columns = ("task", "problem", "candidate", "score")


class Overlap(Table):
    """Problems that stand in what was trained on, once for each `held_by`, and the first document there that holds
    `shared` of their `of` n-grams. `pass` is "plain", or "masked" of what was found only with numbers and names masked.
    """

    numbers = True
    file = "overlap.parquet"
    columns = ("held_by", "pass", "problem", "document", "shared", "of")


class ProblemValues(Table):
    """One value a problem (or pair) and metric: what analysis resamples."""

    numbers = True
    file = "values.parquet"
    columns = ("metric", "problem", "cluster", "value")


class Analysis(JsonFile):
    """Leaderboard rows and comparisons over many variants."""

    numbers = True
    file = "analysis.json"


class Comparison(JsonFile):
    """Two rows against one another on every task both were judged on."""

    numbers = True
    file = "comparison.json"


class Effects(JsonFile):
    """Contrasts between settings: what claims are judged by, and the effects of axes."""

    numbers = True
    file = "effects.json"


class Failures(JsonFile):
    """Where a row's models fail on a task's candidates: tables of numbers, and the worst examples."""

    file = "failures.json"


class Tokenizer(JsonFile):
    """A tokenizer in the `tokenizers` library's own JSON, and its special tokens by role: `{"eos_token": "</s>"}`."""

    file = "tokenizer.json"

    @property
    def special(self) -> Path:
        return self.directory / "special_tokens.json"


class Checkpoint(Artifact):
    """A causal language model with its scalar head, in safetensors."""

    @property
    def model(self) -> Path:
        return self.directory / "model"

    def link(self, other: Checkpoint) -> None:
        """Make this checkpoint of another's files."""
        for path in sorted(path for path in other.model.rglob("*") if path.is_file()):
            target = self.model / path.relative_to(other.model)
            target.parent.mkdir(parents=True, exist_ok=True)
            link(path, target)


class ImportedCheckpoint(Checkpoint):
    """A reward model from outside with its tokenizer, where `Tokenizer` has it too, and its chat template, if any."""

    @property
    def tokenizer(self) -> Path:
        return Tokenizer(self.directory).path

    @property
    def chat(self) -> Path:
        return self.directory / "chat.json"


class TrunkState(Checkpoint):
    """A checkpoint with everything needed to go on training (optimizer moments, position) under `state`."""

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def model(self) -> Path:
        return self.state / "model"


class Tokens(Artifact):
    """Groups of token ids, memory-mapped: one prompt and its responses each, in one array.

    `tokens.bin` holds ids; segment s (a prompt or a response) is ids[segments[s]:segments[s + 1]]; group g's segments
    are first_segment[g] (its prompt, may be empty) up to first_segment[g + 1]; rows[g] is its row in the source table.
    """

    def write(self, groups: Iterable[tuple[int, Sequence[Sequence[int]]]], vocabulary: int) -> None:
        """Write (source row, [prompt, response, ...]) groups in order; memory does not grow with their number."""
        write_tokens(self.directory, groups, vocabulary)

    def open(self, *, limit: int | None = None) -> TokenReader:
        """Map the arrays; `limit` shows only the first groups."""
        return open_tokens(self.directory, limit=limit)
