"""The one-page write-up: what the record knows is filled in, the author's part is marked.

Its parts are those of the tutorial's write-up: title, hypothesis, methods, results, discussion.
"""

import math

from analysis import cost, names, sections, text
from analysis.contrasts import named
from analysis.findings import Finding, Findings
from analysis.gates import Level
from analysis.stats import Outcome
from analysis.study import Study

AUTHOR = "**To write:**"


def section(study: Study, found: Findings) -> str:
    """Title, hypothesis, methods, results and discussion on one page."""
    return "\n\n".join(
        [
            "## Write-up",
            f"**Title.** {_title(study)}",
            f"**Hypothesis.** {sections.hypothesis(study)} {AUTHOR} where it comes from.",
            f"**Methods.** {_methods(study)} {AUTHOR} why these settings.",
            f"**Results.** {_results(found)} The figures are those above.",
            "**Discussion.**",
            "\n".join(_discussion(found)),
        ]
    )


def _title(study: Study) -> str:
    arms = [text.prose(label) for label in study.labels]
    task = text.prose(_group(study, "task")) or "a task"
    if len(arms) == 1:
        return f"{arms[0]} on {task}"
    listed = f"{', '.join(arms[:-1])} and {arms[-1]}" if len(arms) <= 4 else f"{len(arms)} variants"
    return f"{listed} on {task}: {text.prose(study.manifest.ablation.question)}"


def _group(study: Study, name: str) -> str:
    """What the stored config calls its task or model; "" if it does not say."""
    labels = study.config.get("labels")
    return str(labels.get(name, "")) if isinstance(labels, dict) else ""


def _methods(study: Study) -> str:
    plan = study.manifest.ablation
    changed = study.manifest.differing
    tests = "paired" if plan.paired else "Welch"
    return (
        f"{len(plan.variants)} {'variant' if len(plan.variants) == 1 else 'variants'} at "
        f"{text.seeds(len(plan.seeds))} each, {plan.budget.amount:,.0f} {plan.budget.unit.value} "
        f"per trial; changed: {text.codes(changed)}. Result: {names.name(plan.primary.metric)} at "
        f"the {plan.primary.checkpoint.value} evaluation, on held-out prompts; {tests} t tests "
        f"over seeds, Holm's procedure over the predictions. {cost.sentence(study)}."
    )


def _results(found: Findings) -> str:
    every = [*found.predicted, *found.compared]
    if not every:
        return "There is one variant, and nothing to compare it with."
    return " ".join(f"{_result(f)}." for f in every)


def _result(f: Finding) -> str:
    """`grpo − reinforce, held-out accuracy: +0.070 [..] (97.5 %), g = .., p = ..; supported`."""
    d = f.verdict.difference
    about = text.prose(f"{f.variant} − {f.baseline}, {named(f)}")
    if math.isnan(d.value):
        return f"{about}: no result"
    p = "" if f.verdict.p is None else f", p {text.equals(f.verdict.p)}"
    level = text.percent(d.level)
    shown = text.difference(d, f.metric)
    return f"{about}: {shown} ({level}{p}); {text.prose(f.reading)}"


def _discussion(found: Findings) -> list[str]:
    return [
        f"- Were the predictions correct? {_correct(found)}",
        f"- What surprised you? {_surprises(found)}{AUTHOR}",
        f"- What does this say about the question? {AUTHOR}",
        f"- Implications for training: {AUTHOR}",
        f"- Limits: {_limits(found)} {AUTHOR} anything else.",
    ]


def _correct(found: Findings) -> str:
    if not found.predicted:
        return "None was written down."
    told = []
    for outcome in Outcome:
        own = [f for f in found.predicted if f.verdict.outcome is outcome]
        if own:
            claims = "; ".join(text.prose(f.claim) for f in own)
            told.append(f"{len(own)} {outcome.value} ({claims})")
    return f"Of {len(found.predicted)}: {', '.join(told)}."


def _surprises(found: Findings) -> str:
    refuted = [f for f in found.predicted if f.verdict.outcome is Outcome.REFUTED]
    if not refuted:
        return ""
    return f"Refuted: {'; '.join(text.prose(f.claim) for f in refuted)}. "


def _limits(found: Findings) -> str:
    doubts = [gate for gate in found.gates if gate.level is not Level.OK]
    listed = "; ".join(f"{g.level.value} {text.prose(g.question)}" for g in doubts)
    return f"One base model and one held-out set. {f'Gates: {listed}.' if listed else ''}".strip()
