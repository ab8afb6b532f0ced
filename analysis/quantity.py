"""What of a trial's learning curve a prediction is about, as an ablation file spells it."""

import math
import re
from dataclasses import dataclass
from enum import Enum

from harness.errors import ConfigError

# What a curve can be read against; frame.Axis has them in capitals.
AXES = ("steps", "tokens", "seconds")
_AXIS = "|".join(AXES)
_AT_EQUAL = re.compile(rf"at_equal_({_AXIS})")
_AREA = re.compile(rf"area_over_({_AXIS})")
_TIME = re.compile(rf"({_AXIS})_to\((-?\d+(?:\.\d+)?(?:e-?\d+)?)\)")


class Kind(Enum):
    """RESULT: the value at the primary checkpoint. The others are read off the whole curve."""

    RESULT = "result"
    AT_EQUAL = "at_equal"
    AREA = "area_over"
    TIME = "to"


@dataclass(frozen=True)
class Quantity:
    """One number per trial.

    Attributes:
        kind: see `quantity`.
        axis: of AXES; "" for RESULT.
        threshold: of TIME, in the metric's unit; NaN for the others.
    """

    kind: Kind
    axis: str = ""
    threshold: float = math.nan

    @property
    def words(self) -> str:
        """What it is called behind a metric, `tokens to 0.6`; "" for RESULT."""
        return {
            Kind.RESULT: "",
            Kind.AT_EQUAL: f"at equal {self.axis}",
            Kind.AREA: f"mean height over {self.axis}",
            Kind.TIME: f"{self.axis} to {self.threshold:g}",
        }[self.kind]


RESULT = Quantity(Kind.RESULT)


def quantity(text: str) -> Quantity:
    """The quantity that an ablation file names.

    - `result`: the metric at the primary checkpoint.
    - `at_equal_tokens`: where the trial of the study with the fewest tokens ended, interpolated
      linearly between evaluations. Also `at_equal_steps`, `at_equal_seconds`.
    - `area_over_tokens`: area under the curve over the range that all trials of the study share,
      divided by its width, so in the metric's unit. Also over steps and seconds.
    - `tokens_to(0.6)`: where the metric first lies at or above 0.6 after training began,
      interpolated linearly. Compared as a ratio; a trial that never gets there is censored at its
      end. Also `steps_to`, `seconds_to`.

    Raises:
        ConfigError: something else.
    """
    if text == Kind.RESULT.value:
        return RESULT
    for kind, pattern in ((Kind.AT_EQUAL, _AT_EQUAL), (Kind.AREA, _AREA)):
        if found := pattern.fullmatch(text):
            return Quantity(kind, found[1])
    if found := _TIME.fullmatch(text):
        return Quantity(Kind.TIME, found[1], float(found[2]))
    raise ConfigError(
        f"a prediction's quantity is unknown, received {text!r}; valid: result, at_equal_tokens, "
        f"area_over_tokens, tokens_to(0.6), each also with steps or seconds for tokens"
    )
