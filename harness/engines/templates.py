"""Chat templates from outside, rendered alike on every day, without clock and chance, in bounded time and memory."""

from __future__ import annotations

import re
import resource
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.errors import DataError, reason_of

# What a template that asks for the day is told: that which Llama 3.1's template takes where it has no clock.
TODAY = datetime(2024, 7, 26)
MOST_SECONDS = 2.0  # of the processor, for one conversation; templates take less than a millisecond
MOST_MEMORY = 1 << 30  # bytes beyond what the process holds already
CHANCE = frozenset({"random", "lipsum"})
CLOCK = "strftime_now"
_MEMORY_IN_USE = Path("/proc/self/statm")  # of Linux; its first number counts pages of the address space
# Objects that a template prints instead of a text of theirs: where they lie differs from run to run.
_ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}>")


def require_reproducible(template: str) -> None:
    """That a template gives the same text for the same conversation.

    Raises:
        DataError: it draws at random, may compute without end, or is no template.
    """
    from jinja2 import nodes

    tree = _parsed(template)
    filters: list[Any] = list(tree.find_all(nodes.Filter))
    used = {node.name for node in (*tree.find_all(nodes.Name), *filters)}
    # names that are handed to other filters, as to `map`
    used |= {argument.value for node in filters for argument in node.args if isinstance(argument, nodes.Const)}
    found = sorted(CHANCE & used)
    if found:
        raise DataError("a chat template must not draw at random", f"it uses `{found[0]}`", "use `text: raw`")
    if tree.find(nodes.Pow) is not None:  # one power may take hours, and no signal ends it
        raise DataError("a chat template must not compute powers", "it uses `**`", "use `text: raw`")


def chat_day(template: str) -> dict[str, str]:
    """For a record: `chat_day`, the day that a template is told, where it asks for one."""
    return {"chat_day": TODAY.date().isoformat()} if CLOCK in template else {}


def _parsed(template: str) -> Any:
    """A template's tree; nothing is rendered.

    Raises:
        DataError: it is no template.
    """
    from jinja2 import Environment, TemplateError

    try:  # with the extensions and tags that transformers knows
        return Environment(extensions=["jinja2.ext.loopcontrols", _generation_tag()]).parse(template)
    except (TemplateError, RecursionError) as error:
        raise DataError("a chat template must be one", f"it says: {reason_of(error)}", "use `text: raw`") from None


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
        DataError: the template fails, takes too long or too much memory, or prints where an object lies.
    """
    from jinja2 import TemplateError

    try:
        with _bounded():
            text = tokenizer.apply_chat_template(
                list(conversation), tokenize=False, add_generation_prompt=asks, **{CLOCK: TODAY.strftime}
            )
    except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, RecursionError, MemoryError) as error:
        raise DataError("a chat template must render", f"it says: {reason_of(error)}", "use `text: raw`") from None
    address = _ADDRESS.search(str(text))
    if address and not any(address[0] in one["content"] for one in conversation):
        value = f"it prints an object's place in memory ({address[0]})"
        raise DataError("a chat template must render alike in every run", value, "use `text: raw`")
    return str(text)


@contextmanager
def _bounded() -> Iterator[None]:
    """End what takes over `MOST_SECONDS` or `MOST_MEMORY`; too little memory raises MemoryError.

    Only a process's main thread can be ended so, and stages run in it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise DataError(
            f"a chat template must render in {MOST_SECONDS:g} seconds", "it takes longer", "use `text: raw`"
        )

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, MOST_SECONDS)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    try:
        if _MEMORY_IN_USE.exists():
            held = int(_MEMORY_IN_USE.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
            allowed = (limit for limit in (held + MOST_MEMORY, soft, hard) if limit != resource.RLIM_INFINITY)
            resource.setrlimit(resource.RLIMIT_AS, (min(allowed), hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)
