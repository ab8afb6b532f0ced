"""The report's first half: answer, predictions, methods, trust. Each function is one section."""

from analysis import attempts, growth, stats, text
from analysis.ablation import Checkpoint
from analysis.findings import Finding, Findings
from analysis.gates import Gate
from analysis.study import Study


def predictions(study: Study, found: Findings) -> str:
    """Hypothesis, then one row per prediction with its verdict."""
    parts = ["## Predictions", f"**Hypothesis.** {hypothesis(study)}"]
    if not found.predicted:
        return "\n\n".join([*parts, "No predictions were written down before the run."])
    header = ["prediction", "verdict", "difference", "level", "p (Holm)", "n", "could show"]
    rows = [_prediction_row(f) for f in found.predicted]
    method = (
        f"Difference: variant minus its baseline over seeds, {tested_by(study)} interval of the "
        f"level at which the verdict was taken. Holm's procedure over the {len(rows)} predictions "
        f"holds the chance of any false verdict at .05{growth.adjusted(study)}. Supported: the "
        f"interval lies wholly on the predicted side of the margin; refuted: wholly on the other. "
        f"An *equal* with its estimate inside the margin is two one-sided tests, hence the "
        f"narrower interval. p: of the direction decided, or of the nearer one, adjusted; below "
        f".05 exactly where there is a verdict. Could show: the true difference beyond the margin, "
        f"or for *equal* the margin, that this test shows with 80 % power at this spread, with the "
        f"interval that the spread's own error gives it. No verdict is given below "
        f"{stats.MIN_SEEDS_VERDICT} seeds, without a spread over seeds, or under a trust gate that "
        f"says FAIL."
    )
    return "\n\n".join(
        [*parts, text.table(header, rows), *_withheld(found), _reasons(found), method]
    )


def hypothesis(study: Study) -> str:
    """The hypothesis, or that there is none."""
    return text.prose(study.manifest.ablation.hypothesis) or "None was written down."


def _prediction_row(f: Finding) -> list[str]:
    verdict = f.verdict
    n, m = verdict.difference.n
    return [
        text.prose(f.claim),
        f.word,
        text.difference(verdict.difference, f.metric),
        text.percent(verdict.difference.level),
        text.p_value(verdict.p),
        f"{n} and {m}",
        text.resolution(verdict.resolution, f.metric),
    ]


def _reasons(found: Findings) -> str:
    """What each prediction was made for, in its author's words."""
    lines = [
        f"- {text.prose(f.claim)}, because: {text.prose(f.prediction.because)}"
        for f in found.predicted
        if f.prediction
    ]
    return "\n".join(lines)


def _withheld(found: Findings) -> list[str]:
    """Why verdicts are withheld, one line per prediction."""
    lines = [
        f"- Withheld, {text.prose(f.claim)}: {text.prose(f.verdict.reason)}."
        for f in found.predicted
        if f.verdict.reason
    ]
    return ["\n".join(lines)] if lines else []


def tested_by(study: Study) -> str:
    """The test that compares two variants."""
    return "paired" if study.paired else "Welch"


def methods(study: Study) -> str:
    """What was compared, on what budget, and what the claims are conditional on."""
    manifest, ablation = study.manifest, study.manifest.ablation
    places = {Checkpoint.LAST: "the final step's", Checkpoint.BEST: "the best"}
    rule = places[ablation.primary.checkpoint]
    facts = [
        f"Baseline {text.code(ablation.baseline)}; seeds {ablation.seeds}; the seed is the "
        f"replicate, so every n counts seeds.",
        f"Variants are compared {'seed by seed' if ablation.paired else 'as groups of seeds'} "
        f"({tested_by(study)} t test), as the plan declares.",
        f"Budget: {ablation.budget.amount:,.0f} {ablation.budget.unit.value} per trial.",
        f"Result of a trial: its values at {rule} evaluation of {text.code(study.primary)}.",
        *attempts.rules(study),
        f"Claims are conditional on one base model {text.code(manifest.model_hash)} and one "
        f"held-out set {text.code(manifest.task_digest)}: the intervals cover neither another "
        f"base nor other prompts.",
        f"Overrides of every variant: {text.codes(ablation.overrides)}.",
        f"Deviations from the ablation file: {text.codes(manifest.deviations)}.",
    ]
    return "\n\n".join(
        [
            "## Methods",
            "\n".join(f"- {fact}" for fact in facts),
            f"What differs between the variants (factors: {text.codes(ablation.factors)}):",
            _differences(study),
        ]
    )


def _differences(study: Study) -> str:
    """Config keys that differ from the baseline, from the manifest's own diff."""
    first = {job.variant: job for job in reversed(study.manifest.jobs)}
    rows = [
        [text.code(label), text.code(key), text.code(before), text.code(after)]
        for label in study.others
        if label in first
        for key, (before, after) in sorted(first[label].differs.items())
    ]
    if not rows:
        return "Nothing: there is no variant whose config differs from the baseline's."
    return text.table(["variant", "key", "baseline's value", "variant's value"], rows)


def trust(found: Findings) -> str:
    """Every gate with its outcome."""
    rows = [_gate_row(gate) for gate in found.gates]
    return "\n\n".join(["## Trust gates", text.table(["gate", "outcome", "facts"], rows)])


def _gate_row(gate: Gate) -> list[str]:
    return [gate.question, gate.level.value, text.prose(gate.detail)]
