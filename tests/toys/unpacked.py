"""The oracle of packing: every sequence alone through the plain transformers model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from harness.models.losses import LossWeights
from harness.models.reward_model import RewardModel
from harness.training.gradients import BatchResult, accumulate_gradients
from tests.toys.families import VOCABULARY

Groups = list[list[np.ndarray]]


class Memory:
    """Groups held in memory."""

    def __init__(self, groups: Groups) -> None:
        self.groups = groups

    def __len__(self) -> int:
        return len(self.groups)

    def group(self, index: int, /) -> list[np.ndarray]:
        return self.groups[index]


def random_groups(rng: np.random.Generator, count: int, responses: Sequence[int], longest: int = 14) -> Groups:
    """Lengths of every kind: empty prompts, empty responses, one-token responses."""
    groups = []
    for _ in range(count):
        prompt = int(rng.choice([0, 1, int(rng.integers(2, longest))]))  # a third of each kind
        shortest = 1 if prompt == 0 else 0
        lengths = [
            int(rng.choice([shortest, 1, int(rng.integers(2, longest))]))
            for _ in range(int(rng.choice(list(responses))))
        ]
        groups.append([rng.integers(0, VOCABULARY, length) for length in (prompt, *lengths)])
    return groups


def alone(model: RewardModel, prompt: np.ndarray, response: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Reward and summed LM loss of one sequence through the plain transformers model."""
    ids = torch.from_numpy(np.concatenate([prompt, response]).astype(np.int64))[None]
    output = model.backbone(input_ids=ids, output_hidden_states=True)
    reward = functional.linear(output.hidden_states[-1][0, -1].to(model.head.weight.dtype), model.head.weight)[0]
    first = max(len(prompt), 1)
    lm_loss = functional.cross_entropy(output.logits[0, first - 1 : -1], ids[0, first:], reduction="sum")
    return reward, lm_loss


def plain_loss(model: RewardModel, groups: Groups, loss: LossWeights) -> torch.Tensor:
    """The training objective written down naively, one sequence at a time."""
    preference, lm_losses, targets = [], [], 0
    for prompt, *responses in groups:
        rewards, losses = zip(*(alone(model, prompt, response) for response in responses), strict=True)
        count = len(responses[0]) - (1 if len(prompt) == 0 else 0)
        if count:
            lm_losses.append(losses[0] if loss.lm_normalization == "token" else losses[0] / count)
            targets += count if loss.lm_normalization == "token" else 1
        if len(responses) == 2:
            preference.append(-functional.logsigmoid(rewards[0] - rewards[1] - loss.margin))
    total = torch.zeros((), dtype=model.head.weight.dtype)
    if loss.rm:
        total = total + loss.rm * torch.stack(preference).mean()
    if loss.lm:
        total = total + loss.lm * torch.stack(lm_losses).sum() / targets
    return total


def gradients(model: RewardModel) -> dict[str, torch.Tensor]:
    """Gradients by name, without those that were not computed; the model's are cleared."""
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    """Each gradient within `tolerance` of the expected one's norm.

    A key's bias shifts the scores of all keys nearly alike, which softmax takes out again: its gradient is the small
    rest of a cancellation, and is measured by the norm of its matrix' gradient.
    """
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        scale = expected[name].norm()
        if name.endswith("k_proj.bias"):
            scale = torch.maximum(scale, expected[name.replace("bias", "weight")].norm())
        assert (gradient - expected[name]).norm() <= tolerance * scale, name


def packed_result(model: RewardModel, groups: Groups, loss: LossWeights, row_tokens: int, rows: int) -> BatchResult:
    return accumulate_gradients(model, groups, loss=loss, row_tokens=row_tokens, rows_per_micro_batch=rows)
