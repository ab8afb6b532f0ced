"""Every metric key, declared once: unit, meaning, and whether it is deterministic.

A metric that reads a clock is `clock=True`: it differs between two runs of one configuration
and is exempt from the bitwise contract. Logging a key that is not declared is an error.
Names follow verl's where verl has one.
"""

import math
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.errors import ContractError, DivergedError

# What MLflow takes as a metric's name (mlflow.utils.validation), on every system.
NAMES, MAX_NAME = r"[\w\-.:/ ]+", 250


@dataclass(frozen=True)
class Metric:
    """One metric key.

    Attributes:
        unit: unit of the value, "1" for a pure number or a share.
        meaning: one line for people who read a plot.
        clock: True when the value depends on time or on the machine.
    """

    unit: str
    meaning: str
    clock: bool = False


def _spread(prefix: str, unit: str, what: str) -> dict[str, Metric]:
    """Mean, largest and smallest value of one quantity over the step."""
    return {
        f"{prefix}/{name}": Metric(unit, f"{text} {what}")
        for name, text in (("mean", "mean"), ("max", "largest"), ("min", "smallest"))
    }


def _timing(*stages: str) -> dict[str, Metric]:
    """Wall seconds of one stage of a step."""
    return {
        f"timing_s/{stage}": Metric("s", f"wall time of {stage} in this step", clock=True)
        for stage in stages
    }


BUDGET = {
    "budget/updates": Metric("updates", "optimizer steps so far"),
    "budget/tokens": Metric("tokens", "sampled training tokens so far"),
    "budget/prompts": Metric("prompts", "training prompts so far"),
    "budget/seconds": Metric("s", "training time so far, over all attempts", clock=True),
    "training/global_step": Metric("steps", "rollouts with their updates so far"),
    "training/epoch": Metric("passes", "passes over the training pool so far"),
}

STEP = {
    **_spread("critic/score", "reward", "task reward of a response, before any KL"),
    **_spread("critic/rewards", "reward", "reward of a response that the algorithm sees"),
    **_spread("critic/advantages", "reward", "advantage over response tokens"),
    **_spread("response_length", "tokens", "response length"),
    "response_length/clip_ratio": Metric("1", "share of responses cut by the window"),
    "response_length/empty": Metric("1", "share of responses with nothing but white space"),
    **_spread("prompt_length", "tokens", "prompt length"),
    "reward/accuracy": Metric("1", "share of training responses graded correct"),
    "reward/error_rate": Metric("1", "share of training responses on which the grader failed"),
    "reward/no_signal_groups": Metric("1", "share of groups whose rewards are all equal"),
    "window/current": Metric("tokens", "response budget of this step's rollout"),
    "actor/pg_loss": Metric("1", "policy term of the loss"),
    "actor/kl_loss": Metric("nats", "KL term of the loss, before its weight"),
    "actor/entropy_loss": Metric("nats", "entropy term of the loss, before its weight"),
    "actor/entropy": Metric("nats", "entropy of the policy per response token"),
    "actor/grad_norm": Metric("1", "gradient norm before clipping, mean over the updates"),
    # It depends on how rows are cut into passes, and so on ranks and token_budget.
    "actor/padding": Metric(
        "1", "share of the positions read by an update's passes that are padding", clock=True
    ),
    "actor/lr": Metric("1", "learning rate of the last update"),
    "actor/ppo_kl": Metric("nats", "k1 estimate of KL(old || new) over response tokens"),
    "actor/pg_clipfrac": Metric("1", "share of tokens on which the clip is active"),
    "rollout/mismatch/mean": Metric("nats", "mean |sampler - trainer| log-prob"),
    "rollout/mismatch/max": Metric("nats", "largest |sampler - trainer| log-prob"),
    "rollout/mismatch/k3": Metric("nats", "k3 estimate of KL(sampler || trainer) per token"),
    "rollout/mismatch/ess": Metric("1", "share of tokens that importance weights would leave"),
    "rollout/mismatch/correlation": Metric("1", "of sampler's and trainer's probabilities"),
    "rollout/sync/bytes": Metric("B", "weights that each rank's engine was given"),
    "rollout/sync/gap": Metric("nats", "mean |log-prob difference| of the check after the sync"),
    "rollout/batches": Metric("1", "rollouts that the step took to find groups to train on"),
    "rollout/accepted": Metric("1", "share of the sampled groups that were accepted"),
    "critic/vf_loss": Metric("1", "value term of the loss"),
    "critic/vf_explained_var": Metric("1", "share of the returns' variance that values explain"),
    "critic/vf_clipfrac": Metric("1", "share of tokens whose value loss is the clipped one"),
    "critic/grad_norm": Metric("1", "gradient norm of the critic before clipping"),
    "critic/lr": Metric("1", "learning rate of the critic's last update"),
    **_timing(
        "gen", "reward", "reference", "old_log_prob", "adv", "update_actor", "update_weights"
    ),
    **_timing("testing", "step"),
    "timing_s/testing_shared": Metric(
        "s",
        "that other trials spent on the base's evaluation, which this one shares",
        clock=True,
    ),
    "timing_s/start": Metric("s", "from the import of harness to the first evaluation", clock=True),
    "perf/throughput": Metric("tokens/s", "prompt and response tokens per second", clock=True),
    "perf/total_num_tokens": Metric("tokens", "prompt and response tokens of this step"),
}

EVAL = {
    "eval/accuracy": Metric("1", "share of held-out prompts solved exactly, sampled"),
    "eval/error_rate": Metric("1", "share of held-out responses on which the grader failed"),
    "eval/kl": Metric("nats", "k3 estimate of KL(policy || base) per sampled token"),
    "eval/entropy": Metric("nats", "entropy per response token on held-out prompts"),
    "eval/response_length/mean": Metric("tokens", "response length on held-out prompts"),
    "eval/response_length/right": Metric("tokens", "length of correct responses"),
    "eval/response_length/wrong": Metric("tokens", "length of wrong responses"),
    "eval/truncated": Metric("1", "share of responses cut by the full budget"),
    "eval/behaviour/attempts": Metric("attempts", "expressions tried per response"),
    "eval/behaviour/give_up_rate": Metric("1", "share of misses after which it answers at once"),
    "eval/behaviour/computed_rightly": Metric("1", "share of attempts with exact arithmetic"),
    "eval/behaviour/success_per_attempt": Metric("1", "share of attempts that reach the target"),
    "eval/behaviour/retry_rate": Metric("1", "share of misses after which it tries again"),
    "eval/behaviour/checked": Metric("1", "share of answers that it had tried and found right"),
    "eval/behaviour/empty": Metric("1", "share of responses with nothing but white space"),
    "eval/behaviour/repetitive": Metric("1", "share of responses that repeat themselves"),
    "eval/behaviour/well_formatted": Metric("1", "share of responses with an answer as asked for"),
    "eval/strategy/toward": Metric("1", "share of responses that steer toward the target"),
    "eval/strategy/random": Metric("1", "share of responses that try at random"),
    "eval/strategy/away": Metric("1", "share of responses that steer away from the target"),
    "eval/strategy/patient": Metric("1", "share that stops as seldom as the patient searcher"),
    "eval/strategy/slips": Metric("1", "share of the steps worked out that are wrong"),
    "eval/accuracy_best_searcher": Metric(
        "1", "share of held-out prompts that the best planted searcher solves, played exactly"
    ),
    "eval/greedy_accuracy": Metric("1", "share of held-out prompts solved by greedy decoding"),
    "eval/pass_at_k": Metric("1", "unbiased chance that one of k samples is right"),
    "eval/avg_at_k": Metric("1", "mean accuracy of the samples that pass@k is measured with"),
    "eval/accuracy_no_early_stop": Metric(
        "1", "sampled accuracy with the answer marker forbidden directly after a miss"
    ),
}

METRICS: dict[str, Metric] = {**BUDGET, **STEP, **EVAL}

# Accuracy on some of the held-out prompts: of one difficulty, or of one part of a mixture.
KINDS = ("eval/accuracy/difficulty_", "eval/accuracy/part_")


def of_kind(kind: str) -> Metric:
    """The accuracy on prompts of one kind, `difficulty 3`; the task says which kinds there are."""
    return Metric("1", f"share solved exactly of held-out prompts of {kind}")


def described(key: str) -> Metric | None:
    """A metric by its key, also one of a part or difficulty; None for what is no core metric."""
    for prefix in KINDS:
        if key.startswith(prefix) and key != prefix:
            return of_kind(key.removeprefix("eval/accuracy/").replace("_", " ", 1))
    return METRICS.get(key)


def check_names(declared: Mapping[str, Metric]) -> None:
    """Raise ContractError for a name that no store takes; before anything is measured."""
    for key in declared:
        fits = re.fullmatch(NAMES, key) and len(key) <= MAX_NAME and posixpath.normpath(key) != "."
        if not fits or posixpath.normpath(key) != key or key.startswith(("/", "..")):
            raise ContractError(
                f"a metric's name is also a path: letters, digits, '_', '-', '.', ':', ' ' and "
                f"single '/' inside, at most {MAX_NAME} characters, received {key!r}; rename it "
                f"in the plug-in's METRICS"
            )


def check_declared(keys: Iterable[str], declared: Mapping[str, Metric]) -> None:
    """Raise ContractError when a key is not declared; say which and where to declare it."""
    unknown = sorted(set(keys) - set(declared))
    if unknown:
        raise ContractError(
            f"metric {', '.join(map(repr, unknown))} is not declared; add it to harness/schema.py "
            f"or to the plug-in's METRICS with unit and meaning"
        )


def check_finite(metrics: Mapping[str, float], declared: Mapping[str, Metric], step: int) -> None:
    """Raise DivergedError for a metric that is no number, which no report could read.

    What plug-ins and models give is looked at where it is received; this is for what is computed
    of it.
    """
    for key, value in metrics.items():
        if not math.isfinite(value):
            raise DivergedError(
                f"the metric {key} ({declared[key].meaning}) is {value:g} at step {step}, although "
                f"all that it is made of was finite: a value is too large, or nothing was measured"
            )
