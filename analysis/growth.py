"""The looks of a study whose seeds are added until decided, for the page and for programs."""

from typing import Any

from analysis import deciding, text
from analysis.changes import named
from analysis.findings import Findings
from analysis.fixed import plain
from analysis.stats import DECIDED
from analysis.study import Study
from analysis.until import Look

METHOD = (
    "Verdict, p, level and interval of each prediction are those of the look that decided it, or "
    "of the last one. Each look tests at a level of its own (Lan and DeMets's spending function), "
    "applied to the p-values of t tests, and Holm's procedure runs at each over the predictions "
    "that are still undecided; so the chance of any false verdict at any look is at most .05. The "
    "interval is the look's repeated confidence interval, p the least level that would have "
    "decided. A difference at which a study stopped early is larger than the truth on average, and "
    "seeds that were added after a verdict, for other predictions, are not in it. A variant of "
    "which nothing was predicted has the seeds of the first look, and is compared by these alone, "
    "whose number was fixed. Results and tables below use all seeds, each alone at 95 %, without a "
    "correction for looks."
)


def adjusted(study: Study) -> str:
    """What is to be added where a page says how verdicts are adjusted; "" for a fixed number."""
    return ", at looks that share the level (alpha spending)" * bool(study.manifest.looks)


def section(study: Study, found: Findings) -> str:
    """What was looked at when, at which level, and what it decided; "" where seeds were fixed."""
    looks = study.manifest.looks
    if not looks:
        return ""
    until = study.manifest.ablation.until
    spending = until.spending.value.replace("_", " ") if until else ""
    header = [
        "look",
        "seeds",
        "information",
        "level spent",
        "p below",
        "decided by then",
        "went on with",
    ]
    rows = [_row(study, number, look) for number, look in enumerate(looks, start=1)]
    lines = [
        f"- {text.prose(f.claim)}: {f.word} at look {f.verdict.look}."
        if f.verdict.outcome in DECIDED
        else f"- {text.prose(f.claim)}: {f.word}."
        for f in found.predicted
    ]
    planned = len(study.manifest.ablation.labels) * looks[-1].seeds
    saved = planned - len(study.manifest.called_jobs)
    told = deciding.told(looks[: study.manifest.taken], looks)
    facts = f"Planned: {spending} spending. {told[:1].upper()}{told[1:]}; {saved} of {planned} "
    facts += "trials were not needed." if looks[study.manifest.taken - 1].ends else "to come."
    return "\n\n".join(["## Looks", facts, text.table(header, rows), "\n".join(lines), METHOD])


def _row(study: Study, number: int, look: Look) -> list[str]:
    predictions = study.manifest.ablation.predictions
    levels = f"{look.levels[-1]:.2g} to {look.levels[0]:.2g}"
    decided = "; ".join(named(predictions[i - 1]) for i in look.decided) or "none"
    going = [label for label in study.labels if label not in look.stopped]
    return [
        str(number),
        str(look.seeds),
        f"{100 * look.fraction:.0f} %",
        f"{look.spent:.2g}",
        levels if len(look.levels) > 1 else f"{look.levels[0]:.2g}",
        text.prose(decided) if look.taken else "not taken",
        text.codes(going) if look.taken and not look.ends else text.NONE,
    ]


def data(study: Study) -> dict[str, Any]:
    """The plan and its looks for programs; {} where seeds were fixed."""
    until = study.manifest.ablation.until
    if until is None:
        return {}
    return {
        "until": plain(until),
        "looks": [plain(look) for look in study.manifest.looks],
        "seeds": {label: len(study.manifest.called(label)) for label in study.labels},
    }
