"""How numbers and names are written for people: one place, so that every output says the same. Computes no result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from harness.plan.plan import Plan
from harness.plan.rows import ON_PAIRS_OF, POOL
from harness.recipe.fields import CODE, LM_EVAL_PREFIX

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
DAGGER = "\N{DAGGER}"

FEWEST_SEEDS = 3
"""Of what differs between settings (as `evaluation/seeds.py` has it): with fewer, nothing is put in order."""

FEW_SEEDS = f"Fewer than {FEWEST_SEEDS} seeds of what differs: no order"

OTHER_DATA = "Settings are judged on different data: no order"

FEWEST_CLUSTERS = 10
"""Of problems: with fewer, intervals of skewed values cover too little (`evaluation/statistics.py`)."""

FEW_CLUSTERS = (
    f"Fewer than {FEWEST_CLUSTERS} clusters of problems: intervals of skewed differences cover 85 to 91 %, not 95 %"
)

VERDICTS = {True: "yes", False: "no", None: "too few seeds"}

MOST_NAMED = 5
"""Settings named in a sentence; where there are more, the sentence counts them and the table names them."""

RETRACTED = "retracted"

CONFIRMED = (
    "Confirmed: 1:1 and the best settings by dev were trained again with seeds that no trial had, and then judged once "
    "on problems that no trial saw. Optimism: dev when selected minus dev with fresh seeds; the best of many trials is "
    "partly luck, which fresh seeds do not repeat. Only the test columns compare settings; `harness compare` compares "
    "any two of them."
)

NO_SPREAD = "no spread"
"""All clusters gave one value: resampling them says nothing about another draw of problems."""

# (kind of row, row in the analysis) -> what people call it, and what it is.
REFERENCES: dict[tuple[str, str], tuple[str, str]] = {
    ("pool", "mean"): ("random pick", "any candidate of the pool: chance"),
    ("pool", "majority"): ("majority vote", "the most frequent answer among N, no scorer"),
    ("pool", "shortest"): ("shortest", "the response with the fewest characters among N, no scorer"),
    ("pool", "longest"): ("longest", "the response with the most characters among N, no scorer"),
    ("shallow", "length"): ("length", "longer or shorter is better, fitted on the same pairs"),
    ("shallow", "ngrams"): ("n-grams", "word habits, digits masked, fitted on the same pairs; never sees the question"),
    ("shallow", "prompt_overlap"): (
        "prompt overlap",
        "shape, and which numbers the response shares with its question, fitted on the same pairs",
    ),
    ("shallow", "source_prior"): (
        "source prior",
        "how often who wrote it is right on the fine-tuning problems; reads no text",
    ),
    ("shallow", "logprob"): (
        "log-probability",
        "what the generator gave the text; reads no text",
    ),
    ("pool", "oracle"): ("oracle", "right whenever one of N is right: the ceiling"),
}

LABELS = {name: label for (_, name), (label, _) in REFERENCES.items()} | {"coin": "a coin"}


def reference_label(name: str) -> str:
    """What people call a reference of a plan or an analysis."""
    scorer, on_pairs_of, setting = name.partition(ON_PAIRS_OF)
    return f"{LABELS.get(scorer, scorer)}{on_pairs_of}{setting}"


def reference_rows(plan: Plan) -> dict[tuple[str, str], tuple[str, str]]:
    """`REFERENCES` with every row that a plan has of a scorer."""
    names = list(dict.fromkeys(variant.setting for variant in plan.references))
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for (kind, scorer), (_, note) in REFERENCES.items():
        rows = [scorer] if kind == POOL else [name for name in names if name.partition(ON_PAIRS_OF)[0] == scorer]
        found |= {(kind, row): (reference_label(row), note) for row in rows}
    return found


def score(value: float) -> str:
    """An accuracy: three decimals."""
    return f"{value:.3f}".replace("-", MINUS)


def signed(value: float) -> str:
    """A difference: three decimals and its sign."""
    return f"{value:+.3f}".replace("-", MINUS)


def interval(low: float, high: float) -> str:
    """Limits in brackets; an interval without width is no precision and is not shown as such."""
    return f"[{score(low)}, {score(high)}]" if low < high else NO_SPREAD


def signed_interval(low: float, high: float) -> str:
    return f"[{signed(low)}, {signed(high)}]" if low < high else NO_SPREAD


def count(value: float) -> str:
    """A whole number with separators."""
    return f"{round(value):,}"


def share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else ""


def moment(seconds: float) -> str:
    """A time since the epoch, to the minute."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def duration(seconds: float) -> str:
    """Seconds as people say them: 4.2 s, 3 min 20 s, 2 h 05 min, 12 d 3 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 100 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86_400:,} d {whole % 86_400 // 3600} h"


def hours(value: float) -> str:
    """Device-hours: two decimals, below a tenth of an hour two digits."""
    return f"{value:,.2f}" if value >= 0.1 or value == 0 else f"{value:.2g}"


def quantity(value: float) -> str:
    """A large number short: 950, 12.3k, 4.56M, 1.2G, 3.4P, 5.6Z."""
    for size, unit in ((1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def memory(size: float) -> str:
    """Bytes in MB or GB (powers of 1,000)."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def plural(number: int, word: str, words: str = "") -> str:
    """`1 seed`, `2 seeds`."""
    return f"{number:,} {word if number == 1 else words or word + 's'}"


def listing(names: Sequence[object], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`; with semicolons where a name has a comma, as settings' have."""
    *most, final = map(str, names or ("",))
    if len(most) > 1 and any(", " in name for name in (*most, final)):
        return f"{'; '.join(most)}; {last} {final}"
    return f"{', '.join(most)} {last} {final}" if most else final


def few(names: Sequence[str]) -> str:
    """Settings by name while they are few, else their number."""
    return listing(names) if len(names) <= MOST_NAMED else f"{len(names):,} settings"


def value_text(value: object) -> str:
    """A recipe value as the recipe would write it, short."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,g}" if math.isfinite(value) and 1e-3 <= abs(value) < 1e6 else f"{value:g}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(value_text(item) for item in value) + "]"
    return str(value)


def split_name(task: str, split: str) -> str:
    """What results call the split that judges on a task: of code pairs `test` is called heldout, as in a corpus."""
    return "heldout" if (task, split) == (CODE, "test") else split


def task_title(task: str) -> str:
    """What a board or a column of a task is called."""
    name, of, recipes = task.partition(" (")  # of a joint report
    if name.startswith(LM_EVAL_PREFIX):
        name = f"lm-eval {name.removeprefix(LM_EVAL_PREFIX)}"
    return f"{'held-out code pairs' if name == CODE else name}{of}{recipes}"
