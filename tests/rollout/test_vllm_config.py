"""rollout=vllm where vLLM is missing, or is another version: what is said. No vLLM is needed."""

import importlib.metadata
from collections.abc import Callable
from typing import Any

import pytest

from harness.errors import ConfigError
from harness.models.loading import Source


class Found:
    version = "0.33.1"


@pytest.mark.parametrize(
    ("installed", "message"),
    [
        ({}, r"needs vLLM, which is not installed; run: pip install -e '\.\[vllm\]'"),
        (
            {"vllm": Found},
            r"tested with vllm 0\.32\.\*, received 0\.33\.1; run: pip install 'vllm==0\.32\.0'",
        ),
    ],
    ids=["missing", "another version"],
)
def test_what_is_not_the_tested_vllm_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    composed: Callable[..., Any],
    source: Source,
    installed: dict[str, type],
    message: str,
) -> None:
    config = composed("rollout=vllm")
    monkeypatch.setattr(
        importlib.metadata,
        "distributions",
        lambda name: [installed[name]] if name in installed else [],
    )
    with pytest.raises(ConfigError, match=message):
        config.rollout.check(source, 1, "cpu")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rollout.tensor_parallel=0", "rollout.tensor_parallel must be at least 1"),
        ("rollout.cache_gb=0", "rollout.cache_gb must be above 0"),
        ("rollout.sync_tolerance=0", "rollout.sync_tolerance must be above 0"),
    ],
)
def test_bad_values_are_refused(composed: Callable[..., Any], override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        composed("rollout=vllm", override)
