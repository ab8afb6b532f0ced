"""Range checks of config fields: rule, received value, remedy, in one line."""

import math
import re

from harness.errors import ConfigError

MAX_NAME = 100  # characters; a folder's name may have 255 bytes on most systems
YEAR_S = 366 * 24 * 3600.0  # nothing is waited for longer, and clocks of the system overflow


def at_least(name: str, value: float | None, minimum: float) -> None:
    """Raise ConfigError unless value >= minimum; None is a switch that is off."""
    if value is not None and not value >= minimum:
        raise ConfigError(f"{name} must be at least {minimum}, received {value}")


def above(name: str, value: float | None, bound: float) -> None:
    """Raise ConfigError unless value > bound; None is a switch that is off."""
    if value is not None and not value > bound:
        raise ConfigError(f"{name} must be above {bound}, received {value}")


def seconds(name: str, value: float | None) -> None:
    """Raise ConfigError for a time that is longer than a year; None is a switch that is off."""
    if value is not None and not value <= YEAR_S:
        raise ConfigError(f"{name} must be at most {YEAR_S:.0f} (a year), received {value}")


def finite(name: str, value: float) -> None:
    """Raise ConfigError for an infinite value."""
    if math.isinf(value):
        raise ConfigError(f"{name} must be finite, received {value}")


def share(name: str, value: float) -> None:
    """Raise ConfigError unless 0 < value <= 1."""
    if not 0 < value <= 1:
        raise ConfigError(f"{name} is a share and must be in (0, 1], received {value}")


def part(name: str, value: float) -> None:
    """Raise ConfigError unless 0 <= value <= 1."""
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} is a share and must be in [0, 1], received {value}")


def decay(name: str, value: float) -> None:
    """Raise ConfigError unless 0 <= value < 1: the factor of a running mean."""
    if not 0 <= value < 1:
        raise ConfigError(f"{name} must be in [0, 1), received {value}")


def name(key: str, value: str) -> None:
    """Raise ConfigError unless the value can name a folder: no path, no hidden file."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", value) or len(value) > MAX_NAME:
        raise ConfigError(
            f"{key} names a folder: use at most {MAX_NAME} letters, digits and _.- with no dot or "
            f"dash in front, received {value!r}"
        )


def group_size(value: int) -> None:
    """Raise ConfigError for a group that has nothing to compare a response with."""
    if value < 2:
        raise ConfigError(
            f"algorithm.group_size: a group algorithm compares the responses of one prompt and "
            f"needs at least 2, received {value}; set algorithm.group_size=8"
        )


def clip_range(low: float, high: float) -> None:
    """Raise ConfigError for a ratio clip outside [0, 1) below or [0, ∞) above."""
    if not 0 <= low < 1 or not high >= 0:
        raise ConfigError(
            f"algorithm.clip_low must be in [0, 1) and algorithm.clip_high at least 0, received "
            f"{low} and {high}; the usual value of both is 0.2"
        )
    if low == high == 0:
        raise ConfigError(
            "algorithm.clip_low and algorithm.clip_high are both 0: no ratio but 1 would ever be "
            "learnt from; the usual value of both is 0.2"
        )


def dual_clip(value: float | None, high: float) -> None:
    """Raise ConfigError for a dual clip that bites inside the ratio's own clip range."""
    if value is not None and not value > 1 + high:
        raise ConfigError(
            f"algorithm.dual_clip must be above 1 + algorithm.clip_high = {1 + high}, received "
            f"{value}: it bounds ratios beyond the clip range; the usual value is 3.0, null is off"
        )
