"""The plan of a sweep: a question and its trials, as written before the first of them starts."""

import re
from dataclasses import dataclass, field
from datetime import datetime

from analysis.ablation import Ablation
from analysis.fixed import SINCE, Leaf
from analysis.tuned import Tuned
from harness.config import MAX_SEED
from harness.errors import ConfigError


def _folder_name(trial: str) -> None:
    """Raise ConfigError for a trial whose name leads elsewhere than into one folder."""
    if not re.fullmatch(r"[\w.=+-]+", trial) or not trial.strip("."):
        raise ConfigError(f"a trial's name is that of a folder, received {trial!r}")


@dataclass(frozen=True)
class Job:
    """One row of a manifest: one trial.

    Attributes:
        identity: what the trial is by content, as a hash; "" while nobody has asked.
        record: the folder under `runs/checkpoints` whose record the trial uses; its own by
            default.
        differs: dotted key -> [baseline's value, variant's value].
    """

    trial: str
    variant: str
    seed: int
    config_hash: str
    group_hash: str
    identity: str = ""
    record: str = ""
    differs: dict[str, list[Leaf]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "record", self.record or self.trial)
        for name in (self.trial, self.record):
            _folder_name(name)
        if not 0 <= self.seed <= MAX_SEED:
            raise ConfigError(
                f"trial {self.trial}: seed must be in 0..2^63-1, received {self.seed}"
            )
        for key, pair in self.differs.items():
            if len(pair) != 2:
                raise ConfigError(
                    f"trial {self.trial}: differs.{key} must hold the baseline's and the "
                    f"variant's value, received {len(pair)} values"
                )


@dataclass(frozen=True)
class Manifest:
    """One revision of what a sweep planned, written before its first trial starts.

    Attributes:
        ablation: the question, with the seeds of the whole plan.
        jobs: every trial of the plan, also those that the command did not name.
        created: UTC time, ISO 8601.
        code_hash: sha256 over the sources that the trials run.
        model_hash: of the baseline's base model.
        grid: whether the command line made the question up.
        deviations: where the plan departs from the ablation file.
        versions: library name -> version.
        known: trials of this plan, or of an earlier revision of it, that had a result when this
            revision was written.
        tuned: the tuning of each variant whose values the plan confirms.
        revision: its number, from 1.
        previous: seal of the revision before; "" for the first.
        seal: sha256 over everything else here.
    """

    ablation: Ablation
    jobs: list[Job]
    created: str
    code_hash: str
    git_commit: str
    git_dirty: bool
    model_hash: str
    task_digest: str
    command: str
    grid: bool = False
    deviations: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    known: list[str] = field(default_factory=list)
    tuned: list[Tuned] = field(default_factory=list, metadata=SINCE)
    revision: int = 1
    previous: str = ""
    seal: str = ""

    def __post_init__(self) -> None:
        try:
            aware = datetime.fromisoformat(self.created).tzinfo is not None
        except ValueError:
            aware = False
        if not aware:
            raise ConfigError(f"created must be an ISO 8601 time, received {self.created!r}")
        for seal in (self.seal, self.previous):
            if not re.fullmatch(r"([0-9a-f]{64})?", seal):
                raise ConfigError(f"a seal is a sha256 in hexadecimal, received {seal!r}")
        for trial in self.known:
            _folder_name(trial)
        trials = [job.trial for job in self.jobs]
        if not trials or len(set(trials)) < len(trials):
            raise ConfigError(f"jobs must name each trial once, received {len(trials)} jobs")
        for job in self.jobs:
            if job.variant not in self.ablation.labels:
                raise ConfigError(f"trial {job.trial} is of no variant, received {job.variant!r}")
        if strange := [t.variant for t in self.tuned if t.variant not in self.ablation.labels]:
            raise ConfigError(f"tuned: {strange[0]!r} is no variant of the ablation")

    @property
    def differing(self) -> list[str]:
        """Keys in which some variant differs from the baseline, sorted."""
        return sorted({key for job in self.jobs for key in job.differs})

    @property
    def created_ms(self) -> float:
        """`created` in milliseconds since 1970, as MLflow counts."""
        return datetime.fromisoformat(self.created).timestamp() * 1000
