"""Recipes for real hardware: what they say, and that it would fit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2Config

from harness.learner.memory import Shape, estimate, shape_of
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
    from harness.trial import prepare
    from tests.conftest import SMALL

    config = composed(*SMALL, f"runs={work / 'runs'}", "tracking=none")
    _, source = prepare(config)
    needed = sum(preflight.memory(config, source, preflight.read(config, source)).values())
    page = 4096
    for there, refused in ((needed + page, False), (needed - page, True)):
        sizes = {"SC_PAGE_SIZE": page, "SC_PHYS_PAGES": there // page}
        monkeypatch.setattr(preflight.os, "sysconf", sizes.__getitem__)
        if refused:
            with pytest.raises(ConfigError, match="each rank needs about") as refusal:
                prepare(config)
            assert "\n" not in str(refusal.value)
        else:
            prepare(config)
