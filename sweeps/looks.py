"""Seeds until decided: which trials a sweep runs next, and the look that says so.

Every look is taken from the results that are there, so that the same command, after whatever has
stopped it, comes to the same decisions; its plan notes down what was decided, and how many seeds
each variant gets. In which direction is for the report, after the last look.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from analysis import deciding, spared, stats, text
from analysis.ablation import Ablation
from analysis.findings import expected
from analysis.manifest import Manifest
from analysis.stats import Verdict
from analysis.study import Study, read_study
from analysis.until import Look
from harness import standing
from harness.config import TrialConfig, trial_name
from sweeps.manifest import write_looks
from sweeps.overview import newest
from sweeps.plan import Plan
from sweeps.words import counted


def called(jobs: Sequence[TrialConfig], manifest: Manifest) -> list[TrialConfig]:
    """The trials that a plan calls for by its looks so far, under its newest seal."""
    names = {job.trial for job in manifest.called_jobs}
    return [
        dataclasses.replace(job, labels=dataclasses.replace(job.labels, seal=manifest.seal))
        for job in jobs
        if trial_name(job) in names
    ]


def parts(runs: Path, planned: Plan, homes: Mapping[str, Path], console: Console) -> Iterator[Plan]:
    """The plan with the trials that are to be run now; at each look with those that it calls for.

    A plan without looks once, with all its trials. A look is taken when every trial that is called
    for has a result; where one has none, nothing more is called for.

    Args:
        homes: trial -> folder of its record.

    Raises:
        ConfigError: as `take`.
    """
    if planned.ablation.until is None:
        yield planned
        return
    name = planned.ablation.name
    manifest = newest(runs, name)
    for number in range(len(manifest.looks)):
        jobs = called(planned.jobs, manifest)
        missing = any(standing.result(homes[trial_name(job)]) is None for job in jobs)
        if missing or number == 0:
            yield dataclasses.replace(planned, jobs=jobs)
        if any(standing.result(homes[trial_name(job)]) is None for job in jobs):
            return
        manifest = take(runs, name, number, console, planned.jobs[0].sweep.show_looks)
        if manifest.looks[number].ends:
            return


def size(planned: Plan) -> str:
    """`2 variants x 3 seeds`; of a part of a plan with looks, by how many seeds there are now."""
    ablation = planned.ablation
    variants = counted(len(ablation.labels), "variant")
    if ablation.until is None:
        return f"{variants} x {counted(len(ablation.seeds), 'seed')}"
    seeds = len({job.seed for job in planned.jobs})
    return f"{variants}, up to {seeds} of {ablation.until.max} seeds, until decided"


def previewed(ablation: Ablation) -> Iterator[str]:
    """The looks that are planned, their levels, and how many trials they may be expected to need.

    Nothing for a fixed number of seeds.
    """
    if ablation.until is None:
        return
    designed, count = deciding.design(ablation), len(ablation.predictions)
    yield (
        f"seeds until decided: {len(designed)} looks, {ablation.until.spending.value} spending; a "
        f"prediction is decided at a two-sided p below the level of its look"
    )
    for number, look in enumerate(designed, start=1):
        last = "" if count == 1 else f", {look.levels[0]:.2g} for the last of them"
        yield (
            f"  look {number} at {look.seeds} seeds ({look.fraction:.0%} of the information, "
            f"{look.spent:.2g} of {stats.ALPHA} spent): {look.levels[-1]:.2g} while {count} "
            f"undecided{last}"
        )
    means = ", ".join(
        f"{spared.mean_trials(ablation, size):.0f} at {size:g}" for size in spared.SIZES
    )
    yield (
        f"  trials to be expected, of {len(ablation.labels) * ablation.until.max}, by how many "
        f"standard deviations over seeds each truth lies beyond its margin (of equal: inside): "
        f"{means}"
    )


def take(runs: Path, name: str, number: int, console: Console, shows: bool) -> Manifest:
    """Take a look, note it down in the plan and say how many predictions are decided.

    Args:
        number: of the look, from 0.
        shows: whether the differences are shown as well.

    Returns:
        The plan's newest revision.

    Raises:
        ConfigError: the plan or the store cannot be read or written.
    """
    study = read_study(runs, name)
    manifest = study.manifest
    verdicts = deciding.verdicts(study, number + 1)
    look = decided(manifest, number, verdicts)
    if look != manifest.looks[number]:  # what came after it is looked at again
        later = deciding.design(manifest.ablation)[number + 1 :]
        manifest = write_looks(runs, name, [*manifest.looks[:number], look, *later])
    console.print(f"{name}: {deciding.told(manifest.looks[: number + 1], manifest.looks)}")
    if shows:
        for line in differences(study, verdicts):
            console.print(f"  {line}", markup=False)
    return manifest


def decided(manifest: Manifest, number: int, verdicts: Sequence[Verdict]) -> Look:
    """A look with what these verdicts on the predictions say at it."""
    predictions = manifest.ablation.predictions
    found = [i for i, v in enumerate(verdicts, start=1) if v.outcome in stats.DECIDED]
    going = {
        label
        for i, p in enumerate(predictions, start=1)
        if i not in found
        for label in (p.variant, p.baseline)
    }
    return dataclasses.replace(
        manifest.looks[number],
        taken=True,
        decided=found,
        stopped=[label for label in manifest.ablation.labels if label not in going],
    )


def differences(study: Study, verdicts: Sequence[Verdict]) -> list[str]:
    """A line per prediction: its difference at its last look, and what it is called."""
    predictions = study.manifest.ablation.predictions
    return [
        f"{p.variant} - {p.baseline} on {p.metric}: {text.difference(v.difference, p.metric)} "
        f"({text.percent(v.difference.level)}), {expected(p)}: {v.outcome.value}"
        for p, v in zip(predictions, verdicts, strict=True)
    ]
