"""What a tuning may choose: each swept key of a command line or of a variant as a dimension."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, Transformer

from harness.errors import ConfigError
from sweeps.overrides import LOG, changes_numbers, spelled, values


@dataclass(frozen=True)
class Dimension:
    """One key and the values that it may have.

    Attributes:
        key: with the `+` and package that Hydra's grammar gives it.
        text: the sweep as it was written.
        low, high: both ends of an interval, which belong to it; ints where only whole numbers do.
        log: whether the interval is searched on a logarithmic scale.
        choices: listed values as Hydra reads them back; empty for an interval.
    """

    key: str
    text: str
    low: float | int = 0
    high: float | int = 0
    log: bool = False
    choices: tuple[str, ...] = ()

    @property
    def ends(self) -> tuple[str, str]:
        """First and last value as Hydra reads them."""
        if self.choices:
            return self.choices[0], self.choices[-1]
        return written(self.low), written(self.high)

    def read(self, text: str) -> Any:
        """A value of this dimension, from how Hydra reads it."""
        return text if self.choices else type(self.low)(text)


def dimension(override: Override) -> Dimension:
    """The dimension that an override sweeps.

    Raises:
        ConfigError: an interval without an inside, or with tags that mean nothing.
    """
    key, text = override.get_key_element(), str(override.get_value_string())
    if not override.is_interval_sweep():
        values(override)  # refuses what cannot be listed
        return Dimension(key, text, choices=tuple(dict.fromkeys(spelled(override))))
    sweep = override.value()
    assert isinstance(sweep, IntervalSweep)
    assert sweep.start is not None
    assert sweep.end is not None
    log = LOG in sweep.tags
    if strange := sorted(sweep.tags - {LOG}):
        raise ConfigError(f"{override.input_line}: tag {strange[0]!r} means nothing; valid: {LOG}")
    if not float("-inf") < sweep.start < sweep.end < float("inf"):
        raise ConfigError(
            f"{override.input_line}: an interval needs two finite ends, the smaller one first"
        )
    if log and sweep.start <= 0:
        raise ConfigError(f"{override.input_line}: tag(log, ...) needs ends above 0")
    return Dimension(key, text, sweep.start, sweep.end, log)


def written(value: Any) -> str:
    """A value as Hydra reads it back."""
    return str(Transformer.str(value))


@dataclass(frozen=True)
class Arm:
    """A variant's overrides.

    Attributes:
        fixed: those that hold for each of its trials, in the order in which they are applied.
        space: what a tuning chooses beside them; empty where nothing is searched.
        values: key -> value of `space` that hold for this plan: the first ones where values are
            searched, the tuned ones where they are confirmed.
    """

    fixed: list[str]
    space: list[Dimension]
    values: dict[str, str]

    def at(self, chosen: Mapping[str, str]) -> list[str]:
        """All overrides, with these values chosen."""
        return [*self.fixed, *assigned(chosen)]


def assigned(chosen: Mapping[str, str]) -> list[str]:
    """Values as overrides."""
    return [f"{key}={value}" for key, value in chosen.items()]


def space(overrides: Sequence[Override]) -> list[Dimension]:
    """A dimension for each swept override.

    Raises:
        ConfigError: one of them is none, or two search one key.
    """
    swept = [o for o in overrides if o.is_sweep_override()]
    for override in swept:
        if not changes_numbers(override) or override.key_or_group.split(".")[0] == "budget":
            raise ConfigError(
                f"{override.input_line}: a tuning searches keys that decide what is learnt at one "
                f"budget; give this one a single value"
            )
    found = [dimension(o) for o in swept]
    keys = [each.key.lstrip("+") for each in found]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ConfigError(f"{twice[0]} is searched twice; give it one range")
    return found
