"""`python -m harness.engines.vllm_worker`: one vLLM model, served in JSON lines. The only file that imports vLLM.

The first line of stdin gives the settings and is answered when the model is loaded; every further line is an order. An
error of ours is an answer, too; any other ends the process, and the other side reads the log. When stdin ends, the
other side is gone: this process and all it started end at once, whatever they are doing.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.engines.base import Completion, Request, Sampling
from harness.engines.prompts import PromptReader
from harness.errors import HarnessError, MissingRequirement

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
SEED = 0  # of the engine; every request brings its own
NUMA_NODES = Path("/sys/devices/system/node")
TOKENS_A_STEP = 4096  # of prompts, where there is no GPU


class Texts:
    """Serves `requests` with `completions`."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        from transformers import AutoConfig, GenerationConfig

        from harness.models.sources import context_tokens, end_tokens, load_tokenizer

        model, trust = settings["model"], settings["trust_remote_code"]
        tokenizer = load_tokenizer(model, trust_remote_code=trust)
        configuration = AutoConfig.from_pretrained(model, trust_remote_code=trust)
        context = context_tokens(configuration, settings["context"])
        self._prompts = PromptReader(tokenizer, prompt_format=settings["prompt_format"], context=context)
        try:
            generation = GenerationConfig.from_pretrained(model)
        except OSError:  # a model need not have one
            generation = None
        self._ends = sorted(end_tokens(tokenizer, configuration, generation))
        self._llm = _load(
            settings,
            runner="generate",
            max_model_len=context,
            enable_prefix_caching=True,
            logprobs_mode="processed_logprobs",  # after temperature and top-p: of the draw, not of the model
        )

    def serve(self, order: Mapping[str, Any]) -> dict[str, Any]:
        from vllm import SamplingParams
        from vllm.inputs import TokensPrompt

        requests = [
            Request(**{**request, "sampling": Sampling(**request["sampling"])}) for request in order["requests"]
        ]
        prompts = self._prompts.read(requests)
        outputs = self._llm.generate(
            [TokensPrompt(prompt_token_ids=prompt.tokens) for prompt in prompts],
            [
                SamplingParams(
                    temperature=request.sampling.temperature,
                    top_p=request.sampling.top_p,
                    max_tokens=request.sampling.max_tokens,
                    seed=request.seed,
                    stop_token_ids=self._ends,
                    logprobs=0 if request.logprob else None,  # of the drawn token alone
                )
                for request in requests
            ],
            use_tqdm=False,
        )
        made = [
            Completion(
                id=request.id,
                text=output.outputs[0].text,
                finish_reason="stop" if output.outputs[0].finish_reason == "stop" else "length",
                logprob=_logprob(request, output.outputs[0].cumulative_logprob),
                metadata={"tokens": len(output.outputs[0].token_ids), **prompt.facts()},
            )
            for request, prompt, output in zip(requests, prompts, outputs, strict=True)
        ]
        return {"completions": [asdict(completion) for completion in made]}


def _logprob(request: Request, drawn: float | None) -> float | None:
    """Of the draw: a greedy text has no other, where vLLM gives the model's own. Rounding may exceed a chance of 1."""
    if drawn is None:
        return None
    return 0.0 if request.sampling.temperature == 0 else min(drawn, 0.0)


class Rewards:
    """Serves `sequences` of token ids with `rewards`."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._llm = _load(settings, runner="pooling")

    def serve(self, order: Mapping[str, Any]) -> dict[str, Any]:
        from vllm import PoolingParams
        from vllm.inputs import TokensPrompt

        outputs = self._llm.encode(
            [TokensPrompt(prompt_token_ids=sequence) for sequence in order["sequences"]],
            # An activation would be a sigmoid, which saturates and makes ties.
            pooling_params=PoolingParams(use_activation=False),
            pooling_task="classify",
            use_tqdm=False,
        )
        return {"rewards": [float(output.outputs.data[0]) for output in outputs]}


SERVERS: Mapping[str, type[Texts | Rewards]] = {"texts": Texts, "rewards": Rewards}


def _load(settings: Mapping[str, Any], **more: Any) -> Any:
    """vLLM's engine; kernels are compiled on GPUs only, where the minutes that takes come back."""
    from vllm import LLM
    from vllm.platforms import current_platform

    on_gpu = not current_platform.is_cpu()
    if not on_gpu and settings["tensor_parallel"] == 1 and len(list(NUMA_NODES.glob("node[0-9]*"))) < 2:
        _stay_in_this_process()
    with _without_head(settings["model"]) as model:
        return LLM(
            model,
            trust_remote_code=settings["trust_remote_code"],
            dtype=DTYPES[settings["dtype"]],
            tensor_parallel_size=settings["tensor_parallel"],
            enforce_eager=not on_gpu,
            seed=SEED,
            disable_log_stats=True,
            load_format="safetensors",
            **({"gpu_memory_utilization": settings["gpu_memory"]} if on_gpu else _whole_prompts(more)),
            **more,
        )


def _stay_in_this_process() -> None:
    """Load the engine here instead of in two processes more, which takes half the time.

    Not on GPUs, where a process of its own plans the next step meanwhile, nor on machines of several memory nodes,
    where vLLM binds the cores of one.
    """
    import torch

    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    torch.set_num_threads(len(os.sched_getaffinity(0)))  # as many as it binds; a worker of ours allows itself its slot


@contextmanager
def _without_head(model: str) -> Iterator[str]:
    """The model as a folder that holds nothing but a language model: vLLM reads every safetensors file it finds, and
    the models of our store have a reward head beside their weights."""
    from harness.models.reward_model import HEAD_FILE

    if not (Path(model) / HEAD_FILE).is_file():
        yield model
        return
    with tempfile.TemporaryDirectory() as view:
        for path in Path(model).resolve().iterdir():
            if path.name != HEAD_FILE:
                (Path(view) / path.name).symlink_to(path)
        yield view


def _whole_prompts(more: Mapping[str, Any]) -> dict[str, Any]:
    """Settings under which no prompt is read in two steps: the engine then takes back a draw of the request's own
    source, which on CPUs fails ("CPU Generator does not use offset")."""
    longest = more.get("max_model_len", 0)
    return {"enable_chunked_prefill": False, "max_num_batched_tokens": max(longest, TOKENS_A_STEP)}


def _read_lines(lines: queue.SimpleQueue[str]) -> None:
    """Hand lines of stdin on; its end is the end of everything here.

    Not by `sys.stdin`, which whoever reads it locks: processes that are forked from this one, as vLLM's on GPUs, close
    it first, and would wait for ever.
    """
    with os.fdopen(os.dup(0), encoding="utf-8") as stdin:
        for line in stdin:
            lines.put(line)
    os.killpg(0, signal.SIGKILL)


def listen() -> queue.SimpleQueue[str]:
    """Lines of stdin as they come."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_lines, args=(lines,), daemon=True).start()
    return lines


def main() -> None:
    """Serve until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print to stdout; that goes to the log
    lines = listen()
    server: Texts | Rewards | None = None
    while True:
        order = json.loads(lines.get())
        try:
            if server is None:
                server = SERVERS[order["serve"]](order)
                answer: dict[str, Any] = {}
            else:
                answer = server.serve(order)
        except HarnessError as error:
            answer = {"problem": [type(error).__name__, error.rule, error.value, error.remedy]}
        except ImportError as error:
            told = MissingRequirement("vLLM must be importable", f"it is not: {error}", "see `harness doctor`")
            answer = {"problem": [type(told).__name__, told.rule, told.value, told.remedy]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
