"""Sampler against trainer: by hand, by property, and the two thresholds."""

import logging
import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from harness.errors import ConfigError, EngineError
from harness.rollout.mismatch import Mismatch, mismatch


def test_by_hand() -> None:
    sampler_BT = torch.tensor([[math.log(0.5), math.log(0.25), 9.0]])
    trainer_BT = torch.tensor([[math.log(0.25), math.log(0.5), -9.0]])
    found = mismatch(sampler_BT, trainer_BT, torch.tensor([[True, True, False]]))
    assert found == pytest.approx(
        {
            "rollout/mismatch/mean": math.log(2),
            "rollout/mismatch/max": math.log(2),
            # d = -log 2 and log 2, w = 1/2 and 2: mean of w - 1 - d = (2.5 - 2) / 2
            "rollout/mismatch/k3": 0.25,
            "rollout/mismatch/ess": 2.5**2 / (2 * 4.25),
            "rollout/mismatch/correlation": -1.0,  # one falls where the other rises
        },
        rel=1e-6,
    )


def test_equal_log_probs_have_none() -> None:
    logprobs_BT = torch.tensor([[-1.0, -2.0], [-0.5, -0.1]])
    found = mismatch(logprobs_BT, logprobs_BT, torch.ones(2, 2, dtype=torch.bool))
    assert found["rollout/mismatch/max"] == found["rollout/mismatch/k3"] == 0
    assert found["rollout/mismatch/ess"] == pytest.approx(1)
    assert found["rollout/mismatch/correlation"] == pytest.approx(1)
    constant_BT = torch.full((1, 3), -1.0)
    found = mismatch(constant_BT, constant_BT, torch.ones(1, 3, dtype=torch.bool))
    assert found["rollout/mismatch/correlation"] == 1
    found = mismatch(constant_BT, logprobs_BT[:, [0, 1, 1]][:1], torch.ones(1, 3).bool())
    assert found["rollout/mismatch/correlation"] == 0


@given(st.lists(st.tuples(st.floats(-8, 0), st.floats(-8, 0)), min_size=2, max_size=20))
def test_k3_is_never_negative_and_the_share_is_one(pairs: list[tuple[float, float]]) -> None:
    sampler_BT, trainer_BT = torch.tensor(pairs, dtype=torch.float64).T[:, None].unbind()
    found = mismatch(sampler_BT, trainer_BT, torch.ones_like(sampler_BT, dtype=torch.bool))
    assert found["rollout/mismatch/k3"] >= -1e-15  # the last bit of expm1
    assert 0 < found["rollout/mismatch/ess"] <= 1 + 1e-12
    assert -1 - 1e-9 <= found["rollout/mismatch/correlation"] <= 1 + 1e-9
    assert found["rollout/mismatch/mean"] <= found["rollout/mismatch/max"] * (1 + 1e-12)


def test_thresholds(caplog: pytest.LogCaptureFixture) -> None:
    limits = Mismatch(warn=0.1, stop=0.5)
    with caplog.at_level(logging.WARNING):
        limits.check({"rollout/mismatch/mean": 0.1})
        assert not caplog.records
        limits.check({"rollout/mismatch/mean": 0.11})
    assert "differ by 0.11 in the mean, above trainer.mismatch.warn=0.1" in caplog.text
    for mean in (0.51, math.nan):
        with pytest.raises(EngineError, match=r"above trainer.mismatch.stop=0.5"):
            limits.check({"rollout/mismatch/mean": mean})
    with pytest.raises(ConfigError, match=r"stop must be at least trainer.mismatch.warn=0.3"):
        Mismatch(warn=0.3, stop=0.2)
