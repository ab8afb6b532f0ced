"""Faults of plug-ins, one line each: kind, class, method, what was wrong and when."""

import dataclasses
import math
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from harness import contract
from harness.blame import blamed
from harness.errors import ConfigError, ContractError, DivergedError, Interrupted, Terminated
from harness.learner.finite import check_current
from harness.learner.update import TERM_METRICS
from harness.maths.tensor_ops import Reduction
from harness.schema import Metric, check_names
from harness.testing.data import batch_of, minibatch_of
from harness.typed import typed
from harness.types import (
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
from tests.rollout.test_grader import rollout_of

ROWS = 4
GRADED = Graded(rollout=rollout_of(*"abcd"), grades=(), budget=8, seed=0, step=4, first=0)
ONES = torch.ones(ROWS, dtype=torch.float64)


@dataclasses.dataclass(frozen=True)
class Plugin:
    """Each of its methods is one function."""

    function: Callable[..., Any]
    columns: frozenset[str] = frozenset({"old_logprobs_BT"})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.function


def fails(error: BaseException) -> Callable[..., Any]:
    def function(*arguments: Any) -> Any:
        raise error

    return function


def spoilt(value: float) -> Scores:
    rewards = ONES.clone()
    rewards[1:] = value
    return Scores(rewards=rewards)


def writes(graded: Graded) -> Scores:
    graded.rollout.logprobs_BT.add_(1)
    return Scores(rewards=ONES)


REWARDS: list[tuple[Callable[..., Any], str]] = [
    (lambda graded: spoilt(math.nan), "returned NaN for 3 of 4 responses at step 4"),
    (lambda graded: spoilt(math.inf), "returned inf for 3 of 4 responses at step 4"),
    (lambda graded: spoilt(-math.inf), "returned -inf for 3 of 4 responses at step 4"),
    (lambda graded: None, "returned None, no Scores at step 4"),
    (lambda graded: "yes", "returned 'yes', no Scores at step 4"),
    (lambda graded: ONES, "no Scores at step 4"),
    (lambda graded: Scores(rewards=None), "returned rewards=None, no Tensor at step 4"),  # type: ignore[arg-type]
    (lambda graded: Scores(rewards=[1.0]), "returned rewards=[1.0], no Tensor"),  # type: ignore[arg-type]
    (lambda graded: Scores(rewards=ONES[1:]), "rewards of shape (3,), not (4,) or (4, 1)"),
    (lambda graded: Scores(rewards=ONES[:, None, None]), "rewards of shape (4, 1, 1), not (4,)"),
    (lambda graded: Scores(rewards=ONES.long()), "returned rewards of torch.int64, no floats"),
    (lambda graded: Scores(rewards=ONES.clone().requires_grad_()), "require a gradient; write"),
    (lambda graded: Scores(rewards=ONES, parts={"x": ONES * math.nan}), "parts['x']=NaN for 4 of"),
    (lambda graded: Scores(rewards=ONES, parts={"x": ONES[1:]}), "parts['x'] of shape (3,)"),
    (lambda graded: Scores(rewards=ONES, parts=3), "returned parts=3, no mapping"),  # type: ignore[arg-type]
    (writes, "changed logprobs_BT in place; work on a copy: logprobs_BT.clone()"),
    (fails(ZeroDivisionError("by zero")), "raised ZeroDivisionError: by zero"),
    (fails(SystemExit(0)), "raised SystemExit: 0"),
    (fails(KeyboardInterrupt()), "raised KeyboardInterrupt"),
]


@pytest.mark.parametrize(("function", "message"), REWARDS)
def test_rewards(function: Callable[..., Any], message: str) -> None:
    refused("reward", "score", message, contract.scored, Plugin(function), GRADED, "at step 4")


def refused(kind: str, method: str, message: str, call: Callable[..., Any], *given: Any) -> None:
    with pytest.raises(ContractError) as raised:
        call(*given)
    text = str(raised.value)
    assert text.startswith(f"{kind} {Plugin.__module__}.Plugin: {method} ")
    assert message in text
    assert "\n" not in text


BATCH = batch_of(Plugin(lambda progress: RolloutPlan(group_size=4)))
GOOD_BT = torch.zeros(BATCH.mask_BT.shape, dtype=torch.float64)


def writes_rewards(batch: Any) -> Tensor:
    batch.rewards_BT[0, 0] = 7
    return GOOD_BT


ADVANTAGES: list[tuple[Callable[..., Any], str]] = [
    (lambda batch: GOOD_BT * math.nan, "returned NaN for 12 of 12 responses at 50% of the budget"),
    (lambda batch: GOOD_BT + math.inf, "returned inf for 12 of 12 responses"),
    (lambda batch: None, "returned None, no Estimates"),
    (lambda batch: "high", "returned 'high', no Estimates"),
    (lambda batch: GOOD_BT[1:], "returned advantages of shape (11, 6), not (12, 6)"),
    (lambda batch: GOOD_BT[:, 0], "returned advantages of shape (12,), not (12, 6)"),
    (lambda batch: GOOD_BT.long(), "returned advantages of torch.int64, no floats"),
    (lambda batch: GOOD_BT.clone().requires_grad_(), "returned advantages that require a gradient"),
    (
        lambda batch: Estimates(advantages_BT=GOOD_BT, columns={"x_B": GOOD_BT[0]}),
        "returned columns['x_B'] of shape (6,), not of 12 rows",
    ),
    (
        lambda batch: Estimates(advantages_BT=GOOD_BT, metrics={"x": "high"}),  # type: ignore[dict-item]
        "returned metrics x='high', no number",
    ),
    (
        lambda batch: Estimates(advantages_BT=GOOD_BT, metrics={"x": math.inf}),
        "returned metrics x=inf, no finite number at 50% of the budget",
    ),
    (
        lambda batch: Estimates(advantages_BT=GOOD_BT, columns={"returns_BT": GOOD_BT * math.nan}),
        "returned columns['returns_BT']=NaN for 11 of 12 responses at 50%",
    ),
    (
        lambda batch: Estimates(advantages_BT=GOOD_BT, columns={"v_B": GOOD_BT[:, 0] - math.inf}),
        "returned columns['v_B']=-inf for 12 of 12 responses",
    ),
    (writes_rewards, "changed rewards_BT in place"),
    (fails(SystemExit("bye")), "raised SystemExit: bye"),
]


@pytest.mark.parametrize(("function", "message"), ADVANTAGES)
def test_advantages(function: Callable[..., Any], message: str) -> None:
    refused("algorithm", "advantages", message, contract.estimated, Plugin(function), BATCH)


def loss_of(
    change: Callable[[Tensor], Any] = lambda x: x, name: str = "policy", **more: Any
) -> Callable[[Minibatch], Loss]:
    def loss(mini: Minibatch) -> Loss:
        values = change(mini.logprobs_BT)
        settings = {"reduction": Reduction.TOKEN_MEAN, **more}
        return Loss(terms=(LossTerm(name=name, values=values, **settings),))

    return loss


LOSSES: list[tuple[Callable[..., Any], str]] = [
    (loss_of(lambda x: x * math.nan), "term 'policy' NaN for 11 of 12 responses at"),
    (loss_of(lambda x: x + math.inf), "term 'policy' inf for 11 of 12 responses at"),
    (loss_of(lambda x: x[1:]), "term 'policy' values of shape (11, 6), not (12, 6)"),
    (loss_of(lambda x: x.sum()), "term 'policy' values of shape (), not (12, 6)"),
    (loss_of(reduction=Reduction.SEQUENCE_MEAN), "values of shape (12, 6), not (12,)"),
    (loss_of(lambda x: 0.0), "term 'policy' values=0.0, no Tensor"),
    (loss_of(lambda x: None), "term 'policy' values=None, no Tensor"),
    (loss_of(lambda x: x > 0), "values of torch.bool, no floats"),
    (loss_of(lambda x: x.detach()), "returned no term with a gradient; compute it from logprobs"),
    (loss_of(name="mine"), "returned a term 'mine'; valid: policy, kl, entropy, value"),
    (loss_of(weight=math.nan), "term 'policy' weight=nan, no finite number"),
    (loss_of(reduction="mean"), "term 'policy' reduction='mean', no Reduction"),
    (lambda mini: None, "returned None, no Loss"),
    (lambda mini: mini.logprobs_BT.sum(), "no Loss"),
    (lambda mini: Loss(terms=()), "returned terms=(), no tuple of LossTerm"),
    (lambda mini: Loss(terms=("policy",)), "returned 'policy', no LossTerm"),  # type: ignore[arg-type]
    (
        lambda mini: dataclasses.replace(loss_of()(mini), diagnostics={"x": mini.mask_BT}),
        "diagnostics['x'] of torch.bool, no floats",
    ),
    (
        lambda mini: dataclasses.replace(
            loss_of()(mini), diagnostics={"x": mini.logprobs_BT.detach() * math.nan}
        ),
        "diagnostics['x']=NaN for 11 of 12 responses",
    ),
    (
        lambda mini: (mini.advantages_BT.mul_(0), loss_of()(mini))[1],
        "changed advantages_BT in place",
    ),
    (fails(RuntimeError("size\nmismatch")), "raised RuntimeError: size mismatch"),
]


@pytest.mark.parametrize(("function", "message"), LOSSES)
def test_losses(function: Callable[..., Any], message: str) -> None:
    made = minibatch_of(Sound())
    leaf_BT = made.logprobs_BT.clone().requires_grad_()
    mini = dataclasses.replace(
        made, logprobs_BT=leaf_BT * 1, advantages_BT=made.advantages_BT.clone()
    )
    refused("algorithm", "loss", message, contract.lost, Plugin(function), mini, TERM_METRICS)


class Sound:
    """An algorithm that a batch can be made for."""

    columns = frozenset({"old_logprobs_BT"})

    def rollout_plan(self, progress: float) -> RolloutPlan:
        return RolloutPlan(group_size=4)

    def advantages(self, batch: Any) -> Tensor:
        return GOOD_BT


def plan(**fields: Any) -> Callable[[float], RolloutPlan]:
    return lambda progress: RolloutPlan(**{"group_size": 4, **fields})


PLANS: list[tuple[Callable[..., Any], str]] = [
    (plan(group_size=0), "group_size=0, no whole number of at least 1 at 25% of the budget"),
    (plan(group_size=2.5), "group_size=2.5, no whole number of at least 1"),
    (plan(max_batches=0), "max_batches=0, no whole number of at least 1"),
    (plan(reference_samples=-1), "reference_samples=-1, no whole number of at least 0"),
    (plan(temperature=math.nan), "temperature=nan, no number of at least 0"),
    (lambda progress: None, "returned None, no RolloutPlan"),
]


@pytest.mark.parametrize(("function", "message"), PLANS)
def test_plans(function: Callable[..., Any], message: str) -> None:
    refused("algorithm", "rollout_plan", message, contract.planned, Plugin(function), 0.25)


@pytest.mark.parametrize("made", [0, -3, math.nan, 2.0, True, None, "wide"])
def test_windows(made: Any) -> None:
    message = f"returned {made!r}, no whole number of at least 1"
    refused("window", "window", message, contract.windowed, Plugin(lambda seed: made), 0)


PROMPT = Prompt(text="Q", item=0, problem="Q", difficulty=1, answer=None)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ([], "returned 0 prompts, not 2"),
        ([PROMPT], "returned 1 prompts, not 2"),
        (None, "returned None, no list"),
        (["Q", "Q"], "returned a list with 'Q', no Prompt"),
    ],
)
def test_curricula(made: Any, message: str) -> None:
    plugin = Plugin(lambda *given: made)
    refused("curriculum", "prompts", message, contract.drawn, plugin, (PROMPT,), 0, 0.25, 2)


def test_controllers() -> None:
    outcome = Outcome(lengths_B=ONES.long(), correct_B=ONES > 0, progress=0.5)
    plugin = Plugin(lambda *given: {"window/mine": "wide"})
    message = "returned window/mine='wide', no number"
    refused("controller", "metrics", message, contract.told, plugin, outcome)
    infinite = Plugin(lambda *given: {"critic/kl_coeff": math.inf})
    message = "returned critic/kl_coeff=inf, no finite number at 50% of the budget"
    refused("controller", "metrics", message, contract.told, infinite, outcome)


def test_a_stop_is_nobodys_fault() -> None:
    for stop in (Interrupted(), Terminated(143)):
        with pytest.raises(type(stop)), blamed("reward", Plugin(fails(stop)), "score"):
            raise stop


def test_weights_that_are_no_numbers_are_no_fault_of_the_algorithm() -> None:
    mini = minibatch_of(Sound())
    sound = {"values_BT": mini.logprobs_BT, "logprobs_BT": mini.logprobs_BT}
    check_current(sound, mini.mask_BT, 0.5)
    for column, value, words in (
        ("logprobs_BT", math.nan, "the policy's log-probs"),
        ("logprobs_BT", -math.inf, "the policy's log-probs"),
        ("values_BT", math.inf, "the critic's values"),
    ):
        broken = {**sound, column: mini.logprobs_BT.masked_fill(mini.mask_BT, value)}
        with pytest.raises(DivergedError, match=f"{words} .*at 50% .*weights have left the range"):
            check_current(broken, mini.mask_BT, 0.5)
        off = {**sound, column: mini.logprobs_BT.masked_fill(~mini.mask_BT, value)}
        check_current(off, mini.mask_BT, 0.5)


@dataclasses.dataclass(frozen=True)
class Picky:
    """A plug-in whose own check raises what it likes."""

    size: int = 3

    def __post_init__(self) -> None:
        raise ValueError("size must be\nodd")


def test_a_plugin_that_refuses_its_settings_in_its_own_words() -> None:
    sys.modules.setdefault("picky_plugin", sys.modules[__name__])
    with pytest.raises(ConfigError, match=r"^reward: Picky refuses: ValueError: size must be odd$"):
        typed({"_target_": "picky_plugin.Picky"}, "reward")


@pytest.mark.parametrize(
    "name", ["a//b", "../a", "/a", "a/", ".", "", "a%", "a\nb", "a\n", "a" * 251, "a/./b"]
)
def test_a_metric_that_no_store_takes_is_refused_by_name(name: str) -> None:
    with pytest.raises(ContractError, match="a metric's name is also a path") as refused:
        check_names({"actor/loss": Metric("1", ""), name: Metric("1", "")})
    assert repr(name) in str(refused.value)


def test_the_names_that_are_taken_are_mlflows() -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.utils.validation import _validate_metric

    paths = ["a//b", "../a", "a..", "..a", "a/b", "./a", "a/", "/a", "a" * 250, "a" * 251]
    characters = set(map(chr, range(0x250))) - {"\n"}  # which its pattern takes at the end
    for name in [*sorted(characters), *paths]:
        try:
            _validate_metric(name, 1.0, 0, 0)
            taken = True
        except MlflowException:
            taken = False
        try:
            check_names({name: Metric("1", "")})
            ours = True
        except ContractError:
            ours = False
        assert ours == taken, repr(name)
