"""Logic circuits from reasoning-gym's `circuit_logic`, asked in words, with a gate-by-gate worked solution.

A cluster is a circuit's logical form: its output gate and the gates feeding it, whatever their order, inputs and
negations. The circuits are the library's; its drawing is replaced by words, which are shorter and read the same in
every tokenizer, and its input values by ones that make answers 0 and 1 alternate within a form, so that neither the
form nor the answer alone tells right from wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations_with_replacement, count
from random import Random
from types import MappingProxyType
from typing import Any, ClassVar

from harness.errors import DataError
from harness.tasks.splits import SHARES, clusters_of_splits, fewest_and_most, read_options
from harness.tasks.task import OptionRule, Problem, Task, stream
from harness.tasks.wording import Style, stated_number
from harness.tasks.worked_circuit import (
    GATES,
    MISTAKES,
    OUTPUTS,
    Circuit,
    Gate,
    Literal,
    evaluated,
    listed,
    with_inputs,
)

DEFAULT_OPTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "shares": {"base": 0.25, "finetune": 0.25, "dev": 0.15, "test": 0.35},
        "gates": [2, 3],  # gates before the output gate, fewest and most
        "inputs": [2, 3],  # inputs a gate, fewest and most
    }
)
_MOST_PARTS = 8  # gates, or inputs of one: more would no longer be a short text
OPTION_RULES: Mapping[str, OptionRule] = MappingProxyType(
    {"shares": SHARES, "gates": fewest_and_most(1, _MOST_PARTS), "inputs": fewest_and_most(2, _MOST_PARTS)}
)
_OPERATORS = {"&": "AND", "↑": "NAND", "⊕": "XOR"}
_NEGATED = 0.3
_VIRTUAL_SIZE = 1 << 30  # items are made on demand; the library only wants a number
_MOST_DRAWS_WITHOUT_PROBLEM = 5_000
_MOST_INPUT_DRAWS = 200  # an answer rarer than this leaves the circuit out
_MOST_SHARES = 2  # no form has more than twice its even share of the problems
_THEREFORE = (", so ", ", so ", ", which makes ", ", hence ", ", therefore ")


class CircuitLogic(Task):
    """Options: `shares` (split -> share of the forms), `gates` and `inputs` (fewest and most, see DEFAULT_OPTIONS)."""

    name: ClassVar[str] = "circuit_logic"
    seen_errors: ClassVar[tuple[str, ...]] = ("gate_slip", "wrong_gate", "ignored_negation", "miscopied_input")
    unseen_errors: ClassVar[tuple[str, ...]] = ("wrong_carry", "swapped_gates", "wrong_conclusion")
    licence: ClassVar[str] = "Apache-2.0"
    source: ClassVar[str] = "https://github.com/open-thought/reasoning-gym (circuit_logic)"
    distribution: ClassVar[str] = "reasoning-gym"
    defaults = DEFAULT_OPTIONS
    rules = OPTION_RULES

    def problems(
        self, count_by_split: Mapping[str, int], *, seed: int, options: Mapping[str, Any] | None = None
    ) -> list[Problem]:
        settings = read_options(self.name, options, DEFAULT_OPTIONS, OPTION_RULES)
        forms = _forms(*settings["gates"])
        by_split = clusters_of_splits(self.name, count_by_split, forms, settings["shares"], seed)
        collections = [_Collection(split, wanted, by_split[split]) for split, wanted in count_by_split.items()]
        of_form = {form: collection for collection in collections for form in by_split[collection.split]}
        items = _load_items(settings, first=stream(self.name, seed).getrandbits(48))
        last_success = 0
        for draw in count():
            if all(collection.is_full for collection in collections):
                break
            circuit = _read_circuit(items[draw])
            collection = of_form.get(circuit.form)
            if collection is not None and collection.needs(circuit):
                inputs = _inputs_giving(collection.next_answer(circuit), circuit, stream(self.name, seed, draw))
                if inputs is not None:
                    problem = _problem(circuit, inputs, f"{self.name}/{draw:07d}", collection.split)
                    last_success = draw if collection.add(problem) else last_success
            if draw - last_success > _MOST_DRAWS_WITHOUT_PROBLEM:
                raise DataError(
                    f"task {self.name!r} must find as many different problems as requested",
                    "; ".join(f"{collection.split}: {collection.progress}" for collection in collections),
                    "ask for fewer, or allow more `gates` or `inputs`",
                )
        return [problem for collection in collections for problem in collection.found]

    def propose_mistakes(self, problem: Problem, rng: Random, kind: str) -> Iterator[str]:
        proposals = list(MISTAKES[kind](_stored_circuit(problem.metadata)))
        rng.shuffle(proposals)
        return (proposal.solution() for proposal in proposals)

    def restyle(self, solution: str, rng: Random) -> str:
        style = Style.draw(rng)
        return style.apply(solution.replace(", so ", rng.choice(_THEREFORE)))

    def extract(self, text: str) -> str | None:
        stated = stated_number(text)
        return stated if stated in ("0", "1") else None

    def grade(self, problem: Problem, text: str) -> bool:
        return self.extract(text) == problem.answer


class _Collection:
    """The problems of one split so far. What it takes depends on what it has, never on how many are wanted."""

    def __init__(self, split: str, wanted: int, forms: Sequence[str]) -> None:
        self.split = split
        self.found: list[Problem] = []
        self._wanted = wanted
        self._forms = len(forms)
        self._of_form: Counter[str] = Counter()
        self._prompts: set[str] = set()

    @property
    def is_full(self) -> bool:
        return len(self.found) >= self._wanted

    @property
    def progress(self) -> str:
        return f"{len(self.found):,} of {self._wanted:,} from {self._forms} forms"

    def needs(self, circuit: Circuit) -> bool:
        most = _MOST_SHARES * len(self.found) / self._forms
        return not self.is_full and self._of_form[circuit.form] <= most and _is_plain(circuit)

    def next_answer(self, circuit: Circuit) -> int:
        return self._of_form[circuit.form] % 2

    def add(self, problem: Problem) -> bool:
        if problem.prompt in self._prompts:
            return False
        self._prompts.add(problem.prompt)
        self._of_form[problem.cluster] += 1
        self.found.append(problem)
        return True


def _forms(fewest: int, most: int) -> list[str]:
    return [
        f"{output}({','.join(gates)})"
        for number in range(fewest, most + 1)
        for gates in combinations_with_replacement(GATES, number)
        for output in OUTPUTS
    ]


def _load_items(settings: Mapping[str, Any], first: int) -> Any:
    """The library's endless list of items; item i depends on `first` + i alone."""
    from reasoning_gym.logic.circuit_logic import CircuitLogicConfig, CircuitLogicDataset

    config = CircuitLogicConfig(
        min_terms=settings["gates"][0],
        max_terms=settings["gates"][1],
        min_inputs=settings["inputs"][0],
        max_inputs=settings["inputs"][1],
        neg_prob=_NEGATED,
        size=_VIRTUAL_SIZE,
        seed=first,
    )
    return CircuitLogicDataset(config)


def _read_circuit(item: Mapping[str, Any]) -> Circuit:
    """A circuit from the library's own notation, e.g. "A'↑B" for NAND(not A, B)."""
    metadata = item["metadata"]
    gates = []
    for term in metadata["term_strings"]:
        symbol = next(symbol for symbol in _OPERATORS if symbol in term)
        gates.append(_gate(_OPERATORS[symbol], term.split(symbol), metadata["assignments"]))
    circuit = Circuit.follow(gates, metadata["final_gate"])
    assert str(circuit.answer) == item["answer"], item
    return circuit


def _stored_circuit(metadata: Mapping[str, Any]) -> Circuit:
    """A circuit from what `_problem` keeps."""
    gates = [_gate(operator, literals, metadata["inputs"]) for operator, literals in metadata["gates"]]
    return Circuit.follow(gates, metadata["output"])


def _gate(operator: str, literals: Sequence[str], inputs: Mapping[str, int]) -> Gate:
    read = []
    for literal in literals:
        name, negated = literal.removesuffix("'"), literal.endswith("'")
        read.append(Literal(name=name, negated=negated, value=inputs[name] ^ negated))
    return evaluated(operator, read)


def _inputs_giving(answer: int, circuit: Circuit, rng: Random) -> dict[str, int] | None:
    """Inputs drawn evenly from those for which the circuit gives `answer`; None where none came up."""
    names = sorted({literal.name for gate in circuit.gates for literal in gate.literals})
    for _ in range(_MOST_INPUT_DRAWS):
        inputs = {name: rng.randrange(2) for name in names}
        if with_inputs(circuit, inputs).answer == answer:
            return inputs
    return None


def _is_plain(circuit: Circuit) -> bool:
    """No gate reads one input twice: such gates are constant or have an input too many."""
    return all(len({literal.name for literal in gate.literals}) == len(gate.literals) for gate in circuit.gates)


def _problem(circuit: Circuit, inputs: Mapping[str, int], identity: str, split: str) -> Problem:
    circuit = with_inputs(circuit, inputs)
    values = listed([f"{name} = {value}" for name, value in inputs.items()])
    gates = ". ".join(f"Gate {number} is {gate}" for number, gate in enumerate(circuit.gates, start=1))
    feeding = ", ".join(f"gate {number}" for number in range(1, len(circuit.gates) + 1))
    question = f"A circuit has the inputs {values}. {gates}. The output is {circuit.output}({feeding})."
    return Problem(
        id=identity,
        cluster=circuit.form,
        split=split,
        prompt=f"Question: {question} What is the output?\nAnswer:\n",
        answer=str(circuit.answer),
        solution=circuit.solution(),
        metadata={
            "inputs": dict(inputs),
            "output": circuit.output,
            "gates": [
                [gate.operator, [literal.name + "'" * literal.negated for literal in gate.literals]]
                for gate in circuit.gates
            ],
        },
    )
