"""Whether the results are those of the planned trials, all of them, and can be traced."""

import polars as pl

from analysis.gates.gate import Gate, Level, about, arms
from analysis.study import FINISHED, Study

COMPLETE = "All planned trials finished"
GRADIENT = "actor/grad_norm"  # by which a dead trial is told


def complete(study: Study) -> Gate:
    """A trial that failed or never ran may have been a bad one: its arm is not what was planned."""
    done, planned = len(study.finished), len(study.trials)
    lost = unfinished(study)
    detail = f"{done} of {planned} planned trials have a result"
    if not lost.is_empty():
        detail += "; " + ", ".join(f"{t} {s}" for t, s in lost["trial", "status"].rows())
    level = Level.OK if lost.is_empty() else Level.FAIL
    return about(study, COMPLETE, level, detail, arms(lost))


def unfinished(study: Study) -> pl.DataFrame:
    """Rows of `study.trials` without a result."""
    return study.trials.filter(pl.col("status") != FINISHED)


def collapsed(study: Study) -> Gate:
    """Some collapses are a finding; where each trial of an arm has, it compares with nothing."""
    fallen, question = study.collapsed, "No trial collapsed"
    detail = "; ".join(f"{trial}: {found.reason}" for trial, found in fallen.items())
    named = pl.col("trial").is_in(list(fallen))
    lost = study.finished.filter(named)
    gone = sorted(set(arms(lost)) - set(arms(study.finished.filter(~named))))
    if fallen:
        if gone:
            detail = f"every trial of {', '.join(gone)} did; {detail}"
        level = Level.FAIL if gone else Level.WARN
        return about(study, question, level, detail, gone or arms(lost))
    told = study.metrics.filter(pl.col("metric") == GRADIENT)["trial"]
    blind = study.finished.filter(~pl.col("trial").is_in(told.to_list()))
    if not blind.is_empty() or study.finished.is_empty():
        names = ", ".join(blind["trial"]) or "no trial has a result"
        return about(study, question, Level.WARN, f"no gradient is recorded: {names}", arms(blind))
    return Gate(question, Level.OK, "no finished trial has lost its gradient and its accuracy")


def strangers(study: Study) -> Gate:
    """Runs in the experiment that no revision plans."""
    question = "No runs outside the plan"
    if study.strangers:
        names = ", ".join(study.strangers)
        detail = f"left out, since the manifest does not plan them: {names}"
        return Gate(question, Level.WARN, detail)
    return Gate(question, Level.OK, "every run in the store belongs to the plan")


def on_disk(study: Study) -> Gate:
    """The store is a copy: without the record nothing says that it still says what was written."""
    done = study.finished
    question = "Results are those of the trials' records"
    lost = done.filter(pl.col("trial").is_in(sorted(study.gone)))
    if done.is_empty():
        return Gate(question, Level.WARN, "no trial has a result")
    if not lost.is_empty():
        detail = f"known from the store only, the folder is gone: {', '.join(lost['trial'])}"
        return about(study, question, Level.WARN, detail, arms(lost))
    return Gate(question, Level.OK, f"{len(done)} results, each with its trial's folder")
