"""What the overrides of a command line say."""

import dataclasses
from typing import Any

from hydra.core.override_parser.types import Override, Transformer

from harness.config import IDENTITY_IRRELEVANT
from harness.errors import ConfigError
from harness.maths import streams

# The one tag that means something: an interval is searched on a logarithmic scale.
LOG = "log"
# Keys that say which trials there are and what they are called: no tuning chooses them.
UNSEARCHED = ("seed", "ablation", "name")


def values(override: Override) -> list[Any]:
    """The values of a swept or plain override, as Python values.

    Raises:
        ConfigError: a sweep over what cannot be listed.
    """
    if not override.is_sweep_override():
        return [override.value()]
    if not override.is_discrete_sweep():
        raise ConfigError(
            f"{override.input_line}: an interval cannot be listed; list values, such as "
            f"{override.get_key_element()}=A,B, or search it with sweep.stage=tune, which searches "
            f"every key but {', '.join(UNSEARCHED)}"
        )
    if tags := sorted(getattr(override.value(), "tags", ())):
        raise ConfigError(
            f"{override.input_line}: tag {tags[0]!r} means nothing on listed values; leave it out"
        )
    return _listed(override, Transformer.identity)


def spelled(override: Override) -> list[str]:
    """The values of a sweep, each as Hydra reads it back."""
    return _listed(override, Transformer.str)


def _listed(override: Override, transformer: Any) -> list[Any]:
    """Values in the order of the sweep.

    Hydra shuffles with the global generator, in another order at every call; the baseline of a grid
    is its first variant, so that the same command would be another question each time.
    """
    sweep: Any = override.value()
    if not getattr(sweep, "shuffle", False):
        return _made(override, transformer)
    plain = dataclasses.replace(override, _value=dataclasses.replace(sweep, shuffle=False))
    found = _made(plain, transformer)
    order = streams.permutation(0, f"sweep/{override.input_line}", 0, len(found))
    return [found[i] for i in order]


def _made(override: Override, transformer: Any) -> list[Any]:
    """Values as Hydra makes them.

    Raises:
        ConfigError: it cannot, such as for a range whose step is 0.
    """
    try:
        return list(override.sweep_iterator(transformer))
    except ValueError as error:
        raise ConfigError(
            f"{override.input_line}: no values can be listed ({error}); list them, such as "
            f"{override.get_key_element()}=A,B"
        ) from error


def changes_numbers(override: Override) -> bool:
    """Whether an override is part of what a trial is."""
    return str(override.key_or_group).split(".")[0] not in IDENTITY_IRRELEVANT
