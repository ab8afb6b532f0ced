"""What a checkpoint's own trial says of it: at which step it was measured, and by which code."""

from pathlib import Path

from harness.commands import trust as received
from harness.config import TrialConfig
from harness.identity import code_now
from harness.learner.checkpoint import ACCURACY, HIGHEST, RESULT
from harness.tracking import record
from harness.tracking.record import CONFIG, IDENTITY
from harness.wording import few

# Metric of a trial that says which step it is.
STEP = "training/global_step"


def last_step(checkpoint: Path) -> int:
    """The step at which a trial measured a checkpoint: it names the random numbers.

    That of `final` stands beside it, that of `best` is the first of its accuracy; 0 where neither
    says so.
    """
    result, best = (received.mapping(checkpoint / name) for name in (RESULT, HIGHEST))
    if STEP in result:
        return int(result[STEP])
    kept = record.read(checkpoint.parent)
    steps = {} if kept is None else kept.steps
    reached = [n for n, s in steps.items() if s.metrics.get("eval/accuracy") == best.get(ACCURACY)]
    return min(reached, default=0)


def differing(checkpoint: Path, config: TrialConfig) -> list[str]:
    """A line for code that is another than when the checkpoint's trial ran; none without any."""
    before = received.mapping(checkpoint.parent / IDENTITY).get("code")
    now = code_now(config)
    if not isinstance(before, dict):
        return []
    edited = sorted(name for name in before.keys() & now.keys() if before[name] != now[name])
    if not edited:
        return []
    return [
        f"note: the code of {few(edited)} changed since the trial ran, so that these numbers need "
        f"not be its own"
    ]


def unsaid(checkpoint: Path, config: TrialConfig) -> list[str]:
    """A line where nothing beside a checkpoint says how its trial computed; else none."""
    if "trainer" in received.mapping(checkpoint.parent / CONFIG):
        return []
    trainer = config.trainer
    number = getattr(config.model, "dtype", None)
    return [
        f"note: no trial's config lies beside the checkpoint; it is measured in "
        f"{number.value if number else 'its own type'} on {trainer.device.value}, with "
        f"{trainer.threads} thread(s): choose with trainer.device=, model.dtype=, trainer.threads="
    ]
