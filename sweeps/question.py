"""What a command line asks: the ablation of a file or of a grid, in one of three stages."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from analysis.ablation import Ablation
from analysis.tuned import Tuned
from analysis.until import Until
from harness.errors import ConfigError
from harness.stages import Stage, SweepConfig
from harness.typed import typed
from sweeps.arms import arms, confirmed, searched
from sweeps.grid import from_grid
from sweeps.outcome import confirmable
from sweeps.overrides import UNSEARCHED, values
from sweeps.space import Arm


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        ablation: with the seeds that hold for this command.
        file_seeds: those of the ablation file; those of the command for a grid and a confirmation.
        arms: variant -> what its trials are composed of.
        tuned: the tuning of each variant that is confirmed.
    """

    ablation: Ablation
    file_seeds: list[int]
    arms: dict[str, Arm]
    tuned: list[Tuned]


@dataclass(frozen=True)
class Asked:
    """A command line, taken apart.

    Attributes:
        common: overrides for every variant, without those that say which trials there are.
        swept: those that a tuning chooses from.
        chosen: ablations that are named.
        seeds, names: values of `seed`, if it is given, and of `name`.
    """

    stage: Stage
    grid: bool
    common: list[Override]
    swept: list[Override]
    chosen: list[Any]
    seeds: list[Any] | None
    names: list[Any]

    def question(self, loader: ConfigLoader, master: DictConfig) -> Question:
        """What is asked.

        Raises:
            ConfigError: the ablation is wrong, or does not fit its stage.
        """
        if self.grid:
            ablation = from_grid(loader, master, self.common, self.seeds, self.names)
            shared, file_seeds = [], ablation.seeds
        else:
            ablation, file_seeds = _from_file(master, self)
            shared = _shared(ablation)
        tuned: list[Tuned] = []
        if self.stage is Stage.TUNE:
            ablation = dataclasses.replace(ablation, seeds=self._one_seed(master), until=None)
        if self.stage is Stage.CONFIRM:
            seeds = [int(seed) for seed in ablation.seeds]
            runs = Path(str(master.runs)).expanduser().absolute()
            tuned = confirmable(runs, ablation.name, ablation.labels, seeds)
        if self.stage is not Stage.ABLATE:
            file_seeds = ablation.seeds
        found = {each.variant: each for each in tuned}
        fixed = [str(o.input_line) for o in self.common if not o.is_sweep_override()]
        made = arms(loader, ablation, shared, (fixed, self.swept), self.stage, found)
        if tuned:
            ablation = confirmed(loader, ablation, made)
        return Question(ablation, file_seeds, made, tuned)

    def _one_seed(self, master: DictConfig) -> list[Any]:
        seeds = [master.seed] if self.seeds is None else self.seeds
        if len(seeds) != 1:
            raise ConfigError(
                f"sweep.stage=tune tries every proposal on one seed, received {seeds}; give one, "
                f"and keep the others for sweep.stage=confirm"
            )
        return list(seeds)


def read(loader: ConfigLoader, master: DictConfig, arguments: Sequence[str]) -> Asked:
    """Take a command line apart with Hydra's own parser.

    Raises:
        ConfigError: it sweeps what cannot be listed, and tunes nothing.
    """
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(arguments))

    def given(key: str) -> list[Any]:
        return [value for o in parsed if o.key_or_group == key for value in values(o)]

    if several := [value for value in given("seed") if isinstance(value, (list, dict))]:
        raise ConfigError(
            f"seed must be a whole number, received {several[0]}; several are seed=0,1 or "
            f"seed=range(0,5)"
        )
    stage = typed(master.sweep, "sweep", SweepConfig).stage
    grid = not any(o.key_or_group == "ablation" for o in parsed)
    common = [o for o in parsed if o.key_or_group not in UNSEARCHED]
    swept = searched(common, stage, grid)
    return Asked(
        stage=stage,
        grid=grid,
        common=[o for o in common if o not in swept],
        swept=swept,
        chosen=given("ablation"),
        seeds=given("seed") if any(o.key_or_group == "seed" for o in parsed) else None,
        names=given("name"),
    )


def _shared(ablation: Ablation) -> list[str]:
    """Overrides that hold for every variant of an ablation file."""
    budget = ablation.budget
    return [
        *ablation.overrides,
        f"budget.unit={budget.unit.value}",
        f"budget.amount={budget.amount}",
    ]


def _from_file(master: DictConfig, asked: Asked) -> tuple[Ablation, list[int]]:
    """The ablation file with the seeds of the command line, and the file's own seeds."""
    chosen = asked.chosen
    if len(chosen) != 1 or "ablation" not in master:
        raise ConfigError(
            f"+ablation names each question once, received {chosen}; give different names of "
            f"sweeps/ablation"
        )
    if asked.names:
        raise ConfigError(
            f"name={asked.names[0]}: beside +ablation the file names the plan ({chosen[0]}); "
            f"leave name out, or write an ablation file of that name"
        )
    for override in asked.common:
        if override.is_sweep_override():
            raise ConfigError(
                f"{override.input_line}: beside +ablation only seed may have several values; "
                f"write the others as variants of the ablation file, or search them with "
                f"sweep.stage=tune"
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
    plain = _expanded({str(key): value for key, value in node.items()})
    own: Ablation = typed(plain, "ablation")
    return own if asked.seeds is None else _at(plain, asked.seeds), own.seeds


def _expanded(plain: dict[str, Any]) -> dict[str, Any]:
    """Seeds that are added until predictions are decided, as a list with its plan beside it."""
    seeds = plain.get("seeds")
    if "until" in plain:
        raise ConfigError(
            f"ablation {plain.get('name')}: unknown key 'until'; write seeds: {{min: 3, max: 12, "
            f"stop: decided}}"
        )
    if not isinstance(seeds, dict):
        return plain
    until: Until = typed(seeds, "ablation.seeds", Until)
    return {**plain, "seeds": list(range(until.max)), "until": seeds}


def _at(plain: dict[str, Any], seeds: list[Any]) -> Ablation:
    """The ablation of a file at the command's seeds."""
    ablation: Ablation = typed({**plain, "seeds": seeds}, "ablation")
    return ablation
