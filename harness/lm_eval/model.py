"""The reward model as lm-eval sees a model, and which of lm-eval's tasks it can be asked.

Rewards are no log-likelihoods: they order the responses to one prompt and mean nothing else. So options are ranked,
answers are picked, and every number that reads more into them is refused before anything is computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.task import ConfigurableTask, Task
from tqdm import tqdm

from harness.errors import ProblemList, RecipeError
from harness.lm_eval.candidates import Candidates, logger
from harness.lm_eval.rewards import Rewards, TextRewards
from harness.tasks.task import stream

Metrics = Literal["all", "acc"]

RANKING = ("acc", "f1", "mcc")
"""lm-eval's metrics of options that look at the best option alone."""

WHY_NOT: Mapping[str, str] = {
    "acc_norm": "it divides by the option's length, which makes sense of a sum over tokens, and a reward is none",
    "acc_bytes": "it divides by the option's length, which makes sense of a sum over tokens, and a reward is none",
    "acc_mutual_info": "it subtracts the value without a prompt, and rewards of two prompts do not compare",
    "exact_match": "it asks for the most probable text, and a reward model gives no probabilities",
    "brier_score": "it takes the values for log-probabilities",
    "likelihood": "it takes the values for log-probabilities",
}
ONLY_ACC = "add `--model_args metrics=acc` to judge options by `acc` alone"
OTHER_TASK = "leave the task out"
SHOWN = 3  # names in an error

LAST_BITS = 1 << 20
"""Rewards are fp32, so they differ by at least 2^29 units of the last place of the fp64 that carries them."""


class RewardModelLM(LM):  # type: ignore[misc]
    """A reward model as a model of lm-eval.

    Args:
        rewards: of texts.
        candidates: what answers are picked from; None where no task asks for texts.
        seed: of draws among equal rewards.
    """

    def __init__(self, rewards: TextRewards, candidates: Candidates | None, *, seed: int) -> None:
        super().__init__()
        self._rewards = rewards
        self._candidates = candidates
        self._seed = seed

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """(reward, False) of each (prompt, response).

        The first of equal values would win in lm-eval, so equal rewards to one prompt are told apart in their last
        bits, by a draw that depends on prompt, response and seed.
        """
        by_prompt: dict[str, list[int]] = {}
        for number, request in enumerate(requests):
            by_prompt.setdefault(request.args[0], []).append(number)
        groups = [(prompt, [requests[number].args[1] for number in some]) for prompt, some in by_prompt.items()]
        found: dict[int, tuple[float, bool]] = {}
        for (prompt, responses), numbers, rewards in zip(groups, by_prompt.values(), self._score(groups), strict=True):
            for number, response, reward in zip(numbers, responses, rewards, strict=True):
                draw = stream("lm-eval", self._seed, prompt, response, requests[number].idx).randrange(LAST_BITS)
                found[number] = (float(reward + draw * np.spacing(abs(reward))), False)
        return [found[number] for number in range(len(requests))]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The candidate with the highest reward, of equal ones a drawn one.

        Raises:
            HarnessError: a prompt has no candidates.
        """
        assert self._candidates is not None  # `prepare` has seen to it
        asked = [(str(request.args[0]), request.args[1]) for request in requests]
        groups = [(prompt, texts) for (prompt, _), texts in zip(asked, self._candidates.of(asked), strict=True)]
        answers, ties = [], 0
        for number, ((prompt, texts), rewards) in enumerate(zip(groups, self._score(groups), strict=True)):
            best = np.flatnonzero(rewards == rewards.max())
            ties += len({texts[index] for index in best}) > 1
            answers.append(texts[stream("lm-eval", self._seed, prompt, number).choice(best)])
        logger.info(
            "picked %s answers by reward, %s of them by a draw among different texts of equal reward",
            *(f"{count:,}" for count in (len(answers), ties)),
        )
        return answers

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        raise NotImplementedError("a reward model gives a text no probability")  # `prepare` has refused it before

    def _score(self, groups: Sequence[tuple[str, Sequence[str]]]) -> Rewards:
        cut = self._rewards.cut
        with tqdm(total=len(groups), desc="Rewards", unit="prompt") as bar:
            scores = self._rewards.score(groups, lambda done, _: bar.update(done - bar.n))
        if self._rewards.cut > cut:
            logger.warning(
                "%s of %s responses were cut to fit the model, the prompt's beginning first; see `max_tokens`",
                *(f"{count:,}" for count in (self._rewards.cut - cut, sum(len(texts) for _, texts in groups))),
            )
        return scores


def prepare(tasks: Mapping[str, Task], *, metrics: Metrics, writes: bool, judged: bool) -> None:
    """See that lm-eval's tasks ask only what rewards can answer.

    Args:
        metrics: "acc" has options judged by it alone, whatever their tasks list.
        writes: there are candidates to pick answers from.
        judged: metrics are computed, and not only the model's outputs kept.

    Raises:
        ProblemList: everything that is refused, with the reason.
    """
    refused: dict[tuple[str, str, str], list[str]] = {}
    for name, task in tasks.items():
        for problem in _problems(task, metrics=metrics, writes=writes, judged=judged):
            refused.setdefault(problem, []).append(name)
    if refused:
        raise ProblemList(
            [RecipeError(rule, f"{_listed(names)} {value}", remedy) for (rule, value, remedy), names in refused.items()]
        )
    for task in tasks.values():
        if metrics == "acc" and task.OUTPUT_TYPE == "multiple_choice":
            task.override_metric("acc")


def _problems(task: Task, *, metrics: Metrics, writes: bool, judged: bool) -> Iterator[tuple[str, str, str]]:
    """(rule, value without the task's name, remedy)."""
    if task.OUTPUT_TYPE == "generate_until":
        if not writes:
            rule = "answers are picked from candidates"
            yield rule, "asks for texts and none are named", "add `--model_args generator=FOLDER` or `candidates=STAGE`"
        return
    if task.OUTPUT_TYPE != "multiple_choice":
        rule = "a reward model ranks responses and gives no text a probability"
        yield rule, f"asks for probabilities (`{task.OUTPUT_TYPE}`)", OTHER_TASK
        return
    if not isinstance(task, ConfigurableTask) or _has_own_code(task):
        rule = "options must be judged by lm-eval's own metrics"
        yield rule, "judges them by code of its own, which may take rewards for log-likelihoods", OTHER_TASK
        return
    if task.multiple_input:
        rule = "options must be responses to one prompt"
        yield rule, "gives each option a prompt of its own, and rewards of two prompts do not compare", OTHER_TASK
    for metric in task._metric_fn_list if judged and metrics == "all" else ():
        if metric not in RANKING:
            why = WHY_NOT.get(metric, "it reads more into the values than their order")
            yield f"`{metric}` of rewards means nothing: {why}", "asks for it", ONLY_ACC


def _has_own_code(task: ConfigurableTask) -> bool:
    return callable(task.config.process_results) or (type(task).process_results is not ConfigurableTask.process_results)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
