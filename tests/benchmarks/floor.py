"""How far a step is from the machine's own speed: `python -m tests.benchmarks floor [--size B]`.

The floor is the time of the multiplications that the work cannot do without, at the rate at which
this machine multiplies large matrices: one forward pass over every token that is sampled, and
three (forward, and twice that for the gradient) over every token that is learnt from.
"""

import argparse
import time
from collections.abc import Sequence

import torch

from tests.benchmarks import trl, work

MATRIX, REPEATS = 2048, 8


def rate() -> float:
    """Floating-point operations per second of a product of large matrices; the best of a few."""
    a, b = torch.rand(MATRIX, MATRIX), torch.rand(MATRIX, MATRIX)
    best = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        torch.mm(a, b)
        best = min(best, time.perf_counter() - began)
    return 2 * MATRIX**3 / best


def operations(size: work.Size, prompt: int, response: int) -> tuple[float, float]:
    """Of one step: sampling, and learning. Prompts are read once per group when sampling."""
    hidden, vocabulary = size.hidden, len(work.CHARACTERS) + len(work.SPECIAL)
    layer = 4 * hidden**2 + 3 * hidden * size.feed_forward

    def forward(tokens: int, outputs: int, context: float) -> float:
        attention = 2 * hidden * context * size.layers
        return 2 * (tokens * (layer * size.layers + attention) + outputs * hidden * vocabulary)

    rows = work.PROMPTS * work.GROUP
    sampled = forward(work.PROMPTS * prompt, 0, prompt / 2) + forward(
        rows * response, rows * response, prompt + response / 2
    )
    whole = prompt + response
    learnt = 3 * forward(rows * whole, rows * response, whole / 2)
    return sampled, learnt


def main(arguments: Sequence[str]) -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks floor")
    parser.add_argument("--size", choices=sorted(work.SIZES), default="A")
    parser.add_argument("--steps", type=int, default=8, help="measured steps")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    size = work.SIZES[asked.size]
    marks: list[tuple[float, float]] = []
    seen: list[float] = []
    trl.ours(
        size,
        asked.steps + 1,
        lambda: marks.append((time.perf_counter(), time.process_time())),
        lambda rollout: seen.append(rollout.lengths_B.float().mean().item()),
    )
    response = sum(seen) / len(seen)
    prompt = len(work.prompts(1)[0])
    per_second = rate()
    sampling, learning = (count / per_second for count in operations(size, prompt, round(response)))
    print(f"machine  {per_second / 1e9:.0f} GFLOP/s in one thread; responses {response:.0f} tokens")
    print(f"floor    {sampling + learning:.2f} s per step ({sampling:.2f} + {learning:.2f})")
    print(f"harness  {trl.per_step(marks)}")
    return 0
