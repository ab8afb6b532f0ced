"""From a command line to an explicit list of typed jobs, each compared with the baseline."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from analysis.ablation import Ablation
from harness.cli import labelled
from harness.config import TrialConfig, flattened, identity
from harness.errors import ConfigError
from harness.typed import typed
from sweeps.grid import from_grid
from sweeps.overrides import changes_numbers, values

# The experiment of single runs, which have no plan and so no manifest.
SINGLE = "trials"
# Keys of the command line that say how many trials there are and what they are called.
OWN_KEYS = ("seed", "ablation", "name")


@dataclass(frozen=True)
class Plan:
    """What a multirun will do.

    Attributes:
        ablation: the question with the seeds and budget that hold for this command.
        variants: one typed config per variant, at the first seed; the baseline's among them.
        jobs: every trial to run, seed by seed, so that an interrupted sweep is balanced.
        grid: whether the command line made the question up.
        overridden: overrides in which the command departs from the ablation file.
        file_seeds: seeds of the ablation file; those of the command for a grid.
    """

    ablation: Ablation
    variants: dict[str, TrialConfig]
    jobs: list[TrialConfig]
    grid: bool
    overridden: list[str]
    file_seeds: list[int]

    def departures(self, seeds: list[int]) -> list[str]:
        """Where a plan of these seeds departs from the ablation file."""
        if self.grid or sorted(seeds) == sorted(self.file_seeds):
            return self.overridden
        return [*self.overridden, f"seeds {self.file_seeds} replaced by {seeds}"]


def plans(loader: ConfigLoader, master: DictConfig, arguments: Sequence[str]) -> list[Plan]:
    """One plan for each ablation that a command names, or that of its grid.

    Raises:
        ConfigError: as `plan`.
    """
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(arguments))
    names = [value for o in parsed if o.key_or_group == "ablation" for value in values(o)]
    if len(names) < 2 or len(set(names)) < len(names):
        return [plan(loader, master, arguments)]
    others = [str(o.input_line) for o in parsed if o.key_or_group != "ablation"]
    chosen = [f"+ablation={name}" for name in names]
    return [plan(loader, loader.load_sweep_config(master, [c]), [*others, c]) for c in chosen]


def plan(loader: ConfigLoader, master: DictConfig, arguments: Sequence[str]) -> Plan:
    """Expand, compose, type and compare every job before anything starts.

    Raises:
        ConfigError: a job is wrong, or a variant differs from the baseline in an undeclared key.
    """
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(arguments))
    given = [o for o in parsed if o.key_or_group == "seed"]
    named = [value for o in given for value in values(o)] if given else None
    common = [o for o in parsed if o.key_or_group not in OWN_KEYS]
    names = [value for o in parsed if o.key_or_group == "name" for value in values(o)]
    grid = not any(o.key_or_group == "ablation" for o in parsed)
    if grid:
        ablation = from_grid(loader, master, common, named, names)
        shared, file_seeds = [], ablation.seeds
    else:
        ablation, file_seeds = _from_file(master, parsed, common, named, names)
        shared = _shared(ablation)
    if ablation.name == SINGLE:
        raise ConfigError(f"name {SINGLE!r} is that of single runs; choose another")
    fixed = [str(o.input_line) for o in common if not o.is_sweep_override()]
    nodes = {
        v.label: _composed(loader, master, ablation, [*shared, *v.overrides, *fixed], v.label)
        for v in ablation.variants
    }
    variants = _sharing_tasks(
        {label: _at_seed(node, ablation.seeds[0]) for label, node in nodes.items()}
    )
    seeds = [_seed(nodes[ablation.baseline], seed) for seed in ablation.seeds]
    jobs = [dataclasses.replace(c, seed=seed) for seed in seeds for c in variants.values()]
    _refuse_undeclared(ablation, variants, nodes, grid)
    budget = variants[ablation.baseline].budget
    seen = dataclasses.replace(ablation, budget=budget, seeds=sorted({job.seed for job in jobs}))
    overridden = [] if grid else [str(o.input_line) for o in common if changes_numbers(o)]
    return Plan(seen, variants, jobs, grid, overridden, file_seeds)


def _shared(ablation: Ablation) -> list[str]:
    """Overrides that hold for every variant of an ablation file."""
    budget = ablation.budget
    return [
        *ablation.overrides,
        f"budget.unit={budget.unit.value}",
        f"budget.amount={budget.amount}",
    ]


def _from_file(
    master: DictConfig,
    parsed: list[Override],
    common: list[Override],
    seeds: list[Any] | None,
    names: list[Any],
) -> tuple[Ablation, list[int]]:
    """The ablation file with the seeds of the command line, and the file's own seeds."""
    chosen = [value for o in parsed if o.key_or_group == "ablation" for value in values(o)]
    if len(chosen) != 1 or "ablation" not in master:
        raise ConfigError(
            f"+ablation names each question once, received {chosen}; give different names of "
            f"sweeps/ablation"
        )
    if names:
        raise ConfigError(
            f"name={names[0]}: beside +ablation the file names the plan ({chosen[0]}); leave name "
            f"out, or write an ablation file of that name"
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
    plain = {str(key): value for key, value in node.items()}
    own: Ablation = typed(plain, "ablation")
    return own if seeds is None else typed({**plain, "seeds": seeds}, "ablation"), own.seeds


def _composed(
    loader: ConfigLoader, master: DictConfig, ablation: Ablation, overrides: list[str], label: str
) -> DictConfig:
    """The config of one variant, composed once; seeds are set on copies."""
    composed = loader.load_sweep_config(master, overrides)
    choices = composed.hydra.runtime.choices
    OmegaConf.set_struct(composed, False)
    del composed["hydra"]
    return labelled(composed, choices, variant=label, ablation=ablation.name)


def _at_seed(node: DictConfig, seed: Any) -> TrialConfig:
    copy = node.copy()
    copy["seed"] = seed
    config: TrialConfig = typed(copy)
    return config


def _sharing_tasks(variants: dict[str, TrialConfig]) -> dict[str, TrialConfig]:
    """Equal tasks as one object, so that its prompts are made once and not for every variant."""
    tasks: list[Any] = []
    for config in variants.values():
        if config.task not in tasks:
            tasks.append(config.task)
    return {
        label: dataclasses.replace(config, task=tasks[tasks.index(config.task)])
        for label, config in variants.items()
    }


def _seed(node: DictConfig, seed: Any) -> int:
    """A seed of the command line with its type and range checked."""
    return seed if type(seed) is int else _at_seed(node, seed).seed


def _refuse_undeclared(
    ablation: Ablation,
    variants: dict[str, TrialConfig],
    nodes: dict[str, DictConfig],
    grid: bool,
) -> None:
    """Only one thing may change: name every key that differs without being a factor.

    A key that is written as another one, `${rollout.max_new_tokens}`, follows it.
    """
    raw = {label: flattened(OmegaConf.to_container(node)) for label, node in nodes.items()}
    refused = [
        (key, f"{label}: {key}: {values[0]!r} in {ablation.baseline}, {values[1]!r} here")
        for label, config in variants.items()
        for key, values in differences(variants[ablation.baseline], config).items()
        if not any(key == factor or key.startswith(f"{factor}.") for factor in ablation.factors)
        and not _follows(raw[ablation.baseline].get(key), raw[label].get(key))
    ]
    if refused and grid:
        raise ConfigError(
            "a grid compares variants in what it sweeps, but more differs; set these keys to one "
            "value for all on the command line, or declare them as factors of an ablation file: "
            + "; ".join(what for _, what in refused)
        )
    if refused:
        added = list(dict.fromkeys([*ablation.factors, *(key for key, _ in refused)]))
        raise ConfigError(
            f"ablation {ablation.name}: only the declared factors may differ from the baseline; "
            f"write factors: [{', '.join(added)}] or make them equal: "
            + "; ".join(what for _, what in refused)
        )


def _follows(before: Any, now: Any) -> bool:
    """Whether a key is written as the same reference to another one in both."""
    return before == now and isinstance(now, str) and now.startswith("${")


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
