"""`sweep.stage=tune`: search values for every variant at equal budgets, and write down what came.

Two commands make a claim: this one finds values on one seed, and the same command with
`sweep.stage=confirm` takes them to seeds that the search has not seen.
"""

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from analysis.ablation import Checkpoint
from analysis.tuned import Tuned
from harness.config import TrialConfig, digest
from harness.errors import ConfigError, TrialsFailedError
from harness.identity import Identity, identity_of
from harness.machine import shown
from harness.machine.cluster import ray_cluster, set_environment
from harness.machine.progress import shown_on
from harness.stages import Scheduler
from harness.trial import prepare
from sweeps.comparable import alike
from sweeps.driver import driving
from sweeps.journal import SUFFIX, Attempt, Closed, Journal, Opened, State, path_of, short, told
from sweeps.manifest import command
from sweeps.outcome import tuned, winner
from sweeps.plan import Plan, candidate, differences
from sweeps.search import Search


def tune(loader: ConfigLoader, master: DictConfig, planned: Plan, console: Console) -> None:
    """Tune the variants one after another; the same command continues, or shows what was found.

    Raises:
        ConfigError: the request is wrong, or another tuning of this name was begun.
        TrialsFailedError: it was interrupted, or no trial of a variant has a result.
    """
    ends = _ends(loader, master, planned)
    if planned.jobs[0].dry_run:
        _preview(planned, console)
        return
    with shown_on(console):
        prepared = {label: prepare(config) for label, config in ends.items()}
    runs, _ = prepared[planned.ablation.baseline]
    contents = {
        label: identity_of(config, prepared[label][1]) for label, config in planned.variants.items()
    }
    name = planned.ablation.name
    path = path_of(runs, name)
    with driving(runs, path.parent.name, console.print):
        journal = Journal(path)
        _opened(planned, journal, contents, console)
        planned.jobs[0].tracking.prepare(runs, f"{name}{SUFFIX}")
        if journal.attempts[-1].closed is None:
            _searched(loader, master, planned, journal, runs, console)
        _show(planned, journal, console)


def _ends(loader: ConfigLoader, master: DictConfig, planned: Plan) -> dict[str, TrialConfig]:
    """Every variant at its first values and, typed and compared too, at its last."""
    last = {
        f"{label} at its last values": candidate(
            loader, master, planned, label, {each.key: each.ends[1] for each in arm.space}
        )
        for label, arm in planned.arms.items()
    }
    alike(dataclasses.replace(planned, variants={**planned.variants, **last}))
    first = planned.jobs[0]
    if first.sweep.scheduler is Scheduler.ASHA and first.evaluation.every >= 1:
        raise ConfigError(
            f"sweep.scheduler=asha stops trials at evaluations, evaluation.every="
            f"{first.evaluation.every:g} leaves none before the end; set evaluation.every=0.2, or "
            f"sweep.scheduler=fifo"
        )
    return {**planned.variants}


def _opened(
    planned: Plan, journal: Journal, contents: Mapping[str, Identity], console: Console
) -> None:
    """Go on with the newest attempt, or begin one.

    Raises:
        ConfigError: the newest attempt is another tuning.
    """
    now = _attempt(planned, contents)
    first = planned.jobs[0]
    if journal.attempts and not first.fresh:
        before = told(journal.attempts[-1].opened)
        differs = [key for key, value in told(now).items() if value != before[key]]
        if differs:
            raise ConfigError(
                f"{now.name} was tuned otherwise before ({', '.join(differs)} differ); fresh=true "
                f"tunes anew and keeps in the record what was spent and seen, python -m sweeps rm "
                f"{journal.path.parent.name} removes it"
            )
        return
    journal.add(now)
    console.print(f"{now.name}: tuning {short(journal.seal)}, attempt {len(journal.attempts)}")


def _attempt(planned: Plan, contents: Mapping[str, Identity]) -> Opened:
    first, ablation = planned.jobs[0], planned.ablation
    sweep = first.sweep
    return Opened(
        name=ablation.name,
        question=ablation.question,
        seed=first.seed,
        trials=sweep.trials,
        searcher=sweep.searcher,
        goal=sweep.goal,
        scheduler=sweep.scheduler,
        grace=sweep.grace,
        reduction=sweep.reduction,
        at_once=sweep.at_once,
        budget=first.budget,
        metric=ablation.primary.metric,
        best=ablation.primary.checkpoint is Checkpoint.BEST,
        spaces={k: {d.key: d.text for d in arm.space} for k, arm in planned.arms.items()},
        identities={label: content.hash for label, content in contents.items()},
        code_hash=digest(contents[ablation.baseline].code),
        command=command(),
        created=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )


def _searched(
    loader: ConfigLoader,
    master: DictConfig,
    planned: Plan,
    journal: Journal,
    runs: Path,
    console: Console,
) -> None:
    """Run what has not ended, variant by variant, so that no scheduler compares two of them."""
    attempt, name = journal.attempts[-1], journal.path.parent.name
    total = attempt.opened.trials * len(planned.variants)
    console.print(
        f"{name}: {total} trials ({len(planned.variants)} variants x {attempt.opened.trials}), "
        f"{len(attempt.ended)} ended before; python -m sweeps status {name} shows them"
    )
    first = planned.jobs[0]
    set_environment()
    from sweeps.tuner import run_search  # imports ray

    with ray_cluster(first.ray.address):
        for label, arm in planned.arms.items():
            compose = partial(_composed, loader, master, planned, attempt.seal, runs, label)
            search = Search(journal, label, arm.space, compose, runs, first.tracking)
            try:
                if search.left:
                    run_search(search, console)
            finally:
                search.settle()
            if missing := attempt.opened.trials - _count(attempt, label):
                raise TrialsFailedError(
                    f"{missing} of {attempt.opened.trials} trials of {label} have not ended; the "
                    f"same command continues from their last checkpoints"
                )
    _close(attempt, journal)


def _composed(
    loader: ConfigLoader,
    master: DictConfig,
    planned: Plan,
    seal: str,
    runs: Path,
    label: str,
    values: Mapping[str, str],
) -> TrialConfig:
    """A proposed trial, under the names of its tuning."""
    made = candidate(loader, master, planned, label, values)
    labels = dataclasses.replace(
        made.labels,
        ablation=f"{planned.ablation.name}{SUFFIX}",
        seal=seal,
        differing=_differing(planned),
    )
    return dataclasses.replace(made, labels=labels, runs=str(runs))


def _differing(planned: Plan) -> list[str]:
    """Keys in which the trials of a tuning differ: those of its variants, and what is searched."""
    baseline = planned.variants[planned.ablation.baseline]
    found = {key for config in planned.variants.values() for key in differences(baseline, config)}
    searched = {each.key.lstrip("+") for arm in planned.arms.values() for each in arm.space}
    return sorted(found | searched)


def _count(attempt: Attempt, label: str) -> int:
    return sum(variant == label for variant, _ in attempt.ended)


def _close(attempt: Attempt, journal: Journal) -> None:
    found = {label: winner(attempt, label) for label in attempt.opened.spaces}
    if none := [label for label, number in found.items() if number is None]:
        raise TrialsFailedError(
            f"no trial of {', '.join(none)} spent its budget and measured {attempt.opened.metric}: "
            f"there is nothing to confirm; look at python -m sweeps status "
            f"{journal.path.parent.name}, search elsewhere, and tune anew with fresh=true"
        )
    journal.add(Closed({label: n for label, n in found.items() if n is not None}))


def _show(planned: Plan, journal: Journal, console: Console) -> None:
    """What was found, what it cost, and how to confirm it."""
    attempt, found = journal.attempts[-1], tuned(journal)
    table = Table("variant", "trials", "finished", "stopped", "failed", "repeated")
    for name in ("updates", "tokens", attempt.opened.metric):
        table.add_column(name, justify="right")
    table.add_column("values")
    for each in found:
        table.add_row(each.variant, *_cells(each))
    console.print(table)
    for (label, number), ended in attempt.ended.items():
        if ended.state is State.FAILED:
            console.print(f"{label} #{number} failed: {shown.line(ended.reason)}")
    name = planned.ablation.name
    asked = f"name={name}" if planned.grid else f"+ablation={name}"
    console.print(
        f"values found on seed {attempt.opened.seed} prove nothing; confirm them on fresh ones: "
        f"the same command without what is searched, with {asked} sweep.stage=confirm "
        f"seed=A,B,C"
    )


def _cells(each: Tuned) -> list[str]:
    counts = (each.trials, each.finished, each.stopped, each.failed, each.repeated)
    spent = [f"{each.updates:,.0f}", f"{each.tokens:,.0f}", f"{each.result:.4g}"]
    values = ", ".join(f"{key}={value}" for key, value in each.values.items())
    return [*map(str, counts), *spent, shown.line(values)]


def _preview(planned: Plan, console: Console) -> None:
    """What would be searched; nothing is started or written."""
    sweep, budget = planned.jobs[0].sweep, planned.ablation.budget
    console.print(
        f"{planned.ablation.name}: {sweep.trials} trials of each of {len(planned.arms)} variants, "
        f"each of at most {budget.amount:,.10g} {budget.unit.value}, on seed "
        f"{planned.jobs[0].seed}; {sweep.searcher.value}, {sweep.scheduler.value}; dry_run=true, "
        f"so nothing is started or written"
    )
    for label, arm in planned.arms.items():
        for each in arm.space:
            console.print(f"{label}: {shown.line(f'{each.key}={each.text}')}")
