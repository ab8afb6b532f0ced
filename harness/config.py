"""What one trial is, and the hashes by which it is known."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from harness import checks
from harness.errors import ConfigError
from harness.guard import Guard
from harness.stages import Only, SweepConfig
from harness.typed import TARGET, import_path

# What a trial is called, where it writes and who watches it: none of it changes a number.
IDENTITY_IRRELEVANT = (
    *("labels", "tracking", "runs", "name", "fresh", "accept_stale", "dry_run", "ray", "hydra"),
    *("ablation", "sweep", "guard", "listeners"),
)
MAX_SEED = 2**63 - 1
# Longest wait before a retry: an outage that lasts longer is not waited for with an idle slot.
RETRY_LIMIT_S = 300.0


class BudgetUnit(Enum):
    """What a budget counts."""

    UPDATES = "updates"
    TOKENS = "tokens"
    PROMPTS = "prompts"
    SECONDS = "seconds"


@dataclass(frozen=True)
class Budget:
    """How much training a trial gets; schedules run on the used fraction of it.

    Attributes:
        unit: updates (optimizer steps), tokens (sampled training tokens), prompts, or seconds.
            A budget in seconds is never exact.
        amount: how many of them.
    """

    unit: BudgetUnit = BudgetUnit.UPDATES
    amount: float = 50.0

    def __post_init__(self) -> None:
        checks.above("budget.amount", self.amount, 0)
        if math.isinf(self.amount):
            raise ConfigError("budget.amount must be finite, received inf; every trial ends")


@dataclass(frozen=True)
class Evaluation:
    """Evaluation on the held-out set, always with the full response budget.

    Attributes:
        every: fraction of the budget between evaluations.
        temperature: of the sampled evaluation.
        pass_k: samples per prompt of pass@k, measured at both ends of training; 0 skips both
            this and the other measurements that are taken at the ends only.
    """

    every: float = 0.2
    temperature: float = 1.0
    pass_k: int = 16

    def __post_init__(self) -> None:
        checks.share("evaluation.every", self.every)
        checks.above("evaluation.temperature", self.temperature, 0)
        checks.at_least("evaluation.pass_k", self.pass_k, 0)


@dataclass(frozen=True)
class Grading:
    """Limits of the grader, which works in a process of its own.

    A grader that reaches a limit is killed, its response is an error, and another process goes on
    with the next response.

    Attributes:
        cpu_seconds: CPU time that one response may take. The first one of a process may take
            wall_seconds: it pays for what the grader loads when it is first called.
        wall_seconds: time that one response may take, asleep or waiting too.
        max_error_share: share of a rollout's responses with an error above which the run stops. An
            engine that cuts pass@k into batches of rollout.max_rows makes as many rollouts of it.
    """

    cpu_seconds: float = 1.0
    wall_seconds: float = 10.0
    max_error_share: float = 0.01

    def __post_init__(self) -> None:
        checks.above("grading.cpu_seconds", self.cpu_seconds, 0)
        checks.at_least("grading.wall_seconds", self.wall_seconds, self.cpu_seconds)
        checks.seconds("grading.wall_seconds", self.wall_seconds)
        if not 0 <= self.max_error_share <= 1:
            raise ConfigError(
                f"grading.max_error_share must be in 0..1, received {self.max_error_share}"
            )


@dataclass(frozen=True)
class Labels:
    """Names under which a trial is found. They change no number.

    Attributes:
        ablation: name of the ablation or grid that the trial belongs to; "" for a single run.
        seal: of the manifest's revision that planned the trial; "" for a single run.
        differing: keys in which the plan's variants differ; null without a plan.
    """

    variant: str = ""
    algorithm: str = ""
    task: str = ""
    model: str = ""
    ablation: str = ""
    seal: str = ""
    differing: list[str] | None = None


@dataclass(frozen=True)
class RayConfig:
    """How a sweep uses Ray.

    Attributes:
        address: of an existing cluster; null starts Ray on this machine.
        cpus_per_rank: cores that each rank of a trial reserves.
        gpus_per_rank: GPUs that each rank reserves where trainer.device is cuda: 1, or less so that
            several trials of one rank share a GPU; each may then take that share of its memory.
        retries: times that a failed trial is started again, from its last checkpoint; never after
            a failure that is certain to come again, such as a NaN.
        retry_seconds: before the first retry; doubled before each further one of the trial, at most
            RETRY_LIMIT_S. Trials that wait to be started go first. A tuning's start again at once.
        price_per_device_hour: of a GPU, or of a process without one, in any currency; a multirun's
            dry_run=true then says what it will cost. 0 for what costs nothing.
    """

    address: str | None = None
    cpus_per_rank: int = 1
    gpus_per_rank: float = 1.0
    retries: int = 1
    retry_seconds: float = 5.0
    price_per_device_hour: float = 0.0

    def __post_init__(self) -> None:
        checks.at_least("ray.cpus_per_rank", self.cpus_per_rank, 1)
        checks.share("ray.gpus_per_rank", self.gpus_per_rank)
        checks.at_least("ray.retries", self.retries, 0)
        checks.at_least("ray.retry_seconds", self.retry_seconds, 0)
        checks.seconds("ray.retry_seconds", self.retry_seconds)
        checks.at_least("ray.price_per_device_hour", self.price_per_device_hour, 0)


@dataclass(frozen=True)
class TrialConfig:
    """One trial. Fields typed `Any` hold plug-ins, each typed by its own dataclass.

    Attributes:
        listeners: who else is told what the record says; each has its keys.
        seed: the only seed key; it reaches everything that is random. 0 is a seed.
        runs: output folder, under the folder in which the command is started.
        name: of the grid that the command line describes; "" lets the harness name it.
        fresh: throw away what this trial has, and start over.
        accept_stale: keep a finished result although what it was made of has changed.
        dry_run: check everything and print what it needs; with -m, what all trials would take.
    """

    task: Any
    reward: Any
    window: Any
    curriculum: Any
    algorithm: Any
    model: Any
    rollout: Any
    trainer: Any
    tracking: Any
    listeners: dict[str, Any] = dataclasses.field(default_factory=dict)
    seed: int = 0
    budget: Budget = dataclasses.field(default_factory=Budget)
    evaluation: Evaluation = dataclasses.field(default_factory=Evaluation)
    grading: Grading = dataclasses.field(default_factory=Grading)
    guard: Guard = dataclasses.field(default_factory=Guard)
    labels: Labels = dataclasses.field(default_factory=Labels)
    ray: RayConfig = dataclasses.field(default_factory=RayConfig)
    sweep: SweepConfig = dataclasses.field(default_factory=SweepConfig)
    runs: str = "runs"
    name: str = ""
    fresh: bool = False
    accept_stale: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MAX_SEED:
            raise ConfigError(f"seed must be in 0..2^63-1, received {self.seed}; 0 is a seed")
        if self.name:
            checks.name("name", self.name)
        if self.fresh and self.sweep.only is Only.FAILED:
            raise ConfigError(
                "fresh=true throws away all that is there, sweep.only=failed runs again what has "
                "failed, received both; leave one out"
            )
        stall, slow = self.guard.stall_seconds, self.grading.wall_seconds
        if stall is not None and stall <= slow:
            raise ConfigError(
                f"guard.stall_seconds must be above grading.wall_seconds={slow:g}, which a single "
                f"response may take, received {stall:g}; raise it, or null switches it off"
            )


def resolved(value: Any) -> Any:
    """A typed object as plain data, defaults included, with `_target_` beside each plug-in.

    Typing first makes `7`, `7.0` and `"7"` of one field the same, so that hashes and diffs see
    values and not spellings.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        cls = type(value)
        fields = {
            f.name: resolved(getattr(value, f.name)) for f in dataclasses.fields(cls) if f.init
        }
        return {TARGET: import_path(cls), **fields}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): resolved(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [resolved(item) for item in value]
    return value


def flattened(data: Any, path: str = "") -> dict[str, Any]:
    """Plain data as {dotted key: leaf}; an empty list or mapping is a leaf."""
    if isinstance(data, (dict, list)) and data:
        items = data.items() if isinstance(data, dict) else enumerate(data)
        return {
            key: leaf
            for name, value in items
            for key, leaf in flattened(value, f"{path}.{name}" if path else str(name)).items()
        }
    return {path: data}


def identity(config: TrialConfig) -> dict[str, Any]:
    """The resolved config without what changes no number."""
    return {k: v for k, v in resolved(config).items() if k not in IDENTITY_IRRELEVANT}


def digest(data: Any) -> str:
    """sha256 of plain data, independent of the order of keys."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def config_hash(config: TrialConfig) -> str:
    """What a trial is: equal hashes are the same trial."""
    return digest(identity(config))


def group_hash(config: TrialConfig) -> str:
    """What a variant is: config_hash without the seed."""
    return digest({k: v for k, v in identity(config).items() if k != "seed"})


def trial_name(config: TrialConfig) -> str:
    """Folder name of a trial: variant, seed and short config hash."""
    return f"{config.labels.variant}__s{config.seed}__{config_hash(config)[:8]}"
