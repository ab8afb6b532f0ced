"""What an earlier start left of a trial, and whether it is still the same trial.

A result stands for ever only while what decides it has not changed; a trial that was interrupted
never continues on other content.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from harness.config import TrialConfig, resolved, trial_name
from harness.errors import ConfigError
from harness.identity import Identity, changes, from_plain, identity_of, to_plain
from harness.learner import checkpoint
from harness.machine import files
from harness.models.loading import Source
from harness.tracking import Names
from harness.tracking.record import CONFIG, IDENTITY, LOCK, Status, read
from harness.tracking.writer import Writer

# A dead process's lock is free within seconds.
LOCK_WAIT_S = 30.0


@dataclass(frozen=True)
class Standing:
    """What there is of a trial.

    Attributes:
        result: last metrics, when the trial is finished and its record and weights are whole.
        changed: what differs from the content that it was begun on; empty for a new trial.
        since: when it was begun.
        accepted: whether its result was kept before under the content of now.
    """

    folder: Path
    now: Identity
    result: dict[str, float] | None
    changed: list[str]
    since: str
    accepted: bool

    def objection(self, accept_stale: bool) -> str:
        """Why the trial can neither be kept nor continued, and what to do; "" when it can."""
        if not self.changed or (self.result is not None and (accept_stale or self.accepted)):
            return ""
        what = f"{', '.join(self.changed)} changed since {self.since}"
        if self.result is None:
            return f"{what}; a trial never continues on other content: fresh=true starts it over"
        return (
            f"{what}, so its result is not this trial's; fresh=true runs it again, "
            f"accept_stale=true keeps it and says so in the report"
        )

    def admitted(self, accept_stale: bool) -> dict[str, float] | None:
        """The result of a finished trial; None for one that may be begun or continued.

        A result that is kept although its content has changed is marked so in its record.

        Raises:
            ConfigError: the trial was made of other content.
        """
        if refused := self.objection(accept_stale):
            raise ConfigError(f"trial {self.folder.name}: {refused}")
        if self.changed and not self.accepted:
            Writer(self.folder).accept(self.now.hash, self.changed)
        return self.result


def look(folder: Path, now: Identity) -> Standing:
    """What there is of the trial in a folder, beside what it would be made of now."""
    record = read(folder)
    if record is None or record.last < 0:
        return Standing(folder, now, None, [], "", False)
    begun = datetime.fromtimestamp((record.started_ms or 0) / 1000)
    accepted = now.hash in record.accepted
    since = f"{begun:%Y-%m-%d %H:%M}"
    found = checkpoint.final_result(folder) if record.finished else None
    return Standing(folder, now, found, _changed(folder, now), since, accepted)


def result(folder: Path) -> dict[str, float] | None:
    """Last metrics of a finished trial whose record and weights are whole; None otherwise."""
    record = read(folder)
    return checkpoint.final_result(folder) if record is not None and record.finished else None


def names(config: TrialConfig) -> Names:
    """Under which a trial's record is published."""
    return Names(trial_name(config), config.labels.variant, config.labels.ablation)


def finished_before(config: TrialConfig, folder: Path, now: Identity) -> dict[str, float] | None:
    """The result of a finished trial, published again where its copy lacks something.

    Raises:
        ConfigError: the trial was made of other content.
    """
    done = look(folder, now).admitted(config.accept_stale)
    if done is not None:
        config.tracking.publish(folder, folder.parents[1], names(config))
    return done


def failed(config: TrialConfig, folder: Path, reason: str) -> None:
    """Say in a trial's record that it has failed, where its own process could not.

    Raises:
        ConfigError: some process still writes it.
    """
    with files.locked(folder / LOCK, LOCK_WAIT_S):
        found = read(folder)
        if found is not None and found.status in (Status.FAILED, Status.FINISHED):
            return
        writer = Writer(folder)
        if found is None:  # it died before it had a record
            writer.text(CONFIG, json.dumps(resolved(config), indent=1))
            writer.start({}, config.labels.seal)
        writer.end(Status.FAILED, reason)


def ended(config: TrialConfig, folder: Path) -> None:
    """Let the copy of a trial say what became of it that was stopped from outside.

    Raises:
        ConfigError: some process still writes its record.
        StoreError: the copy cannot be made.
    """
    if read(folder) is None:
        return
    with files.locked(folder / LOCK, LOCK_WAIT_S):
        pass  # its process is gone; whoever holds the lock counts as running
    config.tracking.publish(folder, folder.parents[1], names(config))


def entered(
    config: TrialConfig, source: Source, folder: Path, imported: dict[str, str]
) -> dict[str, float] | None:
    """The result of a finished trial; None once all is written down to begin or to go on.

    Args:
        imported: digests of the code when this process had just imported it; a base model may have
            been made since, which takes minutes.

    Raises:
        ConfigError: the trial was made of other content, or its code has changed meanwhile.
    """
    now = identity_of(config, source)
    done = finished_before(config, folder, now)
    if done is None:
        if edited := changes(replace(now, code=imported), now):
            raise ConfigError(
                f"{', '.join(edited)} changed while the trial was starting, so that this process "
                f"runs what is no longer there; run the same command again"
            )
        writer = Writer(folder)
        writer.text(CONFIG, json.dumps(resolved(config), indent=1))
        if writer.last < 0:
            if read(folder) is None:
                _clear_leftovers(folder)
            writer.text(IDENTITY, json.dumps({"hash": now.hash, **to_plain(now)}, indent=1))
    return done


def _clear_leftovers(folder: Path) -> None:
    """Checkpoints without a record are another life's: nothing says what they were made of."""
    for path in (*folder.glob("step_*"), folder / checkpoint.FINAL, folder / checkpoint.BEST):
        files.remove(path)


def _changed(folder: Path, now: Identity) -> list[str]:
    try:
        plain = json.loads((folder / IDENTITY).read_bytes())
        before = from_plain({k: v for k, v in plain.items() if k != "hash"})
    except (OSError, ValueError, AttributeError, ConfigError):
        return [f"{IDENTITY} cannot be read, so that anything may have"]
    return changes(before, now)
