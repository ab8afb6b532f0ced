"""A mixture: several tasks in one pool and one held-out set, in fixed proportions."""

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from harness import checks
from harness.errors import ConfigError
from harness.maths import streams
from harness.prompts import Behaviour, Grade, Prompt
from harness.tasks import sets
from harness.tasks.templates import Compact

if TYPE_CHECKING:  # it knows tensors; who grades needs none
    from harness.protocols import Task

# The order of the mixture is the task's, not the trial's: one fixed seed, whatever `seed` is.
ORDER_SEED = 0
# What a task needs to be a part: the mixture sets them.
SET_BY_MIXTURE = ("template", "train_size", "eval_size")


@dataclass(frozen=True)
class Mixture(sets.HasSets):
    """Tasks by name, each with its share of both sets.

    A part's share is its weight over the sum of all weights: exact to one prompt in the pool and in
    the held-out set, so that every pass over the pool has it.

    Attributes:
        tasks: the parts; the mixture sets template, train_size and eval_size of each.
        weights: by the same names.
        template: how all questions are asked (harness.tasks.templates.Template).
        train_size: training prompts of all parts together.
        eval_size: held-out prompts of all parts together.
    """

    tasks: dict[str, Any]
    weights: dict[str, float]
    template: Any = field(default_factory=Compact)
    train_size: int = 2048
    eval_size: int = 256

    def __post_init__(self) -> None:
        known = ", ".join(sorted(self.tasks))
        if len(self.tasks) < 2:
            raise ConfigError(
                f"task.tasks needs two tasks at least, received {known or 'none'}; add one such as "
                f"+task@task.tasks.coin=coin +task.weights.coin=1"
            )
        for name, task in self.tasks.items():
            fields = {f.name for f in dataclasses.fields(task)}
            if missing := sorted(set(SET_BY_MIXTURE) - fields):
                raise ConfigError(
                    f"task.tasks.{name} cannot be part of a mixture: {type(task).__name__} has no "
                    f"{', '.join(missing)}"
                )
            if name not in self.weights:
                raise ConfigError(f"task.weights.{name} is not set; set task.weights.{name}=1")
        for name, weight in self.weights.items():
            if name not in self.tasks:
                raise ConfigError(f"task.weights.{name} names no task; valid: {known}")
            checks.above(f"task.weights.{name}", weight, 0)
        checks.at_least("task.train_size", self.train_size, len(self.tasks))
        checks.at_least("task.eval_size", self.eval_size, len(self.tasks))

    @property
    def early_stop(self) -> tuple[str, str] | None:
        stops = {task.early_stop for task in self.parts.values()}
        return stops.pop() if len(stops) == 1 else None

    def grade(self, prompt: Prompt, response: str, finished: bool) -> Grade:
        return self.parts[prompt.part].grade(prompt, response, finished)

    def behaviour(self, prompt: Prompt, response: str) -> Behaviour | None:
        return self.parts[prompt.part].behaviour(prompt, response)

    @property
    def supervised(self) -> str:
        parts = [getattr(task, "supervised", "") for task in self.parts.values()]
        return " and ".join(filter(None, parts))

    def traces(self, seed: int, items: range) -> list[tuple[str, str]]:
        """Question and trace of each item, by a part that is drawn with the weights."""
        written = [task.traces(seed, items) for task in self._writers()]
        total, bounds = 0.0, []
        for name in self.parts:
            total += self.weights[name]
            bounds.append(total)
        u_N = streams.uniforms(seed, "mixture/part", 0, items, 1)[:, 0] * total
        chosen = [sum(u >= bound for bound in bounds[:-1]) for u in u_N.tolist()]
        return [written[part][i] for i, part in enumerate(chosen)]

    @cached_property
    def parts(self) -> dict[str, "Task"]:
        """The tasks as they are used: one template, their shares of the prompts."""
        train = _shares(self.weights, self.train_size)
        held_out = _shares(self.weights, self.eval_size)
        return {
            name: dataclasses.replace(
                task, template=self.template, train_size=train[name], eval_size=held_out[name]
            )
            for name, task in sorted(self.tasks.items())
        }

    @cached_property
    def _sets(self) -> sets.Sets:
        pool = [_named(name, p) for name, part in self.parts.items() for p in part.pool()]
        held_out = [_named(name, p) for name, part in self.parts.items() for p in part.held_out()]
        return _mixed(pool, "mixture/pool"), _mixed(held_out, "mixture/held_out")

    def _writers(self) -> list[Any]:
        writers: list[Any] = []
        for name, part in self.parts.items():
            if not hasattr(part, "traces"):
                raise ConfigError(
                    f"task.tasks.{name}: {type(part).__name__} writes no traces for model=tiny; "
                    f"choose model=hf model.path=..."
                )
            writers.append(part)
        return writers


def _shares(weights: dict[str, float], size: int) -> dict[str, int]:
    """Whole numbers that add up to `size`, in proportion to the weights, each at least 1.

    Largest remainders, ties by name.
    """
    total = sum(weights.values())
    exact = {name: size * weight / total for name, weight in sorted(weights.items())}
    shares = {name: max(1, int(share)) for name, share in exact.items()}
    order = sorted(exact, key=lambda name: (int(exact[name]) - exact[name], name))
    for name in order[: max(0, size - sum(shares.values()))]:
        shares[name] += 1
    return shares


def _named(name: str, prompt: Prompt) -> Prompt:
    return dataclasses.replace(prompt, part=name, problem=f"{name}: {prompt.problem}")


def _mixed(prompts: list[Prompt], stream: str) -> tuple[Prompt, ...]:
    """All parts in one fixed random order, numbered anew."""
    order = streams.permutation(ORDER_SEED, stream, 0, len(prompts))
    return tuple(dataclasses.replace(prompts[i], item=item) for item, i in enumerate(order))
