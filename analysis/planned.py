"""A planned ablation as frames and figures, for notebooks: what its report shows, to go on with."""

import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from analysis.ablation import Prediction
from analysis.drawing import Gallery, gallery
from analysis.findings import Finding, Findings, findings
from analysis.panels import panels
from analysis.study import Study, read_study


@dataclass(frozen=True)
class Planned:
    """One ablation with its results. Everything is computed when it is first asked for.

    Attributes:
        study: what the report is made of.
    """

    study: Study

    @property
    def question(self) -> str:
        """As the plan asks it."""
        return self.study.manifest.ablation.question

    @property
    def primary(self) -> str:
        """Key of the metric that answers it."""
        return self.study.primary

    @property
    def predictions(self) -> list[Prediction]:
        """What was predicted of results."""
        return self.study.manifest.ablation.on_results

    @property
    def variants(self) -> list[str]:
        """Labels, in the file's order."""
        return self.study.labels

    @property
    def trials(self) -> pl.DataFrame:
        """Every planned trial: trial, variant, seed, status, and what its run says of itself."""
        return self.study.trials

    @property
    def metrics(self) -> pl.DataFrame:
        """Every metric at every step of the finished trials: variant, seed, metric, step, value."""
        return self.study.metrics

    @property
    def results(self) -> pl.DataFrame:
        """The same where each trial's result is read: one row per trial and metric."""
        return self.study.results

    @property
    def tables(self) -> pl.DataFrame:
        """The last evaluation of every finished trial, one row per prompt: variant, seed, item,
        correct, length, response and what else was stored."""
        seeds = self.study.trials.select("trial", "variant", "seed").iter_rows()
        known = [
            self.study.tables[trial].with_columns(
                trial=pl.lit(trial), variant=pl.lit(variant), seed=pl.lit(seed, dtype=pl.Int64)
            )
            for trial, variant, seed in seeds
            if trial in self.study.tables
        ]
        return pl.concat(known, how="diagonal_relaxed") if known else pl.DataFrame()

    @cached_property
    def verdicts(self) -> pl.DataFrame:
        """Every prediction, then every comparison that none speaks of, as the report decides them.

        Columns: claim, verdict, reason (of a withheld one), metric, variant, baseline, difference,
        low, high, level (of the interval that decided), p (Holm), margin; NaN and null for what is
        not known. Of times to a threshold, differences and margins are of logarithms.
        """
        found = (*self._found.predicted, *self._found.compared)
        return pl.DataFrame([_verdict(f) for f in found], schema=VERDICTS)

    @cached_property
    def gates(self) -> pl.DataFrame:
        """The trust gates: question, level (OK, WARN or FAIL), detail."""
        rows = [(gate.question, gate.level.value, gate.detail) for gate in self._found.gates]
        return pl.DataFrame(rows, schema=GATES, orient="row")

    @cached_property
    def figures(self) -> Gallery:
        """The report's figures by name, such as `eval_accuracy_tokens`."""
        return gallery(panels(self.study, self._found))

    @cached_property
    def _found(self) -> Findings:
        return findings(self.study)


GATES = {"question": pl.String, "level": pl.String, "detail": pl.String}
VERDICTS = {
    **dict.fromkeys(("claim", "verdict", "reason", "metric", "variant", "baseline"), pl.String),
    **dict.fromkeys(("difference", "low", "high", "level", "p", "margin"), pl.Float64),
}


def _verdict(f: Finding) -> dict[str, Any]:
    d = f.verdict.difference
    return {
        "claim": f.claim,
        "verdict": f.word,
        "reason": f.verdict.reason,
        "metric": f.metric,
        "variant": f.variant,
        "baseline": f.baseline,
        "difference": d.value,
        "low": d.low,
        "high": d.high,
        "level": d.level,
        "p": f.verdict.p,
        "margin": f.prediction.margin if f.prediction else None,
    }


def read(runs: str | Path, name: str) -> Planned:
    """An ablation by its name, from its sealed plan and the store.

    As before a report, records that the store lacks are published first.

    Example:
        >>> ablation = analysis.read("runs", "length_bias")
        >>> ablation.verdicts.select("claim", "verdict", "p")
        >>> ablation.figures["eval_accuracy_tokens"]

    Args:
        runs: folder of all output.
        name: of the ablation.

    Raises:
        ConfigError: no manifest, no store, or no such experiment.
        StoreError: the store is damaged, of another MLflow, or cannot be written.
    """
    with warnings.catch_warnings():
        # MLflow imports progress bars, which in a notebook ask for ipywidgets; it draws none here.
        warnings.filterwarnings("ignore", message="IProgress not found")
        return Planned(read_study(Path(runs), name))
