"""One exported reward model scored by everything that should agree: us, plain transformers, vLLM's pooling runner."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from harness.engines.vllm_engine import VllmScorer
from harness.engines.vllm_process import VllmRuntime
from harness.models.export import export_classifier
from harness.models.reward_model import RewardModel
from harness.models.scoring import score_groups
from tests.toys.families import family_model
from tests.toys.small_models import small_tokenizer
from tests.toys.unpacked import Groups, Memory

Scores = NDArray[np.float64]


def export_small_classifier(folder: Path) -> RewardModel:
    """The model that was exported; its export has a row of embeddings more, for padding."""
    tokenizer = small_tokenizer()
    model = family_model("qwen2", vocabulary=len(tokenizer), hidden_size=128)  # heads of 32, the least vLLM takes
    export_classifier(model, tokenizer, folder)
    return model


def scores_of_an_export(folder: Path, device: str) -> dict[str, Scores]:
    """By whom -> score of every response, all in fp32: "ours" on the CPU, "transformers" on the device, "vllm" wherever
    its build computes."""
    model = export_small_classifier(folder)
    classifier = AutoModelForSequenceClassification.from_pretrained(folder).to(device)
    vocabulary = model.backbone.config.vocab_size
    assert classifier.config.vocab_size == vocabulary + 1

    groups = _groups(vocabulary)
    sequences = [np.concatenate([prompt, response]) for prompt, *responses in groups for response in responses]
    with torch.inference_mode():
        plain = [classifier(torch.from_numpy(ids)[None].to(device)).logits[0, 0].item() for ids in sequences]
    # a share of a GPU that leaves room for the classifier and for other tests
    with VllmScorer(str(folder), dtype="fp32", runtime=VllmRuntime(cache_gb=1, gpu_memory=0.5)) as scorer:
        theirs = scorer.score(groups)
    return {
        "ours": np.concatenate(score_groups(model, Memory(groups), range(len(groups)), row_tokens=100)),
        "transformers": np.array(plain),
        "vllm": np.concatenate(theirs),
    }


def scores_by_trl(folder: Path, sequences: Sequence[NDArray[np.integer]], *, attention: str = "sdpa") -> Scores:
    """What TRL's `RewardTrainer` computes its loss and accuracy from when it evaluates an exported model."""
    import datasets  # here, since both are slow to import
    import trl

    even = [*sequences, *sequences[-1:]][: len(sequences) + len(sequences) % 2]  # it takes two at a time
    rows = [
        {"chosen_ids": one.tolist(), "rejected_ids": other.tolist()}
        for one, other in zip(even[::2], even[1::2], strict=True)
    ]
    trainer = trl.RewardTrainer(
        model=AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation=attention),
        args=trl.RewardConfig(
            output_dir=str(folder.parent / "trl"),
            per_device_eval_batch_size=len(rows),
            max_length=None,
            use_cpu=True,
            bf16=False,
            report_to="none",
        ),
        processing_class=AutoTokenizer.from_pretrained(folder),
        train_dataset=datasets.Dataset.from_list(rows),
        eval_dataset=datasets.Dataset.from_list(rows),
    )
    (batch,) = trainer.get_eval_dataloader()
    trainer.model.eval()
    with torch.inference_mode():
        _, outputs = trainer.compute_loss(trainer.model, batch, return_outputs=True)
    scores: Scores = outputs["logits"][:, 0].reshape(2, -1).T.flatten().double().numpy()[: len(sequences)]
    return scores


def _groups(vocabulary: int) -> Groups:
    """Prompts and responses of many lengths over the whole vocabulary, the end token included; one prompt is empty."""
    rng = np.random.default_rng(0)
    groups = [[rng.integers(0, vocabulary, rng.integers(1, 40)) for _ in range(3)] for _ in range(8)]
    groups[0][0] = groups[0][0][:0]
    return groups
