"""Rows of packed groups, against brute-force definitions of what a token may see and predict."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.models.packing import PAD_MULTIPLE, collate, group_tokens, lm_target_count, pack
from harness.models.pieces import Pieces
from tests.bench.bench_dealing import BUDGETS, LENGTHS, SHAPES, measure

RESULTS = Path(__file__).parents[1] / "bench" / "results"
MAX_LENGTH = 12


@st.composite
def groups_of_tokens(draw: st.DrawFn) -> list[list[np.ndarray]]:
    """Groups of all shapes; each token id is unique, so a token tells where it came from."""
    lengths = draw(
        st.lists(
            st.tuples(st.integers(0, MAX_LENGTH), st.lists(st.integers(0, MAX_LENGTH), min_size=1, max_size=4)).filter(
                lambda shape: shape[0] > 0 or all(shape[1])
            ),
            min_size=1,
            max_size=9,
        )
    )
    groups, next_id = [], 0
    for prompt, responses in lengths:
        group = []
        for length in (prompt, *responses):
            group.append(np.arange(next_id, next_id + length, dtype=np.int32))
            next_id += length
        groups.append(group)
    return groups


def sequences(groups: list[list[np.ndarray]]) -> dict[tuple[int, int], list[int]]:
    """Every (group, response) as it would be written alone."""
    return {
        (number, response): [*group[0].tolist(), *group[1 + response].tolist()]
        for number, group in enumerate(groups)
        for response in range(len(group) - 1)
    }


@settings(max_examples=60, deadline=None)
@given(groups_of_tokens(), st.integers(1, 60))
def test_rows_hold_every_token_once_within_the_budget(groups: list[list[np.ndarray]], row_tokens: int) -> None:
    rows = pack(groups, row_tokens)
    assert sorted(np.concatenate([row.input_ids for row in rows])) == list(range(sum(map(group_tokens, groups))))
    for row in rows:
        assert len(row) <= row_tokens or len(set(row.spans[:, 0])) == 1
    for earlier, later in pairwise(rows):
        assert len(earlier) >= len(later)
        # no two rows could have been one
        assert len(earlier) + len(later) > row_tokens
    again = pack([list(group) for group in groups], row_tokens)
    assert [row.input_ids.tolist() for row in again] == [row.input_ids.tolist() for row in rows]


@settings(max_examples=200, deadline=None)
@given(groups_of_tokens(), st.integers(1, 60), st.integers(2, 5))
def test_every_process_gets_as_many_rows(groups: list[list[np.ndarray]], row_tokens: int, processes: int) -> None:
    rows = pack(groups, row_tokens, processes)
    assert sorted(np.concatenate([row.input_ids for row in rows])) == list(range(sum(map(group_tokens, groups))))
    assert len(rows) % processes == 0 or len(rows) == len(groups)
    for row in rows:
        assert len(row) <= row_tokens or len(set(row.spans[:, 0])) == 1
    assert all(len(earlier) >= len(later) for earlier, later in pairwise(rows))


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("budget", BUDGETS)
def test_what_a_process_waits_for_others_is_at_most_a_twentieth(lengths: str, budget: int) -> None:
    committed = json.loads((RESULTS / "dealing.json").read_text(encoding="utf-8"))
    for processes, pairs in SHAPES:
        found = measure(lengths, pairs, processes, budget)
        assert found in committed
        assert found["efficiency"] >= 0.95


@settings(max_examples=60, deadline=None)
@given(groups_of_tokens(), st.integers(1, 60))
def test_a_token_sees_exactly_what_it_would_see_alone(groups: list[list[np.ndarray]], row_tokens: int) -> None:
    expected: dict[int, set[int]] = {}
    position: dict[int, int] = {}
    for ids in sequences(groups).values():
        for place, token in enumerate(ids):
            expected[token] = set(ids[: place + 1])
            position[token] = place
    rows = pack(groups, row_tokens)
    batch = collate(rows)
    mask = batch.mask()
    width = batch.input_ids.shape[1]
    assert width % PAD_MULTIPLE == 0
    assert mask.shape == (len(rows), 1, width, width)
    assert batch.tokens == sum(map(group_tokens, groups))
    assert batch.longest == max(position.values(), default=0) + 1
    for number, row in enumerate(rows):
        written = batch.input_ids[number].numpy()
        for place in range(width):
            visible = np.flatnonzero(mask[number, 0, place].numpy())
            if place >= len(row):
                assert visible.tolist() == [place], "a pad sees itself only"
            else:
                assert set(written[visible]) == expected[int(written[place])]
                assert int(batch.position_ids[number, place]) == position[int(written[place])]


@settings(max_examples=60, deadline=None)
@given(groups_of_tokens(), st.integers(1, 60))
def test_a_window_reaches_back_along_a_tokens_own_sequence(groups: list[list[np.ndarray]], row_tokens: int) -> None:
    visible = {
        ids[place]: set(ids[max(0, place - 3) : place + 1])
        for ids in sequences(groups).values()
        for place in range(len(ids))
    }
    batch = collate(pack(groups, row_tokens))
    for number, row in enumerate(pack(groups, row_tokens)):
        written = batch.input_ids[number].numpy()
        for place in range(len(row)):
            seen = np.flatnonzero(batch.mask(window=4)[number, 0, place].numpy())
            assert set(written[seen]) == visible[int(written[place])]


@settings(max_examples=60, deadline=None)
@given(groups_of_tokens(), st.integers(1, 60))
def test_scores_and_targets_are_where_they_belong(groups: list[list[np.ndarray]], row_tokens: int) -> None:
    alone = sequences(groups)
    batch = collate(pack(groups, row_tokens))
    flat = batch.input_ids.flatten()
    scored = {
        tuple(ids): int(flat[index]) for ids, index in zip(batch.responses.tolist(), batch.score_index, strict=True)
    }
    assert scored == {key: ids[-1] for key, ids in alone.items()}
    predicted = sorted(zip(flat[batch.lm_index].tolist(), batch.lm_labels.tolist(), strict=True))
    wanted = []
    for number, group in enumerate(groups):
        ids = alone[number, 0]
        wanted += [(ids[place - 1], ids[place]) for place in range(max(len(group[0]), 1), len(ids))]
    assert predicted == sorted(wanted)
    assert sum(map(lm_target_count, groups)) == len(wanted)


@settings(max_examples=60, deadline=None)
@given(groups_of_tokens(), st.integers(1, 60), st.sampled_from([None, 1, 4]))
def test_pieces_of_attention_are_the_mask(groups: list[list[np.ndarray]], row_tokens: int, window: int | None) -> None:
    batch = collate(pack(groups, row_tokens))
    rows, tokens = batch.input_ids.shape
    expected = batch.mask(window)
    seen = torch.zeros(rows * tokens, rows * tokens, dtype=torch.bool)
    pieces = Pieces.of(batch)
    assert torch.equal(pieces.queries, torch.cat([piece.queries.flatten() for piece in pieces.pieces]))
    for piece in pieces.pieces:
        visible = piece.mask(window)
        assert visible.any(-1).all(), "no query may see nothing: its softmax would be undefined"
        for part, query, key in visible[:, 0].nonzero().tolist():
            seen[piece.queries[part, query], piece.keys[part, key]] = True
    for row in range(rows):
        real = batch.segments[row] >= 0
        own = seen[row * tokens : (row + 1) * tokens]
        assert int(own.sum()) == int(expected[row, 0][real].sum())
        assert torch.equal(own[:, row * tokens : (row + 1) * tokens][real], expected[row, 0][real])
        flat = torch.arange(row * tokens, (row + 1) * tokens)
        assert torch.equal(pieces.queries[pieces.places[flat[real]]], flat[real])


def test_spans_name_the_tokens_of_each_response() -> None:
    groups = [[np.array([1, 2]), np.array([3]), np.array([4, 5])], [np.array([], dtype=int), np.array([6, 7, 8])]]
    (row,) = pack(groups, 100)
    found = {(group, response): row.input_ids[start:end].tolist() for group, response, start, end in row.spans.tolist()}
    assert found == {(0, 0): [3], (0, 1): [4, 5], (1, 0): [6, 7, 8]}


def test_best_fit_decreasing_fills_rows() -> None:
    groups = [[np.zeros(0, int), np.zeros(length, int)] for length in (4, 7, 3, 6, 5, 5)]
    assert [len(row) for row in pack(groups, 10)] == [10, 10, 10]


def test_unscorable_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="no response"):
        pack([[np.array([1])]], 8)
    with pytest.raises(ValueError, match="group 1 has an empty response to an empty prompt"):
        pack([[np.array([1]), np.array([])], [np.array([]), np.array([2]), np.array([])]], 8)
