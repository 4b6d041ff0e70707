"""Logic circuits worked out gate by gate in words, and the mistakes one can make in them.

Pure values: a circuit says what its solution claims, right or wrong, and everything after a mistake follows from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from types import MappingProxyType

from harness.tasks.wording import plain_solution

GATES = ("AND", "NAND", "XOR")
OUTPUTS = ("AND", "NOR", "OR", "XOR")


@dataclass(frozen=True)
class Literal:
    """An input of a gate. `value` is what the solution takes it to be."""

    name: str
    negated: bool
    value: int

    def __str__(self) -> str:
        return f"not {self.name}" if self.negated else self.name


@dataclass(frozen=True)
class Gate:
    """One evaluated gate: `result` is what the solution says it gives."""

    operator: str
    literals: tuple[Literal, ...]
    result: int

    def __str__(self) -> str:
        return f"{self.operator}({', '.join(str(literal) for literal in self.literals)})"


@dataclass(frozen=True)
class Circuit:
    """A worked circuit: gates, the values carried to the output gate, its result, and the answer given."""

    gates: tuple[Gate, ...]
    output: str
    carried: tuple[int, ...]
    result: int
    answer: int

    @classmethod
    def follow(cls, gates: Sequence[Gate], output: str) -> Circuit:
        """The circuit with everything after the gates worked out rightly from what the gates say."""
        carried = tuple(gate.result for gate in gates)
        result = evaluate(output, carried)
        return cls(gates=tuple(gates), output=output, carried=carried, result=result, answer=result)

    @property
    def form(self) -> str:
        return f"{self.output}({','.join(sorted(gate.operator for gate in self.gates))})"

    def solution(self) -> str:
        steps = []
        for number, gate in enumerate(self.gates, start=1):
            values = listed([f"{literal} = {literal.value}" for literal in gate.literals])
            called = f"{gate.operator}({', '.join(str(literal.value) for literal in gate.literals)})"
            steps.append(f"Gate {number}: {values}, so {called} = {gate.result}.")
        steps.append(f"Output: {self.output}({', '.join(map(str, self.carried))}) = {self.result}.")
        return plain_solution(steps, str(self.answer))


def evaluate(operator: str, values: Sequence[int]) -> int:
    """A gate's output; XOR of several inputs is their parity."""
    match operator:
        case "AND":
            return int(all(values))
        case "NAND":
            return int(not all(values))
        case "OR":
            return int(any(values))
        case "NOR":
            return int(not any(values))
        case "XOR":
            return sum(values) % 2
    raise ValueError(operator)


def evaluated(operator: str, literals: Sequence[Literal]) -> Gate:
    return Gate(operator, tuple(literals), evaluate(operator, [literal.value for literal in literals]))


def with_inputs(circuit: Circuit, inputs: Mapping[str, int]) -> Circuit:
    gates = [
        evaluated(
            gate.operator, [replace(literal, value=inputs[literal.name] ^ literal.negated) for literal in gate.literals]
        )
        for gate in circuit.gates
    ]
    return Circuit.follow(gates, circuit.output)


def listed(parts: Sequence[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


# ---------------------------------------------------------------------------------------------------- mistakes


def _with_gate(circuit: Circuit, place: int, gate: Gate) -> Circuit:
    return Circuit.follow((*circuit.gates[:place], gate, *circuit.gates[place + 1 :]), circuit.output)


def _gate_slips(circuit: Circuit) -> Iterator[Circuit]:
    """One gate is worked out wrongly; the output follows from it, or is the slip itself."""
    for place, gate in enumerate(circuit.gates):
        yield _with_gate(circuit, place, replace(gate, result=1 - gate.result))
    yield replace(circuit, result=1 - circuit.result, answer=1 - circuit.answer)


def _wrong_gates(circuit: Circuit) -> Iterator[Circuit]:
    """One gate is taken for a gate of another kind."""
    for place, gate in enumerate(circuit.gates):
        for operator in GATES:
            if operator != gate.operator:
                yield _with_gate(circuit, place, evaluated(operator, gate.literals))
    for output in OUTPUTS:
        if output != circuit.output:
            yield Circuit.follow(circuit.gates, output)


def _wrong_literals(circuit: Circuit, *, negated: bool) -> Iterator[Circuit]:
    for place, gate in enumerate(circuit.gates):
        for position, literal in enumerate(gate.literals):
            if literal.negated == negated:
                wrong = replace(literal, value=1 - literal.value)
                literals = (*gate.literals[:position], wrong, *gate.literals[position + 1 :])
                yield _with_gate(circuit, place, evaluated(gate.operator, literals))


def _ignored_negations(circuit: Circuit) -> Iterator[Circuit]:
    """A negated input is given the value of the input itself."""
    return _wrong_literals(circuit, negated=True)


def _miscopied_inputs(circuit: Circuit) -> Iterator[Circuit]:
    """An input is given another value than the question states."""
    return _wrong_literals(circuit, negated=False)


def _wrong_carries(circuit: Circuit) -> Iterator[Circuit]:
    """The output gate reads another value than the gate before it gave: the text contradicts itself."""
    for place in range(len(circuit.carried)):
        carried = (*circuit.carried[:place], 1 - circuit.carried[place], *circuit.carried[place + 1 :])
        result = evaluate(circuit.output, carried)
        yield replace(circuit, carried=carried, result=result, answer=result)


def _swapped_gates(circuit: Circuit) -> Iterator[Circuit]:
    """Two gates are taken for each other's kind."""
    for first, second in combinations(range(len(circuit.gates)), 2):
        gates = list(circuit.gates)
        gates[first] = evaluated(circuit.gates[second].operator, circuit.gates[first].literals)
        gates[second] = evaluated(circuit.gates[first].operator, circuit.gates[second].literals)
        yield Circuit.follow(gates, circuit.output)


def _wrong_conclusions(circuit: Circuit) -> Iterator[Circuit]:
    """All steps are right, but the other answer is given."""
    yield replace(circuit, answer=1 - circuit.answer)


MISTAKES: Mapping[str, Callable[[Circuit], Iterator[Circuit]]] = MappingProxyType(
    {
        "gate_slip": _gate_slips,
        "wrong_gate": _wrong_gates,
        "ignored_negation": _ignored_negations,
        "miscopied_input": _miscopied_inputs,
        "wrong_carry": _wrong_carries,
        "swapped_gates": _swapped_gates,
        "wrong_conclusion": _wrong_conclusions,
    }
)
