"""Pool and held-out set, made of prompts that come one by one.

A problem belongs to one of the two by its hash, so that neither the order in which prompts come
nor how many are asked for moves a problem from one set to the other.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence

from harness import streams
from harness.errors import ConfigError
from harness.types import Prompt

Sets = tuple[tuple[Prompt, ...], tuple[Prompt, ...]]

# Prompts in a row that are not new, after which there are no others.
PATIENCE = 1 << 18


def is_held_out(problem: str, hold_out: int) -> bool:
    """Whether a problem is among the one in `hold_out` that are held out."""
    hashed = int.from_bytes(hashlib.sha256(problem.encode()).digest()[:8], "big")
    return hashed % hold_out == 0


def split(
    prompts: Iterable[Prompt], train_size: int | None, eval_size: int | None, hold_out: int
) -> Sets:
    """The first so many distinct prompts of either set, numbered; None takes all there are.

    Raises:
        ConfigError: there are fewer.
    """
    parts: tuple[list[Prompt], list[Prompt]] = ([], [])
    sizes = (train_size, eval_size)
    seen = set[str]()
    stale = 0
    for prompt in prompts:
        stale = stale + 1 if prompt.text in seen else 0
        if stale > PATIENCE or [len(part) for part in parts] == list(sizes):
            break
        if prompt.text not in seen:
            seen.add(prompt.text)
            held = is_held_out(prompt.problem, hold_out)
            if sizes[held] is None or len(parts[held]) < (sizes[held] or 0):
                parts[held].append(dataclasses.replace(prompt, item=len(parts[held])))
    return checked((tuple(parts[0]), tuple(parts[1])), train_size, eval_size)


def given(
    train: Sequence[Prompt], test: Sequence[Prompt], train_size: int | None, eval_size: int | None
) -> Sets:
    """The first so many distinct prompts of two sets that are split already, numbered.

    Training prompts whose problem is held out are left out.

    Raises:
        ConfigError: there are fewer.
    """
    held_out = {p.text: p for p in test}
    problems = {p.problem for p in test}
    pool = {p.text: p for p in train if p.problem not in problems}
    parts = (list(pool.values())[:train_size], list(held_out.values())[:eval_size])
    numbered = [tuple(dataclasses.replace(p, item=i) for i, p in enumerate(part)) for part in parts]
    return checked((numbered[0], numbered[1]), train_size, eval_size)


def checked(sets: Sets, train_size: int | None, eval_size: int | None) -> Sets:
    """The sets, if they are as large as asked for.

    Raises:
        ConfigError: they are not.
    """
    asked = (train_size or 1, eval_size or 1)
    if all(len(part) >= size for part, size in zip(sets, asked, strict=True)):
        return sets
    raise ConfigError(
        f"task: there are only {len(sets[0])} training and {len(sets[1])} held-out prompts, asked "
        f"for {asked[0]} and {asked[1]}; lower task.train_size or task.eval_size, or allow more "
        f"problems"
    )


def digest(sets: Sets) -> str:
    """sha256 over the prompts and answers of both sets."""
    lines = "\n".join(f"{p.text}\t{p.answer}" for part in sets for p in part)
    return hashlib.sha256(lines.encode()).hexdigest()


def shuffled(pool: Sequence[Prompt], seed: int, stream: str, items: range) -> list[Prompt]:
    """The prompt of each item, in shuffled passes over the pool."""
    size = len(pool)
    passes = range(items.start // size, items.stop // size + 1)
    orders = {p: streams.permutation(seed, stream, p, size) for p in passes}
    return [pool[orders[item // size][item % size]] for item in items]
