"""What Hydra refuses, in the project's words: one line, what was received and what is valid.

Hydra's own messages are paragraphs that advise `+`, which the dataclasses then refuse.
"""

import re
from collections.abc import Sequence
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.errors import ConfigError
from harness.typed import TARGET
from harness.wording import unknown

# Begins Hydra's warning of a search path that is not there; it would go on without.
NO_PATH = "provider=hydra.searchpath"
# What Hydra raises as a plain ValueError: a number or null where a choice belongs.
NO_CHOICE = "Config group override must be a string or a list"
SOME = (
    "; a key that not every variant has belongs in the overrides of those that have it, in an "
    "ablation file"
)
HELP = "harness --help lists all keys and choices"


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuse options that Hydra does not have, which it would answer with a page of usage.

    Raises:
        ConfigError: an unknown option or a wrong value of one.
    """
    parser = get_args_parser()
    parser.error = _unparsed  # type: ignore[method-assign]
    asked = parser.parse_args([a for a in arguments if a != "--version"])
    for override in asked.overrides:
        if override.startswith("="):
            _refuse(f"{override!r} is not KEY=VALUE")


def one_line(error: BaseException, overrides: Sequence[str]) -> str:
    """Hydra's message on one line, with what is valid where it names what does not exist.

    Args:
        overrides: of the command line.
    """
    text = str(error)
    if isinstance(error, UserWarning):
        return (
            f"hydra.searchpath: nothing there ({text}); name a package that can be imported from "
            f"here (pkg://mypkg.conf) or a folder (file:///path)"
        )
    if isinstance(error, MissingConfigException) and (file := error.missing_cfg_file or ""):
        # Of a list of choices Hydra does not say which there are.
        options = error.options or _groups_options(file.rpartition("/")[0])
        if options:
            return _unknown_choice(file, options, overrides)
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override!r} is not KEY=VALUE; a value with special characters is quoted: "
            f"'KEY=\"VALUE\"'; {HELP}"
        )
    if found := re.search(r"Could not (?:override|delete from config\.) '([^']+)'", text):
        return _unknown_key(found[1], overrides)
    if found := re.search(r"(?:value for argument|Sweep parameters) '([^']+)'", text):
        key, _, values = found[1].partition("=")
        return (
            f"{found[1]!r} is several values, but one trial has one; run them all with -m, "
            f"or write a list: {key}=[{values}]"
        )
    if found := re.match(r"(\S+) appears more than once in the final defaults list", text):
        return f"{found[1]!r} is chosen already; leave the + out: {found[1]}=NAME"
    if found := re.search(r"full_key: hydra.runtime.choices.(\w+)", text):
        return f"{found[1]} needs exactly one choice; name it: {found[1]}=NAME"
    if found := re.search(r"An item is already at '([^']+)'", text):
        return f"{found[1]!r} is there already; leave the + out: {found[1]}=VALUE"
    return _joined(text)


def no_choice(overrides: Sequence[str]) -> str:
    """What to say of a group that is given a number or null."""
    for group, _, value in (o.lstrip("+").partition("=") for o in overrides):
        options = _groups_options(group)
        if options and value not in options:
            return unknown("choice", value, options, f"{group}=")
    return f"{NO_CHOICE}; {HELP}"


def _unparsed(message: str) -> NoReturn:
    """What argparse says; it takes overrides in one piece only, and does not say so."""
    between = "; -m and other options stand before all overrides or behind them, not between"
    _refuse(message + between * ("unrecognized" in message and "=" in message))


def _refuse(message: str) -> NoReturn:
    raise ConfigError(f"{message}; {HELP}")


def _joined(text: str) -> str:
    lines = [" ".join(line.split()) for line in text.splitlines()]
    message = "; ".join(line for line in lines if line)
    return message.replace(":; ", ": ").replace(".; ", ". ")


def _unknown_choice(file: str, options: Sequence[str], overrides: Sequence[str]) -> str:
    """A file of a group that is not there; where a user's own search path was given, with it."""
    group, _, name = file.rpartition("/")
    given = next((o for o in overrides if o.startswith("hydra.searchpath=")), "")
    looked = f"; looked in the harness and in {given}" if given else ""
    return unknown("choice", name, options, f"{group}=") + looked


def _unknown_key(key: str, overrides: Sequence[str]) -> str:
    """A key that does not exist, beside the names that do, under the other choices."""
    choice = r"[\w/]+=(\w+|\[[\w,]*\])"
    others = [a for a in overrides if re.fullmatch(choice, a) and not a.startswith(key)]
    config = _composed(others)
    path = key.split(".")
    for depth in range(len(path)):
        parent = OmegaConf.select(config, ".".join(path[:depth])) if depth else config
        if not isinstance(parent, DictConfig):
            break
        names = [str(name) for name in parent if name != TARGET]
        if not depth and path[0] not in names and (options := _groups_options(path[0])):
            return (
                f"{key}: {path[0]} has no choice yet, received none; choose first: "
                f"{path[0]}=[NAME]; valid: {', '.join(options)}"
            )
        if path[depth] not in names:
            prefix = "".join(f"{part}." for part in path[:depth])
            return unknown("key", path[depth], names, prefix) + _of_some(overrides)
    return f"unknown key {key!r}; {HELP}"


def _of_some(overrides: Sequence[str]) -> str:
    """What to say where several variants are asked for: Hydra tries keys on the default one."""
    several = {"-m", "--multirun"} & set(overrides)
    return SOME if several else ""


def _composed(overrides: Sequence[str]) -> Any:
    """The config of some overrides; None where they are wrong as well."""
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_module("conf", version_base="1.3"):
            return hydra.compose("config", overrides=list(overrides))
    except (HydraException, OmegaConfBaseException):
        return None


def _groups_options(group: str) -> list[str]:
    """Files of a group; none where there is no such group."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_module("conf", version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        found: list[str] = loader.get_group_options(group)
    return found
