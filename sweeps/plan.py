"""From a command line to an explicit list of typed jobs, each compared with the baseline."""

import dataclasses
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from analysis.ablation import Ablation, Variant
from harness.cli import labelled
from harness.config import IDENTITY_IRRELEVANT, Budget, TrialConfig, flattened, identity
from harness.errors import ConfigError
from harness.typed import typed

# Name of the ablation that a plain grid makes up; its trials join those of single runs.
GRID = "trials"


@dataclass(frozen=True)
class Plan:
    """What a multirun will do.

    Attributes:
        ablation: the question with the seeds and budget that hold for this command.
        variants: one typed config per variant, at the first seed; the baseline's among them.
        jobs: every trial, seed by seed, so that an interrupted sweep is balanced.
        deviations: where the command departs from the ablation file.
    """

    ablation: Ablation
    variants: dict[str, TrialConfig]
    jobs: list[TrialConfig]
    deviations: list[str]


def plan(loader: ConfigLoader, master: DictConfig, arguments: Sequence[str]) -> Plan:
    """Expand, compose, type and compare every job before anything starts.

    Raises:
        ConfigError: a job is wrong, or a variant differs from the baseline in an undeclared key.
    """
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(arguments))
    given = [o for o in parsed if o.key_or_group == "seed"]
    seeds = [value for o in given for value in _values(o)] if given else None
    common = [o for o in parsed if o.key_or_group not in ("seed", "ablation")]
    if any(o.key_or_group == "ablation" for o in parsed):
        ablation, deviations = _from_file(master, parsed, common, seeds)
    else:
        ablation, deviations = _from_grid(master, common, seeds), []
    fixed = [str(o.input_line) for o in common if not o.is_sweep_override()]
    nodes = {
        v.label: _composed(
            loader, master, ablation, [*_shared(ablation), *v.overrides, *fixed], v.label
        )
        for v in ablation.variants
    }
    jobs = [_at_seed(nodes[label], seed) for seed in ablation.seeds for label in ablation.labels]
    variants = {config.labels.variant: config for config in jobs[: len(nodes)]}
    _refuse_undeclared(ablation, variants)
    budget = variants[ablation.baseline].budget
    seen = dataclasses.replace(ablation, budget=budget, seeds=sorted({job.seed for job in jobs}))
    return Plan(seen, variants, jobs, deviations)


def _shared(ablation: Ablation) -> list[str]:
    """Overrides that hold for every variant of an ablation file."""
    if ablation.name == GRID:
        return []
    budget = ablation.budget
    return [
        *ablation.overrides,
        f"budget.unit={budget.unit.value}",
        f"budget.amount={budget.amount}",
    ]


def _values(override: Override) -> list[Any]:
    """The values of a swept or plain override, as Python values."""
    if not override.is_sweep_override():
        return [override.value()]
    if not override.is_discrete_sweep():
        raise ConfigError(
            f"{override.input_line}: a sweep needs values that can be listed, such as seed=0,1,2"
        )
    return list(override.sweep_iterator())


def _from_file(
    master: DictConfig, parsed: list[Override], common: list[Override], seeds: list[Any] | None
) -> tuple[Ablation, list[str]]:
    """The ablation file, its seeds replaced by those of the command line."""
    chosen = [value for o in parsed if o.key_or_group == "ablation" for value in _values(o)]
    if len(chosen) != 1 or "ablation" not in master:
        raise ConfigError(
            f"an ablation is one question: give one name, received {chosen}; "
            f"run them one after the other"
        )
    for override in common:
        if override.is_sweep_override():
            raise ConfigError(
                f"{override.input_line}: beside +ablation only seed may have several values; "
                f"write the others as variants of the ablation file"
            )
    node = OmegaConf.to_container(master.ablation, resolve=True)
    assert isinstance(node, dict)
    if not node.get("_target_"):
        raise ConfigError(
            f"ablation {chosen[0]}: the file needs _target_: analysis.ablation.Ablation"
        )
    if node.get("name") != chosen[0]:
        raise ConfigError(
            f"ablation {chosen[0]}: `name` must be the file's name, received {node.get('name')!r}"
        )
    deviations = [str(o.input_line) for o in common if _changes_numbers(o)]
    if seeds is not None:
        deviations.append(f"seeds {node['seeds']} replaced by {seeds}")
        node["seeds"] = seeds
    return typed({str(key): value for key, value in node.items()}, "ablation"), deviations


def _changes_numbers(override: Override) -> bool:
    return str(override.key_or_group).split(".")[0] not in IDENTITY_IRRELEVANT


def _from_grid(master: DictConfig, common: list[Override], seeds: list[Any] | None) -> Ablation:
    """A plain grid as an ablation: every combination of the swept keys is a variant."""
    swept = [o for o in common if o.is_sweep_override()]
    for override in swept:
        _values(override)  # refuses what cannot be listed
    combinations = list(itertools.product(*(list(o.sweep_string_iterator()) for o in swept)))
    keys = [o.get_key_element() for o in swept]
    variants = [
        Variant(
            _label(keys, values) or str(master.hydra.runtime.choices.algorithm),
            [f"{key}={value}" for key, value in zip(keys, values, strict=True)],
        )
        for values in combinations
    ]
    return Ablation(
        name=GRID,
        question=f"grid: {' '.join(str(o.input_line) for o in swept) or 'one variant'}",
        hypothesis="",
        baseline=variants[0].label if variants else "",
        variants=variants,
        factors=[str(o.key_or_group) for o in swept],
        seeds=[master.seed] if seeds is None else seeds,
        budget=Budget(),  # replaced by what the composed baseline says
    )


def _label(keys: Sequence[str], values: Sequence[str]) -> str:
    """grpo for one swept group; otherwise every key's last name and value."""
    if len(keys) == 1 and "." not in keys[0]:
        text = values[0]
    else:
        pairs = zip(keys, values, strict=True)
        text = "_".join(f"{key.rpartition('.')[2]}={value}" for key, value in pairs)
    return re.sub(r"[^\w.=+-]", "_", text)


def _composed(
    loader: ConfigLoader, master: DictConfig, ablation: Ablation, overrides: list[str], label: str
) -> DictConfig:
    """The config of one variant, composed once; seeds are set on copies."""
    composed = loader.load_sweep_config(master, overrides)
    choices = composed.hydra.runtime.choices
    OmegaConf.set_struct(composed, False)
    del composed["hydra"]
    name = "" if ablation.name == GRID else ablation.name
    return labelled(composed, choices, variant=label, ablation=name)


def _at_seed(node: DictConfig, seed: Any) -> TrialConfig:
    copy = node.copy()
    copy["seed"] = seed
    config: TrialConfig = typed(copy)
    return config


def _refuse_undeclared(ablation: Ablation, variants: dict[str, TrialConfig]) -> None:
    """Only one thing may change: name every key that differs without being a factor."""
    refused = [
        f"{label}: {key}: {values[0]!r} in {ablation.baseline}, {values[1]!r} here"
        for label, config in variants.items()
        for key, values in differences(variants[ablation.baseline], config).items()
        if not any(key == factor or key.startswith(f"{factor}.") for factor in ablation.factors)
    ]
    if refused:
        raise ConfigError(
            f"ablation {ablation.name}: only the declared factors may differ from the baseline; "
            f"add these keys to `factors` ({', '.join(ablation.factors)}) or make them equal: "
            + "; ".join(refused)
        )


def differences(baseline: TrialConfig, variant: TrialConfig) -> dict[str, list[Any]]:
    """Dotted keys in which two trials differ -> [baseline's value, variant's value].

    A key that one of them lacks has the value "(absent)" there; the seed does not count.
    """
    a, b = (flattened({**identity(c), "seed": 0}) for c in (baseline, variant))
    return {
        key: [a.get(key, "(absent)"), b.get(key, "(absent)")]
        for key in sorted(a.keys() | b.keys())
        if a.get(key, "(absent)") != b.get(key, "(absent)")
    }
