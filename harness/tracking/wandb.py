"""Weights & Biases, as a listener."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from harness.machine import files
from harness.tracking import Names
from harness.tracking.listening import needs
from harness.tracking.record import Record


class Mode(Enum):
    """Where it goes."""

    OFFLINE = "offline"
    ONLINE = "online"


@dataclass(frozen=True)
class Wandb:
    """Weights & Biases: one run for each trial, its group is the variant.

    Attributes:
        mode: offline writes files, and nothing leaves the machine until `wandb sync` sends them
            (runs/listeners/EXPERIMENT/TRIAL/wandb/wandb/offline-run-*); online sends at once, as
            `wandb login` and WANDB_* say.
        project: of W&B; "" for the name of the ablation.
    """

    mode: Mode = Mode.OFFLINE
    project: str = ""

    def check(self) -> None:
        needs("wandb", "wandb")

    def begin(self, record: Record, folder: Path, names: Names) -> "History":
        return History(self, record, folder, names)


class History:
    """A run of W&B; its id is the record's, so that a resumed trial continues the same one."""

    def __init__(self, settings: Wandb, record: Record, folder: Path, names: Names) -> None:
        import wandb

        online = settings.mode is Mode.ONLINE
        files.remove(folder)
        folder.mkdir(parents=True)
        self._run: Any = wandb.init(
            dir=str(folder),
            id=record.id,
            name=names.trial,
            project=settings.project or names.experiment,
            group=names.variant,
            config={**record.config, "variant": names.variant},
            mode=settings.mode.value,
            resume="allow" if online else None,
            settings=wandb.Settings(
                console="off",
                silent=True,
                x_disable_stats=True,
                disable_git=True,
                disable_code=True,
            ),
        )
        # What a server has of the steps already; files begin anew.
        self._next = self._run.step if online else 0

    def step(self, step: int, metrics: Mapping[str, float], time_ms: int) -> None:
        if step >= self._next:
            self._run.log({**metrics, "_timestamp": time_ms / 1000}, step=step)

    def end(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)
