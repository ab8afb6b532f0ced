"""From YAML nodes to typed, frozen objects.

A node with `_target_` names a dataclass; that dataclass is the node's schema. There is no
registry: any importable dataclass works, so another package can add a variant.
"""

import dataclasses
import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, get_args, get_type_hints

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness import checks
from harness.errors import ConfigError

TARGET = "_target_"
# What a trial is called, where it writes and who watches it: none of it changes a number.
IDENTITY_IRRELEVANT = ("labels", "tracking", "runs", "fresh", "ray", "hydra", "ablation")
MAX_SEED = 2**63 - 1


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
class Labels:
    """Names under which a trial is found. They change no number."""

    variant: str = ""
    algorithm: str = ""
    task: str = ""
    model: str = ""
    ablation: str = ""


@dataclass(frozen=True)
class RayConfig:
    """How a sweep uses Ray.

    Attributes:
        address: of an existing cluster; null starts Ray on this machine.
        cpus_per_trial: cores that a trial reserves.
        retries: times that a crashed trial is started again, from its last checkpoint.
    """

    address: str | None = None
    cpus_per_trial: int = 1
    retries: int = 1

    def __post_init__(self) -> None:
        checks.at_least("ray.cpus_per_trial", self.cpus_per_trial, 1)
        checks.at_least("ray.retries", self.retries, 0)


@dataclass(frozen=True)
class TrialConfig:
    """One trial. Fields typed `Any` hold plug-ins, each typed by its own dataclass."""

    task: Any
    reward: Any
    window: Any
    algorithm: Any
    model: Any
    rollout: Any
    trainer: Any
    tracking: Any
    seed: int = 0
    budget: Budget = dataclasses.field(default_factory=Budget)
    evaluation: Evaluation = dataclasses.field(default_factory=Evaluation)
    labels: Labels = dataclasses.field(default_factory=Labels)
    ray: RayConfig = dataclasses.field(default_factory=RayConfig)
    runs: str = "runs"
    fresh: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MAX_SEED:
            raise ConfigError(f"seed must be in 0..2^63-1, received {self.seed}; 0 is a seed")


def typed(node: Mapping[str, Any] | DictConfig, path: str = "", cls: type | None = None) -> Any:
    """The object that a node describes.

    Args:
        node: a mapping; `_target_` names its dataclass unless `cls` does.
        path: key path of the node, for messages.
        cls: the dataclass of a node without `_target_`.

    Raises:
        ConfigError: unknown class, unknown key, missing key, wrong type or bad value.
    """
    plain = _plain(node) if isinstance(node, DictConfig) else dict(node)
    target = plain.pop(TARGET, None)
    if target is not None or cls is None:
        cls = _dataclass(target, path)
    names = [f.name for f in dataclasses.fields(cls) if f.init]
    prefix = f"{path}." if path else ""
    for key in plain:
        if key not in names:
            raise ConfigError(f"unknown key {prefix + key!r}; valid: {', '.join(sorted(names))}")
    hints = get_type_hints(cls)
    children = {
        key: _child(value, prefix + key, _dataclass_of(hints[key]))
        for key, value in plain.items()
        if _is_node(value) and (_dataclass_of(hints[key]) or _has_target(value))
    }
    rest = {
        key: _enumerated(value, hints[key], prefix + key)
        for key, value in plain.items()
        if key not in children
    }
    return _construct(cls, rest, children, path)


def _construct(cls: type, rest: dict[str, Any], children: dict[str, Any], path: str) -> Any:
    """Type-check the fields that are no nodes against the dataclass and build it."""
    fields = [f for f in dataclasses.fields(cls) if f.init]
    unset = (dataclasses.MISSING, dataclasses.MISSING)
    required = {f.name for f in fields if (f.default, f.default_factory) == unset}
    absent = sorted(required - set(rest) - set(children))
    absent += sorted(key for key, value in rest.items() if value == "???")
    if absent:
        prefix = f"{path}." if path else ""
        names = ", ".join(prefix + key for key in absent)
        raise ConfigError(f"required key not set: {names}; set it with {prefix}{absent[0]}=VALUE")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(cls), rest)
        values = {key: _converted(merged[key]) for key in rest}
    except OmegaConfBaseException as error:
        key = ".".join(part for part in (path, error.full_key) if part)
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{key or 'config'}: {reason}") from error
    return cls(**values, **children)


def _converted(value: Any) -> Any:
    return OmegaConf.to_container(value) if isinstance(value, (DictConfig, ListConfig)) else value


def _enumerated(value: Any, hint: Any, path: str) -> Any:
    """The member that a YAML value names; OmegaConf knows members by their Python names only."""
    if not (isinstance(hint, type) and issubclass(hint, Enum)) or isinstance(value, hint):
        return value
    try:
        return hint(value)
    except ValueError as error:
        valid = ", ".join(str(member.value) for member in hint)
        raise ConfigError(f"{path}: {value!r} is no choice; valid: {valid}") from error


def _is_node(value: Any) -> bool:
    """A mapping, or a list of them (an empty list is a plain value)."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, Mapping) for item in value)
    return isinstance(value, Mapping)


def _has_target(value: Any) -> bool:
    return any(TARGET in item for item in (value if isinstance(value, list) else [value]))


def _dataclass_of(hint: Any) -> type | None:
    """The dataclass that a field's type names, alone, in a list or as an optional."""
    for candidate in (hint, *get_args(hint)):
        if isinstance(candidate, type) and dataclasses.is_dataclass(candidate):
            return candidate
    return None


def _child(value: Any, path: str, cls: type | None) -> Any:
    if isinstance(value, list):
        return [typed(item, f"{path}[{i}]", cls) for i, item in enumerate(value)]
    return typed(value, path, cls)


def _dataclass(target: str | None, path: str) -> type:
    where = f"{path}._target_" if path else TARGET
    if not isinstance(target, str) or "." not in target:
        raise ConfigError(
            f"{where} must be the import path of a dataclass, received {target!r}; "
            f"for example harness.algorithms.grpo.Grpo"
        )
    module, _, name = target.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{where}: cannot import {target!r}: {error}") from error
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise ConfigError(f"{where}: {target!r} is not a dataclass")
    return cls


def _plain(config: DictConfig) -> dict[str, Any]:
    try:
        container = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"config: {str(error).splitlines()[0]}") from error
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


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
        return {TARGET: f"{cls.__module__}.{cls.__qualname__}", **fields}
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
