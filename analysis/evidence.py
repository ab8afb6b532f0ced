"""The section on where more evidence is cheapest: what the spread is made of, and ways to go on."""

import math
from typing import Any

from analysis import text
from analysis.components import Parts, parts
from analysis.findings import Findings
from analysis.fixed import plain
from analysis.needs import MOST_PROMPTS, MOST_SAMPLES, MOST_SEEDS, Need, Way, needs
from analysis.study import Study

WORDS = {
    "seeds": ("seeds per arm", MOST_SEEDS),
    "prompts": ("prompts", MOST_PROMPTS),
    "samples": ("responses per prompt", MOST_SAMPLES),
}
TITLE = "## Where more evidence is cheapest"
SPLIT = (
    "Standard deviations of one trial's result that each part alone would give; estimates below 0 "
    "stand as 0. Seed: between trainings. Interaction: what some seeds find hard and others do "
    "not. Sampling: between responses of one seed to one prompt; it is told from the interaction "
    "by the counts of right responses in the last evaluation (`evaluation.pass_k`), and holds it "
    "where a dash stands. Prompt: how hard the prompts are for all; the same for every arm, so it "
    "is in no difference, but in every claim about other prompts. Two-way analysis of variance."
)
WAYS = (
    "To show its margin: that the test, at the level at which it decided, has 80 % power for a "
    "true difference of one margin beyond the margin, or for *equal* for the margin at no "
    "difference, with the spread as measured. Cost: of what is to be added, by what the trials of "
    "the two arms took; seeds are trained, prompts and responses are evaluated on the finished "
    "trials (`python -m harness.evaluate`, `task.eval_size`, `samples`). Where sampling holds the "
    "interaction, responses per prompt buy at most this much."
)


def section(study: Study, found: Findings) -> str:
    """What the spread is made of, and the cheapest way to each margin."""
    split = [
        _split_row(metric, label, own)
        for metric in dict.fromkeys([study.primary, *(f.metric for f in found.predicted)])
        for label in study.labels
        if (own := parts(study, metric, label)) is not None
    ]
    blocks = [TITLE]
    if split:
        header = ["metric", "variant", "spread of a trial", "seed", "interaction", "sampling"]
        blocks += [text.table([*header, "prompt (cancels)", "measured with"], split), SPLIT]
    else:
        blocks.append(
            "The spread is not split into seed, prompt and sampling: that takes two trials with "
            "evaluation tables in a variant, and a metric that is a share of responses."
        )
    if found.predicted:
        header = ["prediction", "margin", "could show", "to show its margin, cheapest first"]
        rows = [_need_row(need) for need in needs(study, found)]
        blocks += [text.table(header, rows), WAYS]
    return "\n\n".join(blocks)


def _split_row(metric: str, label: str, own: Parts) -> list[str]:
    """Standard deviations that each part alone would give a trial's result."""
    n, k = own.prompts, own.samples
    sizes = (own.seed, own.interaction / n, own.sampling / (n * k), own.prompt / n)
    total = own.seed + own.noise(n, k)
    each = f"{k} responses" if k > 1 else "1 response"
    return [
        text.code(metric),
        text.code(label),
        *(text.number(math.sqrt(size), metric) for size in (total, *sizes)),
        f"{n} prompts, {each} each",
    ]


def _need_row(need: Need) -> list[str]:
    f = need.finding
    margin = f.prediction.margin if f.prediction else math.nan
    said = need.reason or "reached"
    if need.ways:
        said = "; ".join(map(_way, need.ways))
    shown = text.resolution(f.verdict.resolution, f.metric)
    return [text.prose(f.claim), text.exact(margin, f.metric), shown, said]


def _way(way: Way) -> str:
    """`4 responses per prompt (+49,152 tokens, 3 min)`."""
    unit, most = WORDS[way.what]
    if way.needed is None:
        return f"not by {unit} alone, up to {most:,}"
    costs = [f"+{way.tokens:,.0f} tokens"] if not math.isnan(way.tokens) else []
    costs += [f"{way.seconds / 60:,.1f} min"] if not math.isnan(way.seconds) else []
    return f"{way.needed:,} {unit}" + (f" ({', '.join(costs)})" if costs else "")


def data(study: Study, found: Findings) -> dict[str, Any]:
    """Splits and ways for programs."""
    metrics = dict.fromkeys([study.primary, *(f.metric for f in found.predicted)])
    return {
        "variance": [
            {"metric": metric, "variant": label, **plain(own)}
            for metric in metrics
            for label in study.labels
            if (own := parts(study, metric, label)) is not None
        ],
        "needs": [
            {
                "metric": need.finding.metric,
                "variant": need.finding.variant,
                "baseline": need.finding.baseline,
                "margin": need.finding.prediction.margin if need.finding.prediction else None,
                "reached": need.reached,
                "reason": need.reason,
                "ways": plain(need.ways),
            }
            for need in needs(study, found)
        ],
    }
