"""Recipes for real hardware: what they say, and that it would fit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2Config

from harness.learner.memory import Shape, estimate, on_host, shape_of
from harness.tasks.templates import TinyZeroInstruct
from tests.conftest import ROOT

LAPTOP = "laptop_0_5b"
# Of these nothing was run where they are meant for.
RECIPES = sorted({p.stem for p in (ROOT / "conf" / "recipe").glob("*.yaml")} - {LAPTOP})
# hidden, layers, heads, key-value heads, feed-forward, output layer tied: as on the hub.
MODELS = {
    "Qwen/Qwen2.5-0.5B": (896, 24, 14, 2, 4864, True),
    "Qwen/Qwen2.5-1.5B": (1536, 28, 12, 2, 8960, True),
    "Qwen/Qwen2.5-3B": (2048, 36, 16, 2, 11008, True),
    "Qwen/Qwen2.5-3B-Instruct": (2048, 36, 16, 2, 11008, True),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": (1536, 28, 12, 2, 8960, False),
}
GPU_GB = 80.0
# What a laptop of 16 GB leaves beside its own programs.
LAPTOP_GB = 14.0


def shape(path: str) -> Shape:
    hidden, layers, heads, key_values, feed_forward, tied = MODELS[path]
    return shape_of(
        Qwen2Config(
            vocab_size=151_936,
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=key_values,
            intermediate_size=feed_forward,
            tie_word_embeddings=tied,
        )
    )


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_typed_fits_its_gpus_and_says_what_was_not_run(
    name: str, composed: Callable[..., Any]
) -> None:
    config = composed(f"+recipe={name}")
    parts = estimate(shape(config.model.path), config, torch.float32, prompt=256)
    assert sum(parts.values()) < 0.95 * GPU_GB * 1e9  # the rest is the device's own
    assert config.trainer.device.value == "cuda"
    assert config.trainer.threads == config.ray.cpus_per_rank == 4
    head = (ROOT / "conf" / "recipe" / f"{name}.yaml").read_text().partition("defaults:")[0]
    assert "Not run on GPUs" in head


def test_the_laptop_recipe_fits_a_laptop_and_a_first_look(composed: Callable[..., Any]) -> None:
    """16 held-out prompts, one response each, then steps of 16 responses of at most 32 tokens."""
    config = composed(f"+recipe={LAPTOP}")
    parts = estimate(shape(config.model.path), config, torch.float32, prompt=64)
    assert sum(parts.values()) < LAPTOP_GB * 1e9
    assert (config.trainer.device.value, config.trainer.threads) == ("cpu", 2)
    assert (len(config.task.held_out()), config.evaluation.pass_k) == (16, 0)
    responses = config.trainer.prompts_per_step * config.algorithm.group_size
    assert (responses, config.rollout.max_new_tokens) == (16, 32)


def test_the_sizes_are_those_of_the_models_on_the_hub() -> None:
    """Qwen2.5's own model cards: 0.49B, 1.54B, 3.09B parameters; the distilled one is untied."""
    billions = {path: round(shape(path).parameters / 1e9, 2) for path in MODELS}
    assert list(billions.values()) == [0.49, 1.54, 3.09, 3.09, 1.78]


def test_tinyzero_is_the_reference_script(composed: Callable[..., Any]) -> None:
    """scripts/train_tiny_zero.sh of TinyZero, number by number."""
    for name, ranks in (("tinyzero_3b_1gpu", 1), ("tinyzero_3b", 2), ("tinyzero_3b_4gpu", 4)):
        config = composed(f"+recipe={name}")
        trainer, algorithm = config.trainer, config.algorithm
        assert config.model.path == "Qwen/Qwen2.5-3B"
        assert trainer.ranks == ranks
        assert trainer.prompts_per_step == 256
        assert trainer.prompts_per_step // trainer.mini_batches == 64
        assert config.rollout.max_new_tokens == config.window.window(0) == 1024
        assert trainer.token_budget == 8 * (256 + 1024)
        assert trainer.optimizer.learning_rate == 1e-6
        assert trainer.optimizer.rate(0.0) == trainer.optimizer.rate(1.0) == 1e-6
        assert algorithm.critic.learning_rate == 1e-5
        assert (algorithm.kl.coefficient, algorithm.kl.target) == (0.001, None)
        assert (algorithm.clip_low, algorithm.value_clip) == (0.2, 0.5)
        assert (algorithm.entropy_coefficient, algorithm.group_size) == (0.001, 1)
        assert (algorithm.gamma, algorithm.lam) == (1.0, 1.0)
        assert config.budget.amount == 15 * config.task.train_size
        steps = config.budget.amount / trainer.prompts_per_step
        assert round(trainer.save_every * steps, 3) == 100
        assert round(config.evaluation.every * steps, 3) == 100


def test_the_others_differ_in_what_they_are_named_after(composed: Callable[..., Any]) -> None:
    small, instruct = composed("+recipe=tinyzero_0_5b"), composed("+recipe=tinyzero_3b_instruct")
    assert small.model.path == "Qwen/Qwen2.5-0.5B"
    assert instruct.model.path == "Qwen/Qwen2.5-3B-Instruct"
    assert isinstance(instruct.task.template, TinyZeroInstruct)
    window = composed("+recipe=adaptive_window_1_5b").window
    assert (window.initial, window.minimum, window.maximum) == (512, 20, 4096)
    star = composed("+recipe=a_star_po_3b")
    assert star.algorithm.value_samples == [5, 3, 2]
    assert (star.algorithm.beta, star.algorithm.kl_coefficient) == (0.5, 0.03)
    assert set(star.task.weights) == {"countdown", "multiplication"}
    assert composed("+recipe=gsm8k_1_5b").algorithm.critic is not None


def test_a_recipe_takes_overrides(composed: Callable[..., Any]) -> None:
    config = composed("+recipe=tinyzero_3b", "algorithm.group_size=4", "trainer.ranks=4")
    assert config.algorithm.group_size == config.trainer.ranks == 4
    assert config.trainer.prompts_per_step == 256


def test_a_model_that_cannot_fit_is_refused(
    work: Path, composed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness import preflight
    from harness.errors import ConfigError
    from harness.machine import devices
    from harness.trial import prepare
    from tests.conftest import SMALL

    config = composed(*SMALL, f"runs={work / 'runs'}", "tracking=none")
    _, source = prepare(config)
    needed = sum(preflight.memory(config, source, preflight.read(config, source)).values())
    for free, refused in ((needed, False), (needed - 1, True)):
        monkeypatch.setattr(devices, "host", lambda free=free: devices.Room(free, 10 * needed))
        if refused:
            with pytest.raises(ConfigError, match="each rank needs about") as refusal:
                prepare(config)
            assert "\n" not in str(refusal.value)
            # Two ranks of this machine would have half of its memory each.
            assert "trainer.ranks over several machines" in str(refusal.value)
        else:
            prepare(config)


# --- a GPU and its machine, which are made up -----------------------------------------------------


@pytest.mark.parametrize(
    ("free", "host", "share", "message"),
    [
        (80.0, 200.0, 1.0, None),
        (66.0, 200.0, 1.0, r"its GPU and has 62\.0: 66\.0 of 80\.0 are free, 5% stay so"),
        (80.0, 90.0, 1.0, r"of its machine and has 90\.0 .* trainer\.sharding\.offload=false"),
        (80.0, 200.0, 0.5, r"has 38\.0: .* of which a trial may take 0\.5 \(ray\.gpus_per_rank\)"),
    ],
    ids=["fits", "others are on it", "host", "share"],
)
def test_what_is_free_is_compared_with_what_is_needed(
    composed: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    free: float,
    host: float,
    share: float,
    message: str | None,
) -> None:
    """63.3 GB of the GPU and 97.6 of the machine for TinyZero's script on one GPU, with offload."""
    from harness.errors import ConfigError
    from harness.learner import room
    from harness.machine import devices

    config = composed("+recipe=tinyzero_3b_1gpu", f"ray.gpus_per_rank={share}")
    sizes = shape(config.model.path)
    on_gpu = estimate(sizes, config, torch.float32, prompt=256)
    on_machine = on_host(sizes, config, torch.float32)
    card, machine = (int(x * 1e9) for x in (free, host))
    monkeypatch.setattr(devices, "gpu", lambda: devices.Room(card, 80 * 10**9))
    monkeypatch.setattr(devices, "host", lambda: devices.Room(machine, machine))
    if message is None:
        room.check(config, on_gpu, on_machine)
        return
    with pytest.raises(ConfigError, match=message) as refusal:
        room.check(config, on_gpu, on_machine)
    assert "\n" not in str(refusal.value)


def test_two_small_trials_share_a_gpu(
    composed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """30.0 GB each of 80: half of the card is 38.0 with its headroom."""
    from harness.launch import bundle
    from harness.learner import room
    from harness.machine import devices

    config = composed("+recipe=tinyzero_0_5b", "ray.gpus_per_rank=0.5")
    monkeypatch.setattr(devices, "gpu", lambda: devices.Room(80 * 10**9, 80 * 10**9))
    monkeypatch.setattr(devices, "host", lambda: devices.Room(10**11, 10**11))
    sizes = shape(config.model.path)
    room.check(
        config, estimate(sizes, config, torch.float32, 256), on_host(sizes, config, torch.float32)
    )
    assert bundle(config) == {"CPU": 4, "GPU": 0.5}


def test_ranks_of_one_trial_share_no_gpu(composed: Callable[..., Any]) -> None:
    from harness import preflight
    from harness.errors import ConfigError

    asked = ("ray.gpus_per_rank=0.5", "ray.address=head:6379")
    with pytest.raises(ConfigError, match=r"received trainer\.ranks=2; NCCL wants one for each"):
        preflight.check_layout(composed("+recipe=tinyzero_3b", *asked))
    with pytest.raises(ConfigError, match=r"ray\.gpus_per_rank is a share"):
        composed("ray.gpus_per_rank=2")


def test_a_driver_needs_no_gpu_where_the_ranks_are_elsewhere(composed: Callable[..., Any]) -> None:
    """Here is none: the driver passes, a rank does not, nor whoever would start Ray here."""
    from harness import preflight
    from harness.errors import ConfigError

    away = composed("trainer.device=cuda", "ray.address=head:6379")
    preflight.check_layout(away)
    preflight.check_layout(composed("trainer.device=cuda", "dry_run=true"))
    for refused in (
        lambda: preflight.settle(away),
        lambda: preflight.check_layout(composed("trainer.device=cuda")),
    ):
        with pytest.raises(ConfigError, match="torch sees no GPU here"):
            refused()


def test_the_estimate_knows_what_is_alive_at_once(composed: Callable[..., Any]) -> None:
    """A critic's own graph doubles what a pass keeps; bfloat16 halves the reference."""
    sizes = shape("Qwen/Qwen2.5-3B")
    ppo = composed("+recipe=tinyzero_3b", "trainer.token_budget=65536", "rollout.cache_gb=1")
    shared = composed(
        *("+recipe=tinyzero_3b", "trainer.token_budget=65536", "rollout.cache_gb=1"),
        "algorithm.critic.shared=true",
    )
    one, two = (
        estimate(sizes, config, torch.float32, 256)["one pass of learning"]
        for config in (shared, ppo)
    )
    # Inputs of 36 blocks of width 2,048 in bfloat16, and the root's parameters, once more.
    inputs, root = 65536 * 36 * 2048 * 2, (sizes.parameters - 36 * sizes.block) * 2
    assert two - one == inputs + root
    full = composed("+recipe=tinyzero_3b", "trainer.sharding.precision=weights")
    reference = "reference"
    half, whole = (estimate(sizes, c, torch.float32, 256)[reference] for c in (ppo, full))
    assert (half, whole) == (sizes.parameters * 2 // 2, sizes.parameters * 4 // 2)
