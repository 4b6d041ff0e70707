"""Packs whole groups (one prompt, its responses) into rows of a token budget, each prompt written once.

A row holds groups one after another: prompt, response 0, response 1, ... A response token sees its prompt and the
earlier tokens of its own response, nothing else, and its position continues the prompt's. So a row gives every response
exactly the hidden states it would have alone, while the prompt is computed once for all of them. The same rows serve
training, scoring and the LM loss. This file must not know models or losses.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapreplace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

PAD_MULTIPLE = 8
"""Batches are padded to a multiple of this many tokens: what GPU attention kernels ask of a mask's row stride."""

Group = Sequence[NDArray[np.integer]]
"""[prompt, response 0, ..., response k-1], token ids; the prompt may be empty."""


class GroupSource(Protocol):
    """Numbered groups, e.g. the memory-mapped tokens of the store."""

    def __len__(self) -> int: ...

    def group(self, index: int, /) -> list[NDArray[np.integer]]: ...


@dataclass(frozen=True, kw_only=True)
class Row:
    """Some groups laid end to end. Token arrays have shape (tokens,), int64.

    Attributes:
        input_ids: token ids.
        position_ids: each token's place in its own sequence (prompt + response), from 0.
        segments: a number for each prompt and each response of the row.
        prompts: for each token the segment of its group's prompt (for a prompt token, its own).
        spans: int64 (responses, 4): group, response, first token, end. Groups are numbered as they were given to
            `pack`.
        parts: int64 (parts, 4): of every prompt and response that is not empty first token and end, first token and end
            of what it sees before itself: of a response its prompt, of a prompt nothing.
        score_positions: int64 (responses,): the response's last token; for an empty response its prompt's.
        lm_positions: int64 (targets,): where the next token of a response 0 is predicted.
        lm_labels: int64 (targets,): that next token.
        lm_lengths: int64 (targets,): how many targets the same response has.
    """

    input_ids: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    segments: NDArray[np.int64]
    prompts: NDArray[np.int64]
    spans: NDArray[np.int64]
    parts: NDArray[np.int64]
    score_positions: NDArray[np.int64]
    lm_positions: NDArray[np.int64]
    lm_labels: NDArray[np.int64]
    lm_lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows of one forward pass, padded on the right. Indices point into the flattened (rows · tokens).

    Attributes:
        input_ids, position_ids, segments, prompts: int64 (rows, tokens), see `Row`; a pad is a segment of its own.
        parts: int64 (parts, 4) on the CPU: see `Row`, flat positions.
        score_index: int64 (responses,), flat position of each response's reward.
        responses: int64 (responses, 2) on the CPU: (group, response) of each score.
        lm_index, lm_labels, lm_lengths: int64 (targets,), flat position that predicts, token that is right, targets of
            the same response.
        longest: length of the longest single sequence (prompt + response).
        tokens: tokens that are not padding.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    segments: torch.Tensor
    prompts: torch.Tensor
    parts: NDArray[np.int64]
    score_index: torch.Tensor
    responses: NDArray[np.int64]
    lm_index: torch.Tensor
    lm_labels: torch.Tensor
    lm_lengths: torch.Tensor
    longest: int
    tokens: int

    def mask(self, window: int | None = None) -> torch.Tensor:
        """Who sees whom: bool (rows, 1, query tokens, key tokens). Every token sees itself, so no row of it is empty.

        Args:
            window: tokens a sliding-window layer sees, the query's own included. Distance counts in a token's own
                sequence, where a response follows its prompt at once, and not in the row.
        """
        query, key = self.segments[:, :, None], self.segments[:, None, :]
        visible = (key == query) | (key == self.prompts[:, :, None])
        if window is not None:
            visible &= self.position_ids[:, :, None] - self.position_ids[:, None, :] < window
        return visible.tril_().unsqueeze(1)


def group_tokens(group: Group) -> int:
    """Tokens a group takes in a row."""
    return sum(len(part) for part in group)


def lm_target_count(group: Group) -> int:
    """Tokens of response 0 the LM loss predicts: all, but the very first token of a sequence has no predecessor."""
    return len(group[1]) - (1 if len(group[0]) == 0 and len(group[1]) > 0 else 0)


def pack(groups: Sequence[Group], row_tokens: int, processes: int = 1) -> list[Row]:
    """Rows for one process, as few as best-fit decreasing finds; or for several, as many and as long for each.

    Args:
        groups: each [prompt, response 0, ...]; at least one response, and no response empty where the prompt is empty
            too.
        row_tokens: budget of a row, a runtime choice; a group longer than it gets a row of its own.
        processes: that rows are dealt to in turn, the first to the first.

    Returns:
        Rows, longest first (so that neighbours need little padding); the same groups always give the same rows. Of
        several processes each gets as many, but where there would be more rows than groups.

    Raises:
        ValueError: a group has no response, or a response has no token to be scored at.
    """
    for number, group in enumerate(groups):
        if len(group) < 2:
            raise ValueError(f"group {number} has no response")
        if len(group[0]) == 0 and any(len(response) == 0 for response in group[1:]):
            raise ValueError(f"group {number} has an empty response to an empty prompt: no token to score it at")
    lengths = [group_tokens(group) for group in groups]
    members = _fewest(lengths, row_tokens) if processes == 1 else _equal(lengths, row_tokens, processes)
    rows = [_lay_out(groups, numbers) for numbers in members]
    return sorted(rows, key=lambda row: -len(row))


def _longest_first(lengths: Sequence[int]) -> list[int]:
    return sorted(range(len(lengths)), key=lambda number: (-lengths[number], number))


def _fewest(lengths: Sequence[int], row_tokens: int) -> list[list[int]]:
    """Best-fit decreasing: each, longest first, goes into the fullest row that still has room."""
    members: list[list[int]] = []
    open_rows: list[tuple[int, int]] = []  # (room left, row), sorted
    for number in _longest_first(lengths):
        place = bisect_left(open_rows, (lengths[number], -1))
        if place < len(open_rows):
            room, row = open_rows.pop(place)
            members[row].append(number)
        else:
            room, row = max(row_tokens, lengths[number]), len(members)
            members.append([number])
        insort(open_rows, (room - lengths[number], row))
    return members


def _equal(lengths: Sequence[int], row_tokens: int, processes: int) -> list[list[int]]:
    """Each, longest first, goes into the shortest row so far, of the fewest rows a process that are not too long."""
    order = _longest_first(lengths)
    for count in range(-(-sum(lengths) // (row_tokens * processes)), len(lengths)):
        members: list[list[int]] = [[] for _ in range(max(1, count) * processes)]
        shortest = [(0, row) for row in range(len(members))]
        for number in order:
            length, row = shortest[0]
            if members[row] and length + lengths[number] > row_tokens:
                break
            members[row].append(number)
            heapreplace(shortest, (length + lengths[number], row))
        else:
            return [numbers for numbers in members if numbers]
    return [[number] for number in order]


def collate(rows: Sequence[Row], device: torch.device | str = "cpu") -> Batch:
    """Pads rows to one length and moves them to a device, all at once."""
    width = -(-max(len(row) for row in rows) // PAD_MULTIPLE) * PAD_MULTIPLE
    planes = np.zeros((4, len(rows), width), dtype=np.int64)
    planes[2:] = -1 - np.arange(width)  # a pad is a segment of its own and, unlike real segments, negative
    for place, row in enumerate(rows):
        planes[:, place, : len(row)] = (row.input_ids, row.position_ids, row.segments, row.prompts)

    def flat(positions: list[NDArray[np.int64]]) -> NDArray[np.int64]:
        return np.concatenate([place * width + values for place, values in enumerate(positions)])

    lists = (
        flat([row.score_positions for row in rows]),
        flat([row.lm_positions for row in rows]),
        np.concatenate([row.lm_labels for row in rows]),
        np.concatenate([row.lm_lengths for row in rows]),
    )
    together = torch.from_numpy(np.concatenate([planes.ravel(), *lists]))
    if torch.device(device).type == "cuda":  # from pinned memory the copy waits for nothing
        together = together.pin_memory()
    moved = together.to(device, non_blocking=True)
    moved_planes, *moved_lists = torch.split(moved, [planes.size, *map(len, lists)])
    input_ids, position_ids, segments, prompts = moved_planes.view(planes.shape).unbind(0)
    score_index, lm_index, lm_labels, lm_lengths = moved_lists
    return Batch(
        input_ids=input_ids,
        position_ids=position_ids,
        segments=segments,
        prompts=prompts,
        parts=np.concatenate([row.parts + place * width for place, row in enumerate(rows)]),
        score_index=score_index,
        responses=np.concatenate([row.spans[:, :2] for row in rows]),
        lm_index=lm_index,
        lm_labels=lm_labels,
        lm_lengths=lm_lengths,
        longest=int(planes[1].max()) + 1,
        tokens=sum(len(row) for row in rows),
    )


def _lay_out(groups: Sequence[Group], numbers: Sequence[int]) -> Row:
    """One row of the groups with these numbers, in this order."""
    parts: list[NDArray[np.integer]] = []
    first_positions: list[int] = []
    prompt_segments: list[int] = []
    spans: list[tuple[int, int, int, int]] = []
    cut: list[tuple[int, int, int, int]] = []
    score_positions: list[int] = []
    lm_positions: list[NDArray[np.int64]] = []
    lm_labels: list[NDArray[np.integer]] = []
    lm_lengths: list[NDArray[np.int64]] = []
    end = 0
    for number in numbers:
        prompt, *responses = groups[number]
        prompt_segment = len(parts)
        for place, part in enumerate((prompt, *responses)):
            parts.append(part)
            prompt_segments.append(prompt_segment)
            first_positions.append(0 if place == 0 else len(prompt))
            start, end = end, end + len(part)
            if place == 0:
                prompt_start, prompt_end = start, end
                cut.append((start, end, start, start))
                continue
            spans.append((number, place - 1, start, end))
            cut.append((start, end, prompt_start, prompt_end))
            score_positions.append(end - 1 if len(part) else prompt_end - 1)
            if place == 1:
                targets = lm_target_count(groups[number])
                untargeted = len(part) - targets
                predictors = np.arange(start - 1, end - 1, dtype=np.int64)
                lm_positions.append(predictors[untargeted:])
                lm_labels.append(part[untargeted:])
                lm_lengths.append(np.full(targets, targets, dtype=np.int64))
    lengths = np.array([len(part) for part in parts])
    starts = np.cumsum(lengths) - lengths
    return Row(
        input_ids=np.concatenate(parts).astype(np.int64),
        position_ids=np.arange(end) + np.repeat(np.array(first_positions) - starts, lengths),
        segments=np.repeat(np.arange(len(parts)), lengths),
        prompts=np.repeat(np.array(prompt_segments), lengths),
        spans=np.array(spans, dtype=np.int64),
        parts=np.array([part for part in cut if part[0] < part[1]], dtype=np.int64),
        score_positions=np.array(score_positions, dtype=np.int64),
        lm_positions=np.concatenate(lm_positions),
        lm_labels=np.concatenate(lm_labels).astype(np.int64),
        lm_lengths=np.concatenate(lm_lengths),
    )
