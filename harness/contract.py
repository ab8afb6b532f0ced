"""What the core receives from plug-ins, checked where it is received: a fault names its owner.

Each function calls one method of a plug-in and returns what it returned, or raises ContractError:
kind and class of the plug-in, method, what was wrong and when, in one line.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor

from harness.blame import blamed, line, named
from harness.errors import ContractError
from harness.machine.stall import within
from harness.maths.tensor_ops import Reduction
from harness.protocols import Algorithm, Controller, Curriculum, Reward, Window
from harness.types import (
    Batch,
    Estimates,
    Graded,
    Loss,
    LossTerm,
    Minibatch,
    Outcome,
    Prompt,
    RolloutPlan,
    Scores,
)

T = TypeVar("T")
# Reductions of one value per response.
PER_RESPONSE = (Reduction.SEQUENCE_MEAN, Reduction.RESPONSE_MEAN)
# Characters of a wrong value that are shown.
SHOWN = 40


@dataclass(frozen=True)
class _Call:
    """One call into a plug-in; `when` ends its messages."""

    kind: str
    plugin: object
    method: str
    when: str = ""

    def fault(self, what: str) -> NoReturn:
        owner = f"{self.kind} {named(self.plugin)}: {self.method}"
        raise ContractError(f"{owner} {what}{self.when and ' ' + self.when}")

    @contextmanager
    def made(self, **inputs: Tensor) -> Iterator[None]:
        """Its exceptions are the plug-in's, and so is a change of what it was given."""
        versions = {name: _version(x) for name, x in inputs.items()}
        where = f"{self.kind} {named(self.plugin)}.{self.method}"
        with within(where), blamed(self.kind, self.plugin, self.method):
            yield
        for name, x in inputs.items():
            if _version(x) != versions[name]:
                self.fault(f"changed {name} in place; work on a copy: {name}.clone()")

    def a(self, cls: type[T], value: object, what: str = "") -> T:
        """The value, if it is of the class."""
        if not isinstance(value, cls):
            self.fault(f"returned {what}{_shown(value)}, no {cls.__name__}")
        return value

    def whole(self, value: object, least: int, what: str = "") -> int:
        """The value, if it is a whole number and not too small."""
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            self.fault(f"returned {what}{_shown(value)}, no whole number of at least {least}")
        return int(value)

    def some(self, value: object) -> Sequence[object]:
        """The value, if it is a tuple or a list with something in it."""
        if not isinstance(value, (tuple, list)) or not value:
            self.fault(f"returned terms={_shown(value)}, no tuple of LossTerm")
        return value

    def mapping(self, value: object, what: str = "") -> Mapping[str, Any]:
        """The value, if it maps names to something."""
        if not isinstance(value, Mapping) or any(not isinstance(key, str) for key in value):
            self.fault(f"returned {what}{_shown(value)}, no mapping of names")
        return value

    def numbers(self, value: object, what: str = "") -> dict[str, float]:
        """The value, if it maps names to finite numbers."""
        found = self.mapping(value, what)
        for name, number in found.items():
            if not isinstance(number, Real):
                self.fault(f"returned {what}{name}={_shown(number)}, no number")
            if not math.isfinite(number):
                self.fault(f"returned {what}{name}={_shown(number)}, no finite number")
        return {name: float(number) for name, number in found.items()}

    def floats(self, value: object, shapes: Sequence[torch.Size], what: str) -> Tensor:
        """The value, if it is a tensor of floats of one of the shapes."""
        x = self.a(Tensor, value, f"{what}=")
        if x.shape not in shapes:
            valid = " or ".join(str(tuple(shape)) for shape in shapes)
            self.fault(f"returned {what} of shape {tuple(x.shape)}, not {valid}")
        if not x.is_floating_point():
            self.fault(f"returned {what} of {x.dtype}, no floats; write {what}.double()")
        return x

    def finite(self, x: Tensor, what: str, of: str, mask: Tensor | None = None) -> None:
        """All values, or those under the mask, are numbers; `of` is what its rows are."""
        bad = ~torch.isfinite(x.detach())
        if mask is not None:
            bad &= mask
        if bool(bad.any()):
            rows = int(bad.flatten(1).any(-1).sum()) if bad.dim() > 1 else int(bad.sum())
            value = "NaN" if bool(x[bad].isnan().any()) else f"{x[bad][0].item():g}"
            self.fault(f"returned {what}{value} for {rows} of {len(x)} {of}")

    def fixed(self, x: Tensor, what: str) -> None:
        """A value without a gradient."""
        if x.requires_grad:
            self.fault(f"returned {what} that require a gradient; write {what}.detach()")


def scored(reward: Reward, graded: Graded, when: str) -> Scores:
    """Rewards of a rollout: floats (B,) or (B,T), finite, without a gradient; parts (B,).

    Args:
        when: ends a message, such as `at step 4`.
    """
    call, rollout = _Call("reward", reward, "score", when), graded.rollout
    tensors = {name: x for name, x in vars(rollout).items() if isinstance(x, Tensor)}
    with call.made(**tensors):
        made = reward.score(graded)
    scores = call.a(Scores, made)
    size, shape = rollout.mask_BT.shape[:1], rollout.mask_BT.shape
    rewards = call.floats(scores.rewards, (size, shape), "rewards")
    call.fixed(rewards, "rewards")
    call.finite(rewards, "", "responses")
    for name, part in call.mapping(scores.parts, "parts=").items():
        what = f"parts[{name!r}]"
        call.finite(call.floats(part, (size,), what), f"{what}=", "responses")
    return scores


def planned(algorithm: Algorithm, progress: float) -> RolloutPlan:
    """What to sample: at least one response and one rollout, at a temperature that there is."""
    call = _Call("algorithm", algorithm, "rollout_plan", _at(progress))
    with call.made():
        made = algorithm.rollout_plan(progress)
    plan = call.a(RolloutPlan, made)
    call.whole(plan.group_size, 1, "group_size=")
    call.whole(plan.max_batches, 1, "max_batches=")
    call.whole(plan.reference_samples, 0, "reference_samples=")
    heat = plan.temperature
    if heat is not None and not (isinstance(heat, Real) and 0 <= heat < math.inf):
        call.fault(f"returned temperature={_shown(heat)}, no number of at least 0")
    return plan


def accepted(accept: Callable[[Any], Tensor], sampled: Any, when: str) -> Tensor:
    """Rows of the groups that an algorithm's plan accepts: bool (B,)."""
    call = _Call("algorithm", accept, "accept", when)
    with call.made():
        made = accept(sampled)
    kept_B = call.a(Tensor, made)
    size = sampled.rollout.mask_BT.shape[:1]
    if kept_B.dtype != torch.bool or kept_B.shape != size:
        call.fault(f"returned {kept_B.dtype} {tuple(kept_B.shape)}, no torch.bool {tuple(size)}")
    return kept_B


def estimated(algorithm: Algorithm, batch: Batch) -> Estimates:
    """Advantages of a batch: floats (B,T) without a gradient; columns, metrics. All are finite."""
    call = _Call("algorithm", algorithm, "advantages", _at(batch.progress))
    inputs = {"mask_BT": batch.mask_BT, "rewards_BT": batch.rewards_BT, "group_B": batch.group_B}
    with call.made(**inputs, **batch.columns):
        made = algorithm.advantages(batch)
    found = Estimates(advantages_BT=made) if isinstance(made, Tensor) else call.a(Estimates, made)
    advantages_BT = call.floats(found.advantages_BT, (batch.mask_BT.shape,), "advantages")
    call.fixed(advantages_BT, "advantages")
    call.finite(advantages_BT, "", "responses")
    rows = batch.mask_BT.shape[:1]
    for name, column in call.mapping(found.columns, "columns=").items():
        what = f"columns[{name!r}]"
        if call.a(Tensor, column, f"{what}=").shape[:1] != rows:
            call.fault(f"returned {what} of shape {tuple(column.shape)}, not of {rows[0]} rows")
        tokens = column.shape == batch.mask_BT.shape
        call.finite(column, f"{what}=", "responses", batch.mask_BT.bool() if tokens else None)
    call.numbers(found.metrics, "metrics ")
    return found


def lost(algorithm: Algorithm, mini: Minibatch, names: Collection[str]) -> Loss:
    """Loss of some rows: terms of known names, finite under the mask, with a gradient.

    Args:
        names: what a term may be called.
    """
    call = _Call("algorithm", algorithm, "loss", _at(mini.progress))
    inputs = {"mask_BT": mini.mask_BT, "logprobs_BT": mini.logprobs_BT}
    with call.made(**{**mini.columns, **inputs, "advantages_BT": mini.advantages_BT}):
        made = algorithm.loss(mini)
    loss = call.a(Loss, made)
    terms = [_term(call, term, mini, names) for term in call.some(loss.terms)]
    if not any(term.values.requires_grad for term in terms):
        call.fault("returned no term with a gradient; compute it from logprobs_BT, not detached")
    for name, x in call.mapping(loss.diagnostics, "diagnostics=").items():
        what = f"diagnostics[{name!r}]"
        shown_BT = call.floats(x, (mini.mask_BT.shape,), what)
        call.finite(shown_BT, f"{what}=", "responses", mini.mask_BT.bool())
    return loss


def _term(call: _Call, term: object, mini: Minibatch, names: Collection[str]) -> LossTerm:
    found, mask_BT = call.a(LossTerm, term), mini.mask_BT
    if found.name not in names:
        call.fault(f"returned a term {_shown(found.name)}; valid: {', '.join(names)}")
    what = f"term {found.name!r} "
    one_each = call.a(Reduction, found.reduction, f"{what}reduction=") in PER_RESPONSE
    shape = mask_BT.shape[:1] if one_each else mask_BT.shape
    values = call.floats(found.values, (shape,), f"{what}values")
    if not isinstance(found.weight, Real) or not math.isfinite(found.weight):
        call.fault(f"returned {what}weight={_shown(found.weight)}, no finite number")
    counted = None if found.reduction is Reduction.RESPONSE_MEAN else mask_BT.bool()
    if counted is not None and one_each:
        counted = counted.any(-1)
    call.finite(values, what, "responses", counted)
    return found


def windowed(window: Window, seed: int) -> int:
    """The response budget of the next rollout: at least 1 token."""
    call = _Call("window", window, "window")
    with call.made():
        made = window.window(seed)
    return call.whole(made, 1)


def drawn(
    curriculum: Curriculum, pool: Sequence[Prompt], seed: int, progress: float, count: int
) -> list[Prompt]:
    """The next prompts: as many as were asked for."""
    call = _Call("curriculum", curriculum, "prompts", _at(progress))
    with call.made():
        made = curriculum.prompts(pool, seed, progress, count)
    prompts = call.a(list, made)
    for prompt in prompts:
        call.a(Prompt, prompt, "a list with ")
    if len(prompts) != count:
        call.fault(f"returned {len(prompts)} prompts, not {count}")
    return prompts


def told(controller: Controller, outcome: Outcome) -> dict[str, float]:
    """What a controller says of a step that it is told of."""
    observe = _Call("controller", controller, "observe", _at(outcome.progress))
    with observe.made(**outcome.columns, lengths_B=outcome.lengths_B, correct_B=outcome.correct_B):
        controller.observe(outcome)
    call = _Call("controller", controller, "metrics", _at(outcome.progress))
    with call.made():
        made = controller.metrics()
    return call.numbers(made)


def _at(progress: float) -> str:
    return f"at {progress:.0%} of the budget"


def _version(x: Tensor) -> int:
    """A number that changes with every change in place, where torch counts them."""
    return 0 if x.is_inference() else x._version


def _shown(value: object) -> str:
    return line(repr(value), SHOWN)
