"""How far a step is from the machine's own speed: `python -m tests.benchmarks floor [--size B]`.

The floor is the time of the multiplications of the passes that are made, at the rate at which this
machine multiplies large matrices: one forward pass over every token that is sampled, one for its
old log-prob, and three (forward, and twice that for the gradient) for its update. The lines by
stage say where the rest goes.
"""

import argparse
import itertools
import time
from collections.abc import Iterator, Sequence

import torch

from harness.learner.columns import OldLogprobs
from tests.benchmarks import trl, work
from tests.benchmarks.verdict import Found, quotient

MATRIX, REPEATS = 2048, 8
QUICK = True
SHAPE = work.Shape(equal=True)
MOST = {"A": 2.8, "B": 1.65}
"""Times of the floor that a whole step may take."""


def rate() -> float:
    """Floating-point operations per CPU second of a product of large matrices; best of a few."""
    a, b = torch.rand(MATRIX, MATRIX), torch.rand(MATRIX, MATRIX)
    best = float("inf")
    for _ in range(REPEATS):
        began = time.process_time()
        torch.mm(a, b)
        best = min(best, time.process_time() - began)
    return 2 * MATRIX**3 / best


def operations(size: work.Size, prompt: int, response: int) -> tuple[float, float, float]:
    """Of one step: sampling, old log-probs, updates. Sampling reads a prompt once per group."""
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
    scored = forward(rows * whole, rows * response, whole / 2)
    return sampled, scored, 3 * scored


STAGES = ("sampling", "old log-probs", "updates", "weights to the engine")


def stages(size: str, steps: int) -> tuple[dict[str, list[float]], int]:
    """CPU seconds of each stage of the steps after the first, and tokens of a prompt."""
    own, shape = trl.Ours(size, SHAPE, OldLogprobs.TRAINER), SHAPE
    spent: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for step in range(steps + 1):
        marks = [time.process_time()]
        rollout = own.sampled(step)
        marks.append(time.process_time())
        batch = own.scored(rollout)
        marks.append(time.process_time())
        own.learn(rollout, batch)
        marks.append(time.process_time())
        own.sync()
        marks.append(time.process_time())
        assert int(rollout.lengths_B.min()) == shape.new_tokens
        for stage, (begun, ended) in zip(STAGES, itertools.pairwise(marks), strict=True):
            spent[stage] += [ended - begun] if step else []
    return spent, len(rollout.prompt_ids[0])


def distance(name: str, steps: int) -> Found:
    """A whole step and each stage, in times of its floor."""
    size = work.SIZES[name]
    rates = [rate()]
    spent, prompt = stages(name, steps)
    per_second = max(*rates, rate())
    floors = {
        stage: count / per_second
        for stage, count in zip(STAGES, operations(size, prompt, SHAPE.new_tokens), strict=False)
    }
    whole = [sum(parts) for parts in zip(*spent.values(), strict=True)]
    sides = {"harness": whole, "floor": [sum(floors.values())]}
    found = [quotient(f"{size.name}, whole step: harness / floor", sides, most=MOST[name])]
    for stage, floor in floors.items():
        sides = {stage: spent[stage], "floor": [floor]}
        found.append(quotient(f"{size.name}, {stage} / their floor", sides))
    sides = {STAGES[-1]: spent[STAGES[-1]], "step": whole}
    found.append(quotient(f"{size.name}, {STAGES[-1]} / whole step", sides))
    return Found(tuple(found))


def measure(arguments: Sequence[str]) -> Iterator[Found]:
    """Both sizes, or the one that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks floor")
    parser.add_argument("--size", choices=sorted(work.SIZES), nargs="+", default=[*work.SIZES])
    parser.add_argument("--steps", type=int, default=3, help="measured steps")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for name in asked.size:
        yield distance(name, asked.steps)
