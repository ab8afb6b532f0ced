"""Metrics in words, for sentences and figures."""

from harness.schema import KINDS, described

# How a metric's meaning begins that is a share although its unit is only "1".
SHARES = ("share", "unbiased chance", "sampled accuracy", "mean accuracy")
WHOLE = "eval/accuracy"  # of which KINDS are the parts
# Short names for sentences and titles; any other metric goes by its key.
NAMES = {
    "critic/score/mean": "training reward",
    "reward/accuracy": "training accuracy",
    "reward/no_signal_groups": "groups without a signal",
    "response_length/mean": "length of training responses",
    "response_length/clip_ratio": "training responses cut by the window",
    "window/current": "response budget (window)",
    "curriculum/level": "level of the curriculum",
    "rollout/accepted": "groups accepted",
    "rollout/mismatch/ess": "tokens that importance weights leave",
    "rollout/mismatch/mean": "sampler against trainer",
    "actor/entropy": "entropy in training",
    "actor/ppo_kl": "KL of one step (old, new)",
    "actor/pg_clipfrac": "tokens that are clipped",
    "actor/grad_norm": "gradient norm",
    "actor/log_ratio_sum": "log ratio of a response to the base",
    "actor/weight/mean": "weight of a response",
    "eval/accuracy": "held-out accuracy",
    "eval/greedy_accuracy": "greedy held-out accuracy",
    "eval/pass_at_k": "pass@k",
    "eval/kl": "KL from the base model",
    "eval/entropy": "entropy on held-out prompts",
    "eval/truncated": "held-out responses cut",
    "eval/response_length/mean": "length of responses",
    "eval/response_length/right": "length of right responses",
    "eval/response_length/wrong": "length of wrong responses",
    "eval/behaviour/attempts": "attempts per response",
    "eval/behaviour/retry_rate": "another attempt after a miss",
    "eval/behaviour/give_up_rate": "gives up after a miss",
    "eval/behaviour/checked": "answers checked before they are given",
    "eval/behaviour/computed_rightly": "attempts computed rightly",
    "eval/behaviour/success_per_attempt": "attempts that reach the target",
    "eval/strategy/toward": "steers toward the target",
    "eval/strategy/random": "tries at random",
    "eval/strategy/away": "steers away from the target",
    "eval/strategy/patient": "is patient",
    "eval/strategy/slips": "slips",
}


def name(metric: str) -> str:
    """Its short name, or its key."""
    if metric.startswith(KINDS):
        part = metric.removeprefix(f"{WHOLE}/")
        return f"{NAMES[WHOLE]}, {part.replace('_', ' ', 1)}"
    return NAMES.get(metric, metric)


def label(metric: str) -> str:
    """Its unit in words, as an axis has it."""
    known = described(metric)
    if known is None:
        return "value"
    if known.unit == "1":
        return "share" if known.meaning.startswith(SHARES) else "no unit"
    return {"nats": "nats per token"}.get(known.unit, known.unit)
