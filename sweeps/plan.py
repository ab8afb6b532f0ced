"""From a command line to an explicit list of typed jobs, each compared with the baseline."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from analysis.ablation import Ablation
from analysis.tuned import Tuned
from harness.cli import labelled
from harness.config import TrialConfig, flattened, identity
from harness.errors import ConfigError
from harness.tracking import reports
from harness.typed import typed
from harness.wording import few
from sweeps.composing import Composer
from sweeps.journal import SUFFIX
from sweeps.overrides import changes_numbers, values
from sweeps.question import Question, read
from sweeps.space import Arm

# The experiment of single runs, which have no plan and so no manifest.
SINGLE = "trials"


@dataclass(frozen=True)
class Plan:
    """What a multirun will do.

    Attributes:
        ablation: the question with the seeds and budget that hold for this command.
        variants: one typed config per variant, at the first seed; the baseline's among them.
        jobs: every trial to run, seed by seed, so that an interrupted sweep is balanced.
        grid: whether the command line made the question up.
        overridden: overrides in which the command departs from the ablation file.
        file_seeds: seeds of the ablation file; those of the command for a grid or a confirmation.
        arms: variant -> what its trials are composed of, and what of it is searched.
        tuned: the tuning whose values are confirmed, of each variant.
    """

    ablation: Ablation
    variants: dict[str, TrialConfig]
    jobs: list[TrialConfig]
    grid: bool
    overridden: list[str]
    file_seeds: list[int]
    arms: dict[str, Arm]
    tuned: list[Tuned]

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
    asked = read(loader, master, arguments)
    question = asked.question(loader, master)
    ablation = question.ablation
    if ablation.name in (SINGLE, reports.EXPERIMENT) or ablation.name.endswith(SUFFIX):
        raise ConfigError(
            f"name {ablation.name!r} is that of single runs, of the reports or of a tuning; "
            f"choose another"
        )
    every = [*asked.common, *asked.swept]
    nodes, configs = _nodes(loader, master, question, every)
    variants = _sharing_tasks(configs)
    seeds = [_seed(nodes[ablation.baseline], seed) for seed in ablation.seeds]
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds repeat: {ablation.seeds} are {seeds}; name each once")
    jobs = [dataclasses.replace(c, seed=seed) for seed in seeds for c in variants.values()]
    _refuse_undeclared(ablation, variants, nodes, asked.grid)
    budget = variants[ablation.baseline].budget
    seen = dataclasses.replace(ablation, budget=budget, seeds=sorted({job.seed for job in jobs}))
    return Plan(
        ablation=seen,
        variants=variants,
        jobs=jobs,
        grid=asked.grid,
        overridden=[] if asked.grid else [str(o.input_line) for o in every if changes_numbers(o)],
        file_seeds=question.file_seeds,
        arms=question.arms,
        tuned=question.tuned,
    )


def candidate(
    loader: ConfigLoader, master: DictConfig, planned: Plan, label: str, values: Mapping[str, str]
) -> TrialConfig:
    """A variant with some values of what is searched, at the plan's first seed.

    Raises:
        ConfigError: a value that the trial cannot have.
    """
    overrides, name = planned.arms[label].at(values), planned.ablation.name
    node = _composed(Composer(loader, master), name, overrides, label)
    return _at_seed(node, planned.ablation.seeds[0])


def _nodes(
    loader: ConfigLoader, master: DictConfig, question: Question, every: Sequence[Override]
) -> tuple[dict[str, DictConfig], dict[str, TrialConfig]]:
    """The config of each variant, as composed and as typed at the first seed.

    Args:
        every: overrides of the command line, which all variants get.
    """
    nodes: dict[str, DictConfig] = {}
    found: dict[str, TrialConfig] = {}
    refused: dict[str, HydraException | ConfigError] = {}
    composer = Composer(loader, master)
    for label, arm in question.arms.items():
        try:
            name = question.ablation.name
            nodes[label] = _composed(composer, name, arm.at(arm.values), label)
            found[label] = _at_seed(nodes[label], question.ablation.seeds[0])
        except (HydraException, ConfigError) as error:
            if not any(o.key_or_group == _lacking(error) for o in every):
                raise  # whatever the other variants are like
            refused[label] = error
    for reason in refused.values():
        if found:
            key = _lacking(reason)
            raise ConfigError(
                f"{key}: {few(list(refused))} has no such key, only {few(list(found))} has; a key "
                f"that not every variant has belongs in the overrides of those that have it, in "
                f"an ablation file"
            ) from reason
        raise reason
    return nodes, found


def _lacking(error: HydraException | ConfigError) -> str:
    """The key that a config lacks, as an override names it; "" for another fault."""
    named = re.search(r"Could not override '([^']+)'|unknown key '([^']+)'", str(error))
    return "" if named is None else named[1] or named[2]


def _composed(composer: Composer, name: str, overrides: list[str], label: str) -> DictConfig:
    """The config of one variant, composed once; seeds are set on copies."""
    config, choices = composer(overrides)
    return labelled(config, choices, variant=label, ablation=name)


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
