"""Whether every trial got as much training as the others, and as the plan says."""

import numpy as np

from analysis.gates.gate import Gate, Level, about, arms, mean_of
from analysis.study import Study

# A budget is overshot by less than one step; a step is rarely more than 5 % of a budget.
TOLERANCE = 0.05
# Beyond this, "at equal updates" and "at equal tokens" can give different answers.
TOKEN_TOLERANCE = 0.10


def equal(study: Study) -> Gate:
    """Spent budgets against their median, and against the plan from below.

    All may overshoot the plan alike, by a step; less than the plan is never as planned.
    """
    budget, question = study.manifest.ablation.budget, "Equal budget"
    used = mean_of(study, f"budget/{budget.unit.value}", largest=True)
    spent = used["value"].to_numpy()
    known = spent[np.isfinite(spent)]
    if len(known) < len(used) or used.is_empty():
        lost = used.filter(~np.isfinite(spent))
        names = f" by {', '.join(lost['trial'])}" if len(lost) else ": no trial has a result"
        detail = f"budget/{budget.unit.value} is not logged{names}"
        return about(study, question, Level.FAIL, detail, arms(lost))
    middle = float(np.median(known))
    apart = np.abs(spent - middle) > TOLERANCE * middle
    odd = used.filter(apart | (spent < budget.amount * (1 - TOLERANCE)))
    low, high = float(known.min()), float(known.max())
    amount = f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"
    detail = f"{amount} {budget.unit.value} per trial, {budget.amount:,.10g} planned"
    if odd.is_empty():
        return Gate(question, Level.OK, detail)
    listed = ", ".join(f"{trial} {value:,.0f}" for trial, value in odd["trial", "value"].rows())
    return about(study, question, Level.FAIL, f"{detail}; {listed}", arms(odd))


def tokens(study: Study) -> Gate:
    """Sampled tokens of the arms, whatever the budget counts."""
    question = "Like numbers of sampled tokens"
    used = mean_of(study, "budget/tokens", largest=True)
    of = {x: used.filter(variant=x)["value"].to_numpy() for x in study.labels}
    means = {x: float(np.mean(values)) for x, values in of.items() if len(values)}
    if not means or not np.isfinite([*means.values()]).all():
        return Gate(question, Level.WARN, "not logged by every trial")
    detail = ", ".join(f"{x}: {mean:,.0f}" for x, mean in means.items())
    if max(means.values()) <= min(means.values()) * (1 + TOKEN_TOLERANCE):
        return Gate(question, Level.OK, detail)
    detail += "; read the comparison at equal tokens as well"
    return Gate(question, Level.WARN, detail)
