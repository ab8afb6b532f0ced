"""Pool and held-out set, made of prompts that come one by one.

A problem belongs to one of the two by its hash, so that neither the order in which prompts come
nor how many are asked for moves a problem from one set to the other.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import cached_property
from typing import Any

from harness.errors import ConfigError, ContractError
from harness.machine.progress import Unit, advance, waiting
from harness.maths import streams
from harness.prompts import Behaviour, Prompt

Sets = tuple[tuple[Prompt, ...], tuple[Prompt, ...]]


class HasSets:
    """A task with a pool and a held-out set; those of searches say more (early stop, behaviour)."""

    @cached_property
    def _sets(self) -> Sets:
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        """Without the sets: another process that needs them makes them again."""
        return {name: value for name, value in vars(self).items() if name != "_sets"}

    def pool(self) -> tuple[Prompt, ...]:
        return self._sets[0]

    def held_out(self) -> tuple[Prompt, ...]:
        return self._sets[1]

    @property
    def digest(self) -> str:
        return digest([*self.pool(), *self.held_out()])

    @property
    def supervised(self) -> str:
        """What of the training problems' own answers the traces hold, in words; "" for none."""
        return ""

    @property
    def early_stop(self) -> tuple[str, str] | None:
        return None

    def behaviour(self, prompt: Prompt, response: str) -> Behaviour | None:
        return None


# Draws in a row that bring nothing new, after which there are no other prompts.
PATIENCE = 1 << 18


def is_held_out(problem: str, hold_out: int) -> bool:
    """Whether a problem is among the one in `hold_out` that are held out."""
    hashed = int.from_bytes(hashlib.sha256(problem.encode()).digest()[:8], "big")
    return hashed % hold_out == 0


def split(
    prompts: Iterable[Prompt | None],
    train_size: int | None,
    eval_size: int | None,
    hold_out: int,
    origin: str = "these settings",
) -> Sets:
    """The first so many distinct prompts of either set, numbered.

    Args:
        prompts: draws, perhaps endless; None is one that made no problem.
        train_size, eval_size: how many; None takes all there are.
        hold_out: one problem in this many is held out.
        origin: where the prompts come from, for the message.

    Raises:
        ConfigError: there are fewer.
    """
    total = (train_size or 0) + (eval_size or 0)
    with waiting(Unit.PROMPTS, "drawing", f"{total:,} prompts", total):
        parts = _drawn(prompts, (train_size, eval_size), hold_out)
    share = f", or hold out another share (task.hold_out={hold_out} is one in {hold_out})"
    return checked(parts, train_size, eval_size, origin, share)


def _drawn(
    prompts: Iterable[Prompt | None], sizes: tuple[int | None, int | None], hold_out: int
) -> Sets:
    """What `split` finds, fewer perhaps than were asked for."""
    parts: tuple[list[Prompt], list[Prompt]] = ([], [])
    seen = set[str]()
    stale = 0
    for prompt in prompts:
        stale += 1
        if stale > PATIENCE or (len(parts[0]), len(parts[1])) == sizes:
            break
        if prompt is None or prompt.text in seen:
            continue
        seen.add(prompt.text)
        held = is_held_out(prompt.problem, hold_out)
        if sizes[held] is None or len(parts[held]) < (sizes[held] or 0):
            parts[held].append(dataclasses.replace(prompt, item=len(parts[held])))
            advance(Unit.PROMPTS)
            stale = 0
    return tuple(parts[0]), tuple(parts[1])


def given(
    train: Sequence[Prompt], test: Sequence[Prompt], train_size: int | None, eval_size: int | None
) -> Sets:
    """The first so many distinct prompts of two sets that are split already, numbered.

    Training prompts whose problem is held out are left out.

    Raises:
        ConfigError: there are fewer.
    """
    problems = {p.problem for p in test}
    pool = _first(p for p in train if p.problem not in problems)
    parts = (pool[:train_size], _first(test)[:eval_size])
    numbered = [tuple(dataclasses.replace(p, item=i) for i, p in enumerate(part)) for part in parts]
    return checked((numbered[0], numbered[1]), train_size, eval_size, "these files", "")


def _first(prompts: Iterable[Prompt]) -> list[Prompt]:
    """The first of each that read alike, as `split` takes them."""
    found: dict[str, Prompt] = {}
    for prompt in prompts:
        found.setdefault(prompt.text, prompt)
    return list(found.values())


def checked(
    sets: Sets, train_size: int | None, eval_size: int | None, origin: str, also: str
) -> Sets:
    """The sets, if they are as large as asked for.

    Args:
        also: a last remedy, for the message.

    Raises:
        ConfigError: they are not.
    """
    asked = (train_size or 1, eval_size or 1)
    if all(len(part) >= size for part, size in zip(sets, asked, strict=True)):
        return sets
    raise ConfigError(
        f"task: {origin} give only {len(sets[0])} training and {len(sets[1])} held-out prompts, "
        f"asked for {asked[0]} and {asked[1]}; lower task.train_size or task.eval_size, allow more "
        f"problems{also}"
    )


def digest(prompts: Iterable[Prompt]) -> str:
    """sha256 over all of some prompts that decides a number, in their order.

    Raises:
        ContractError: an answer is no data that could be compared with itself tomorrow.
    """
    total = hashlib.sha256()
    for p in prompts:
        row = (p.text, p.problem, p.difficulty, p.part, p.item, p.answer)
        try:
            total.update(json.dumps(row, default=_as_data, sort_keys=True).encode() + b"\n")
        except (TypeError, ValueError, RecursionError) as error:
            raise ContractError(
                f"task: the answer of prompt {p.text[:40]!r} must be plain data or a dataclass of "
                f"such, received a {type(p.answer).__name__} ({' '.join(str(error).split())})"
            ) from error
    return total.hexdigest()


# What shows itself in full, and in one way.
EXACT = (Fraction, Decimal, complex, bytes, range, date)


def _as_data(value: Any) -> Any:
    """What JSON has no word for: dataclasses field by field, else as they show themselves."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, EXACT):
        return f"{type(value).__name__} {value!r}"
    # Others may show two values alike (an array of many numbers), or one in two ways (a set).
    raise TypeError(f"a {type(value).__name__} does not say all that it is")


def shuffled(pool: Sequence[Prompt], seed: int, stream: str, items: range) -> list[Prompt]:
    """The prompt of each item, in shuffled passes over the pool."""
    size = len(pool)
    passes = range(items.start // size, items.stop // size + 1)
    orders = {p: streams.permutation(seed, stream, p, size) for p in passes}
    return [pool[orders[item // size][item % size]] for item in items]
