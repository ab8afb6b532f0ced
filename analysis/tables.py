"""The report's numbers: final values, before and after. Each public function is one section."""

import math

import polars as pl

from analysis import estimates, frame, stats, text
from analysis.findings import Findings
from analysis.stats import FloatArray
from analysis.study import Study, compare
from analysis.units import is_evaluation, limit, ordered
from harness.schema import METRICS

TRAINING_REWARD = "critic/score/mean"
# The same policy, measured in four ways.
DECODINGS = {
    "eval/accuracy": "sampled",
    "eval/greedy_accuracy": "greedy",
    "eval/pass_at_k": "pass@{k}",
    "eval/accuracy_no_early_stop": "sampled, early stop suppressed",
    "eval/accuracy_best_searcher": "none: the best planted searcher, played exactly",
}
SIDE_BY_SIDE = 3  # variants whose columns fit on the page, and on a printed one
SUPPRESSED = "eval/accuracy_no_early_stop"
TAUGHT = [
    "eval/accuracy",
    "eval/behaviour/give_up_rate",
    "eval/behaviour/attempts",
    "eval/behaviour/computed_rightly",
    "eval/behaviour/success_per_attempt",
    "eval/behaviour/retry_rate",
    "eval/behaviour/checked",
    "eval/behaviour/well_formatted",
    "eval/behaviour/repetitive",
    "eval/behaviour/empty",
    "eval/truncated",
    "eval/response_length/mean",
    "eval/response_length/right",
    "eval/response_length/wrong",
    "eval/entropy",
    "eval/kl",
]


def final(study: Study, found: Findings) -> str:
    """Result of every variant on every metric, with its difference from the baseline."""
    planned = {p.metric for p in study.manifest.ablation.predictions}
    known = set(study.results["metric"])
    shown = [m for m in ordered(known) if is_evaluation(m) or m == TRAINING_REWARD]
    first = [study.primary, *(m for m in ordered(planned) if m != study.primary)]
    rest = [m for m in shown if m not in first]
    test = "paired" if study.paired else "Welch"
    method = (
        f"Mean over seeds with its 95 % t interval, that of a share on the logit scale; difference "
        f"from the baseline with its 95 % {test} interval, each alone: verdicts are taken over "
        f"their family, above; g: Hedges' g; detectable: smallest true difference that the {test} "
        f"test finds with 80 % power at this spread and n (alone at two-sided .05). A trial in "
        "which a metric does not exist, such as "
        "the length of wrong responses when none is wrong, reduces n."
    )
    parts = ["## Results", "### Primary and predicted metrics", _results(study, first), method]
    if rest:
        parts += [
            "### All other metrics",
            "Exploratory: nothing was predicted about these, and with this many intervals some "
            "exclude 0 by chance.",
            _results(study, rest),
        ]
    parts += [pairing(found), equal_tokens(study)]
    return "\n\n".join(part for part in parts if part)


def _results(study: Study, metrics: list[str]) -> str:
    header = ["metric", "variant", "mean [95 %]", "n", "difference [95 %]", "g", "detectable"]
    rows = []
    for metric in metrics:
        for label in study.labels:
            c = compare(study, metric, label)
            row = [text.code(metric), text.prose(label)]
            row += [text.estimate(c.estimate, metric), str(c.estimate.n)]
            if label == study.baseline:
                row += ["baseline", "", ""]
            else:
                row.append(text.difference(c.difference, metric))
                row += [text.plain(c.g, 2), text.size(c.detectable, metric)]
            rows.append(row)
    return text.table(header, rows)


def pairing(found: Findings) -> str:
    """What variants at one seed have in common, and what comparing them seed by seed is worth."""
    every = [*found.predicted, *found.compared]
    pairs = {(f.metric, f.variant, f.baseline): f.pairing for f in every}
    rows = [
        [
            text.code(metric),
            text.prose(f"{variant} − {baseline}"),
            str(p.n),
            text.plain(p.correlation, 2),
            text.number(p.apart, metric),
            text.number(p.together, metric),
        ]
        for (metric, variant, baseline), p in pairs.items()
    ]
    if not rows:
        return ""
    header = ["metric", "difference", "common seeds", "correlation", "± unpaired", "± paired"]
    method = (
        "Variants at one seed share prompts and random numbers. Correlation of their results over "
        "the common seeds; half width of the 95 % interval of the difference by Welch and seed by "
        "seed. Which of them a verdict uses was declared before the run (`paired`); few seeds tell "
        "a correlation only roughly, and choosing by it afterwards would not be a test."
    )
    return "\n\n".join(["### Pairing by seed", text.table(header, rows), method])


def equal_tokens(study: Study) -> str:
    """The primary metric where the trial with the fewest sampled tokens ended."""
    tokens, rows = frame.at_equal_tokens(study.metrics, study.primary)
    title = "### At equal tokens"
    if math.isnan(tokens):
        return f"{title}\n\nThe trials share no range of tokens."
    arms = {
        label: rows.filter(variant=label).sort("seed")["value"].to_numpy() for label in study.labels
    }
    most = limit(study.primary)
    lines = [
        [
            text.prose(label),
            text.estimate(estimates.estimate(x, study.primary), study.primary),
            str(len(x)),
            "baseline"
            if label == study.baseline
            else text.difference(stats.welch(x, arms[study.baseline], limit=most), study.primary),
        ]
        for label, x in arms.items()
    ]
    header = ["variant", f"{text.prose(study.primary)} [95 %]", "n", "difference [95 %]"]
    method = (
        f"Every trial read at {tokens:,.0f} sampled tokens, where the one with the fewest ended; "
        f"interpolated linearly between its evaluations, never beyond the last. Welch intervals, "
        f"each alone at 95 %; no verdict is taken here."
    )
    return "\n\n".join([title, text.table(header, lines), method])


def taught(study: Study) -> str:
    """What training changed: the base measured in four ways, then behaviour before and after."""
    decodings = (
        "Mean over seeds with its 95 % t interval. Early stop suppressed: the answer marker may "
        "not follow directly on a miss. The base measured so, and its pass@k, show how much of "
        "the final accuracy it had already and did not use. Each row is measured with samples of "
        "its own, pass@k with k per prompt and the others with one: where there are few prompts, "
        "chance can put pass@k below the sampled accuracy."
    )
    method = (
        "Base: step 0, before any update. Variants: at the result's checkpoint. Mean over seeds "
        "with its 95 % t interval; a value without an interval is the same in every seed or "
        "comes from one seed."
    )
    parts = ["## What RL taught", _accuracies(study), decodings, *_explained(study)]
    return "\n\n".join([*parts, _behaviour(study), method])


def _shown(x: FloatArray, metric: str) -> str:
    return text.estimate(estimates.estimate(x, metric), metric)


def _accuracies(study: Study) -> str:
    k = study.config.get("evaluation", {}).get("pass_k", "k")
    rows, base = [], _base(study)
    for label in (None, *study.labels):
        for metric, how in DECODINGS.items():
            x = frame.base_values(base, metric) if label is None else study.values(metric, label)
            if len(x):
                policy = "base" if label is None else label
                name = text.prose(f"{policy}, {how.format(k=k)}")
                rows.append([name, _shown(x, metric), str(len(x))])
    return text.table(["policy and decoding", "accuracy [95 %]", "n"], rows)


def _explained(study: Study) -> list[str]:
    """Per variant, the part of its gain that suppressing the base's early stop already gives."""
    base = frame.base_values(study.metrics, "eval/accuracy")
    patient = frame.base_values(study.metrics, SUPPRESSED)
    if not len(base) or not len(patient):
        return []
    head_start = float(patient.mean() - base.mean())
    lines = []
    for label in study.labels:
        after = study.values("eval/accuracy", label)
        gain = float(after.mean() - base.mean()) if len(after) else 0.0
        if gain > 0:
            share = text.percent(round(head_start / gain, 2))
            part = f"{share} of that" if head_start < gain else "no less than that"
            lines.append(
                f"- {text.code(label)} gains {gain:+.3f} over the base; suppressing the base's "
                f"early stop alone gives {head_start:+.3f}, {part}."
            )
    return ["\n".join(lines)] if lines else []


def _behaviour(study: Study) -> str:
    """Before and after, at most SIDE_BY_SIDE variants in one table."""
    labels = study.labels
    starts = range(0, len(labels), SIDE_BY_SIDE)
    base = _base(study)
    tables = [_before_and_after(study, base, labels[i : i + SIDE_BY_SIDE]) for i in starts]
    return "\n\n".join(tables)


def _base(study: Study) -> pl.DataFrame:
    """The rows before any update, which are few: they are asked for many metrics."""
    return study.metrics.filter(pl.col("step") == 0)


def _before_and_after(study: Study, base: pl.DataFrame, labels: list[str]) -> str:
    rows = []
    for metric in TAUGHT:
        before = frame.base_values(base, metric)
        after = [study.values(metric, label) for label in labels]
        if len(before) or any(len(x) for x in after):
            cells = [_shown(x, metric) for x in (before, *after)]
            rows.append([text.code(metric), METRICS[metric].meaning, *cells])
    return text.table(["metric", "meaning", "base", *map(text.prose, labels)], rows)
