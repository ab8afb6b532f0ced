"""report.json: the verdicts and what they rest on, for programs. NaN and infinity are null."""

import json
import math
from typing import Any

from analysis import (
    attempts,
    checklist,
    cost,
    derived,
    evidence,
    exploratory,
    failures,
    gains,
    growth,
    multiverse,
    selftest,
    stats,
    tuning,
)
from analysis.findings import Finding, Findings
from analysis.fixed import plain
from analysis.quantity import Kind
from analysis.study import Study, compare


def written(study: Study, found: Findings) -> str:
    """The file's text: the same numbers, words and levels as in the page, unrounded."""
    manifest = study.manifest
    data = {
        "name": manifest.ablation.name,
        "question": manifest.ablation.question,
        "seal": manifest.seal,
        "revision": manifest.revision,
        "primary": plain(manifest.ablation.primary),
        "baseline": study.baseline,
        "test": "paired t" if study.paired else "Welch t",
        "adjustment": f"Holm within predictions, and within comparisons{growth.adjusted(study)}",
        "alpha": stats.ALPHA,
        "withheld": found.barred,
        "gates": [plain(gate) for gate in found.gates],
        "results": [
            {"variant": label, **plain(compare(study, study.primary, label).estimate)}
            for label in study.labels
        ],
        "no_result": attempts.no_results(study),
        "attempts": {trial: attempts.runs(study, trial) for trial in attempts.repeated(study)},
        "predictions": [_finding(f) for f in found.predicted],
        "curves": [_curves(study, f) for f in found.predicted],
        "multiverse": multiverse.plain(found.strips),
        "tuning": tuning.written(study),
        "comparisons": [_finding(f) for f in found.compared],
        "failures": failures.data(study, found),
        "selftest": selftest.data(study),
        "cost": cost.data(study),
        "checklist": checklist.data(study),
        "looks": growth.data(study),
        "gains": gains.data(study),
        "evidence": evidence.data(study, found),
        "exploratory": {} if found.barred else exploratory.plain(study),
    }
    return json.dumps(_finite(data), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _curves(study: Study, f: Finding) -> dict[str, Any] | None:
    """Both arms of a prediction that is read off curves; None where it is read at the end."""
    if f.quantity.kind is Kind.RESULT:
        return None
    return dict(zip(("variant", "baseline"), map(plain, derived.arms(study, f)), strict=True))


def _finding(f: Finding) -> dict[str, Any]:
    verdict = plain(f.verdict)
    shown = {"metric": f.metric, "variant": f.variant, "baseline": f.baseline, "verdict": f.word}
    claimed = {"quantity": Kind.RESULT.value} | (plain(f.prediction) if f.prediction else {})
    keys = ("reason", "p", "alone", "difference", "resolution", "look")
    return claimed | shown | {key: verdict[key] for key in keys} | {"pairing": plain(f.pairing)}


def _finite(value: Any) -> Any:
    """JSON has no word for NaN and infinity."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
