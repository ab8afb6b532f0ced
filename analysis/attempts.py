"""Which runs were made for each trial, which of them counts, and which results are no numbers."""

from typing import Any

import polars as pl

from analysis import text
from analysis.reading import tidy
from analysis.study import NO_RESULT, Study


def rules(study: Study) -> list[str]:
    """What the Methods say of it, one sentence each."""
    without = study.trials.filter(pl.col("status") == NO_RESULT)
    return [
        f"{tidy.RULE}; {len(repeated(study))} trials have several.",
        f"A trial whose {text.code(study.primary)} is not a finite number there has no result: "
        f"{len(without)} of {len(study.trials)} planned trials.",
    ]


def repeated(study: Study) -> list[str]:
    """Planned trials that have several runs, in the plan's order."""
    counts = dict(study.attempts.group_by("trial").len().iter_rows())
    return [trial for trial in study.trials["trial"] if counts.get(trial, 0) > 1]


def runs(study: Study, trial: str) -> list[dict[str, Any]]:
    """Every run of a trial, in the order of their start."""
    columns = ["run_id", "status", "attempt", "lifecycle", "counts"]
    return study.attempts.filter(pl.col("trial") == trial).select(columns).to_dicts()


def shown(study: Study) -> list[str]:
    """Every run of the trials that have several; nothing where none has."""
    several = repeated(study)
    header = ["trial", "run", "status", "attempt", "store", "counts"]
    rows = [
        [
            text.code(trial),
            text.code(run["run_id"]),
            text.prose(run["status"]),
            str(run["attempt"]),
            text.prose(run["lifecycle"]),
            "yes" if run["counts"] else "no",
        ]
        for trial in several
        for run in runs(study, trial)
    ]
    table = ["### Several runs of one trial", text.table(header, rows), f"{tidy.RULE}."]
    return table if several else []


def no_results(study: Study) -> dict[str, str]:
    """Finished trial without a result -> why, in the plan's order."""
    found = {}
    without = study.trials.filter(pl.col("status") == NO_RESULT)
    for trial in without["trial"].to_list():
        own = study.metrics.filter(pl.col("trial") == trial)
        end = own["step"].to_numpy().max(initial=0)
        last = own.filter((pl.col("metric") == study.primary) & (pl.col("step") == end))
        values = last["value"].to_list()
        found[trial] = f"at its final step, {end}, it is {values[0] if values else 'not there'}"
    return found
