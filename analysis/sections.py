"""The report's first half: answer, predictions, methods, trust. Each function is one section."""

import math

from analysis import attempts, frame, stats, text
from analysis.ablation import Checkpoint
from analysis.findings import Finding, Findings, resolved
from analysis.gates import Gate, Level
from analysis.stats import Outcome
from analysis.study import Study
from analysis.units import is_share


def head(study: Study, found: Findings) -> str:
    """Title, question, and the answer in one paragraph."""
    ablation = study.manifest.ablation
    checks = [gate.level for gate in found.gates]
    trust = f"Trust gates: {checks.count(Level.FAIL)} FAIL, {checks.count(Level.WARN)} WARN."
    if found.barred:
        trust += f" No verdict is given: {text.prose(found.barred)}."
    sentences = [_effects(study, found), _resolution(study, found), _screening(study)]
    sentences += [_tally(found), trust]
    return "\n\n".join(
        [
            f"# {text.prose(ablation.name)}",
            f"**Question.** {text.prose(ablation.question)}",
            f"**Answer.** {' '.join(s for s in sentences if s)}",
        ]
    )


def _effects(study: Study, found: Findings) -> str:
    """The primary metric of every variant, beside the baseline."""
    metric = study.primary
    share = is_share(metric)
    base = stats.mean_interval(study.values(metric, study.baseline), share=share)
    untrained = stats.mean_interval(frame.base_values(study.metrics, metric), share=share)
    before = f"base model before training {text.number(untrained.mean, metric)}"
    if not study.others:
        return (
            f"{text.code(study.baseline)} reaches {text.code(metric)} "
            f"{text.estimate(base, metric)} (mean and 95 % t interval, n = {text.seeds(base.n)}; "
            f"{before}); there is no other variant to compare it with."
        )
    effects = "; ".join(_effect(study, found, label) for label in study.others)
    return (
        f"{text.code(metric)}, difference from {text.code(study.baseline)} "
        f"({text.number(base.mean, metric)}; {before}) with the {_test(study)} interval that its "
        f"verdict was taken from: {effects}."
    )


def _test(study: Study) -> str:
    return "paired" if study.paired else "Welch"


def _effect(study: Study, found: Findings, label: str) -> str:
    """`grpo` **+0.070 [+0.037, +0.103]** (98.75 %; greater than 0.020: supported; n = ...)."""
    metric = study.primary
    shown = [
        f"**{text.difference(f.verdict.difference, metric)}** "
        f"({text.percent(f.verdict.difference.level)}; {_reading(f)})"
        for f in found.about(metric, label, study.baseline)
    ]
    n, m = (len(study.values(metric, arm)) for arm in (label, study.baseline))
    return f"{text.code(label)} {' and '.join(shown)}, n = {n} and {text.seeds(m)}"


def _reading(f: Finding) -> str:
    return "no result" if math.isnan(f.verdict.difference.value) else f.reading


def _resolution(study: Study, found: Findings) -> str:
    """What the study could not have seen on the primary metric, by the tests that it used."""
    if not study.others:
        return ""
    about = [f for x in study.others for f in found.about(study.primary, x, study.baseline)]
    apart, alike = resolved(about, equal=False), resolved(about, equal=True)
    if not apart and not alike:
        return "The spread over seeds is unknown, so what could have been detected is unknown too."
    could_not = []
    if apart:
        could_not.append(f"detected true differences smaller than {_range(apart, study.primary)}")
    if alike:
        could_not.append(f"shown equality within margins below {_range(alike, study.primary)}")
    return (
        f"At this spread and number of seeds it could not reliably have {' or '.join(could_not)} "
        f"(80 % power, {_test(study)} test at the level of the verdict)."
    )


def _range(sizes: list[float], metric: str) -> str:
    least, most = (text.number(size, metric) for size in (sizes[0], sizes[-1]))
    return most if least == most else f"{least} to {most}"


def _screening(study: Study) -> str:
    fewest = min(len(study.values(study.primary, label)) for label in study.labels)
    if fewest >= stats.MIN_SEEDS_CONFIRM:
        return ""
    return f"With fewer than {stats.MIN_SEEDS_CONFIRM} seeds in a variant this is a screening."


def _tally(found: Findings) -> str:
    outcomes = [f.verdict.outcome for f in found.predicted]
    if not outcomes:
        return "No prediction was written down, so nothing here is confirmatory."
    counts = ", ".join(f"{outcomes.count(o)} {o.value}" for o in Outcome if o in outcomes)
    noun = "prediction" if len(outcomes) == 1 else "predictions"
    return f"Of {len(outcomes)} {noun}: {counts}."


def predictions(study: Study, found: Findings) -> str:
    """Hypothesis, then one row per prediction with its verdict."""
    parts = ["## Predictions", f"**Hypothesis.** {text.prose(study.manifest.ablation.hypothesis)}"]
    if not found.predicted:
        return "\n\n".join([*parts, "No predictions were written down before the run."])
    header = ["prediction", "verdict", "difference", "level", "p (Holm)", "n", "could show"]
    rows = [_prediction_row(f) for f in found.predicted]
    method = (
        f"Difference: variant minus its baseline over seeds, {_test(study)} interval of the level "
        f"at which the verdict was taken. Holm's procedure over the {len(rows)} predictions holds "
        f"the chance of any false verdict at .05. Supported: the interval lies wholly on the "
        f"predicted side of the margin; refuted: wholly on the other. An *equal* with its estimate "
        f"inside the margin is two one-sided tests, hence the narrower interval. p: of the "
        f"direction decided, or of the nearer one, adjusted; below .05 exactly where there is a "
        f"verdict. Could show: the true difference beyond the margin, or for *equal* the margin, "
        f"that this test shows with 80 % power at this spread, with the interval that the spread's "
        f"own error gives it. No verdict is given below {stats.MIN_SEEDS_VERDICT} seeds, without a "
        f"spread over seeds, or under a trust gate that says FAIL."
    )
    return "\n\n".join([*parts, text.table([*header, "because"], rows), *_withheld(found), method])


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
        text.prose(f.prediction.because if f.prediction else ""),
    ]


def _withheld(found: Findings) -> list[str]:
    """Why verdicts are withheld, one line per prediction."""
    lines = [
        f"- Withheld, {text.prose(f.claim)}: {text.prose(f.verdict.reason)}."
        for f in found.predicted
        if f.verdict.reason
    ]
    return ["\n".join(lines)] if lines else []


def methods(study: Study) -> str:
    """What was compared, on what budget, and what the claims are conditional on."""
    manifest, ablation = study.manifest, study.manifest.ablation
    places = {Checkpoint.LAST: "the final step's", Checkpoint.BEST: "the best"}
    rule = places[ablation.primary.checkpoint]
    facts = [
        f"Baseline {text.code(ablation.baseline)}; seeds {ablation.seeds}; the seed is the "
        f"replicate, so every n counts seeds.",
        f"Variants are compared {'seed by seed' if ablation.paired else 'as groups of seeds'} "
        f"({_test(study)} t test), as the plan declares.",
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
