"""What a trial is, by content: config, code, base model and data.

Two trials of one identity give the same numbers. A finished trial whose identity is another one
today is not what would run today.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from harness.config import IDENTITY_IRRELEVANT, TrialConfig, config_hash, digest
from harness.errors import ConfigError
from harness.machine import code
from harness.models import content
from harness.models.loading import Source
from harness.tasks import sets
from harness.typed import FUNCTIONS
from harness.wording import few

# Where the code begins that decides a trial's numbers.
CORE = "harness.trial"
# What that code uses and what yet moves no number: records, locks, logs, refusals, declarations.
NO_NUMBERS = (
    *("harness.tracking", "harness.machine", "harness.identity", "harness.models.content"),
    *("harness.checks", "harness.learner.memory", "harness.typed"),
    *("harness.blame", "harness.errors", "harness.schema", "harness.stages", "harness.standing"),
)
# Modules of classes that every class may have above it.
NO_FILES = ("builtins", "typing", "abc")
POOL, HELD_OUT = "pool", "held_out"
DATA_NAMES = {POOL: "training pool", HELD_OUT: "held-out set"}
# A sha256, or the commit of a hub model.
DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Identity:
    """What a trial is.

    Attributes:
        config: hash of the resolved config without what changes no number.
        code: module -> digest, of the core, of every plug-in and of the graders that it names.
        model: "KIND/FILE" or "KIND revision" -> digest, of base, tokenizer and critic.
        data: pool and held_out -> digest of prompts and answers.
    """

    config: str
    code: dict[str, str]
    model: dict[str, str]
    data: dict[str, str]

    @property
    def hash(self) -> str:
        """sha256 over all of it."""
        return digest(to_plain(self))


def identity_of(config: TrialConfig, source: Source) -> Identity:
    """The identity that a trial has now.

    Args:
        config: the trial.
        source: its base model, prepared.

    Raises:
        ConfigError: code, model or data is not to be found.
        ContractError: an answer of the task is no plain data.
    """
    return Identity(
        config=config_hash(config),
        code=code_now(config),
        model={**source.files, **_critic(config, source)},
        data={
            POOL: sets.digest(config.task.pool()),
            HELD_OUT: sets.digest(config.task.held_out()),
        },
    )


def code_now(config: TrialConfig) -> dict[str, str]:
    """Module -> digest of the code that decides a trial's numbers, as it lies on the disk now.

    Raises:
        ConfigError: a module is not to be found.
    """
    parts = [
        getattr(config, f.name)
        for f in dataclasses.fields(config)
        if f.name not in IDENTITY_IRRELEVANT
    ]
    return code_of(parts, CORE)


def at_seed(content: Identity, config: TrialConfig) -> Identity:
    """The identity of a variant's trial at another seed: code, model and data are the same."""
    return dataclasses.replace(content, config=config_hash(config))


def code_of(parts: Iterable[Any], core: str) -> dict[str, str]:
    """Module -> digest of what some plug-ins are made of, and a module of the core.

    Raises:
        ConfigError: a module is not to be found.
    """
    return code.modules([core, *(name for part in parts for name in plug_ins(part))], NO_NUMBERS)


def plug_ins(part: Any) -> Iterator[str]:
    """Modules of the classes in a piece of config, and of the functions that they name.

    Functions are named by the fields that `harness.typed` knows.
    """
    inner: Iterable[Any] = ()
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        kind = type(part)
        modules = (cls.__module__ for cls in kind.__mro__)
        yield from (name for name in modules if name not in NO_FILES)
        yield from (
            str(getattr(part, f)).rpartition(".")[0]
            for f in FUNCTIONS
            if isinstance(getattr(part, f, None), str)
        )
        inner = [getattr(part, f.name) for f in dataclasses.fields(part) if f.init]
    elif isinstance(part, Mapping):
        inner = part.values()
    elif isinstance(part, (list, tuple)):
        inner = part
    for each in inner:
        yield from plug_ins(each)


def _critic(config: TrialConfig, source: Source) -> dict[str, str]:
    """Digests of a critic's own weights, for algorithms that name some."""
    path = getattr(getattr(config.algorithm, "critic", None), "path", None)
    if path is None:
        return {}
    critic = source.at(path)
    return content.of_model(critic.path, critic.revision, config.runs, "critic")


def changes(before: Identity, now: Identity) -> list[str]:
    """What differs, in words: `code of mypkg.crash`, `tokenizer tokenizer.json`; [] if nothing."""
    found = ["config"] if before.config != now.config else []
    if modules := _differing(before.code, now.code):
        found.append(f"code of {_few(modules)}")
    kinds: dict[str, list[str]] = {}
    for key in _differing(before.model, now.model):
        kind, _, file = key.partition("/")
        kinds.setdefault(kind, []).extend([file] if file else [])
    found += [
        f"{_shown(kind)} {few([_shown(name) for name in names])}".strip()
        for kind, names in kinds.items()
    ]
    found += [
        f"data: {DATA_NAMES.get(key, _shown(key))}" for key in _differing(before.data, now.data)
    ]
    return found


def _differing(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))


def _few(names: list[str]) -> str:
    return few([_shown(name) for name in names])


def _shown(name: str) -> str:
    """A name as it is, or spelled out where it holds what a terminal would act on."""
    return name if name.isprintable() else ascii(name)


def to_plain(identity: Identity) -> dict[str, Any]:
    """The identity as plain data, for JSON."""
    return dataclasses.asdict(identity)


def from_plain(data: Any, where: str = "identity") -> Identity:
    """The identity that plain data describes; nothing that it names is imported.

    Args:
        data: as to_plain gives it, from a file that anybody may have written.
        where: what it was read from, for the message.

    Raises:
        ConfigError: it is not such data.
    """
    names = [f.name for f in dataclasses.fields(Identity)]
    if not isinstance(data, dict) or set(data) != set(names):
        _refuse(where, f"must have {', '.join(names)}", data)
    if not _is_digest(data["config"]):
        _refuse(where, "config must be a digest", data["config"])
    for name in names[1:]:
        part = data[name]
        if not isinstance(part, dict) or not all(isinstance(key, str) for key in part):
            _refuse(where, f"{name} must map names to digests", part)
        for key, value in part.items():
            if not _is_digest(value):
                _refuse(where, f"{name}.{_shown(key[:60])} must be a digest", value)
    return Identity(data["config"], *(dict(data[name]) for name in names[1:]))


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and DIGEST.fullmatch(value) is not None


def _refuse(where: str, rule: str, received: Any) -> NoReturn:
    raise ConfigError(
        f"{where}: {rule}, received {ascii(received)[:60]}; fresh=true throws the record away and "
        f"starts over"
    )
