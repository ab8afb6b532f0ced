"""What the overrides of a command line say."""

from typing import Any

from hydra.core.override_parser.types import Override

from harness.config import IDENTITY_IRRELEVANT
from harness.errors import ConfigError


def values(override: Override) -> list[Any]:
    """The values of a swept or plain override, as Python values.

    Raises:
        ConfigError: a sweep over what cannot be listed.
    """
    if not override.is_sweep_override():
        return [override.value()]
    if not override.is_discrete_sweep():
        raise ConfigError(
            f"{override.input_line}: a sweep needs values that can be listed, such as seed=0,1,2"
        )
    return list(override.sweep_iterator())


def changes_numbers(override: Override) -> bool:
    """Whether an override is part of what a trial is."""
    return str(override.key_or_group).split(".")[0] not in IDENTITY_IRRELEVANT
