"""A third variant is one Python file and one YAML, from a package outside this repository.

Its package is tests/examples/algorithm, whose own test of the contract pytest finds by itself.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.algorithms.grpo import Grpo
from harness.errors import ContractError
from harness.launch import run_trial
from harness.schema import Metric
from harness.types import Loss, Minibatch
from tests.conftest import ROOT, SMALL, Here

EXAMPLE = ROOT / "tests" / "examples" / "algorithm"


def test_a_package_outside_the_repository_adds_a_variant(
    work: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    search = "hydra.searchpath=[pkg://mypkg.conf]"
    done = here("algorithm=my_rloo", search, *SMALL)
    assert done.returncode == 0, done.stderr
    (log,) = (work / "runs" / "checkpoints").glob("my_rloo__s0__*/trial.log")
    assert "finished after step 8" in log.read_text()
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{work / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("trials")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.tags["algorithm"] == "my_rloo"
    assert run.data.params["algorithm.group_size"] == "4"
    assert any(
        point.value > 0 for point in client.get_metric_history(run.info.run_id, "actor/grad_norm")
    )
    wrong = here("algorithm=my_rloo", search, "algorithm.group_size=x")
    assert wrong.returncode == 2
    assert "algorithm.group_size" in wrong.stderr
    unknown = here("algorithm=nope", search)
    assert "gspo, my_rloo, ppo" in unknown.stderr


@dataclasses.dataclass(frozen=True)
class Chatty(Grpo):
    """GRPO with a diagnostic of its own."""

    def loss(self, minibatch: Minibatch) -> Loss:
        made = super().loss(minibatch)
        own = {"mine/logprob": minibatch.logprobs_BT}
        return Loss(terms=made.terms, diagnostics={**made.diagnostics, **own})


@dataclasses.dataclass(frozen=True)
class Declared(Chatty):
    """The same, with the diagnostic declared."""

    METRICS: ClassVar[Mapping[str, Metric]] = {"mine/logprob": Metric("nats", "log-prob")}


def test_a_plugin_declares_its_own_diagnostics(work: Path, composed: Callable[..., Any]) -> None:
    config = composed(*SMALL, f"runs={work / 'runs'}", "tracking=none", "budget.amount=1")
    seen: list[Mapping[str, float]] = []
    run_trial(
        dataclasses.replace(config, algorithm=Declared(group_size=4)),
        lambda step, progress, metrics: seen.append(metrics),
    )
    assert seen[-1]["mine/logprob"] < 0
    with pytest.raises(ContractError, match="'mine/logprob' is not declared"):
        run_trial(
            dataclasses.replace(config, algorithm=Chatty(group_size=4)),
            lambda step, progress, metrics: None,
        )
