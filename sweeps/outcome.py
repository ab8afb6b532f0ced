"""What a tuning has found: winners, what they cost, and what a confirmation may take from it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from analysis.ablation import Ablation, Variant
from analysis.manifest import Job, Manifest
from analysis.tuned import Tuned
from harness.errors import ConfigError
from harness.stages import Goal, Scheduler, Searcher
from sweeps.journal import Attempt, Ended, Journal, Key, State, path_of

# Seeds that a message proposes: as many as give a verdict.
PROPOSED = 3


def winner(attempt: Attempt, variant: str) -> int | None:
    """Number of a variant's best trial among those that spent their whole budget.

    The first of equals; None without any.
    """
    sign = 1 if attempt.opened.goal is Goal.MAX else -1
    found = [
        (sign * float(ended.value), -number)
        for (label, number), ended in attempt.ended.items()
        if label == variant and ended.state is State.FINISHED and ended.value is not None
    ]
    return -max(found)[1] if found else None


def original(attempt: Attempt, key: Key) -> Ended | None:
    """How a proposal ended; for one that repeats an earlier one's values, how that did."""
    ended = attempt.ended.get(key)
    if ended is None or ended.state is not State.REPEATED:
        return ended
    first = attempt.first(attempt.proposed[key].trial)
    return None if first is None else attempt.ended.get(first)


def tuned(journal: Journal) -> list[Tuned]:
    """Each variant of the newest attempt, with what all attempts spent on it.

    Raises:
        ConfigError: the newest attempt has not ended.
    """
    newest = journal.attempts[-1]
    if newest.closed is None:
        raise ConfigError(
            f"the tuning of {newest.opened.name} has not ended: {len(newest.ended)} of "
            f"{newest.opened.trials * len(newest.opened.spaces)} trials have; its command continues"
        )
    return [_tuned(journal, label, number) for label, number in newest.closed.winners.items()]


def _tuned(journal: Journal, label: str, number: int) -> Tuned:
    newest = journal.attempts[-1]
    opened, best = newest.opened, newest.proposed[label, number]
    ended = [e for a in journal.attempts for (v, _), e in a.ended.items() if v == label]
    counts = Counter(each.state for each in ended)
    result = newest.ended[label, number].value
    assert result is not None
    return Tuned(
        variant=label,
        space=opened.spaces[label],
        values=best.values,
        winner=number,
        trial=best.trial,
        result=float(result),
        trials=sum(v == label for a in journal.attempts for v, _ in a.proposed),
        **{state.value: counts[state] for state in State},
        ceiling=list(
            dict.fromkeys(
                f"{a.opened.budget.amount:,.10g} {a.opened.budget.unit.value}"
                for a in journal.attempts
            )
        ),
        updates=sum(each.updates for each in ended),
        tokens=sum(each.tokens for each in ended),
        seeds=used_seeds(journal),
        searcher=_searcher(newest),
        scheduler=_scheduler(newest),
        attempts=len(journal.attempts),
        seal=journal.seal,
        code_hash=opened.code_hash,
        command=opened.command,
    )


def _searcher(attempt: Attempt) -> str:
    opened = attempt.opened
    if opened.searcher is Searcher.RANDOM:
        return "random"
    return f"TPE, {opened.at_once} at once"


def _scheduler(attempt: Attempt) -> str:
    opened = attempt.opened
    if opened.scheduler is Scheduler.FIFO:
        return "none stopped early"
    return f"ASHA, from {opened.grace:g} of the budget, 1 in {opened.reduction:g} goes on"


def used_seeds(journal: Journal) -> list[int]:
    """Seeds on which any attempt trained."""
    return sorted({attempt.opened.seed for attempt in journal.attempts})


def unnamed(variant: str, number: int) -> str:
    """What a trial is called while it has no values that it can have."""
    return f"{variant}__{number}"


def as_plan(journal: Journal) -> Manifest:
    """The newest attempt in the form of a plan, for those who show plans."""
    attempt = journal.attempts[-1]
    opened = attempt.opened
    trials = {}
    for variant in opened.spaces:
        for number in range(opened.trials):
            made = attempt.proposed.get((variant, number))
            trials[made.trial if made else unnamed(variant, number)] = variant
    return Manifest(
        ablation=Ablation(
            name=opened.name,
            question=f"tuning: {opened.question}",
            hypothesis="",
            baseline=next(iter(opened.spaces)),
            variants=[Variant(label) for label in opened.spaces],
            factors=[],
            seeds=[opened.seed],
            budget=opened.budget,
        ),
        jobs=[Job(trial, label, opened.seed, "", "") for trial, label in trials.items()],
        created=opened.created,
        code_hash=opened.code_hash,
        git_commit="",
        git_dirty=False,
        model_hash="",
        task_digest="",
        command=opened.command,
    )


def confirmable(runs: Path, name: str, labels: Sequence[str], seeds: Sequence[int]) -> list[Tuned]:
    """The tuned values of a plan's variants, for seeds that no tuning of it has seen.

    Raises:
        ConfigError: there is no tuning that has ended, it tuned other variants, or a seed is used.
    """
    journal = Journal(path_of(runs, name))
    if not journal.attempts:
        raise ConfigError(
            f"sweep.stage=confirm takes the values that sweep.stage=tune has found, but nothing of "
            f"{name} was tuned under {runs}; tune it first: the same command with "
            f"sweep.stage=tune and an interval, KEY=interval(A,B)"
        )
    found = {each.variant: each for each in tuned(journal)}
    if missing := [label for label in labels if label not in found]:
        raise ConfigError(
            f"{name}: {', '.join(missing)} was not tuned, tuned were {', '.join(found)}; tune all "
            f"variants that are confirmed, with equal budgets: sweep.stage=tune"
        )
    used = used_seeds(journal)
    if again := sorted(set(used) & set(seeds)):
        fresh = [s for s in range(max(used) + 1, max(used) + 1 + 2 * PROPOSED) if s not in used]
        raise ConfigError(
            f"seed {', '.join(map(str, again))} was used in the tuning of {name}, so that it "
            f"would favour what was chosen on it; confirm on fresh ones: "
            f"seed={','.join(map(str, fresh[:PROPOSED]))}"
        )
    return [found[label] for label in labels]
