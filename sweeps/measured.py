"""Whether a trial will measure what a question asks of it, as far as its config tells.

What only the course of training tells, such as whether any response is wrong, reduces n in the
report.
"""

from analysis.quantity import Kind, Quantity
from harness.config import TrialConfig
from harness.facts import declared_metrics
from harness.measure.evaluation import AT_AN_END
from harness.schema import KINDS


def lacking(config: TrialConfig, metric: str, quantity: Quantity) -> str:
    """Why a variant cannot tell a quantity of a metric, with the remedy; "" if it can."""
    declared = declared_metrics(config)
    if metric not in declared:
        kinds = [key for key in declared if key.startswith(KINDS)]
        valid = ", ".join(kinds) or "none, they are all of one kind"
        return f"has no such part or difficulty among its held-out prompts; valid: {valid}"
    if metric not in AT_AN_END:
        return ""
    if config.evaluation.pass_k == 0:
        return "has evaluation.pass_k=0, which skips it; set evaluation.pass_k above 0"
    if metric == AT_AN_END[-1] and config.task.early_stop is None:
        return "has a task without an early stop; predict on another metric"
    if quantity.kind is not Kind.RESULT:
        return (
            f"measures it before and after training only, which is no curve for "
            f"{quantity.words}; predict on its result, or on eval/accuracy"
        )
    return ""
