"""Chat templates from outside, rendered alike on every day: without clock and chance, and within a bounded time."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from harness.errors import DataError

# What a template that asks for the day is told: that which Llama 3.1's template takes where it has no clock.
TODAY = datetime(2024, 7, 26)
MOST_SECONDS = 2.0  # of the processor, for one conversation; templates take less than a millisecond
CHANCE = frozenset({"random", "lipsum"})
CLOCK = "strftime_now"


def require_reproducible(template: str) -> None:
    """That a template gives the same text for the same conversation.

    Raises:
        DataError: it draws at random, or is no template.
    """
    found = sorted(_names(template) & CHANCE)
    if found:
        raise DataError("a chat template must not draw at random", f"it uses `{found[0]}`", "use `text: raw`")


def reads_clock(template: str) -> bool:
    """Whether a template asks for the day, and so is told `TODAY`."""
    return CLOCK in _names(template)


def _names(template: str) -> set[str]:
    """Names and filters that a template uses."""
    from jinja2 import Environment, TemplateError, nodes

    try:
        # the extensions and tags that transformers knows; nothing is rendered
        environment = Environment(extensions=["jinja2.ext.loopcontrols", _generation_tag()])
        tree = environment.parse(template)
    except (TemplateError, RecursionError) as error:
        raise DataError("a chat template must be one", f"it says: {error}", "use `text: raw`") from None
    named: Iterator[Any] = tree.find_all((nodes.Name, nodes.Filter))
    return {node.name for node in named}


def _generation_tag() -> Any:
    from jinja2.ext import Extension

    class Generation(Extension):
        """`{% generation %}` marks a trainable part and changes no text."""

        tags = {"generation"}  # noqa: RUF012  as the library has it

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    return Generation


def render(tokenizer: Any, conversation: Sequence[Mapping[str, str]], *, asks: bool) -> str:
    """A conversation in a tokenizer's template, in the sandbox of transformers.

    Args:
        asks: whether it ends with the beginning of an answer.

    Raises:
        DataError: the template fails or takes too long.
    """
    from jinja2 import TemplateError

    try:
        with _bounded():
            text = tokenizer.apply_chat_template(
                list(conversation), tokenize=False, add_generation_prompt=asks, **{CLOCK: TODAY.strftime}
            )
    except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, RecursionError, MemoryError) as error:
        raise DataError("a chat template must render", f"it says: {error}", "use `text: raw`") from None
    return str(text)


@contextmanager
def _bounded() -> Iterator[None]:
    """End what takes over `MOST_SECONDS`. Only a process's main thread can be ended so, and stages run in it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise DataError(
            f"a chat template must render in {MOST_SECONDS:g} seconds", "it takes longer", "use `text: raw`"
        )

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)
