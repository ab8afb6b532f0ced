"""Runs that no plan describes, grouped and compared: exploratory, so without a verdict."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis import frame
from analysis.comparing import comparison
from analysis.reading import tidy
from analysis.reading.columns import ATTEMPTS, NO_SEED
from analysis.reading.loader import Data
from analysis.reading.source import DELETED
from analysis.reading.tidy import FINISHED
from analysis.stats import FloatArray
from harness.errors import ConfigError
from harness.machine import shown
from harness.wording import few

NOTICE = (
    "Exploratory: no plan was sealed before these runs, so there is no verdict. Mean of each "
    "group's runs at their final step; Welch difference from the first group; 95 % intervals, each "
    "alone."
)
UNNAMED = "(none)"
SHOWN = 8  # keys or runs that a line names
ID = 8  # characters of a run's id that tell it from others


@dataclass(frozen=True)
class Groups:
    """Runs that are compared.

    Attributes:
        by: what they are grouped by.
        labels: of the groups, the baseline first.
        history: columns of `columns.METRICS`, finished runs; `variant` is the group.
        results: `history` at each run's final step, finite values.
        names: id of each run, finished or not -> what it is called: its trial, and its id where
            two runs have one trial.
        left_out: id of a run -> why it is in no number.
        remarks: what a reader has to know, one line each.
    """

    by: str
    labels: list[str]
    history: pl.DataFrame
    results: pl.DataFrame
    names: dict[str, str]
    left_out: dict[str, str]
    remarks: list[str]

    def values(self, metric: str, label: str) -> FloatArray:
        """One per run, shape (n,), ordered by seed."""
        return frame.values(self.results, metric, label)

    @property
    def metrics(self) -> list[str]:
        """Evaluation metrics where there are any, else all."""
        known = sorted(set(self.results["metric"]))
        return [metric for metric in known if metric.startswith("eval/")] or known


def grouped(
    data: Data, names: Sequence[str] = (), by: str = "variant", baseline: str = ""
) -> Groups:
    """Sort runs into groups: those that no ablation file describes, or any others.

    Example:
        >>> data = analysis.load("runs", "length_bias")
        >>> groups = analysis.grouped(data, by="variant", baseline="grpo")
        >>> analysis.compare(groups.results, "eval/accuracy", baseline=groups.labels[0])

    Args:
        data: of every experiment that is named, or of all.
        names: experiments, trials or run ids; none: every run that counts.
        by: a column of the runs, a tag or a param.
        baseline: label of the group that others are compared with; "" for the first in order.

    Raises:
        ConfigError: an unknown name, key or baseline, or no run at all.
    """
    chosen = _chosen(data.runs, names or sorted(set(data.runs["experiment"])))
    groups = {run_id: _group(data, run_id, by) for run_id in chosen["run_id"]}
    if not any(groups.values()):
        raise ConfigError(
            f"no run has {by!r} to group by; valid: {few(_keys(data, chosen), SHOWN)}"
        )
    column = [groups[run_id] or UNNAMED for run_id in chosen["run_id"]]
    chosen = chosen.with_columns(variant=pl.Series(column, dtype=pl.String))
    labels = sorted(set(chosen["variant"]))
    if baseline:
        if baseline not in labels:
            raise ConfigError(f"no group {baseline!r}; valid: {few(labels, SHOWN)}")
        labels = [baseline, *(label for label in labels if label != baseline)]
    finished = chosen.filter(pl.col("status") == FINISHED)
    history = tidy.metrics(data.points, finished)
    results = _results(history)
    left_out = _left_out(chosen, results)
    remarks = _remarks(data, chosen, by)
    return Groups(by, labels, history, results, _names(chosen), left_out, remarks)


def _chosen(runs: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    counted = runs.filter("counts")
    parts = []
    for name in names:
        column = pl.lit(name)
        found = counted.filter((pl.col("experiment") == column) | (pl.col("trial") == column))
        # A run that is named by its id is wanted, whichever attempt of its trial it is.
        found = found if len(found) else runs.filter(pl.col("run_id") == column)
        if found.is_empty():
            known = sorted({*counted["experiment"], *counted["trial"]})
            raise ConfigError(f"no experiment, trial or run {name!r}; valid: {few(known, SHOWN)}")
        parts.append(found)
    return pl.concat([pl.DataFrame(schema=ATTEMPTS), *parts]).unique("run_id", maintain_order=True)


def _group(data: Data, run_id: str, by: str) -> str:
    row = data.runs.filter(pl.col("run_id") == run_id)
    if by in row.columns:
        return str(row[0, by])
    tags = data.stored[run_id].tags
    return tags[by] if by in tags else data.settings(run_id).get(by, "")


def _keys(data: Data, chosen: pl.DataFrame) -> list[str]:
    own = (data.settings(run_id) for run_id in chosen["run_id"])
    return sorted({"variant", "trial", "experiment", *(key for keys in own for key in keys)})


def _results(history: pl.DataFrame) -> pl.DataFrame:
    ends = history.group_by("run_id").agg(pl.col("step").max())
    return frame.finite(history.join(ends, on=["run_id", "step"], maintain_order="left"))


def _names(chosen: pl.DataFrame) -> dict[str, str]:
    """Experiments that are compared may have trials of one name."""
    count = Counter(chosen["trial"])
    return {
        run_id: f"{trial} ({run_id[:ID]})" if count[trial] > 1 else trial
        for run_id, trial in chosen.select("run_id", "trial").iter_rows()
    }


def _left_out(chosen: pl.DataFrame, results: pl.DataFrame) -> dict[str, str]:
    """Id of a run -> why none of its numbers is a result."""
    left_out = {
        str(row["run_id"]): f"is {row['status']}"
        for row in chosen.iter_rows(named=True)
        if row["status"] != FINISHED
    }
    empty = chosen.filter(
        (pl.col("status") == FINISHED) & ~pl.col("run_id").is_in(results["run_id"].to_list())
    )
    gone = chosen.filter(pl.col("lifecycle") == DELETED)["run_id"]
    return (
        left_out
        | dict.fromkeys(empty["run_id"], "ends in no finite number")
        | dict.fromkeys(gone, "was deleted")
    )


def _remarks(data: Data, chosen: pl.DataFrame, by: str) -> list[str]:
    """What else differs, and seeds that occur twice in a group."""
    found = []
    settings = [data.settings(run_id) for run_id in chosen["run_id"]]
    keys = sorted({key for own in settings for key in own})
    differ = [
        key
        for key in keys
        if key not in (by, "seed", "variant") and len({own.get(key) for own in settings}) > 1
    ]
    if differ:
        found.append(f"Runs differ in more than {by}: {few(differ, SHOWN)}")
    seeds = Counter(chosen.filter(pl.col("seed") != NO_SEED).select("variant", "seed").iter_rows())
    twice = sorted(f"{label} seed {seed}" for (label, seed), n in seeds.items() if n > 1)
    if twice:
        found.append(f"n counts runs; a seed occurs more than once: {few(twice, SHOWN)}")
    return found


def rows(groups: Groups, metrics: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Header and one row per metric and group.

    Raises:
        ConfigError: a metric that no run ends with.
    """
    known = set(groups.results["metric"])
    unknown = [metric for metric in metrics if metric not in known]
    if unknown:
        raise ConfigError(
            f"no finished run ends with {unknown[0]!r}; valid: "
            f"{few(groups.metrics, SHOWN) or 'none'}"
        )
    first = groups.labels[0]
    header = ["metric", groups.by, "n", "mean [95 %]", f"difference from {first}", "runs, by seed"]
    return header, [_row(groups, metric, label) for metric in metrics for label in groups.labels]


def _row(groups: Groups, metric: str, label: str) -> list[str]:
    first = groups.labels[0]
    x = groups.values(metric, label)
    c = comparison(x, x, groups.values(metric, first), metric, paired=False)
    e, d = c.estimate, c.difference
    apart = "" if label == first else _interval(d.value, d.low, d.high, "+")
    mean = _interval(e.mean, e.low, e.high)
    return [metric, label, str(e.n), mean, apart, " ".join(f"{value:.4g}" for value in x)]


def _interval(value: float, low: float, high: float, sign: str = "") -> str:
    """Four digits, whatever the unit is; a dash for what is unknown."""
    if value != value:
        return "–"
    return f"{value:{sign}.4g}" + ("" if low != low else f" [{low:{sign}.4g}, {high:{sign}.4g}]")


def told(groups: Groups, metrics: Sequence[str]) -> RenderableType:
    """What is printed.

    Raises:
        ConfigError: a metric that no run ends with.
    """
    asked = metrics or groups.metrics
    header, lines = rows(groups, asked)
    table = Table()
    for name in header:
        table.add_column(Text(shown.line(name)))
    for line in lines:
        table.add_row(*(Text(shown.line(cell)) for cell in line))
    left_out = [f"left out: {groups.names[run]} {why}" for run, why in groups.left_out.items()]
    notes = [NOTICE, *groups.remarks, *left_out, *_lacking(groups, asked)]
    return Group(table, *(Text(shown.line(note)) for note in notes))


def _lacking(groups: Groups, metrics: Sequence[str]) -> list[str]:
    """Per metric, the runs that have results but not this one."""
    counted = [run for run in groups.names if run not in groups.left_out]
    found = []
    for metric in metrics:
        own = set(groups.results.filter(pl.col("metric") == metric)["run_id"])
        without = [groups.names[run] for run in counted if run not in own]
        if without:
            found.append(f"no {metric} at the final step of {few(without, SHOWN)}")
    return found
