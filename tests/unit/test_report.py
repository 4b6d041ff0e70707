"""The report's small parts: words, thinning, differences of settings, the leaderboard, escaping."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from harness.events import EventLog, Warned
from harness.pipeline.graph import Graph
from harness.plan.plan import Plan
from harness.plan.rows import Variant
from harness.report import board, words
from harness.report.answer import answer
from harness.report.collect import collect
from harness.report.comparison import Difference, Place
from harness.report.data import Line, _pair_example, corpus_words
from harness.report.html import json_for_script
from harness.report.index import index_of
from harness.report.markdown import plain, table
from harness.report.overview import overview
from harness.report.provenance import chain
from harness.report.rows import find_row
from harness.report.settings import UNCHANGED, differences, flat, in_words, resolved, setting_facts
from harness.report.spent import spent
from harness.report.status import look
from harness.report.versus import match
from harness.report.write import write_report
from harness.store.record import EVENTS, RUN, write_json
from harness.store.store import Store
from tests.report_store import analyse, fail, fill, first, publish, small, with_axes
from tests.toys.graphs import any_stage


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(4.21, "4.2 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7_500, "2 h 05 min")],
)
def test_durations_as_people_say_them(seconds: float, told: str) -> None:
    assert words.duration(seconds) == told


def test_a_difference_without_spread_claims_nothing() -> None:
    def gap(low: float, high: float, lacking: str = "") -> Difference:
        return Difference(against="base", estimate=0.1, low=low, high=high, covers="problems", lacking=lacking)

    assert gap(0.05, 0.15).separate
    assert not gap(0.1, 0.1).separate
    assert not gap(0.05, 0.15, "1 PMP seed").separate
    assert words.signed_interval(0.1, 0.1) == words.interval(0.1, 0.1) == words.NO_SPREAD


def test_numbers_keep_their_sign() -> None:
    assert words.signed(-0.0126) == "\N{MINUS SIGN}0.013"
    assert words.signed(0.25) == "+0.250"
    assert words.signed_interval(-0.5, 0.5) == "[\N{MINUS SIGN}0.500, +0.500]"
    assert words.listing(["a", "b", "c"]) == "a, b and c"


def test_an_interval_without_width_is_not_shown_as_precision() -> None:
    assert words.interval(0.25, 0.75) == "[0.250, 0.750]"
    assert words.interval(0.5, 0.5) == "no spread"


def test_places_say_tied_where_nothing_is_told_apart() -> None:
    def place(low: int, high: int) -> str:
        return str(Place(low=low, high=high, of=4, tied_with=()))

    assert place(1, 4) == "tied"
    assert place(1, 2) == "1\N{EN DASH}2"
    assert place(3, 3) == "3"
    assert str(Place(low=1, high=1, of=1, tied_with=())) == ""  # one setting has no order


def test_areas_are_compared_over_equal_n_only() -> None:
    index = index_of(small())
    rows = (find_row([index], "rm+lm"), find_row([index], "no-pmp"))

    def refused(first: tuple[int, ...] | None, second: tuple[int, ...] | None) -> dict[str, str]:
        areas = {entry.stage: first for entry in rows[0].outcomes} | {entry.stage: second for entry in rows[1].outcomes}
        matches, gaps = match(*rows, lambda _: True, areas.__getitem__)
        assert {one.evaluation for one in matches} >= {"pair_accuracy"}
        return {gap.why: gap.evaluation for gap in gaps if gap.evaluation == "best_of_n"}

    assert refused((2, 4), (2, 4)) == {}
    assert refused((2, 4), (2,)) == {"areas over different N (2 against 2 and 4)": "best_of_n"}
    assert refused((), ()) == {"no area: the smallest pool holds fewer than 8 candidates": "best_of_n"}
    (why,) = refused((2, 4), None)
    assert why.startswith("an earlier version made the area")


def test_settings_differ_in_words() -> None:
    plan = small()
    base = resolved(plan.loaded.recipe)
    told = {setting.name: differences(base, resolved(setting.setting.experiment)) for setting in plan.settings}
    assert told["rm+lm"] == (UNCHANGED,)
    assert told["rm"] == ("pretrain.loss.lm is 0 instead of 1",)
    assert told["lm"] == ("pretrain.loss.rm is 0 instead of 1",)
    assert told["no-pmp"] == ("no PMP: fine-tuning starts at the base model",)
    short = {one.name: one.words for one in setting_facts(plan)}
    assert short == {"rm+lm": "", "rm": "LM loss off", "lm": "RM loss off", "no-pmp": "no PMP"}


def test_a_block_that_is_new_is_told_by_what_is_in_it_and_one_that_is_gone_by_its_name() -> None:
    without, filtered = (
        {"pairs": {"filter": None, "count": 8}},
        {"pairs": {"filter": {"min_agreement": 0.5}, "count": 8}},
    )
    assert differences(without, filtered) == ("pairs.filter.min_agreement is 0.5",)
    assert in_words(without, filtered) == "filter min agreement 0.5"
    assert differences(filtered, without) == ("pairs.filter is none",)
    assert in_words(filtered, without) == "filter off"
    assert differences(filtered, filtered) == ("the recipe as written",)
    mutants = {"pairs": {"filter": None, "count": 8, "side": {"from": "mutation", "kinds": ["order"], "edits": [1, 3]}}}
    none: dict[str, Any] = {"pairs": {**mutants["pairs"], "side": None}}
    assert in_words(none, mutants) == "side from mutation (kinds order; edits 1, 3)"
    many = {"pairs": {**mutants["pairs"], "side": {"from": "mutation", "kinds": list("abcde"), "edits": [1, 3]}}}
    assert in_words(mutants, many) == "side kinds a, b, c and 2 more"


def test_hours_of_a_row_are_told_apart_from_those_it_shares(tmp_path: Path) -> None:
    plan, store = small(), Store(tmp_path / "store")
    fill(plan, store)
    statuses = look(plan.stages, store)
    runs = {stage.fingerprint: {"seconds": 3600.0} for stage in plan.stages}
    found = spent(plan, statuses, runs)
    behind = {one.name: _behind(plan, one.variants) for one in plan.settings}
    others = {name: set().union(*(behind[other] for other in behind if other != name)) for name in behind}
    shallow = _behind(plan, plan.references)
    for name, stages in behind.items():
        assert found[name].together == len(stages)
        assert found[name].alone == len(stages - others[name] - shallow) > 0
    assert found["rm+lm"].tokens == 800_000  # a PMP of 400,000 and a fine-tuning of as many
    assert found["no-pmp"].tokens == 400_000


def _behind(plan: Plan, variants: Iterable[Variant]) -> set[str]:
    return {stage.fingerprint for stage in plan.graph.in_order([one for row in variants for one in row.targets])}


def test_every_parameter_is_resolved_defaults_too() -> None:
    found = flat(resolved(small().loaded.recipe))
    assert found["finetune.clip_norm"] == 1.0  # a default nobody wrote
    assert found["pairs.rejected.from"] == "mutation"
    assert not any(path.startswith(("runtime", "seeds", "name")) for path in found)


def test_pair_examples_mark_the_lines_that_differ() -> None:
    row = {"prompt": "p", "chosen": "a\nb\nc", "rejected": "a\nx\nc", "detail": ""}
    example = _pair_example(row)
    assert [line.changed for line in example.chosen] == [False, True, False]
    assert example.rejected[1] == Line(text="x", changed=True)


@pytest.mark.parametrize("text", ["</script>", "<!--", "&amp;", "\u2028", "]]>"])
def test_json_in_a_script_element_cannot_end_it(text: str) -> None:
    made = json_for_script({"key": text})
    assert not set(made) & set("<>&\u2028")
    assert json.loads(made) == {"key": text}


def test_markdown_shows_text_as_it_is() -> None:
    assert plain("a|b <i> *x* _y_ `z`") == "a\\|b &lt;i&gt; \\*x\\* \\_y\\_ \\`z\\`"
    assert table(("a", "b"), [("1|2", "3")]) == "| a | b |\n| --- | ---: |\n| 1\\|2 | 3 |"


# ------------------------------------------------------------------------------------------------ the board


def _estimate(task: str, kind: str, row: str, metric: str, value: float) -> dict[str, Any]:
    return {
        "task": task,
        "evaluation": "best_of_n",
        "kind": kind,
        "row": row,
        "metric": metric,
        "estimate": value,
        "low": value - 0.1,
        "high": value + 0.1,
        "level": 0.95,
        "covers": "problems",
        "problems": 10,
        "clusters": 5,
        "method": "by hand",
        "by_seed": [value],
    }


def test_the_key_point_is_the_largest_n_within_a_quarter_of_the_pool(tmp_path: Any) -> None:
    plan = small("evaluate.best_of_n.n=[1, 2, 8, 32]")
    estimates = [_estimate("logic", "setting", "rm", f"bon@{size}", 0.5) for size in (1, 2, 8, 32)]
    made = board.boards(plan, look(plan.stages, Store(tmp_path)), {"estimates": estimates})
    logic = next(one for one in made if one.task == "logic")
    assert logic.pool_size == 64
    assert logic.key_size == 8
    assert logic.area_sizes == (2, 4, 8, 16)  # whatever is listed
    assert [logic.overlaps(size) for size in logic.sizes] == [False, False, False, True]


def test_every_setting_and_reference_has_a_row_on_every_task_that_asks_for_it(tmp_path: Any) -> None:
    plan = small()
    made = board.boards(plan, look(plan.stages, Store(tmp_path)), None)
    assert [one.task for one in made] == ["arithmetic", "logic", "code"]
    for one in made:
        assert [row.name for row in one.settings] == [setting.name for setting in plan.settings]
        assert all(row.gaps for row in one.rows)
    code = {row.name: row for row in made[2].settings}
    assert code["rm"].asked
    assert not code["no-pmp"].asked  # it has no reward head before fine-tuning


def test_a_setting_and_a_reference_of_one_name_do_not_mix(tmp_path: Any) -> None:
    plan = with_axes(tmp_path, {"kind": {"length": {}, "rm": {"pretrain.loss": {"rm": 1.0, "lm": 0.0}}}})
    analysis = {
        "estimates": [
            _estimate("logic", "setting", "length", "area", 0.7),
            _estimate("logic", "shallow", "length", "area", 0.2),
        ]
    }
    made = board.boards(plan, look(plan.stages, Store(tmp_path)), analysis)
    rows = next(one for one in made if one.task == "logic").rows
    assert {row.kind: row.estimates["area"].estimate for row in rows if row.name == "length"} == {
        "setting": 0.7,
        "shallow": 0.2,
    }


# ------------------------------------------------------------------------------------------------ provenance


def test_a_chain_goes_through_a_fork_to_the_base_model_and_not_into_the_order_of_pairs() -> None:
    graph = Graph()
    base, tokens = any_stage(graph, "base", {}, {}, label="base"), any_stage(graph, "encode", {}, {}, label="tokens")
    imported = any_stage(graph, "imported_checkpoint", {}, {}, label="judge")
    order = any_stage(graph, "score", {}, {"checkpoint": imported, "tokens": tokens}, label="order")
    fork = any_stage(graph, "trunk_state", {"step": 1}, {"base": base, "tokens": tokens}, label="fork")
    trunk = any_stage(
        graph, "trunk_state", {}, {"base": base, "fork": fork, "tokens": tokens, "scores": order}, label="trunk"
    )
    other = any_stage(graph, "trunk_state", {"step": 2}, {"base": base, "tokens": tokens}, label="other")
    average = any_stage(graph, "average", {}, {"trunk-0": trunk, "trunk-1": other}, label="average")
    score = any_stage(graph, "score", {}, {"checkpoint": average, "tokens": tokens}, label="score")
    outcome = any_stage(graph, "pair_accuracy", {}, {"scores": score, "pairs": tokens}, label="outcome")
    assert [one.label for one in chain(outcome)] == ["outcome", "score", "average", "trunk", "other", "fork", "base"]


# ------------------------------------------------------------------------------------------------ the status


def test_status_tells_done_failed_waiting_stopped_and_stale(tmp_path: Any) -> None:
    plan, store = small(), Store(tmp_path)
    base, tokenizer = first(plan, "base"), first(plan, "tokenizer")
    fill(plan, store, wanted=lambda stage: stage.kind.name in ("corpus_part", "corpus", "problems"))
    publish(store, tokenizer, stale=True)
    fail(store, base, "TrainingDiverged: it ran away")
    fail(store, first(plan, "candidates_part"), "TrainingStopped: asked to stop")
    found = look(plan.stages, store)
    assert found[first(plan, "corpus").fingerprint].state == "done"
    assert found[tokenizer.fingerprint].stale
    assert not found[first(plan, "corpus").fingerprint].stale
    assert found[base.fingerprint].state == "failed"
    assert found[base.fingerprint].reason == "TrainingDiverged: it ran away"
    assert found[first(plan, "candidates_part").fingerprint].state == "interrupted"
    trunk = found[first(plan, "trunk_state").fingerprint]
    assert trunk.state == "blocked"
    assert trunk.reason == f"waits for {base.label}: TrainingDiverged: it ran away"
    score = found[first(plan, "score", "rm").fingerprint]
    assert score.reason == trunk.reason  # the root cause, however far
    assert found[first(plan, "pairs").fingerprint].state == "not done"


def test_the_corpus_says_what_was_not_searched_and_not_read() -> None:
    found = {"checked": {"sums": 7}, "too_short": {"logic": 2, "sums": 3}, "documents": 0, "examples": []}
    spec = {"id": "org/set", "revision": "main", "commit": "0" * 40, "heldout": 0.1}
    result = {
        "contamination": found,
        "read": {"files": 9, "files_not_text": 4, "unparsable_files": 1},
        "passed_over": {"files_not_text": ["a.c", "b.c", "c.c"], "unparsable_files": ["d.py"]},
    }
    origin = f"From org/set at main (commit {'0' * 40}); split by cluster, 10% held out."
    assert corpus_words(spec, result) == (
        f"{origin} Too short to search for: 2 of 2 of logic, 3 of 10 of sums. "
        "Checked for 7 evaluation problems: no document contains one. "
        "Not read: files not text 4 (a.c, b.c, c.c, …); unparsable files 1 (d.py)."
    )
    found |= {
        "too_short": {},
        "documents": 2,
        "examples": [{"document": "a.py", "problem": "p1", "shared": 5, "of": 9}],
    }
    assert corpus_words(spec, result | {"passed_over": {}}) == (
        f"{origin} Checked for 7 evaluation problems: 2 documents contain one, such as a.py (p1, 5 of 9 n-grams)."
    )
    unchecked = {"contamination": None, "read": {}, "passed_over": {}}
    files = {"files": [{"name": f"{at}.py"} for at in range(8)], "heldout": 0.25}
    assert corpus_words(files, unchecked) == (
        "From 0.py, 1.py, 2.py, 3.py, 4.py, 5.py and 2 more; split by cluster, 25% held out. "
        "Not checked for evaluation problems."
    )


# ------------------------------------------------------------------------------------------------ the answer


def _compared(row: str, above: bool | None, low: float, lacking: str) -> dict[str, list[dict[str, Any]]]:
    """What the analysis says of one setting on `logic`; intervals are 0.2 wide."""
    common = {"task": "logic", "row": row, "evaluation": "best_of_n", "lacking": lacking}
    gap = {"estimate": low + 0.1, "low": low, "high": low + 0.2, "covers": "problems"}
    difference = {**gap, "reference_estimate": 0.431}
    names = {"best_reference": "length", "references": ["length", "ngrams"]}
    return {
        "estimates": [_estimate("logic", "setting", row, "area", 0.5)],
        "differences": [{**common, **gap, "against": "no-pmp"}],
        "above_chance": [{**common, "above": above, "difference": difference, **names}],
    }


@pytest.mark.parametrize(
    ("above", "low", "lacking", "told"),
    [
        (False, -0.1, "", "No model beats the best shallow baseline (length, 0.431). "
         "No difference from no-pmp has an interval that excludes 0."),
        (True, 0.01, "", "rm+lm beats every shallow baseline (best: length, 0.431). "
         "The interval of the difference from no-pmp excludes 0 for rm+lm (+0.110)."),
        (None, 0.01, "1 PMP seed", "No answer yet: a claim needs three seeds of what differs, and no setting has"),
    ],
)  # fmt: skip
def test_the_answer_claims_only_what_the_analysis_claims(
    tmp_path: Any, above: bool | None, low: float, lacking: str, told: str
) -> None:
    plan = small()
    analysis = _compared("rm+lm", above, low, lacking)
    (sentence,) = answer(board.boards(plan, look(plan.stages, Store(tmp_path)), analysis))
    assert told in sentence
    assert ("No numbers yet for rm, lm and no-pmp." in sentence) == (not lacking)
    assert answer(board.boards(plan, look(plan.stages, Store(tmp_path)), None)) == (
        "No answer yet: no evaluation is compared.",
    )


def test_beating_a_coin_alone_is_not_called_more(tmp_path: Path) -> None:
    plan = small("evaluate.reference_scorers=[]")
    analysis = _compared("rm+lm", True, 0.01, "")
    analysis["above_chance"][0] |= {"best_reference": "coin", "references": ["coin"]}
    (sentence,) = answer(board.boards(plan, look(plan.stages, Store(tmp_path)), analysis))
    assert "rm+lm beats a coin (the only shallow baseline). " in sentence


def test_each_set_of_code_pairs_has_shallow_scorers_of_its_own(tmp_path: Path) -> None:
    """Without them a setting on other pairs than the recipe's would beat a coin, and be said to beat every baseline."""
    judged = {"edits": {}, "constants": {"pairs.rejected.kinds": ["constant"]}}
    trained = {"many": {"pairs.train_rejected": {"from": "mutation", "edits": [4, 5]}}, "own": {}}
    plan, store = with_axes(tmp_path, {"judged": judged, "trained": trained}), Store(tmp_path / "store")
    fill(plan, store)
    analysis = overview(plan, store, analyse(plan, store))
    (made,) = (one for one in analysis.boards if one.task == "code")
    assert {row.name: row.above["pair_accuracy"].references for row in made.settings} == {
        name: tuple(sorted(["a coin", *(f"{label}{of}" for label in ("length", "n-grams", "prompt overlap"))]))
        for name, of in {
            "edits, many": "",
            "edits, own": "",
            "constants, many": " on pairs of constants, own",
            "constants, own": " on pairs of constants, own",
        }.items()
    }
    assert made.order == "Settings are judged on different data: no order"
    assert made.shallow is not None
    assert made.to_beat(made.shallow) == ("the shallow baselines on the same data",)
    assert [row.label for row in made.rows if row.is_reference] == [
        f"{label}{of}"
        for label in ("length", "n-grams", "prompt overlap")
        for of in ("", " on pairs of constants, own")
    ]
    (fitted,) = (one for one in plan.references if one.setting == "ngrams on pairs of constants, own")
    (scores,) = (
        item.stage for item in fitted.outcomes[0].stage.inputs.values() if item.stage.kind.name == "shallow_score"
    )
    own = next(one for one in plan.settings if one.name == "constants, own").variants[0].pretrained
    assert own is not None
    assert scores.inputs["tokens-code"].stage is own.inputs["tokens"].stage


def test_checkpoints_that_the_same_dev_problems_chose_are_flagged(tmp_path: Path) -> None:
    plan = small("evaluate.split=dev", "finetune.select={every_steps: 2}", "finetune={tasks: [logic], samples: 800}")
    (found,) = [one for one in overview(plan, Store(tmp_path), None).cautions if one.title == "Judged on dev problems"]
    names = ", ".join(one.name for one in plan.settings[:-1]) + f" and {plan.settings[-1].name}"
    assert found.items == ("arithmetic", f"logic: checkpoints of {names} were chosen on the same split")


def test_where_held_out_code_alone_judges_nobody_reads_of_fine_tuning(tmp_path: Path) -> None:
    code = ("ablations={axes: {loss: {lm: null, no-pmp: null}}}", "evaluate={best_of_n: null, pair_accuracy: null}")
    plan = small(*code, "seeds.pretrain=3")
    store = Store(tmp_path / "store")
    fill(plan, store)
    data = collect(plan, store, overview(plan, store, analyse(plan, store)))
    assert "PMP pairs · judged on held-out code pairs · 3 PMP seeds · " in data.line
    assert "Fine-tuning" not in dict(data.facts)
    files = write_report(plan, store, None, tmp_path / "report")
    assert "rm+lm" in files.markdown.read_text(encoding="utf-8")
    both = small("ablations={axes: {loss: null, s: {few: {finetune.samples: 400}, all: {}}}}")
    data = collect(both, store, overview(both, store, None))
    assert "fine-tuned on 400 and 1,600 pairs" in data.line


@pytest.mark.parametrize("counted", [{"warnings": 1}, {}], ids=["counted", "of an earlier version"])
def test_a_warning_about_pairs_names_the_settings_that_train_on_them(tmp_path: Path, counted: dict[str, int]) -> None:
    edits = {"few": {}, "many": {"pairs.rejected": {"from": "mutation", "edits": [2, 5]}}}
    plan, store = with_axes(tmp_path, {"edits": edits}), Store(tmp_path / "store")
    fill(plan, store)
    for stage in (stage for stage in plan.stages if stage.kind.name == "pair_quality"):
        directory = store.directory(stage.kind.name, stage.fingerprint)
        log = EventLog(directory / EVENTS)
        log.emit(Warned(message="too alike"))
        log.close()
        facts = json.loads((directory / RUN).read_text())
        assert facts.pop("warnings") == 0
        write_json(directory / RUN, {**facts, **counted})
    cautions = collect(plan, store, overview(plan, store, None)).cautions
    told = [item for one in cautions for item in one.items if "too alike" in item]
    assert told == [f"quality of pairs train of {name}: too alike" for name in edits]
