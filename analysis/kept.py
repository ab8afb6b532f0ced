"""Findings that are kept: of each ablation one small committed file, `analysis/findings/NAME.json`.

It holds what was asked, what was predicted, what came out and what it was made of, so that it can
be read, cited and compared with a new run without the runs themselves.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from analysis import record, text
from analysis.findings import Finding, Findings, findings
from analysis.fixed import plain
from analysis.gates import Level
from analysis.manifest import Manifest
from analysis.quantity import RESULT
from analysis.stats import Estimate
from analysis.study import Study, read_study
from harness.config import digest
from harness.errors import ConfigError
from harness.machine import files

FOLDER = Path(__file__).parent / "findings"
# Keys of report.json that a finding repeats.
REPEATED = (
    *("name", "question", "seal", "revision", "primary", "baseline", "test", "adjustment", "alpha"),
    *("withheld", "results", "predictions", "comparisons", "gains"),
)
DIGEST = "digest"
# With fewer seeds in any arm it is a screening; the gate on seeds says the same.
CONFIRMS = 5


def keep(runs: Path, name: str, folder: Path = FOLDER) -> Path:
    """Write the finding of a study that has ended; the same study gives the same bytes.

    Args:
        runs: folder of all output.
        folder: where findings are kept.

    Raises:
        ConfigError: no such study, a planned trial without a result, or a folder that cannot be
            written.
        StoreError: the store is damaged, of another MLflow, or cannot be written.
    """
    study = read_study(runs, name)
    complete(study)
    path = files.writable_folder(folder, "--folder") / f"{name}.json"
    put(path, signed(made(study, findings(study))))
    return path


def put(path: Path, content: str) -> None:
    """Write a file whole or not at all.

    Raises:
        ConfigError: something lies there that no file replaces.
    """
    try:
        files.write(path, content.encode())
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror}); remove what lies there or name another "
            f"--folder"
        ) from error


def signed(content: Mapping[str, Any]) -> str:
    """The text of the file: its content and a digest of it, so that no later hand goes unseen."""
    whole = {**content, DIGEST: digest(content)}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def made(study: Study, found: Findings) -> dict[str, Any]:
    """The content of the file: JSON data without NaN."""
    manifest, ablation = study.manifest, study.manifest.ablation
    told = json.loads(record.written(study, found))
    metrics = {study.primary, *(f.metric for f in found.predicted if f.quantity is RESULT)}
    return {
        **{key: told[key] for key in REPEATED},
        "gates": [plain(gate) for gate in found.gates if gate.level is not Level.OK],
        "hypothesis": ablation.hypothesis,
        "command": _command(manifest),
        "budget": {"unit": ablation.budget.unit.value, "amount": ablation.budget.amount},
        "screening": min(len(study.values(study.primary, label)) for label in study.labels)
        < CONFIRMS,
        "verdicts": [_verdict(f) for f in (*found.predicted, *found.compared)],
        "seeds": {metric: _seeds(study, metric) for metric in sorted(metrics)},
        "made_of": {
            "git_commit": manifest.git_commit,
            "git_dirty": manifest.git_dirty,
            "code_hash": manifest.code_hash,
            "model_hash": manifest.model_hash,
            "task_digest": manifest.task_digest,
            "versions": dict(sorted(manifest.versions.items())),
        },
    }


def _command(manifest: Manifest) -> str:
    """What runs it again; the sweep's own may hold paths."""
    stage = " sweep.stage=confirm" if manifest.tuned else ""
    return f"harness -m +ablation={manifest.ablation.name}{stage}"


def _verdict(f: Finding) -> dict[str, Any]:
    """One claim as the page shows it."""
    difference = f.verdict.difference
    return {
        "claim": f.claim,
        "predicted": f.prediction is not None,
        "verdict": f.word,
        "reason": f.verdict.reason,
        "difference": text.difference(difference, f.metric),
        "level": text.percent(difference.level),
        "n": list(difference.n),
    }


def read(path: Path) -> dict[str, Any]:
    """A finding that is kept.

    Raises:
        ConfigError: no such file, or not what `keep` wrote.
    """
    try:
        written = path.read_text(encoding="utf-8")
        data = json.loads(written)
    except FileNotFoundError:
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.json"))) or "none"
        raise ConfigError(f"no finding {path.stem!r} is kept; there are: {known}") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); make it readable") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no JSON ({error}); keep the finding again") from error
    if not isinstance(data, dict) or DIGEST not in data:
        raise ConfigError(f"{path} is no finding that was kept here; keep it again")
    if data.pop(DIGEST) != digest(data):
        raise ConfigError(f"{path} is not what was kept (its digest is another's); keep it again")
    if signed(data) != written:  # a key written twice, of which JSON takes the last
        raise ConfigError(f"{path} is not as it was kept (its text is another's); keep it again")
    if data.get("name") != path.stem:
        raise ConfigError(f"{path} holds the finding {data.get('name')!r}; give it that name again")
    return data


def everything(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """Every finding that is kept, by name."""
    return [read(path) for path in sorted(folder.glob("*.json"))]


def estimated(data: Mapping[str, Any]) -> Estimate:
    """An estimate of a finding, where what is not known is null."""
    mean, low, high = (math.nan if data[k] is None else data[k] for k in ("mean", "low", "high"))
    return Estimate(mean, low, high, data["n"])


def _seeds(study: Study, metric: str) -> Mapping[str, Mapping[str, float]]:
    """Variant -> seed -> result of a metric."""
    rows = study.results.filter(pl.col("metric") == metric).sort("variant", "seed")
    by: dict[str, dict[str, float]] = {label: {} for label in study.labels}
    for variant, seed, value in rows.select("variant", "seed", "value").iter_rows():
        by[variant][str(seed)] = value
    return by


def complete(study: Study) -> None:
    """Refuse a study that lacks a trial, or that no file describes: what is kept is final.

    Raises:
        ConfigError: it is one.
    """
    if study.manifest.grid:
        raise ConfigError(
            f"findings are kept of ablation files, received the grid {study.manifest.ablation.name}"
            f"; write its question and predictions into sweeps/ablation/"
        )
    lacking = study.trials.filter(pl.col("status") != "FINISHED")
    if len(lacking):
        raise ConfigError(
            f"{len(lacking)} of {len(study.trials)} planned trials have no result, the first is "
            f"{lacking[0, 'trial']}; a finding is kept, or compared, when all have: "
            f"{study.manifest.command}"
        )
