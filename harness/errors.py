"""Errors that users see.

HarnessError
├── ConfigError        the request is wrong: one line, exit code 2; so is one that names a plug-in
│                      or a grader which fails before anything is made
├── ContractError      a plug-in breaks the contract of its kind while it runs: exit code 1
│   └── PlugInError    it raises, as anything may that depends on more than the trial
├── DivergedError      weights, gradients or metrics are no longer numbers: exit code 1
├── StalledError       nothing got on in a trial for too long: exit code 1
├── CollapsedError     a trial has nothing left to learn from, and was to be stopped: exit code 1
├── CheckpointError    a checkpoint cannot be written or does not fit: exit code 1
├── RankError          one of a trial's processes failed: exit code 1
├── EngineError        the rollout engine failed, or has not the trainer's weights: exit code 1
├── StoreError         the MLflow store is damaged or cannot be written: exit code 1
├── GraderError        a grader fails on more responses than is allowed: exit code 1
└── TrialsFailedError  a sweep ended before all its trials did: exit code 1

All are picklable, so that they cross process borders unchanged.

Interrupted, Terminated and Stopped are no errors: a person or a scheduler has stopped the trial.
They are told by their types from the KeyboardInterrupt and SystemExit that a plug-in may raise.
"""


class HarnessError(Exception):
    """Base of every error that the harness raises on purpose."""


class ConfigError(HarnessError):
    """The request cannot be run: rule, received value, remedy, valid names, in one line."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows of it: the line, as a terminal does, and no traceback."""
        return [f"{type(self).__name__}: {self}"]


class ContractError(HarnessError):
    """A plug-in does something its contract forbids; the message names the plug-in's fault."""


class PlugInError(ContractError):
    """A plug-in raised an exception; the message names both."""


class DivergedError(HarnessError):
    """Weights, gradients or metrics are no longer numbers; the message says which, and when."""


class StalledError(HarnessError):
    """Nothing got on for too long; the message says where the trial stands."""


class CollapsedError(HarnessError):
    """A trial has nothing left to learn from; the message says why, and what to change."""


class CheckpointError(HarnessError):
    """A checkpoint cannot be written, or is another model's."""


class RankError(HarnessError):
    """One of a trial's processes failed; the message is that process's."""


class EngineError(HarnessError):
    """The rollout engine failed, or does not sample from the trainer's weights."""


class StoreError(HarnessError):
    """The MLflow store is damaged, of another MLflow, or cannot be written."""


class GraderError(HarnessError):
    """A grader raises, or takes too long, on more responses than is allowed."""


class TrialsFailedError(HarnessError):
    """A sweep ended before all of its trials had finished."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C: SIGINT has arrived."""


class Terminated(SystemExit):
    """SIGTERM has arrived; the code is the exit code."""


class Stopped(SystemExit):
    """A tuning has ended the trial before its budget was spent; the code is the reason."""
