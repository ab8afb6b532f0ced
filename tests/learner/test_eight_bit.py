"""8-bit Adam is torchao's: it steps as AdamW does, sharded as well, and is resumed to the bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from harness.distributed.ranks import joined
from harness.distributed.sharding import Layout, Sharding
from harness.learner import checkpoint
from harness.learner.optimizer import Kind, Optimizer
from harness.learner.policy import Policy

pytestmark = [pytest.mark.eight_bit, pytest.mark.filterwarnings("ignore")]
# torchao quantizes moments of at least this many numbers; smaller ones stay in float32.
QUANTIZED = 4096


def model() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = Qwen2Config(
            vocab_size=64,
            hidden_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            intermediate_size=256,
        )
        return Qwen2ForCausalLM(config).eval()


def stepped(policies: list[Policy], seed: int) -> None:
    """One step of each on the same random gradient."""
    draw = torch.Generator().manual_seed(seed)
    for group in zip(*(policy.parameters for policy in policies), strict=True):
        gradient = torch.randn(group[0].shape, generator=draw)
        for p in group:
            sharded = isinstance(p, DTensor)
            p.grad = (
                distribute_tensor(gradient, p.device_mesh, p.placements)
                if sharded
                else gradient.clone()
            )
    for policy in policies:
        policy.step(0.5, policy.norm())


def test_eight_bits_step_as_adam_does_and_are_resumed(tmp_path: Path) -> None:
    with joined(0, 1, None, "cpu") as ranks:
        layout = Layout(100, Sharding(fsdp=True), ranks=ranks)
        eight = Optimizer(kind=Kind.ADAMW_8BIT, warmup=0.0)
        small, full = (
            Policy(model(), 1.0, layout, settings) for settings in (eight, Optimizer(warmup=0.0))
        )
        for step in range(3):
            stepped([small, full], step)
        start = dict(model().named_parameters())
        for (name, a), (_, b) in zip(small.weights(), full.weights(), strict=True):
            moved = b - start[name].detach()
            apart = (a - b).norm() / moved.norm().clamp(min=1e-12)
            assert 0 < apart < 0.03 if a.numel() > QUANTIZED else apart < 1e-4, name
        checkpoint.save(tmp_path / "step_3", small.state_dict(), {}, ranks)
        resumed = Policy(model(), 1.0, layout, eight)
        state = resumed.state_dict()
        checkpoint.load(tmp_path / "step_3", state, ranks)
        resumed.load_state_dict(state)
        stepped([small, resumed], 9)
        for (_, a), (_, b) in zip(small.weights(), resumed.weights(), strict=True):
            assert torch.equal(a, b)
        del small, full, resumed
