"""The report's first half: answer, predictions, methods, trust. Each function is one section."""

import math

from analysis import frame, stats, text
from analysis.ablation import Checkpoint, Prediction, Relation
from analysis.gates import Gate, Level, gates
from analysis.stats import Outcome, Verdict
from analysis.study import Study, compare, verdicts


def head(study: Study) -> str:
    """Title, question, and the answer in one paragraph."""
    ablation = study.manifest.ablation
    checks = [gate.level for gate in gates(study)]
    trust = f"Trust gates: {checks.count(Level.FAIL)} FAIL, {checks.count(Level.WARN)} WARN."
    sentences = [_effects(study), _detectable(study), _screening(study), _tally(study), trust]
    return "\n\n".join(
        [
            f"# {text.prose(ablation.name)}",
            f"**Question.** {text.prose(ablation.question)}",
            f"**Answer.** {' '.join(s for s in sentences if s)}",
        ]
    )


def _effects(study: Study) -> str:
    """The primary metric of every variant, beside the baseline."""
    metric = study.primary
    base = stats.mean_interval(study.values(metric, study.baseline))
    untrained = stats.mean_interval(frame.base_values(study.metrics, metric))
    before = f"base model before training {text.number(untrained.mean, metric)}"
    if not study.others:
        return (
            f"{text.code(study.baseline)} reaches {text.code(metric)} "
            f"{text.estimate(base, metric)} (mean and 95 % t interval, n = {text.seeds(base.n)}; "
            f"{before}); there is no other variant to compare it with."
        )
    effects = "; ".join(_effect(study, label) for label in study.others)
    return (
        f"{text.code(metric)}, difference from {text.code(study.baseline)} "
        f"({text.number(base.mean, metric)}; {before}) with 95 % Welch interval: {effects}."
    )


def _effect(study: Study, label: str) -> str:
    metric = study.primary
    d = compare(study, metric, label).difference
    n, m = d.n
    reading = "no difference shown"
    if math.isnan(d.value):
        reading = "no result"
    elif math.isnan(d.low):
        reading = "no interval"
    elif d.low > 0 or d.high < 0:
        reading = "higher" if d.low > 0 else "lower"
    shown = text.difference(d, metric)
    return f"{text.code(label)} **{shown}** ({reading}, n = {n} and {text.seeds(m)})"


def _detectable(study: Study) -> str:
    """What the study could not have seen on the primary metric."""
    sizes = [compare(study, study.primary, label).detectable for label in study.others]
    known = sorted(size for size in sizes if not math.isnan(size))
    if not study.others:
        return ""
    if not known:
        return "The spread over seeds is unknown, so what could have been detected is unknown too."
    least, most = (text.number(size, study.primary) for size in (known[0], known[-1]))
    size = most if least == most else f"{least} to {most}"
    return (
        f"At this spread and number of seeds it could not reliably have detected true differences "
        f"smaller than {size} (80 % power, two-sided .05)."
    )


def _screening(study: Study) -> str:
    fewest = min(len(study.values(study.primary, label)) for label in study.labels)
    if fewest >= stats.MIN_SEEDS_CONFIRM:
        return ""
    return f"With fewer than {stats.MIN_SEEDS_CONFIRM} seeds in a variant this is a screening."


def _tally(study: Study) -> str:
    found = [v.outcome for v in verdicts(study)]
    if not found:
        return "No prediction was written down, so nothing here is confirmatory."
    counts = ", ".join(f"{found.count(o)} {o.value}" for o in Outcome if o in found)
    noun = "prediction" if len(found) == 1 else "predictions"
    return f"Of {len(found)} {noun}: {counts}."


def predictions(study: Study) -> str:
    """Hypothesis, then one row per prediction with its verdict."""
    parts = ["## Predictions", f"**Hypothesis.** {text.prose(study.manifest.ablation.hypothesis)}"]
    planned = study.manifest.ablation.predictions
    if not planned:
        return "\n\n".join([*parts, "No predictions were written down before the run."])
    tested = verdicts(study)
    header = ["prediction", "verdict", "difference", "margin", "p (Holm)", "n", "because"]
    rows = [
        _prediction_row(p, v, adjusted)
        for p, v, adjusted in zip(planned, tested, _adjusted(tested), strict=True)
    ]
    method = (
        "Difference: variant minus its baseline over seeds, 95 % Welch interval (90 % for *equal*, "
        "which is two one-sided tests at .05). Supported: the interval lies wholly on the "
        "predicted side of the margin. Refuted: wholly on the other side. The verdict uses the "
        "unadjusted interval; p belongs to the same rule and is adjusted by Holm over the "
        "predictions that have one (at least 3 seeds per variant). It says how firmly the interval "
        "excludes the margin, on either side; a verdict with p above .05 does not survive the "
        "number of predictions."
    )
    return "\n\n".join([*parts, text.table(header, rows), method])


def _adjusted(tested: list[Verdict]) -> list[float | None]:
    adjusted = iter(stats.holm([v.p for v in tested if v.p is not None]))
    return [None if v.p is None else next(adjusted) for v in tested]


def claim(p: Prediction) -> str:
    """A prediction in words, `grpo − reinforce on eval/accuracy is greater than 0.020`."""
    words = {
        Relation.GREATER: f"greater than {text.number(p.margin, p.metric)}",
        Relation.LESS: f"less than {text.number(-p.margin, p.metric)}",
        Relation.EQUAL: f"within ±{text.number(p.margin, p.metric)}",
    }
    return f"{p.variant} − {p.baseline} on {p.metric} is {words[p.relation]}"


def _prediction_row(p: Prediction, v: Verdict, adjusted: float | None) -> list[str]:
    shown = v.narrow if p.relation is Relation.EQUAL else v.difference
    n, m = v.difference.n
    return [
        text.prose(claim(p)),
        v.outcome.value,
        text.difference(shown, p.metric),
        text.number(p.margin, p.metric),
        text.p_value(adjusted),
        f"{n} and {m}",
        text.prose(p.because),
    ]


def methods(study: Study) -> str:
    """What was compared, on what budget, and what the claims are conditional on."""
    manifest, ablation = study.manifest, study.manifest.ablation
    rule = {Checkpoint.LAST: "the last", Checkpoint.BEST: "the best"}[ablation.primary.checkpoint]
    facts = [
        f"Baseline {text.code(ablation.baseline)}; seeds {ablation.seeds}; the seed is the "
        f"replicate, so every n counts seeds.",
        f"Budget: {ablation.budget.amount:,.0f} {ablation.budget.unit.value} per trial.",
        f"Result of a trial: its values at {rule} evaluation of {text.code(study.primary)}.",
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


def trust(study: Study) -> str:
    """Every gate with its outcome."""
    rows = [_gate_row(gate) for gate in gates(study)]
    return "\n\n".join(["## Trust gates", text.table(["gate", "outcome", "facts"], rows)])


def _gate_row(gate: Gate) -> list[str]:
    return [gate.question, gate.level.value, text.prose(gate.detail)]
