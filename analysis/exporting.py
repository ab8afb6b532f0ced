"""Frames and result tables as files for other programs."""

from enum import Enum
from pathlib import Path

import polars as pl

from analysis import latex, text, unplanned
from analysis.findings import Finding, findings
from analysis.reading.loader import Data, load
from analysis.study import Study, compare, read_study
from harness.machine import files
from harness.tracking import store


class Format(Enum):
    """What is written."""

    CSV = "csv"
    PARQUET = "parquet"
    LATEX = "latex"


def export(runs: Path, name: str, kind: Format, out: Path | None, by: str) -> list[Path]:
    """Write the frames, or the result tables, of an ablation or of any other experiment.

    Args:
        runs: folder of all output.
        name: of the experiment.
        kind: CSV and PARQUET hold the frames of `analysis.load` and the results; LATEX tables.
        out: the folder that they are written to; `exports/NAME` in `runs` by default.
        by: what a LaTeX table of runs that no plan describes groups them by.

    Returns:
        The files, sorted.

    Raises:
        ConfigError: no such store or experiment, or a folder that cannot be written.
        StoreError: the store is damaged or locked.
    """
    store.check_name(name)
    planned = (runs / "sweeps" / name / "manifest.jsonl").exists()
    study = read_study(runs, name) if planned else None
    data = load(runs, name)
    folder = files.writable_folder(out or runs / "exports" / name, "--out")
    if kind is Format.LATEX:
        tables = _planned(study) if study else _unplanned(data, name, by)
        for stem, content in tables.items():
            (folder / f"{stem}.tex").write_text(content, encoding="utf-8")
        return sorted(folder / f"{stem}.tex" for stem in tables)
    frames = {name: getattr(data, name) for name in ("runs", "metrics", "evals", "samples")}
    frames["results"] = study.results if study else _ends(data, name)
    for stem, content in frames.items():
        path = folder / f"{stem}.{kind.value}"
        content.write_csv(path) if kind is Format.CSV else content.write_parquet(path)
    return sorted(folder / f"{stem}.{kind.value}" for stem in frames)


def _ends(data: Data, name: str) -> pl.DataFrame:
    return unplanned.grouped(data, [name], "run_id").results


def _planned(study: Study) -> dict[str, str]:
    """Results of every variant, and the verdicts, as the report has them."""
    found = findings(study)
    metrics = dict.fromkeys([study.primary, *(f.metric for f in found.predicted)])
    results = [_result(study, metric, label) for metric in metrics for label in study.labels]
    header = ["metric", "variant", "n", "mean [95 %]", f"difference from {study.baseline}"]
    name = study.manifest.ablation.name
    tables = {"results": latex.table(header, results, f"{name}: mean over seeds")}
    if found.predicted:
        header = ["prediction", "verdict", "difference", "level", "p (Holm)"]
        rows = [_verdict(f) for f in found.predicted]
        tables["predictions"] = latex.table(header, rows, f"{name}: predictions")
    return tables


def _result(study: Study, metric: str, label: str) -> list[str]:
    c = compare(study, metric, label)
    apart = "" if label == study.baseline else text.difference(c.difference, metric)
    return [metric, label, str(c.estimate.n), text.estimate(c.estimate, metric), apart]


def _verdict(f: Finding) -> list[str]:
    d = f.verdict.difference
    difference = text.difference(d, f.metric)
    return [f.claim, f.word, difference, text.percent(d.level), text.p_value(f.verdict.p)]


def _unplanned(data: Data, name: str, by: str) -> dict[str, str]:
    groups = unplanned.grouped(data, [name], by)
    header, rows = unplanned.rows(groups, groups.metrics)
    return {"results": latex.table(header, rows, f"{name}. {unplanned.NOTICE}")}
