"""Which values a tuning tries: Optuna's samplers, as a function of what is known.

A proposal depends on the seed, its number and the trials that it may know, and on nothing else: no
sampler is kept and none has to be saved. RANDOM knows none, so that its proposals are the same
whatever happens, and the same points for two variants of one space. TPE's n-th proposal knows the
trials up to n - at_once, in the order of their numbers and not in that in which they ended: under
FIFO it is the same in every run. ASHA decides by who comes first (see `sweeps.tuning`), and what it
stops TPE learns from, so that with both the proposals after the first few depend on time.

TPE: Bergstra et al., "Algorithms for hyper-parameter optimization", NeurIPS 2011, section 4.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.maths import streams
from harness.stages import Goal, Searcher
from sweeps.journal import State
from sweeps.space import Dimension, written

# What seeds numpy's generators, with which Optuna draws.
SEED_BITS = 32
# Optuna counts steps where we have shares of a budget.
STEPS = 1000


@dataclass(frozen=True)
class Known:
    """What a proposal may learn from: values and result of an earlier trial.

    Attributes:
        result: None where nothing was measured.
        progress: share of the budget at which it was.
    """

    values: Mapping[str, str]
    state: State
    result: float | None
    progress: float


def known_to(number: int, searcher: Searcher, at_once: int) -> int:
    """How many trials, the first ones, a proposal has to know."""
    return 0 if searcher is Searcher.RANDOM else max(0, number + 1 - at_once)


def proposal(
    space: Sequence[Dimension],
    searcher: Searcher,
    goal: Goal,
    seed: int,
    number: int,
    known: Sequence[Known],
) -> dict[str, str]:
    """Key -> value of a trial, as Hydra reads it.

    Args:
        space: what is searched; not empty.
        seed: of the tuning: the command's.
        number: of the trial within its variant.
        known: trials 0 .. known_to(number) - 1.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # a study that is made is no news
    own = streams.number(seed, "tuning", 0, number) % 2**SEED_BITS
    samplers = {
        Searcher.TPE: optuna.samplers.TPESampler,
        Searcher.RANDOM: optuna.samplers.RandomSampler,
    }
    direction: Literal["maximize", "minimize"] = "maximize" if goal is Goal.MAX else "minimize"
    study = optuna.create_study(sampler=samplers[searcher](seed=own), direction=direction)
    distributions = {each.key: _distribution(each) for each in space}
    for each in known:
        study.add_trial(_frozen(each, space, distributions))
    chosen = study.ask(fixed_distributions=distributions).params
    return {key: v if isinstance(v, str) else written(v) for key, v in chosen.items()}


def _distribution(dimension: Dimension) -> Any:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if dimension.choices:
        return CategoricalDistribution(dimension.choices)
    if isinstance(dimension.low, int) and isinstance(dimension.high, int):
        return IntDistribution(dimension.low, dimension.high, log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _frozen(known: Known, space: Sequence[Dimension], distributions: Mapping[str, Any]) -> Any:
    """An earlier trial as Optuna keeps it: one that was stopped early ranks behind the others, the
    further it came the less far."""
    from optuna.trial import TrialState, create_trial

    states = {State.FINISHED: TrialState.COMPLETE, State.STOPPED: TrialState.PRUNED}
    state, seen = states.get(known.state, TrialState.FAIL), {}
    if known.result is None:
        state = TrialState.FAIL
    else:
        seen = {round(known.progress * STEPS): known.result}
    return create_trial(
        state=state,
        value=known.result if state is TrialState.COMPLETE else None,
        params={each.key: each.read(known.values[each.key]) for each in space},
        distributions=dict(distributions),
        intermediate_values=seen,
    )
