"""What an evaluation found, as a file and as a run in MLflow."""

import dataclasses
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config import TrialConfig, resolved
from harness.errors import ConfigError
from harness.machine import files
from harness.preflight import evaluation_sampling
from harness.tasks import sets
from harness.tracking import Names
from harness.tracking.record import CONFIG, Status
from harness.tracking.writer import Writer

# The experiment of evaluations, and their folder below `runs`.
EXPERIMENT = "evaluations"


def checked(file: str | None) -> Path | None:
    """The file of json=FILE, before anything is measured.

    Raises:
        ConfigError: its folder is not there.
    """
    if file is None:
        return None
    path = Path(file).expanduser()
    if not file or path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigError(f"json must be a file in a folder that exists, received {file!r}")
    return path


@dataclass(frozen=True)
class Results:
    """Metrics and responses of one checkpoint.

    Attributes:
        samples: per prompt, of which pass@k was estimated; None: k.
        table: all responses to the held-out prompts with their grades, by column.
    """

    checkpoint: Path
    config: TrialConfig
    samples: int | None
    metrics: dict[str, float]
    table: dict[str, list[Any]]

    def facts(self) -> dict[str, str]:
        """What the numbers are conditional on."""
        config = self.config
        decoding = dataclasses.asdict(evaluation_sampling(config))
        return {
            "checkpoint": str(self.checkpoint),
            "held_out_set": sets.digest(config.task.held_out())[:16],
            "decoding": " ".join(f"{key}={value}" for key, value in decoding.items()),
            "pass_k": str(config.evaluation.pass_k),
            "samples": str(self.samples or config.evaluation.pass_k or 1),
            "seed": str(config.seed),
        }

    def write(self, file: Path) -> None:
        """Metrics, what they are conditional on, and every response, as JSON."""
        values = zip(*self.table.values(), strict=True)
        rows = [dict(zip(self.table, row, strict=True)) for row in values]
        plain = {**self.facts(), "metrics": self.metrics, "responses": rows}
        file.write_text(json.dumps(plain, indent=1, default=str), encoding="utf-8")

    def publish(self) -> Path:
        """A record of its own below `runs/evaluations`, published as trials are; its folder.

        Raises:
            StoreError, ConfigError: it cannot be published.
        """
        runs = files.writable_folder(Path(self.config.runs), "runs")
        trial = f"{self.checkpoint.resolve().parent.name}__{self.checkpoint.resolve().name}"
        folder = runs / EXPERIMENT / f"{trial}__{secrets.token_hex(4)}"
        folder.mkdir(parents=True)
        (folder / CONFIG).write_text(json.dumps(resolved(self.config), indent=1))
        names = Names(folder.name, trial, EXPERIMENT)
        writer = Writer(folder)
        writer.start(self.facts(), seal="")
        writer.table(0, self.table)
        writer.step(0, self.metrics)
        writer.end(Status.FINISHED)
        self.config.tracking.prepare(runs, EXPERIMENT)
        self.config.tracking.publish(folder, runs, names)
        return folder
