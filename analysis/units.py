"""What kind of number a metric is, as far as statistics and figures care."""

import math

from harness.schema import EVAL


def is_share(metric: str) -> bool:
    """Whether its values lie in [0, 1]: an evaluation metric without a unit is a share."""
    return metric in EVAL and EVAL[metric].unit == "1"


def limit(metric: str) -> float:
    """Largest difference that two values can have."""
    return 1.0 if is_share(metric) else math.inf
