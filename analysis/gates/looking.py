"""Whether somebody looked at the results before all were there."""

import dataclasses
from pathlib import Path

from analysis import deciding, looks, stats
from analysis.gates.gate import Gate, Level
from analysis.seal import known_at
from analysis.study import Study

# Tests of accumulating data -> how often at least one of them is below .05 where there is no
# effect, for equally spaced looks (Armitage, McPherson and Rowe, 1969, table 2).
INFLATED = {1: 0.05, 2: 0.083, 3: 0.107, 4: 0.126, 5: 0.142, 10: 0.193, 20: 0.248, 50: 0.320}


def seen(study: Study) -> dict[str, int]:
    """Planned trials with a result -> when their runs began, in ms since 1970."""
    return {trial: ms or 0 for trial, ms in study.finished["trial", "started_ms"].rows()}


def note(runs: Path, study: Study) -> list[looks.Look]:
    """The looks at a study, with the one that a report on it is now.

    Before the first result there is nothing to see, and after the last one nothing to decide.

    Raises:
        ConfigError: it cannot be noted down.
    """
    results, manifest = seen(study), study.manifest
    if len(results) in (0, len(study.trials)):
        return study.looks
    name, planned = manifest.ablation.name, len(study.trials)
    return looks.noted(runs, name, manifest.seal, planned, results)


def interim(study: Study) -> list[int]:
    """Results that were there at each earlier look, in the order of time.

    A revision that adds trials to results is a look as well: whoever decided on more data may have
    known them.
    """
    now, planned = seen(study), _planned(study)
    found = [
        (look.time, set(look.results))
        for look in study.looks
        if look.results != now and set(look.results) not in planned
    ]
    revisions = study.history.revisions
    for number in range(1, len(revisions)):
        before = {job.trial for job in revisions[number - 1].jobs}
        there = known_at(study, number) & before
        added = {job.trial for job in revisions[number].jobs} - before
        if added and there and there not in [trials for _, trials in found]:
            found.append((revisions[number].created, there))
    return [len(trials) for _, trials in sorted(found, key=lambda each: each[0])]


def _planned(study: Study) -> list[set[str]]:
    """The trials that were there at each planned look: verdicts are corrected for these."""
    manifest = study.manifest
    found = []
    for number in range(manifest.taken):
        before = [
            dataclasses.replace(look, taken=place < number)
            for place, look in enumerate(manifest.looks)
        ]
        then = dataclasses.replace(manifest, looks=before)
        found.append({job.trial for job in then.called_jobs})
    return found


def _otherwise(study: Study) -> list[str]:
    """Looks that the results, as they are now, would have decided otherwise than they did."""
    found = []
    for number, look in enumerate(study.manifest.looks[: study.manifest.taken], start=1):
        verdicts = enumerate(deciding.verdicts(study, number), start=1)
        now = [i for i, verdict in verdicts if verdict.outcome in stats.DECIDED]
        if now != look.decided:
            found.append(
                f"look {number} decided predictions {look.decided or 'none'}, by the results that "
                f"are there now it would {now or 'none'}"
            )
    return found


def inflated(tests: int) -> float:
    """How often one of so many tests errs, at least."""
    return INFLATED[max(n for n in INFLATED if n <= tests)]


def interim_looks(study: Study) -> Gate:
    """Looks at results that were followed by more results."""
    question = "No look at the results before the last one"
    earlier, moved = interim(study), _otherwise(study)
    done, planned = len(study.finished), len(study.trials)
    unfinished = f"{done} of {planned} results so far: this report is a look itself"
    if not done:
        unfinished = "no result so far, so none was looked at"
    if earlier:
        noun = (
            "report was built or plan extended"
            if len(earlier) == 1
            else ("reports were built or plans extended")
        )
        at = ", ".join(map(str, earlier))
        tests = len(earlier) + 1
        detail = (
            f"{len(earlier)} {noun} at {at} results; where a look can end a study, "
            f"{tests} tests at 5 % err in {'about ' if tests in INFLATED else 'more than '}"
            f"{100 * inflated(tests):.1f} % of studies without an effect"
        )
        detail = "; ".join([detail, *moved, *[unfinished] * (done < planned)])
        return Gate(question, Level.WARN, detail)
    if moved or done < planned:
        return Gate(question, Level.WARN, "; ".join([*moved, *[unfinished] * (done < planned)]))
    taken = [look.seeds for look in study.manifest.looks if look.taken]
    if taken:
        at = ", ".join(map(str, taken))
        detail = f"looks as planned, at {at} seeds, each at a level of its own; no other look"
        return Gate(question, Level.OK, detail)
    return Gate(question, Level.OK, f"no report was built before the last of {planned} results")
