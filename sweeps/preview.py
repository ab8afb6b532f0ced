"""`harness -m ... dry_run=true`: what a multirun would do; nothing is started or written."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from harness import standing
from harness.config import TrialConfig, trial_name
from harness.distributed.sharding import Device
from harness.identity import at_seed, identity_of
from harness.machine.progress import spoken
from harness.models.loading import Source
from harness.preflight import memory, read
from harness.stages import Only
from harness.tracking import record
from harness.tracking.record import Record, Status
from harness.trial import looked_at
from sweeps import evidence, looks
from sweeps.early import early
from sweeps.estimate import Estimate, estimate, makespan, past
from sweeps.overview import has_checkpoint
from sweeps.plan import Plan, differences
from sweeps.words import HOUR_S, counted, ranges

# States of a trial, in the order of the table's columns.
NEW, RESUME, RUNNING, FAILED, CHANGED, FINISHED, ELSEWHERE, SHARED, LEFT = STATES = (
    *("new", "to resume", "running", "failed", "changed since", "finished", "finished elsewhere"),
    *("in an ablation above", "left as it is"),
)
# What the command would not run, or has counted before.
DONE = (FINISHED, ELSEWHERE, SHARED, LEFT)


@dataclass(frozen=True)
class Seen:
    """One planned trial as it is now.

    Attributes:
        left: share of its budget that is still to be spent: all of it without a checkpoint.
        cost: of the whole trial; None where none of its shape has finished.
        record: what is there of it.
    """

    job: TrialConfig
    state: str
    left: float
    cost: Estimate | None
    record: Record | None = None


def preview(planned: Plan, console: Console, before: set[str]) -> None:
    """Print the plan, what is there of it, and what the rest will take.

    Args:
        before: names of trials that other plans of the same command run; this one's are added.

    Raises:
        ConfigError: the plan could not be run.
    """
    bases = {label: looked_at(config) for label, config in planned.variants.items()}
    runs = Path(planned.jobs[0].runs).expanduser().absolute()
    records = [
        found
        for path in sorted((runs / "checkpoints").glob(f"*/{record.RECORD}"))
        if (found := record.read(path.parent)) is not None
    ]
    seen = [_asked(each, before) for each in _seen(planned, bases, runs, records)]
    before.update(trial_name(each.job) for each in seen)
    ablation = planned.ablation
    most = "at most " * (ablation.until is not None)
    console.print(
        f"{ablation.name}: {most}{counted(len(seen), 'trial')} "
        f"({counted(len(ablation.labels), 'variant')} x {counted(len(ablation.seeds), 'seed')}); "
        f"dry_run=true, so nothing is started or written"
    )
    for line in looks.previewed(ablation):
        console.print(line)
    console.print(_table(planned, seen))
    for label in ablation.labels:
        changed = differences(planned.variants[ablation.baseline], planned.variants[label])
        for key, (before, now) in changed.items():
            console.print(f"{label}: {key}: {before!r} in {ablation.baseline}, {now!r} here")
    begun = [each.record for each in seen if each.record is not None]
    if warning := early(ablation, runs, begun):
        console.print(warning)
    console.print(_costs(planned, seen))
    console.print(_memory(planned, bases))
    for line in evidence.lines(planned, records):
        console.print(line)


def _asked(seen: Seen, before: set[str]) -> Seen:
    """The trial, marked where this command or this plan would not run it."""
    if seen.state in DONE:
        return seen
    if seen.job.sweep.only is Only.FAILED and seen.state != FAILED:
        return replace(seen, state=LEFT)
    return replace(seen, state=SHARED) if trial_name(seen.job) in before else seen


def _seen(
    planned: Plan,
    bases: Mapping[str, Source | None],
    runs: Path,
    records: Sequence[Record],
) -> list[Seen]:
    known, kept = past(records), {found.folder: found for found in records}
    names = [trial_name(job) for job in planned.jobs]
    contents = {
        label: identity_of(planned.variants[label], base)
        for label, base in bases.items()
        if base is not None
    }
    found = {
        trial: at_seed(contents[job.labels.variant], job)
        for trial, job in zip(names, planned.jobs, strict=True)
        if job.labels.variant in contents
    }
    hashes = {trial: identity.hash for trial, identity in found.items()}
    homes = record.homes(runs / "checkpoints", hashes)
    seen = []
    for trial, job in zip(names, planned.jobs, strict=True):
        cost = estimate(job, known)
        if job.fresh or trial not in found:  # its base is not made, so nothing of it can be kept
            seen.append(Seen(job, NEW, 1.0, cost))
            continue
        look = standing.look(homes[trial], found[trial])
        own, there = homes[trial].name == trial, kept.get(homes[trial])
        seen.append(Seen(job, _state(look, there, own), _left(job, there), cost, there))
    return seen


def _state(look: standing.Standing, kept: Record | None, own: bool) -> str:
    if kept is None or (kept.last < 0 and kept.status is not Status.FAILED):
        return NEW
    if look.changed and not look.accepted:
        return CHANGED
    if look.result is not None:
        return FINISHED if own else ELSEWHERE
    if not own:  # a finished record whose weights are gone serves nobody else
        return NEW
    there = RESUME if has_checkpoint(kept.folder) else NEW
    return {Status.RUNNING: RUNNING, Status.FAILED: FAILED}.get(kept.status, there)


def _left(job: TrialConfig, kept: Record | None) -> float:
    """Share of the budget that is not spent."""
    if kept is None or kept.last < 0 or not has_checkpoint(kept.folder):
        return 1.0
    spent = kept.steps[kept.last].metrics.get(f"budget/{job.budget.unit.value}", 0.0)
    return max(0.0, 1 - spent / job.budget.amount)


def _table(planned: Plan, seen: Sequence[Seen]) -> Table:
    """A row per variant: its seeds by state, and what one of its trials takes."""
    states = [state for state in STATES if any(each.state == state for each in seen)]
    table = Table("variant", *(f"{state}: seeds" for state in states))
    known = any(each.cost is not None for each in seen)
    for name in ("a trial", "tokens", "as measured in") if known else ():
        table.add_column(name, justify="right")
    for label in planned.ablation.labels:
        own = [each for each in seen if each.job.labels.variant == label]
        cost = own[0].cost
        table.add_row(
            label,
            *(ranges([e.job.seed for e in own if e.state == state]) for state in states),
            *(_figures(cost) if known else ()),
        )
    return table


def _figures(cost: Estimate | None) -> tuple[str, str, str]:
    if cost is None:
        return "–", "–", "no trial yet"
    return spoken(cost.seconds), f"{cost.tokens:,.0f}", counted(cost.past, "trial")


def _costs(planned: Plan, seen: Sequence[Seen]) -> str:
    """Time, tokens, device-hours and price of what is still to be done."""
    todo = [each for each in seen if each.state not in DONE]
    costs = [(each, each.cost) for each in todo if each.cost is not None]
    first = planned.jobs[0]
    most = "at most " * (planned.ablation.until is not None)
    text = f"to do: {most}{counted(len(todo), 'trial')}"
    if not costs:
        return text + ("; what they take is known once one of each shape has finished" * bool(todo))
    shares = [1.0 if each.state in (NEW, CHANGED) else each.left for each, _ in costs]
    seconds = [cost.seconds * share for (_, cost), share in zip(costs, shares, strict=True)]
    tokens = sum(cost.tokens * share for (_, cost), share in zip(costs, shares, strict=True))
    if len(costs) < len(todo):
        text += f", {len(todo) - len(costs)} of them of a shape that never finished: not counted"
    if first.ray.address is None:
        room = at_once(first)
        text += f"; about {spoken(makespan(seconds, room))}, {room} at a time on this machine"
    hours = sum(seconds) * first.trainer.ranks / HOUR_S
    kind = "process"
    if first.trainer.device is Device.CUDA:
        kind, hours = "GPU", hours * first.ray.gpus_per_rank
    text += f"; {tokens:,.0f} tokens; {hours:.2f} {kind}-hours"
    price = first.ray.price_per_device_hour
    return text + ("" if price == 0 else f"; {hours * price:,.2f} at {price:g} an hour")


def _memory(planned: Plan, bases: Mapping[str, Source | None]) -> str:
    """What each rank of the largest variant needs."""
    needed = {
        label: sum(memory(config, base, read(config, base)).values())
        for label, base in bases.items()
        for config in [planned.variants[label]]
        if base is not None
    }
    if not needed:
        return "memory: known once the base model is made, which the first trial does"
    label = max(needed, key=lambda each: needed[each])
    return f"memory: {needed[label] / 1e9:.2f} GB of tensors for each rank of {label}, the largest"


def at_once(job: TrialConfig) -> int:
    """Trials that this machine runs at a time."""
    ranks = job.trainer.ranks
    room: int = (os.cpu_count() or 1) // (job.ray.cpus_per_rank * ranks)
    if job.trainer.device is Device.CUDA:
        room = min(room, int(torch.cuda.device_count() / job.ray.gpus_per_rank) // ranks)
    return max(1, room)
