"""What an exercise is made of, and what its adapters share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.commands.parity_ops import Inputs, Outputs

Learned = Callable[..., Any]
"""A function as the learner wrote it."""
Case = Mapping[str, Any]
"""Of the golden files' schema (tests/golden/README.md)."""

# What stands under the mask in the properties: no result may depend on it.
JUNK = 1e6


class UnfitError(Exception):
    """What a learner's function returns cannot be judged: of another type or shape."""


@dataclass(frozen=True)
class Data:
    """Cases, and what is made of the learner's function for each of them.

    Attributes:
        outputs: (function, inputs, params) -> what the case expects, by name.
        op: golden file of the cases; "" where they are given here.
        cases: worked by hand.
        chosen: of a golden file's cases, by their params.
    """

    outputs: Callable[[Learned, Inputs, Inputs], Outputs]
    op: str = ""
    cases: tuple[Case, ...] = ()
    chosen: Callable[[Inputs], bool] = lambda params: True


@dataclass(frozen=True)
class Mistake:
    """A usual one: what to say, and a function that makes it."""

    says: str
    wrong: Learned


@dataclass(frozen=True)
class Property:
    """What holds for every input: what it is, what to say if not, and whether it holds."""

    says: str
    holds: Callable[[Learned], bool]


@dataclass(frozen=True)
class Exercise:
    """One function to write.

    Attributes:
        name: of the function; the harness's own.
        data: what it must reproduce.
        properties: in the order in which they are told.
        mistakes: each gives other numbers than the right function in some case.
    """

    name: str
    data: tuple[Data, ...]
    properties: tuple[Property, ...] = ()
    mistakes: tuple[Mistake, ...] = ()


def by_hand(name: str, inputs: Inputs, params: Inputs, expected: Outputs) -> Case:
    """A case of numbers that were worked out in a comment beside it."""
    tolerances = {"atol": 1e-6, "rtol": 1e-6}
    return {"name": name, "inputs": inputs, "params": params, "expected": expected, **tolerances}


def shaped(value: object, shape: torch.Size, suffix: str, what: str = "it") -> Tensor:
    """A result that is a tensor of the shape that the exercise asks for.

    Raises:
        UnfitError: it is none.
    """
    wanted = f"a tensor of shape {f'({suffix})' if suffix else '()'} = {_shape(shape)}"
    if value is None:
        raise UnfitError(f"{what} is None, not {wanted}: is the `return` missing?")
    if not isinstance(value, Tensor):
        raise UnfitError(f"{what} is of type {type(value).__name__}, not {wanted}")
    if value.shape != shape:
        raise UnfitError(f"{what} has shape {_shape(value.shape)}, not {wanted}: look at the axis")
    return value


def kind(found: object) -> str:
    """What a result is, where it is not what was asked for."""
    return "None: is the `return` missing?" if found is None else type(found).__name__


def gradient(loss: Tensor, of: Tensor) -> Tensor:
    """d loss / d of.

    Raises:
        UnfitError: the loss does not depend on it.
    """
    if not loss.requires_grad:
        raise UnfitError(
            "no gradient flows through the loss: .item(), .detach(), torch.no_grad() or "
            "torch.tensor() cuts it"
        )
    (found,) = torch.autograd.grad(loss, of, allow_unused=True)
    if found is None:
        raise UnfitError("the loss does not depend on the current policy's log-probs")
    return found


def _shape(shape: torch.Size) -> str:
    return str(tuple(shape))
