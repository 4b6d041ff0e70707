"""The templates, in which the report's prose stands in whole sentences, and the filters they write numbers with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from harness.pipeline.evaluations import EVALUATIONS, evaluation_with, headline_label, metric_label
from harness.pipeline.evaluations.best_of_n import SMALLEST_POOL, WRONG_CANDIDATES
from harness.report import words

TEMPLATES = Path(__file__).parent / "templates"


def environment(*, escape: bool, finalize: Callable[[Any], Any] | None = None) -> Environment:
    """Jinja with the report's words; an unknown name in a template is an error."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=escape,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("score", "signed", "interval", "signed_interval", "listing", "few", "count", "hours", "quantity"):
        made.filters[name] = getattr(words, name)
    made.filters.update(value=words.value_text, metric_label=metric_label, headline=headline_label)
    made.filters["evaluation"] = lambda metric: evaluation_with(metric).name
    made.globals.update(
        above_words=words.VERDICTS,
        headlines={name: one.headline for name, one in EVALUATIONS.items()},
        wrong_candidates=WRONG_CANDIDATES,
        smallest_pool=SMALLEST_POOL,
        confirmed_words=words.CONFIRMED,
    )
    return made


def paragraphs(template: str, **context: Any) -> tuple[str, ...]:
    """The paragraphs of a template of plain text: what stands between blank lines, each on one line."""
    text = environment(escape=False).get_template(template).render(context)
    return tuple(" ".join(part.split()) for part in text.split("\n\n") if part.strip())
