"""Command line of one trial, and the wording of errors."""

import errno
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from harness.config import TrialConfig, trial_name
from harness.errors import ConfigError, HarnessError
from harness.machine import terminal
from harness.measure import collapse
from harness.tracking import record
from harness.typed import typed

EXIT_USER_ERROR = 2
EXIT_TRIALS_FAILED = 1
# A full disk, a used-up quota, a limit on file sizes.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Group choices under which a trial is found.
LABELLED_GROUPS = ("algorithm", "task", "model")


def run() -> int:
    """Run what the command line asks for; returns the exit code."""
    terminal.tolerate()  # Hydra prints too: --help, --cfg job
    composed: list[DictConfig] = []
    try:
        hydra.main(config_path="pkg://conf", config_name="config", version_base="1.3")(
            lambda config: composed.append(labelled(config, HydraConfig.get().runtime.choices))
        )()
        if composed:
            _single(composed[0])
    except ConfigError as error:
        terminal.complain(error)
        return EXIT_USER_ERROR
    except (HydraException, OmegaConfBaseException) as error:
        terminal.complain(one_line(error, sys.argv[1:]))
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
    except KeyboardInterrupt:
        terminal.remark("interrupted; the same command continues from the last checkpoint")
        return 130
    return 0


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
        raise ConfigError(one_line(error, overrides)) from error
    config: TrialConfig = typed(node)
    return config


def labelled(config: DictConfig, choices: Any, variant: str = "", ablation: str = "") -> DictConfig:
    """A copy of a composed config with the names under which the trial is found."""
    names = {group: str(choices[group]) for group in LABELLED_GROUPS}
    labels = {**names, "variant": variant or names["algorithm"], "ablation": ablation}
    copy = config.copy()
    OmegaConf.set_struct(copy, False)
    copy["labels"] = labels
    return copy


def one_line(error: BaseException, overrides: Sequence[str]) -> str:
    """Hydra's message on one line, with the valid names where it names an unknown key."""
    lines = [" ".join(line.split()) for line in str(error).splitlines()]
    message = "; ".join(line for line in lines if line)
    message = message.replace(":; ", ": ").replace(".; ", ". ")
    unknown = re.search(r"Could not override '([^']+)'", message)
    return message + (_valid_keys(unknown[1], overrides) if unknown else "")


def _valid_keys(key: str, overrides: Sequence[str]) -> str:
    """Names that exist beside an unknown key, under the other choices of the command line."""
    others = [a for a in overrides if re.fullmatch(r"[\w/]+=\w+", a) and not a.startswith(key)]
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_module("conf", version_base="1.3"):
            config = hydra.compose("config", overrides=others)
        parent = OmegaConf.select(config, key.rpartition(".")[0]) if "." in key else config
    except (HydraException, OmegaConfBaseException):
        return ""  # the other choices are wrong as well: the first message says enough
    return f"; valid: {', '.join(sorted(map(str, parent)))}" if parent else ""


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
    from harness.launch import run_trial
    from harness.standing import names
    from harness.trial import clear, prepare, trial_folder

    console = terminal.console()
    if config.dry_run:
        _show_memory(console, config)
        return
    if config.fresh:  # nothing is thrown away unless the trial can be run and recorded
        config.tracking.prepare(prepare(config)[0], names(config).experiment)
        clear(config)
    seen: list[int] = []

    def observe(step: int, progress: float, metrics: Any) -> None:
        if not seen:
            console.print(f"trial {trial_name(config)}")
        seen.append(step)
        if "eval/accuracy" in metrics:
            console.print(
                f"step {step:>5}  {progress:>4.0%} of the budget   held-out accuracy "
                f"{metrics['eval/accuracy']:.3f}   response length "
                f"{metrics['eval/response_length/mean']:.1f}   "
                f"KL to base {metrics['eval/kl']:.3f}"
            )

    result = run_trial(config, observe)
    if not seen:
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
    from harness.preflight import memory, read
    from harness.trial import prepare

    source = prepare(config)[1]
    reading = read(config, source)
    console.print(f"first prompt  {source.tokens.texts([reading.first])[0]!r}")
    console.print(f"its tokens    {' '.join(map(str, reading.first))}")
    parts = memory(config, source, reading)
    for name, size in (*parts.items(), ("together", sum(parts.values()))):
        console.print(f"{name:26} {size / 1e9:8.2f} GB")
    device = "GPU" if config.trainer.device is Device.CUDA else "process"
    console.print(
        f"per {device}, {config.trainer.ranks} of them; tensors only: the device's own context, "
        f"Python and its libraries come on top"
    )
