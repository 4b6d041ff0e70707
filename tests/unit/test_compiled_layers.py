"""Layers that are compiled with FlexAttention: how often, and that nothing else changes.

FlexAttention has no backward pass on CPUs, and only what is traced is looked at here, so no code is generated.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import distributed
from torch._dynamo.utils import counters
from torch.testing._internal.distributed.fake_pg import FakeStore

from harness.models import attention
from harness.models.attention import MOST_GRAPHS, block_mask, compiled_block_mask
from harness.models.packing import Batch, collate, pack
from harness.training.parallel import Parallel
from tests.toys.families import VOCABULARY, family_model

pytestmark = pytest.mark.unit

FOR_ONE_MASK = 4
"""Graphs: of one row and of several, of one block of the mask and of several."""


@pytest.fixture(autouse=True)
def _traced_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(torch.nn.Module, "compile", functools.partialmethod(torch.nn.Module.compile, backend="eager"))
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


def batches() -> Iterator[Batch]:
    rng = np.random.default_rng(0)
    for budget in (256, 16):
        for rows in (3, 1, 2, 3):
            sizes = rng.integers(2, 30, (16, 3))
            yield collate(pack([[rng.integers(0, VOCABULARY, n) for n in group] for group in sizes], budget)[:rows])


@pytest.mark.filterwarnings("ignore")  # what torch's compiler says of itself
def test_rows_of_all_shapes_are_compiled_a_few_times() -> None:
    model, other = (family_model("qwen3-window", heads=2, hidden_size=64, max_positions=1024).eval() for _ in range(2))
    model.backbone.set_attn_implementation("flex_attention")
    model.compute_layers(recompute=False, compiled=None)
    shapes = set()
    with torch.no_grad():
        for number, batch in enumerate(batches()):
            shapes.add(tuple(batch.input_ids.shape))
            rewards = model(batch, rewards=True, lm_loss=None).rewards
            if number % 3 == 0:
                torch.testing.assert_close(rewards, other(batch, rewards=True, lm_loss=None).rewards)
    assert len(shapes) > 5
    assert counters["stats"]["unique_graphs"] == 2 * FOR_ONE_MASK <= MOST_GRAPHS / 2
    assert not counters["graph_break"]


@pytest.mark.filterwarnings("ignore")  # what torch's compiler says of itself
def test_block_masks_of_all_shapes_are_compiled_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [block_mask(batch, 7) for batch in batches()]
    monkeypatch.setattr(attention, "create_block_mask", compiled_block_mask.__wrapped__())
    found = []
    for batch in batches():
        with torch.set_grad_enabled(len(found) % 2 == 0):  # in a training, and when it scores dev pairs
            found.append(block_mask(batch, 7))
    for mask, its in zip(found, expected, strict=True):
        torch.testing.assert_close(mask.to_dense(), its.to_dense())
    assert counters["stats"]["unique_graphs"] == FOR_ONE_MASK
    assert not counters["graph_break"]


@pytest.mark.filterwarnings("ignore")  # what torch's compiler says of itself
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_layers_that_processes_share_are_compiled_for_their_own_numbers(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FlexAttention has no kernels for heads whose size, or for soft caps whose value, only the run knows."""
    varying: set[int] = set()
    scalars: list[torch.Tensor] = []  # as which other numbers come that may vary

    def traced(graph: torch.fx.GraphModule, inputs: list[object]) -> object:
        varying.update(one.node.hint for one in inputs if isinstance(one, torch.SymInt))
        scalars.extend(one for one in inputs if isinstance(one, torch.Tensor) and one.ndim == 0)
        return graph.forward

    monkeypatch.setattr(torch.nn.Module, "compile", functools.partialmethod(torch.nn.Module.compile, backend=traced))
    model = family_model(family, heads=2, hidden_size=44, max_positions=1024).eval()
    batch = next(batches())
    distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        model.backbone.set_attn_implementation("flex_attention")
        model.compute_layers(recompute=False, compiled=None)
        shared = Parallel(torch.device("cpu"), "fsdp").distribute(model)
        with torch.no_grad():
            shared(batch, rewards=True, lm_loss=None)
    finally:
        distributed.destroy_process_group()
    assert batch.input_ids.shape[1] in varying
    assert not varying & {22, 44}
    assert not scalars  # such as the soft cap of Gemma 2


def test_without_flex_attention_layers_are_compiled_where_it_is_asked_alone() -> None:
    for compiled, expected in ((None, False), (False, False), (True, True)):
        model = family_model("llama")
        model.compute_layers(recompute=False, compiled=compiled)
        assert all((layer._compiled_call_impl is not None) == expected for layer in model.layers())
