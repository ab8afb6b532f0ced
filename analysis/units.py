"""What kind of number a metric is, as far as statistics and figures care."""

import math

from harness.schema import EVAL

# Shares of what nobody wants: their worst value is 1, that of every other share 0.
WORSE_UPWARDS = {
    "eval/error_rate",
    "eval/truncated",
    "eval/behaviour/give_up_rate",
    "eval/behaviour/empty",
    "eval/behaviour/repetitive",
}


def is_share(metric: str) -> bool:
    """Whether its values lie in [0, 1]: an evaluation metric without a unit is a share."""
    return metric in EVAL and EVAL[metric].unit == "1"


def limit(metric: str) -> float:
    """Largest difference that two values can have."""
    return 1.0 if is_share(metric) else math.inf


def ends(metric: str) -> tuple[float, float]:
    """Worst and best value that it can have; NaN where it has no bounds."""
    if not is_share(metric):
        return math.nan, math.nan
    return (1.0, 0.0) if metric in WORSE_UPWARDS else (0.0, 1.0)
