"""A plain grid, `harness -m KEY=A,B`, as an ablation: every combination is a variant."""

import itertools
import re
from collections.abc import Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from analysis.ablation import Ablation, Variant
from harness import checks
from harness.config import Budget, digest, resolved
from harness.errors import ConfigError
from harness.typed import typed
from sweeps.overrides import changes_numbers, spelled, values

SHORT = 8  # characters of a question's hash: enough for the grids of one folder


def from_grid(
    loader: ConfigLoader,
    master: DictConfig,
    overrides: Sequence[Override],
    seeds: list[Any] | None,
    names: Sequence[Any],
) -> Ablation:
    """The ablation that a command line makes up.

    Args:
        overrides: of the command line, without seed and name.
        seeds: that the command line names.
        names: values of `name`.

    Raises:
        ConfigError: a name that is none, or an ablation file's; a sweep that cannot be listed.
    """
    swept = [o for o in overrides if o.is_sweep_override()]
    for override in swept:
        values(override)  # refuses what cannot be listed
    combinations = list(itertools.product(*(spelled(o) for o in swept)))
    keys = [o.get_key_element() for o in swept]
    variants = [
        Variant(
            _label(keys, chosen) or str(master.hydra.runtime.choices.algorithm),
            [f"{key}={value}" for key, value in zip(keys, chosen, strict=True)],
        )
        for chosen in combinations
    ]
    return Ablation(
        name=_given(loader, master, names) if names else f"grid-{_hash(master, overrides)}",
        question=f"grid: {' '.join(str(o.input_line) for o in swept) or 'one variant'}",
        hypothesis="",
        baseline=variants[0].label if variants else "",
        variants=variants,
        factors=[str(o.key_or_group) for o in swept],
        seeds=[master.seed] if seeds is None else seeds,
        budget=Budget(),  # replaced by what the composed baseline says
    )


def _hash(master: DictConfig, overrides: Sequence[Override]) -> str:
    """What is asked, but not how often: more seeds are the same grid.

    Args:
        overrides: those of numbers count; the budget counts by what it is, however it was set.
    """
    told = [o for o in overrides if changes_numbers(o)]
    return digest(
        {
            "swept": [[o.get_key_element(), spelled(o)] for o in told if o.is_sweep_override()],
            "fixed": sorted(
                str(o.input_line)
                if o.is_delete()
                else f"{o.get_key_element()}={o.get_value_string()}"
                for o in told
                if not (o.is_sweep_override() or str(o.key_or_group).startswith("budget."))
            ),
            "budget": resolved(typed(master.budget, "budget", Budget)),
        }
    )[:SHORT]


def _given(loader: ConfigLoader, master: DictConfig, names: Sequence[Any]) -> str:
    """The name of the command line."""
    if len(names) != 1:
        raise ConfigError(f"name names one grid, received {list(names)}; give one name")
    name = "" if names[0] is None else str(names[0])
    checks.name("name", name)
    search = f"hydra.searchpath={list(master.hydra.searchpath)}"
    if name in loader.get_group_options("ablation", config_name="config", overrides=[search]):
        raise ConfigError(
            f"name={name} is that of an ablation file, received a grid; give the grid another "
            f"name, or run +ablation={name}"
        )
    return name


def _label(keys: Sequence[str], chosen: Sequence[str]) -> str:
    """grpo for one swept group; otherwise every key's last name and value."""
    if len(keys) == 1 and "." not in keys[0]:
        text = chosen[0]
    else:
        pairs = zip(keys, chosen, strict=True)
        text = "_".join(f"{key.rpartition('.')[2]}={value}" for key, value in pairs)
    return re.sub(r"[^\w.=+-]", "_", text)
