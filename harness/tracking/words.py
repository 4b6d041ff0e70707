"""Names and values in the form trackers take: keys of plain characters, texts of bounded length."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_NOT_IN_KEYS = re.compile(r"[^\w./ -]")
LONGEST_KEY = 250
LONGEST_PARAM = 6_000
LONGEST_TAG = 8_000
ESTIMATE, DIFFERENCE = "estimate.", "difference."  # tags: a number with its interval, as people read it
SEARCH = "search."  # tags of studies and trials
POINT = f"{SEARCH}point"  # whether a trial has all parameters of its search
METRICS = {"area": "bon_area"}  # beside other things, "area" alone says too little


def key(text: str) -> str:
    """`text` with only characters that keys may have, in parts that a path keeps, as trackers make files of keys. A
    plus, common in names of settings, stays readable."""
    kept = _NOT_IN_KEYS.sub("_", text.replace("+", "-plus-"))[:LONGEST_KEY]
    return "/".join("_" * max(1, len(part)) if part in ("", ".", "..") else part for part in kept.split("/"))


def metric_key(task: str, metric: str) -> str:
    """`arithmetic/bon_at_16` of task `arithmetic` and metric `bon@16`."""
    return key(f"{task}/{METRICS.get(metric) or metric.replace('@', '_at_')}")


def plain(text: str) -> str:
    """Text of a server as a terminal may show it: whatever would steer the terminal is spelled out."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def first_line(error: BaseException) -> str:
    """What an error says first, or what kind it is of."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def clipped(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def parameters(data: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """{dotted path: value as text} of nested mappings; lists are JSON."""
    found: dict[str, str] = {}
    for name, value in data.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            found |= parameters(value, f"{path}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            found[key(path)] = clipped(text, LONGEST_PARAM)
    return found
