"""Retractions: kept beside the stages, inherited by what is made from them, and taken back without a trace."""

from __future__ import annotations

import pytest

from harness.errors import StoreError
from harness.pipeline.graph import Graph
from harness.report.status import look
from harness.store.retractions import RETRACTIONS, read_retractions, reinstate, retract
from harness.store.store import Store
from tests.conftest import Finish
from tests.toys.graphs import any_stage


def test_a_store_without_any_has_none(store: Store) -> None:
    assert read_retractions(store.root) == {}
    assert not reinstate(store.root, "a" * 64)


def test_the_later_reason_counts_and_one_taken_back_is_gone(store: Store) -> None:
    retract(store.root, "a" * 64, "pairs", "first")
    retract(store.root, "b" * 64, "base", "other")
    retract(store.root, "a" * 64, "pairs", "second")
    assert {key[0]: (one.kind, one.reason) for key, one in read_retractions(store.root).items()} == {
        "a": ("pairs", "second"),
        "b": ("base", "other"),
    }
    assert reinstate(store.root, "a" * 64)
    assert set(read_retractions(store.root)) == {"b" * 64}


def test_a_damaged_file_is_told(store: Store) -> None:
    (store.root / RETRACTIONS).write_text("[")
    with pytest.raises(StoreError, match="retract again"):
        read_retractions(store.root)


def test_what_is_made_from_a_retracted_stage_is_retracted_with_it(store: Store, finish: Finish) -> None:
    graph = Graph()
    corpus = any_stage(graph, "corpus", {"a": 1}, label="corpus")
    other = any_stage(graph, "corpus", {"a": 2}, label="other corpus")
    pairs = any_stage(graph, "pairs", {}, {"corpus": corpus}, label="pairs")
    both = any_stage(graph, "encode", {}, {"pairs": pairs, "more": other}, label="both")
    alone = any_stage(graph, "encode", {}, {"more": other}, label="alone")
    for stage in (corpus, pairs):  # the others are not done, and are told all the same
        finish(stage)
    retract(store.root, corpus.fingerprint, "corpus", "a wrong licence")
    found = look([corpus, other, pairs, both, alone], store)
    told = f"corpus ({corpus.name}) is retracted: a wrong licence"
    assert [found[stage.fingerprint].retracted for stage in (corpus, other, pairs, both, alone)] == [
        told,
        "",
        told,
        told,
        "",
    ]
    assert [stage.label for stage in (corpus, pairs) if found[stage.fingerprint].retraction] == ["corpus"]


def test_a_stage_that_is_computed_again_stays_retracted(store: Store, finish: Finish) -> None:
    stage = any_stage(Graph(), "corpus", {"a": 1})
    record = finish(stage)
    retract(store.root, stage.fingerprint, stage.kind.name, "why")
    store.discard(record)
    finish(stage)
    assert look([stage], store)[stage.fingerprint].retraction == "why"
