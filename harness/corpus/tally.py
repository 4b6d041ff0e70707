"""What reading a corpus counts: how much was read, and what of it gave no document, with the first few by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

NAMED = 3  # of each reason


class Tally(Counter[str]):
    """Counts by name; `named` has, of each reason something was passed over for, the first places."""

    def __init__(self) -> None:
        super().__init__()
        self.named: dict[str, list[str]] = {}

    def pass_over(self, reason: str, place: str, times: int = 1) -> None:
        """Count what is left out, and keep where it is. A place is made text that can be stored, whatever it holds."""
        self[reason] += times
        places = self.named.setdefault(reason, [])
        if len(places) < NAMED:
            places.append(place.encode("utf-8", "backslashreplace").decode())


def named_of(parts: Iterable[Mapping[str, list[str]]]) -> dict[str, list[str]]:
    """What was `named` in parts of a corpus, as one: the first places of each reason."""
    together: dict[str, list[str]] = {}
    for part in parts:
        for reason, places in part.items():
            together[reason] = [*together.get(reason, ()), *places][:NAMED]
    return dict(sorted(together.items()))
