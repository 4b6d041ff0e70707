"""How fast preference pairs are trained on, by hand: `python -m tests.bench.bench_training` (results/training.json).

Ours against TRL's RewardTrainer and against a padded trainer of two sequences a pair with logits over whole chosen
sequences, side by side: the same pairs, SmolLM2-135M's shape (weights do not matter for speed), bf16 autocast, AdamW,
one step of a global batch. Every measurement is a process of its own; trainers take turns, so that a busy moment hits
all. First each trainer tries its micro-batches, then the best is measured. TRL comes with the `dev` extra.

    bench_training.py [--rounds 3]      all of it
    bench_training.py long|short        one distribution of lengths
    bench_training.py memory            peak memory with and without LM loss, 152k tokens, by pairs a micro-batch

Each part of the result is one run, and says on which machine, by which versions and when. Rounds are kept, so that a
tenth can be told from noise.

With `--threads 1` times are processor seconds, which other programs on the machine disturb less; else they are wall
time, and only a machine that does nothing else gives them.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig

from harness.models.losses import LossWeights
from harness.models.packing import collate, lm_target_count, pack
from harness.models.reward_model import RewardModel
from harness.training.gradients import accumulate_gradients
from harness.training.optimizer import AdamWSettings, new_optimizer, select_parameters, selected_parameters
from harness.training.speed import TrainingCost, Work, attended_pairs, matmul_peak

RESULT = Path(__file__).parent / "results" / "training.json"
VOCABULARY, LARGE_VOCABULARY = 49_152, 151_936
ADAMW = AdamWSettings(weight_decay=0.1)
RATE = 1e-5

Pairs = list[list[np.ndarray]]

LENGTHS: dict[str, dict[str, Any]] = {
    # tokens: prompt, chosen, rejected
    "long": {"pairs": 8, "ranges": ((120, 250), (150, 250), (150, 250))},
    # our corpus: medians of 89 characters of docstring and 126 of body, 3 characters a token; mutation keeps lengths
    "short": {"pairs": 32, "ranges": ((8, 70), (15, 90), None)},
}
MICRO_BATCHES: dict[str, dict[str, list[Any]]] = {
    # ours: row budget and rows; the others: pairs
    "long": {"ours": [(1, 1), (1, 2)], "ours-rm": [(1, 1), (1, 2)], "others": [1, 2]},
    "short": {"ours": [(256, 4), (1024, 1)], "ours-rm": [(256, 4), (1024, 1)], "others": [2, 4]},
}
COMPARED = (("ours", "padded"), ("ours-rm", "trl-grouped"), ("ours-rm", "trl-default"), ("ours", "trl-default"))
PAIRS_TOGETHER = (1, 2, 8)
TRAINERS = ("ours", "ours-rm", "padded", "trl-grouped", "trl-default")


THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))
clock = time.process_time if THREADS == 1 else time.perf_counter


def pairs_of(lengths: str, count: int) -> Pairs:
    """The same pairs for every trainer."""
    rng = np.random.default_rng(0)

    def draw(low: int, high: int) -> np.ndarray:
        return rng.integers(0, VOCABULARY - 1, rng.integers(low, high + 1))

    pairs = []
    for _ in range(count):
        prompt, chosen = (draw(*bounds) for bounds in LENGTHS[lengths]["ranges"][:2])
        last = LENGTHS[lengths]["ranges"][2]
        rejected = draw(*last) if last else draw(max(1, len(chosen) - 2), len(chosen) + 2)
        pairs.append([prompt, chosen, rejected])
    return pairs


def configuration(vocabulary: int = VOCABULARY) -> LlamaConfig:
    """SmolLM2-135M's shape."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
        max_position_embeddings=8192,
        rope_theta=100_000.0,
        pad_token_id=vocabulary - 1,
        bos_token_id=None,
        eos_token_id=None,
    )


Result = dict[str, Any]
"""seconds; tokens: through the layers, padding included; lm_rows: positions the LM head was applied to."""


def our_step(lm: float, vocabulary: int = VOCABULARY) -> Callable[[Pairs, Any], Result]:
    model = RewardModel(AutoModelForCausalLM.from_config(configuration(vocabulary)), head_seed=0).train()
    loss = LossWeights(rm=1.0, lm=lm)
    select_parameters(model, loss, frozen_backbone=False)
    parameters = selected_parameters(model)
    optimizer = new_optimizer(parameters, ADAMW)
    for group in optimizer.param_groups:
        group["lr"] = RATE

    def step(pairs: Pairs, micro: Any) -> Result:
        row_tokens, rows = micro
        start = clock()
        optimizer.zero_grad()
        result = accumulate_gradients(
            model, pairs, loss=loss, row_tokens=row_tokens, rows_per_micro_batch=rows, precision="bf16"
        )
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
        seconds = clock() - start
        packed = pack(pairs, row_tokens)
        batches = [collate(packed[first : first + rows]) for first in range(0, len(packed), rows)]
        tokens = sum(batch.input_ids.numel() for batch in batches)
        return {"seconds": seconds, "tokens": tokens, "lm_rows": result.work.targets}

    return step


def padded_step() -> Callable[[Pairs, Any], Result]:
    """Two sequences a pair, padded to the longest of a micro-batch; LM logits over the whole chosen sequences."""
    model = AutoModelForCausalLM.from_config(configuration()).train()
    head = torch.nn.Linear(model.config.hidden_size, 1, bias=False)
    parameters = {**dict(model.named_parameters()), "head": head.weight}
    optimizer = new_optimizer(parameters, ADAMW)
    for group in optimizer.param_groups:
        group["lr"] = RATE

    def step(pairs: Pairs, micro: Any) -> Result:
        start, tokens, lm_rows = clock(), 0, 0
        optimizer.zero_grad()
        for first in range(0, len(pairs), micro):
            some = pairs[first : first + micro]
            sequences = [np.concatenate([pair[0], pair[side]]) for side in (1, 2) for pair in some]
            width = max(map(len, sequences))
            ids = torch.full((len(sequences), width), model.config.pad_token_id)
            mask = torch.zeros_like(ids)
            for row, sequence in enumerate(sequences):
                ids[row, : len(sequence)] = torch.from_numpy(sequence)
                mask[row, : len(sequence)] = 1
            labels = ids[: len(some)].masked_fill(mask[: len(some)] == 0, -100)
            for row, pair in enumerate(some):
                labels[row, : len(pair[0])] = -100
            with torch.autocast("cpu", dtype=torch.bfloat16):
                hidden = model.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
                logits = model.lm_head(hidden[: len(some)]).float()
            rewards = head(hidden[torch.arange(len(sequences)), mask.sum(1) - 1].float())[:, 0]
            chosen, rejected = rewards.chunk(2)
            lm_loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
            loss = -functional.logsigmoid(chosen - rejected).mean() + lm_loss
            torch.autograd.backward([loss * (len(some) / len(pairs))])
            tokens += ids.numel()
            lm_rows += labels.numel()
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
        return {"seconds": clock() - start, "tokens": tokens, "lm_rows": lm_rows}

    return step


def trl_step(grouped: bool) -> Callable[[Pairs, Any], Result]:
    import datasets
    import trl
    from transformers import TrainerCallback

    from tests.toys.small_models import small_tokenizer

    classifier = configuration()
    classifier.num_labels = 1
    model = AutoModelForSequenceClassification.from_config(classifier, dtype=torch.float32)
    tokenizer = small_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token  # for the collator's sake: only the id of the model counts
    tokenizer.add_special_tokens({"pad_token": "<pad>"})

    class StepClock(TrainerCallback):  # type: ignore[misc]
        start = seconds = 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.start = clock()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.seconds = clock() - self.start

    def step(pairs: Pairs, micro: Any) -> Result:
        rows = [
            {
                "chosen_ids": [*prompt.tolist(), *chosen.tolist()],
                "rejected_ids": [*prompt.tolist(), *rejected.tolist()],
                "length": len(prompt) + max(len(chosen), len(rejected)),
            }
            for prompt, chosen, rejected in pairs
        ]
        # everything else, gradient checkpointing above all, stays at TRL's defaults
        by_length = {"train_sampling_strategy": "group_by_length", "remove_unused_columns": False}
        ours = {"gradient_checkpointing": False, **by_length} if grouped else {}
        watch, tokens = StepClock(), [0]
        with tempfile.TemporaryDirectory() as folder:
            arguments = trl.RewardConfig(
                output_dir=folder,
                per_device_train_batch_size=micro,
                gradient_accumulation_steps=len(pairs) // micro,
                max_steps=1,
                use_cpu=True,
                bf16=True,
                weight_decay=ADAMW.weight_decay,
                learning_rate=RATE,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
                **ours,
            )
            trainer = trl.RewardTrainer(
                model=model,
                args=arguments,
                processing_class=tokenizer,
                train_dataset=datasets.Dataset.from_list(rows),
                callbacks=[watch],
            )
            hook = model.register_forward_pre_hook(
                lambda _, __, named: tokens.__setitem__(0, tokens[0] + named["input_ids"].numel()), with_kwargs=True
            )
            trainer.train()
            hook.remove()
        return {"seconds": watch.seconds, "tokens": tokens[0], "lm_rows": 0}

    return step


def step_of(trainer: str) -> Callable[[Pairs, Any], Result]:
    if trainer.startswith("ours"):
        return our_step(lm=0.0 if trainer == "ours-rm" else 1.0)
    return padded_step() if trainer == "padded" else trl_step(grouped=trainer == "trl-grouped")


def measure(trainer: str, lengths: str, micros: list[Any]) -> Iterator[Result]:
    """In this process: one step for each micro-batch, after a small one that warms up."""
    torch.manual_seed(0)
    pairs = pairs_of(lengths, LENGTHS[lengths]["pairs"])
    step = step_of(trainer)
    smallest = micros[0] if trainer.startswith("ours") else 1
    step(pairs[:2], smallest)
    peak = matmul_peak("cpu", "bf16")
    for micro in micros:
        result = step(pairs, micro)
        peak = max(peak, matmul_peak.__wrapped__("cpu", "bf16"))
        work = Work(
            tokens=sum(len(part) for pair in pairs for part in pair),
            targets=0,
            attended_pairs=sum(map(attended_pairs, pairs)),
        )
        yield {
            "trainer": trainer,
            "micro_batch": micro,
            "pairs_per_second": len(pairs) / result["seconds"],
            "tokens_a_pair": result["tokens"] / len(pairs),
            "lm_rows_a_pair": result["lm_rows"] / len(pairs),
            "own_tokens_a_pair": work.tokens / len(pairs),
            "matmul_peak_gflops": peak / 1e9,
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }


def measure_memory(lm: float, pairs_together: int) -> Result:
    """Peak of a step beyond what was there before, weights, gradients and optimizer state."""
    before = psutil.Process().memory_info().rss
    step = our_step(lm, LARGE_VOCABULARY)
    pairs = pairs_of("long", 8)
    for _ in range(2):
        step(pairs, (1, pairs_together))
    parameters = sum(weight.numel() for weight in AutoModelForCausalLM.from_config(configuration(8)).parameters())
    parameters += (LARGE_VOCABULARY - 8) * 576
    kept = 16 * parameters  # fp32 weights, gradients, two moments
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"lm": lm, "pairs_together": pairs_together, "peak_bytes": peak, "beyond_bytes": peak - before - kept}


def compare_memory() -> Result:
    found = {}
    for together in PAIRS_TOGETHER:
        only_rm, both = (in_a_process("memory-of", lm, str(together))[0] for lm in ("0", "1"))
        share = round(both["beyond_bytes"] / only_rm["beyond_bytes"], 3)
        found[str(together)] = {"rm": only_rm, "rm_and_lm": both, "ratio_beyond": share}
    return {"vocabulary": LARGE_VOCABULARY, "by_pairs_together": found}


def in_a_process(*arguments: str) -> list[Result]:
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "TQDM_DISABLE": "1"}
    command = [sys.executable, "-m", "tests.bench.bench_training", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    results: list[Result] = json.loads(done.stdout.strip().splitlines()[-1])
    for result in results:
        print(json.dumps(result), flush=True)  # noqa: T201
    return results


def best(results: list[Result]) -> Any:
    return max(results, key=lambda result: result["pairs_per_second"])["micro_batch"]


def compare(lengths: str, rounds: int) -> Result:
    tried: dict[str, list[Result]] = {}
    for trainer in TRAINERS:
        micros = MICRO_BATCHES[lengths].get(trainer, MICRO_BATCHES[lengths]["others"])
        tried[trainer] = in_a_process("one", trainer, lengths, json.dumps(micros))
    measured: dict[str, list[Result]] = {trainer: [] for trainer in TRAINERS}
    for _ in range(rounds):
        for trainer in TRAINERS:
            measured[trainer] += in_a_process("one", trainer, lengths, json.dumps([best(tried[trainer])]))
    rates = {trainer: [result["pairs_per_second"] for result in results] for trainer, results in measured.items()}
    speed = {trainer: statistics.median(values) for trainer, values in rates.items()}
    model = RewardModel(AutoModelForCausalLM.from_config(configuration()), head_seed=0)
    cost = TrainingCost.of(model, frozen_backbone=False)
    pairs = pairs_of(lengths, LENGTHS[lengths]["pairs"])
    counted = {
        trainer: cost.per_token * results[0]["tokens_a_pair"] + cost.per_target * results[0]["lm_rows_a_pair"]
        for trainer, results in measured.items()
    }
    ratios = {}
    for ours, other in COMPARED:
        gains = [mine / theirs for mine, theirs in zip(rates[ours], rates[other], strict=True)]
        gain, predicted = statistics.median(gains), counted[other] / counted[ours]
        ratios[f"{ours} / {other}"] = {
            "pairs_per_second": round(gain, 3),
            "of_each_round": [round(one, 3) for one in gains],
            "predicted_by_counting": round(predicted, 3),
            "share_of_prediction": round(gain / predicted, 3),
        }
    needed = {}
    for trainer, lm in (("ours", 1), ("ours-rm", 0)):
        work = Work(
            tokens=sum(len(part) for pair in pairs for part in pair),
            targets=lm * sum(map(lm_target_count, pairs)),
            attended_pairs=sum(map(attended_pairs, pairs)),
        )
        needed[trainer] = cost.flop(work) / len(pairs) * speed[trainer]
    return {
        "pairs": LENGTHS[lengths]["pairs"],
        "tried": tried,
        "measured": measured,
        "pairs_per_second": {trainer: round(value, 3) for trainer, value in speed.items()},
        "ratios": ratios,
        "padding_share": {
            trainer: round(1 - measured[trainer][0]["own_tokens_a_pair"] / measured[trainer][0]["tokens_a_pair"], 3)
            for trainer in ("ours", "ours-rm")
        },
        "matmul_peak_share": {
            trainer: round(value / 1e9 / max(result["matmul_peak_gflops"] for result in measured[trainer]), 3)
            for trainer, value in needed.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="?", default="all", choices=["all", *LENGTHS, "memory", "one", "memory-of"])
    parser.add_argument("details", nargs="*")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    if options.what == "one":
        torch.set_num_threads(THREADS)
        trainer, lengths, micros = options.details
        print(json.dumps(list(measure(trainer, lengths, json.loads(micros)))))  # noqa: T201
        return
    if options.what == "memory-of":
        torch.set_num_threads(THREADS)
        lm, together = options.details
        print(json.dumps([measure_memory(float(lm), int(together))]))  # noqa: T201
        return
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # of the processes below
    parts: dict[str, Callable[[], Result]] = {
        **{lengths: functools.partial(compare, lengths, options.rounds) for lengths in LENGTHS},
        "memory": compare_memory,
    }
    content: Result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for name, make in parts.items():
        if options.what in ("all", name):
            content[name] = {
                "date": time.strftime("%Y-%m-%d", time.gmtime()),
                "machine": platform.machine(),
                "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers", "trl")},
                "threads": options.threads,
                "seconds": "processor" if options.threads == 1 else "wall",
                **make(),
            }
            RESULT.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
