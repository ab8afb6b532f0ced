"""Settings of the training loop."""

from dataclasses import dataclass, field

from harness import checks
from harness.distributed.sharding import Device, Sharding
from harness.errors import ConfigError
from harness.learner.columns import OldLogprobs
from harness.learner.optimizer import Optimizer
from harness.rollout.mismatch import Mismatch


@dataclass(frozen=True)
class Trainer:
    """How a step is made and how often it is saved.

    Attributes:
        optimizer: AdamW and its learning rate.
        prompts_per_step: prompts of one rollout.
        epochs: passes over a rollout.
        mini_batches: optimizer steps per pass.
        token_budget: padded tokens of one forward pass; changes memory and rounding, not the loss.
        save_every: fraction of the budget between checkpoints.
        keep_checkpoints: how many `step_N` are kept.
        threads: of torch, in each rank; another number rounds differently.
        ranks: processes that share the work of a trial; prompts_per_step is a multiple of them.
        device: cpu, or cuda with one GPU per rank.
        deterministic: only kernels that repeat to the bit, which on a GPU are slower; on a CPU all
            that is used here do.
        sharding: how the models lie on it.
        check_sync_every: steps between two syncs after which responses are sampled and compared;
            version and checksum are compared at each.
        reference_ahead: steps for whose prompts the base's responses (V*) are drawn at once, where
            some are missing: each draw takes two syncs. Moves no number.
        old_logprobs: what a loss takes its ratios against (θ_old of PPO, Schulman et al. 2017).
            `trainer`: the policy's own before the first update, so that ratios begin at exactly 1.
            `sampler`: those under which the engine drew; no pass is made for them, ratios begin at
            what the two differ by, and rollout/mismatch/* is of the rows of the first update.
        mismatch: how far the sampler's log-probs may be from the trainer's.
        importance_cap: truncated importance sampling: policy losses are weighted by the ratio of
            trainer to sampler, at most this; null switches it off.
    """

    optimizer: Optimizer = field(default_factory=Optimizer)
    prompts_per_step: int = 32
    epochs: int = 1
    mini_batches: int = 1
    token_budget: int = 4096
    save_every: float = 0.2
    keep_checkpoints: int = 2
    threads: int = 1
    ranks: int = 1
    device: Device = Device.CPU
    deterministic: bool = False
    sharding: Sharding = field(default_factory=Sharding)
    check_sync_every: int = 1
    reference_ahead: int = 4
    old_logprobs: OldLogprobs = OldLogprobs.TRAINER
    mismatch: Mismatch = field(default_factory=Mismatch)
    importance_cap: float | None = None

    def __post_init__(self) -> None:
        for name in (
            "prompts_per_step",
            "epochs",
            "mini_batches",
            "token_budget",
            "keep_checkpoints",
            "threads",
            "ranks",
            "check_sync_every",
            "reference_ahead",
        ):
            checks.at_least(f"trainer.{name}", getattr(self, name), 1)
        if self.prompts_per_step % self.ranks:
            raise ConfigError(
                f"trainer.ranks must divide trainer.prompts_per_step={self.prompts_per_step}, "
                f"received {self.ranks}; every rank samples for as many prompts"
            )
        checks.share("trainer.save_every", self.save_every)
        checks.above("trainer.importance_cap", self.importance_cap, 0)
        if self.importance_cap is not None and self.old_logprobs is OldLogprobs.SAMPLER:
            raise ConfigError(
                f"trainer.importance_cap weights by old log-probs over the sampler's, which with "
                f"trainer.old_logprobs=sampler are the same, received {self.importance_cap:g}; set "
                f"it to null, or trainer.old_logprobs=trainer"
            )
