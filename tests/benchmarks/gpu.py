"""What a step costs on a GPU: `python -m tests.benchmarks gpu`.

A random Qwen2 of 0.5B parameters, GRPO, FSDP2 on one rank in bfloat16: seconds of each stage,
tokens per second, share of the device's peak (MFU), and of the sync seconds per GB; with
transformers, and with vLLM where it is installed. Beside it TRL with transformers, where installed.
"""

import importlib.util
import itertools
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.verdict import NOT_RUN
from tests.gpu import checks
from tests.gpu.conftest import ABSENT
from tests.gpu.world import HALF_BILLION, World

STEPS, PROMPTS, GROUP, NEW_TOKENS = 4, 16, 8, 128
STAGES = ("gen", "reward", "old_log_prob", "ref", "adv", "update_actor", "update_weights", "step")
WARM = 1
"""First steps that are left out: kernels are compiled, memory is taken."""
PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
"""Multiplications and additions per second in bfloat16, dense, by the makers' data sheets."""
OPERATIONS = 6
"""For each parameter and token: forward 2, backward 4; the one update of a rollout has the old
log-probs too. What checkpointing computes again is not counted, and neither is sampling."""


def main(arguments: Sequence[str]) -> int:
    """Run it; returns the exit code."""
    if not torch.cuda.is_available():
        print(f"gpu: {ABSENT}")
        return NOT_RUN
    name = torch.cuda.get_device_name(0)
    print(f"{name}, torch {torch.__version__}, {STEPS} steps of {PROMPTS} x {GROUP} responses")
    with tempfile.TemporaryDirectory() as folder:
        world = World("cuda", HALF_BILLION, Path(folder), STEPS, NEW_TOKENS, PROMPTS)
        for engine in ("transformers", *(("vllm",) if _there("vllm") else ())):
            for line in report(engine, trained(world, engine), name):
                print(line, flush=True)
        if _there("trl"):
            print(f"trl transformers: {trl(world):.2f} s a step")
        else:
            print("trl: not installed; pip install -e '.[benchmarks]'")
    return 0


def trained(world: World, engine: str) -> list[Mapping[str, float]]:
    """Metrics of the steps of one trial, warm ones alone."""
    cache = ("rollout.cache_gb=8.0",) if engine == "vllm" else ()
    config = world.config(
        *("algorithm=grpo", f"algorithm.group_size={GROUP}", "algorithm.kl_coefficient=0.0"),
        *(f"rollout={engine}", *cache, "trainer.token_budget=16384"),
        runs=f"runs_{engine}",
    )
    found = checks.run(config)
    return [found[step] for step in sorted(found) if step > WARM]


def report(engine: str, steps: Sequence[Mapping[str, float]], device: str) -> list[str]:
    """Lines of medians over steps; MFU where the device's peak is known."""
    median = {
        key: statistics.median(step[key] for step in steps)
        for key in steps[0]
        if all(key in step for step in steps)
    }
    lines = [
        f"{engine:13} {stage:16} {median[f'timing_s/{stage}']:8.3f} s"
        for stage in STAGES
        if f"timing_s/{stage}" in median
    ]
    tokens = median["perf/total_num_tokens"]
    lines.append(f"{engine:13} {'tokens/s':16} {tokens / median['timing_s/step']:8.0f}")
    peak = next((rate for card, rate in PEAK.items() if card in device), None)
    if peak is not None:
        share = OPERATIONS * parameters() * tokens / median["timing_s/update_actor"] / peak
        lines.append(f"{engine:13} {'MFU of learning':16} {share:8.1%}")
    gigabytes = median["rollout/sync/bytes"] / 1e9
    each = median["timing_s/update_weights"] / gigabytes
    lines.append(f"{engine:13} {'sync':16} {each:8.3f} s/GB, its check counted")
    return lines


def parameters() -> int:
    """Of the model's blocks and output layer."""
    shape = HALF_BILLION
    width = shape.hidden // shape.heads
    attention = shape.hidden * (2 * shape.hidden + 2 * shape.key_heads * width)
    block = attention + 3 * shape.hidden * shape.feed_forward
    return shape.layers * block + shape.vocabulary * shape.hidden


def trl(world: World) -> float:
    """Seconds per step of TRL's GRPOTrainer on the same model, prompts and lengths."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    class Clocked(GRPOTrainer):  # type: ignore[misc]
        """Notes when each forward and backward pass ends, of which a step has one."""

        ends: list[float]

        def training_step(self, *given: Any, **more: Any) -> Any:
            made = super().training_step(*given, **more)
            torch.cuda.synchronize()
            self.ends.append(time.perf_counter())
            return made

    settings = GRPOConfig(
        output_dir=str(world.folder / "trl"),
        per_device_train_batch_size=PROMPTS * GROUP,
        num_generations=GROUP,
        max_completion_length=NEW_TOKENS,
        max_steps=STEPS,
        beta=0.0,
        bf16=True,
        gradient_checkpointing=True,
        generation_kwargs={"min_new_tokens": NEW_TOKENS},
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
    )
    pool = world.config().task.pool()
    trainer = Clocked(
        model=world.model,
        args=settings,
        reward_funcs=lambda completions, **_: [float(len(c) % 3) for c in completions],
        train_dataset=Dataset.from_dict({"prompt": [prompt.text for prompt in pool]}),
    )
    trainer.ends = []
    trainer.train()
    warm = trainer.ends[WARM:]
    return statistics.median(b - a for a, b in itertools.pairwise(warm))


def _there(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
