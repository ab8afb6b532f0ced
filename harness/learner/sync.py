"""Weights go from the trainer to the engine, and proof comes back that they arrived.

After every sync three things must hold: the engine was given the model's current version, the bits
that reached its loaders have the trainer's checksum, and a few responses that it then samples have
the log-probs that the trainer gives them. Nothing is sampled from other weights than those.
"""

from collections.abc import Sequence

import torch

from harness.errors import EngineError
from harness.learner.policy import Policy
from harness.machine.progress import Unit, waiting
from harness.rollout.engine import Request, RolloutConfig, Stream
from harness.rollout.spread import Spread
from harness.types import Prompt, Rollout, Sampling

# Mean |log-prob difference| between two correct computations of one model, by the type they are
# done in: measured 3e-6 in float32 and 1e-2 in bfloat16 (README), with room for larger models.
TOLERANCE = {
    torch.float64: 1e-4,
    torch.float32: 1e-4,
    torch.float16: 0.02,
    torch.bfloat16: 0.05,
}
# What each engine samples for the check: enough tokens for a mean, few enough to cost nothing.
PROBE_PROMPTS, PROBE_TOKENS = 4, 16


class Synced:
    """The ranks' engines, and whose weights they have."""

    def __init__(
        self,
        engine: Spread,
        policy: Policy,
        dtype: torch.dtype,
        rollout: RolloutConfig,
        prompts: tuple[Prompt, ...],
    ) -> None:
        """Nothing is loaded yet.

        Args:
            dtype: the engine's numeric type.
            prompts: what the check samples for is taken from them: the longest, of which an
                engine's prefix cache keeps most.
        """
        self.engine = engine
        self.model = policy
        self.loaded: int | None = None
        self.dtype = dtype
        self.rollout = rollout
        longest = sorted(prompts, key=lambda prompt: -len(prompt.text))
        count = PROBE_PROMPTS * engine.engines
        self.probe = [Request(prompt=p, items=(i,)) for i, p in enumerate(longest[:count])]

    def load(self, model: Policy, sample: bool = True) -> dict[str, float]:
        """Give the engine a model's weights; metrics of it.

        Args:
            sample: whether responses are drawn and compared as well, which takes longest.

        Raises:
            EngineError: they did not all arrive, or the engine does not sample from them.
        """
        version = model.version
        receipt = self.engine.load_weights(model.weights(self.dtype))
        expected = model.checksum(self.dtype)
        if receipt.checksum != expected:
            raise EngineError(
                f"the rollout engine was given other weights than the trainer's after update "
                f"{version}: their checksums are {receipt.checksum} and {expected}; the sync "
                f"left a tensor out, or was an update behind"
            )
        self.model, self.loaded = model, version
        gap = {"rollout/sync/gap": self._gap()} if sample else {}
        return {"rollout/sync/bytes": float(receipt.bytes), **gap}

    def generate(self, requests: Sequence[Request], sampling: Sampling, stream: Stream) -> Rollout:
        """Responses in the order of requests and items.

        Raises:
            EngineError: the model has moved on since its weights were loaded.
        """
        if self.loaded != self.model.version:
            raise EngineError(
                f"the rollout engine has the weights after update {self.loaded}, but the trainer "
                f"is at {self.model.version}; sync before sampling"
            )
        return self.engine.generate(requests, sampling, stream)

    def sleep(self) -> None:
        """Give the device's memory to the trainer until the next load."""
        self.engine.sleep()
        self.loaded = None

    def close(self) -> None:
        """Free what the engine holds."""
        self.engine.close()

    def _gap(self) -> float:
        """Mean |log-prob difference| of a few responses, engine against trainer."""
        sampling = Sampling(temperature=self.model.temperature, max_new_tokens=PROBE_TOKENS)
        stream = Stream(seed=0, name="sync", step=0)  # a resumed trial repeats its gaps
        count = len(self.probe)
        with waiting(Unit.RESPONSES, "checking", f"the sampler on {count} responses", 2 * count):
            rollout = self.generate(self.probe, sampling, stream)
            logprobs_BT = self.model.logprobs(rollout)
        gap = float((logprobs_BT - rollout.logprobs_BT)[rollout.mask_BT].abs().mean())
        allowed = self.rollout.sync_tolerance or TOLERANCE[self.dtype]
        if not gap <= allowed:
            raise EngineError(
                f"the rollout engine does not sample from the trainer's weights after update "
                f"{self.loaded}: log-probs differ by {gap:.3g} in the mean, {allowed:g} is "
                f"allowed; it kept old weights or an old prefix cache, or computes otherwise "
                f"(rollout.sync_tolerance raises the bound)"
            )
        return gap
