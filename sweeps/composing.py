"""Configs of many variants: groups are composed once, values are set on copies.

Hydra composes the groups of a command line first, whatever stands between them, and sets values on
the result in their order. Variants that differ in values alone share the first and slow part.
"""

from collections.abc import Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf


class Composer:
    """Composes what the variants of one command line are."""

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self.loader = loader
        self.master = master
        self.parser = OverridesParser.create(config_loader=loader)
        self.made: dict[tuple[str, ...], tuple[DictConfig, Any]] = {}

    def __call__(self, overrides: Sequence[str]) -> tuple[DictConfig, Any]:
        """The config of some overrides without Hydra's own part, and the choices of its groups.

        Raises:
            HydraException: Hydra refuses them.
        """
        parsed = self.parser.parse_overrides(list(overrides))
        values = [] if any(map(_mixes, parsed)) else [o for o in parsed if _is_value(o)]
        groups = tuple(str(o.input_line) for o in parsed if o not in values)
        if groups not in self.made:
            self.made[groups] = self._composed(groups)
        shared, choices = self.made[groups]
        config = shared.copy()
        ConfigLoaderImpl._apply_overrides_to_config(values, config)  # as Hydra itself goes on
        return config, choices

    def _composed(self, overrides: Sequence[str]) -> tuple[DictConfig, Any]:
        composed = self.loader.load_sweep_config(self.master, list(overrides))
        choices = composed.hydra.runtime.choices
        OmegaConf.set_struct(composed, False)
        del composed["hydra"]
        OmegaConf.set_struct(composed, True)  # a value is set where its key is there
        return composed, choices


def _is_value(override: Override) -> bool:
    """Whether an override sets a value and chooses no group: those have no dots."""
    return "." in override.key_or_group and not override.is_hydra_override()


def _mixes(override: Override) -> bool:
    """Whether it sets a whole node, before or after values in it are set."""
    return not _is_value(override) and isinstance(override.value(), dict)
