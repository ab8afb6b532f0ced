"""Command line of one trial, and the wording of errors."""

import dataclasses
import errno
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from harness import manual, refusals
from harness.config import TrialConfig, trial_name
from harness.errors import ConfigError, HarnessError
from harness.machine import terminal
from harness.machine.progress import shown_on
from harness.measure import collapse
from harness.stages import Stage
from harness.tracking import record
from harness.typed import typed
from harness.view import View

EXIT_USER_ERROR = 2
EXIT_TRIALS_FAILED = 1
# A full disk, a used-up quota, a limit on file sizes.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
INTERRUPTED = (
    "interrupted; the same command continues from the last checkpoint, or from the beginning"
)
# Groups of which a trial has one file each, and those under whose choices it is found.
GROUPS = tuple(f.name for f in dataclasses.fields(TrialConfig) if f.type is Any)
LABELLED_GROUPS = ("algorithm", "task", "model")


def run() -> int:
    """Run what the command line asks for; returns the exit code."""
    terminal.tolerate()  # Hydra prints too: --help, --cfg job
    try:
        refusals.check_arguments(sys.argv[1:])
        if answer := _answered(sys.argv[1:]):
            terminal.console().print(answer)
            return 0
        for node, choices in _nodes():
            _single(labelled(node, choices))
    except ConfigError as error:
        terminal.complain(error)
        return EXIT_USER_ERROR
    except (HydraException, OmegaConfBaseException, UserWarning) as error:
        terminal.complain(refusals.one_line(error, sys.argv[1:]))
        return EXIT_USER_ERROR
    except ValueError as error:
        if not str(error).startswith(refusals.NO_CHOICE):
            raise
        terminal.complain(refusals.no_choice(sys.argv[1:]))
        return EXIT_USER_ERROR
    except HarnessError as error:
        terminal.complain(error)
        return EXIT_TRIALS_FAILED
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        terminal.complain(
            f"no room to write {error.filename or 'in the output folder'} "
            f"({error.strerror}); free some space, or raise the limit on file sizes (ulimit -f); "
            f"the same command then continues"
        )
        return EXIT_TRIALS_FAILED
    except KeyboardInterrupt as stop:
        terminal.remark(str(stop) or INTERRUPTED)
        return 130
    return 0


def _answered(arguments: Sequence[str]) -> str:
    """What --version and --help print; "" where neither is asked for."""
    if "--version" in arguments:
        return f"harness {metadata.version('rl-harness')}"
    if not {"--help", "-h"} & set(arguments):
        return ""
    return manual.page(get_args_parser().parse_args(list(arguments)).overrides)


def _nodes() -> list[tuple[DictConfig, Any]]:
    """The config of a single run with its choices; none after a multirun, which Hydra has run."""
    found: list[tuple[DictConfig, Any]] = []
    with warnings.catch_warnings():
        warnings.filterwarnings("error", refusals.NO_PATH)
        hydra.main(config_path="pkg://conf", config_name="config", version_base="1.3")(
            lambda config: found.append((config, HydraConfig.get().runtime.choices))
        )()
    return found


def composed(overrides: Sequence[str]) -> TrialConfig:
    """The typed config of some overrides, for commands that do not train.

    Raises:
        ConfigError: Hydra or the dataclasses refuse them; one line.
    """
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_module("conf", version_base="1.3"):
            node = hydra.compose("config", overrides=list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(refusals.one_line(error, overrides)) from error
    config: TrialConfig = typed(node)
    return config


def changed(node: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A plain config with some values replaced, as the command line would replace them.

    Args:
        overrides: `key.path=value`; keys that the config lacks are refused when it is typed.
    """
    config: Any = OmegaConf.create(dict(node))
    try:
        for override in OverridesParser.create().parse_overrides(list(overrides)):
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(refusals.one_line(error, overrides)) from error
    plain: Any = OmegaConf.to_container(config)
    return {str(key): value for key, value in plain.items()}


def labelled(config: DictConfig, choices: Any, variant: str = "", ablation: str = "") -> DictConfig:
    """A copy of a composed config with the names under which the trial is found."""
    for group in GROUPS:
        if group not in choices:
            raise ConfigError(f"{group} needs exactly one choice; name it: {group}=NAME")
    names = {group: str(choices[group]) for group in LABELLED_GROUPS}
    labels = {**names, "variant": variant or names["algorithm"], "ablation": ablation}
    copy = config.copy()
    OmegaConf.set_struct(copy, False)
    copy["labels"] = labels
    return copy


def _single(node: DictConfig) -> None:
    """Run one trial in this process and show how it goes."""
    if "ablation" in node:
        raise ConfigError(
            "+ablation=NAME describes many trials and needs -m; run: harness -m +ablation=NAME"
        )
    config: TrialConfig = typed(node)
    if config.name:
        raise ConfigError(
            f"name={config.name} names a grid, received one trial; run it without name=, or with -m"
        )
    if config.sweep.stage is not Stage.ABLATE:
        raise ConfigError(
            f"sweep.stage={config.sweep.stage.value} is about many trials and needs -m; run: "
            f"harness -m ... sweep.stage={config.sweep.stage.value}"
        )
    from harness.launch import run_trial
    from harness.machine.process import exits_told
    from harness.standing import names
    from harness.trial import clear, prepare, trial_folder

    console = terminal.console()
    if config.dry_run:
        with shown_on(console):
            _show_memory(console, config)
        return
    with exits_told(), View(console, trial_name(config)) as view:
        if config.fresh:  # nothing is thrown away unless the trial can be run and recorded
            config.tracking.prepare(prepare(config)[0], names(config).experiment)
            clear(config)
        result = run_trial(config, view.observe)
    if not view.steps:
        console.print(f"trial {trial_name(config)} finished before; fresh=true starts over")
    _show_end(console, trial_folder(config), result)


def _show_end(console: Console, folder: Path, result: Mapping[str, float]) -> None:
    """What came of a finished trial, and where it is."""
    kept = record.read(folder)
    steps = {} if kept is None else kept.steps
    fallen = collapse.of([(step, made.metrics) for step, made in steps.items()])
    if fallen is not None:
        console.print(f"collapsed: {fallen.reason}")
    console.print(f"held-out accuracy {result['eval/accuracy']:.3f}   {folder}")


def _show_memory(console: Console, config: TrialConfig) -> None:
    """What the trial will read first and what it will need, after all checks; nothing is run."""
    from harness.distributed.sharding import Device
    from harness.learner import room
    from harness.preflight import memory, on_machine, read
    from harness.trial import prepare

    source = prepare(config)[1]
    reading = read(config, source)
    console.print(f"first prompt  {source.tokens.texts([reading.first])[0]!r}")
    console.print(f"its tokens    {' '.join(map(str, reading.first))}")
    gpu = config.trainer.device is Device.CUDA
    device, host = memory(config, source, reading), on_machine(config, source)
    _show_parts(console, "per GPU" if gpu else "per process", device)
    if gpu:
        _show_parts(console, "per rank, of its machine", host)
    console.print(
        f"{config.trainer.ranks} of them; estimated, on a GPU with round numbers for driver, NCCL "
        f"and vLLM's graphs"
        if gpu
        else f"{config.trainer.ranks} of them; tensors only: Python and its libraries come on top"
    )
    room.check(config, device, host)


def _show_parts(console: Console, of: str, parts: Mapping[str, int]) -> None:
    """Sizes in GB, and their sum."""
    console.print(f"{of}:")
    for name, size in (*parts.items(), ("together", sum(parts.values()))):
        console.print(f"  {name:34} {size / 1e9:8.2f} GB")
