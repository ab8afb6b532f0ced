"""The first screen of the report: question, answer, figure, verdicts, gates and cost."""

import math
from collections.abc import Sequence

from analysis import cost, estimates, frame, names, stats, text
from analysis.contrasts import named
from analysis.findings import Finding, Findings, resolved
from analysis.gates import Gate, Level
from analysis.sections import tested_by
from analysis.stats import Outcome
from analysis.study import Study
from analysis.units import limit

MOST_SPOKEN = 6  # differences that one sentence can hold; of more it tells how many there are
MOST_PICKED = 3  # of the decided ones, which are then named
FOREST_NOTE = (
    "Diamond and bar: difference and interval, of the level at which its verdict was taken; an "
    "arrow where the view cuts it. Dots: seeds, against the baseline's mean. Dotted: the margin."
)


def head(study: Study, found: Findings, images: Sequence[str] = ()) -> str:
    """Title, question, answer, what stands behind it, and what it could not have seen.

    Args:
        images: Markdown of the forest's figures.
    """
    ablation = study.manifest.ablation
    parts = [
        f"# {text.prose(ablation.name)}",
        f"**Question.** {text.prose(ablation.question)}",
        f"**Answer.** {_answer(study, found)}",
        "\n".join([_verdicts(found), _gates(found), f"- Cost: {cost.sentence(study)}."]),
    ]
    if images:
        parts += ["\n".join(images), FOREST_NOTE]
    sure = [_level(study), _resolution(study, found), _screening(study)]
    parts.append(f"**How sure.** {' '.join(s for s in sure if s)}")
    return "\n\n".join(parts)


def _answer(study: Study, found: Findings) -> str:
    """One sentence in the question's own terms: what was predicted, and the primary metric."""
    every = [*found.predicted, *found.compared]
    if not every:
        e = estimates.estimate(study.values(study.primary, study.baseline), study.primary)
        return (
            f"{text.code(study.baseline)} reaches a {names.name(study.primary)} of "
            f"{text.estimate(e, study.primary)} (mean and 95 % t interval, n = {text.seeds(e.n)}); "
            f"there is no other variant to compare it with."
        )
    if len(every) <= MOST_SPOKEN:
        pairs = dict.fromkeys((f.variant, f.baseline) for f in every)
        return f"{'; '.join(_pair(study, every, *pair) for pair in pairs)}."
    return " ".join([*_counted(found.predicted, "prediction"), *_counted(found.compared, "other")])


def _pair(study: Study, every: list[Finding], variant: str, baseline: str) -> str:
    """`grpo` against `reinforce`: held-out accuracy **+0.070 [..]** (..: supported), ..."""
    own = [f for f in every if (f.variant, f.baseline) == (variant, baseline)]
    said = []
    for what in dict.fromkeys(map(named, own)):
        shown = [_difference(f) for f in own if named(f) == what]
        said.append(f"{text.prose(what)} {' and '.join(shown)}")
    return f"{text.code(variant)} against {text.code(baseline)}: {'; '.join(said)}"


def _difference(f: Finding) -> str:
    d = f.verdict.difference
    if math.isnan(d.value):
        return "no result"
    said = f"{text.percent(d.level)}; {f.reading}"
    return f"**{text.difference(d, f.metric)}** ({said})"


def _counted(found: list[Finding], noun: str) -> list[str]:
    """`Of 14 comparisons: 2 higher (a +0.050 [..], b +0.041 [..]), 12 no difference shown.`"""
    if not found:
        return []
    kinds = dict.fromkeys(f.word for f in sorted(found, key=lambda f: _ORDER[f.verdict.outcome]))
    told = []
    for word in kinds:
        own = [f for f in found if f.word == word]
        names = _named(own) if own[0].verdict.outcome in _DECIDED else ""
        told.append(f"{len(own)} {word}{names}")
    many = {"prediction": "predictions", "other": "comparisons without a prediction"}[noun]
    return [f"Of {len(found)} {many}: {', '.join(told)}."]


_DECIDED = (Outcome.SUPPORTED, Outcome.REFUTED)
_ORDER = {outcome: place for place, outcome in enumerate(Outcome)}


def _named(own: list[Finding]) -> str:
    said = [
        f"{text.code(f.variant)} on {text.prose(named(f))} "
        f"{text.difference(f.verdict.difference, f.metric)}"
        for f in own[:MOST_PICKED]
    ]
    more = f" and {len(own) - MOST_PICKED} more" if len(own) > MOST_PICKED else ""
    return f" ({'; '.join(said)}{more})"


def _verdicts(found: Findings) -> str:
    outcomes = [f.verdict.outcome for f in found.predicted]
    if not outcomes:
        return "- Predictions: none was written down, so nothing here is confirmatory."
    counts = ", ".join(
        f"{outcomes.count(o)} **{o.value}**" for o in Outcome if outcomes.count(o) > 0
    )
    noun = "prediction" if len(outcomes) == 1 else "predictions"
    barred = f" No verdict is given: {text.prose(found.barred)}." if found.barred else ""
    return f"- Of {len(outcomes)} {noun}: {counts}.{barred}"


def _gates(found: Findings) -> str:
    """`- Trust gates: 1 **WARN** (Enough seeds per variant), 14 **OK**.`"""
    told = []
    for level in (Level.FAIL, Level.WARN, Level.OK):
        own = [gate for gate in found.gates if gate.level is level]
        if own:
            told.append(f"{len(own)} **{level.value}**{_asked(own, level)}")
    return f"- Trust gates: {', '.join(told)}."


def _asked(own: list[Gate], level: Level) -> str:
    return "" if level is Level.OK else f" ({'; '.join(text.prose(gate.question) for gate in own)})"


def _level(study: Study) -> str:
    """Where the baseline and the base stand, and how many seeds there are."""
    metric = study.primary
    base = estimates.estimate(study.values(metric, study.baseline), metric)
    untrained = estimates.estimate(frame.base_values(study.metrics, metric), metric)
    counts = [len(study.values(metric, label)) for label in study.labels]
    span = str(counts[0]) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    return (
        f"{text.code(metric)} of the baseline {text.code(study.baseline)} is "
        f"{text.number(base.mean, metric)}, of the base model before training "
        f"{text.number(untrained.mean, metric)}; {span} {'seed' if span == '1' else 'seeds'} per "
        f"variant, {tested_by(study)} intervals of the level at which each verdict was taken."
    )


def _resolution(study: Study, found: Findings) -> str:
    """What the study could not have seen on the primary metric, by the tests that it used."""
    if not study.others:
        return ""
    about = [f for x in study.others for f in found.about(study.primary, x, study.baseline)]
    apart, alike = resolved(about, equal=False), resolved(about, equal=True)
    if not apart and not alike:
        return _unresolved(study)
    could_not = []
    if apart:
        could_not.append(f"detected true differences smaller than {_range(apart, study.primary)}")
    if alike:
        could_not.append(f"shown equality within margins below {_range(alike, study.primary)}")
    return (
        f"At this spread and number of seeds it could not reliably have {' or '.join(could_not)} "
        f"(80 % power, {tested_by(study)} test at the level of the verdict)."
    )


def _unresolved(study: Study) -> str:
    """Why nobody can say what could have been detected."""
    if _fewest(study) < stats.MIN_SEEDS_VERDICT:
        return (
            f"With fewer than {stats.MIN_SEEDS_VERDICT} seeds in a variant no verdict is given, so "
            f"nothing could have been shown; intervals are drawn all the same."
        )
    return "The spread over seeds is unknown, so what could have been detected is unknown too."


def _range(sizes: list[float], metric: str) -> str:
    ends = (min(size, limit(metric)) for size in (sizes[0], sizes[-1]))
    least, most = (text.number(size, metric) for size in ends)
    return most if least == most else f"{least} to {most}"


def _screening(study: Study) -> str:
    if _fewest(study) >= stats.MIN_SEEDS_CONFIRM:
        return ""
    return f"With fewer than {stats.MIN_SEEDS_CONFIRM} seeds in a variant this is a screening."


def _fewest(study: Study) -> int:
    return min(len(study.values(study.primary, label)) for label in study.labels)
