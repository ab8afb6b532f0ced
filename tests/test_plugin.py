"""A third variant is one Python file and one YAML, from a package outside this repository."""

import os
from pathlib import Path

from tests.conftest import ROOT, SMALL, harness

RLOO = '''
"""RLOO: each response against the mean of the others (arXiv 2402.14740)."""

from dataclasses import dataclass

from harness import checks
from harness.schema import Metric
from harness.tensor_ops import Reduction, leave_one_out, on_tokens
from harness.types import Batch, Loss, LossTerm, Minibatch, RolloutPlan


@dataclass(frozen=True)
class MyRloo:
    """REINFORCE with the leave-one-out baseline.

    Attributes:
        group_size: responses per prompt, at least 2.
        scale: of the advantage.
    """

    group_size: int = 8
    scale: float = 1.0

    columns = frozenset[str]()
    METRICS = {"mine/mean_logprob": Metric("nats", "log-prob of a sampled token")}

    def __post_init__(self) -> None:
        checks.group_size(self.group_size)

    def rollout_plan(self, progress: float) -> RolloutPlan:
        return RolloutPlan(group_size=self.group_size)

    def advantages(self, batch: Batch):
        advantages_B = leave_one_out(batch.scores_B, batch.group_B)
        return self.scale * on_tokens(advantages_B, batch.mask_BT)

    def loss(self, minibatch: Minibatch) -> Loss:
        values_BT = -minibatch.advantages_BT * minibatch.logprobs_BT
        term = LossTerm(name="policy", values=values_BT, reduction=Reduction.TOKEN_MEAN)
        return Loss(terms=(term,), diagnostics={"mine/mean_logprob": minibatch.logprobs_BT})
'''


def test_one_file_and_one_yaml_add_a_variant(work: Path, tmp_path: Path) -> None:
    package = tmp_path / "elsewhere" / "mypkg"
    (package / "conf" / "algorithm").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "conf" / "__init__.py").touch()
    (package / "my_rloo.py").write_text(RLOO)
    (package / "conf" / "algorithm" / "my_rloo.yaml").write_text(
        "_target_: mypkg.my_rloo.MyRloo\ngroup_size: 4\nscale: 1.0\n"
    )
    path = os.pathsep.join([str(ROOT), str(package.parent)])
    search = "hydra.searchpath=[pkg://mypkg.conf]"
    done = harness(work, "algorithm=my_rloo", search, *SMALL, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    (log,) = (work / "runs" / "checkpoints").glob("my_rloo__s0__*/trial.log")
    assert "finished" in log.read_text()
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{work / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("trials")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.tags["algorithm"] == "my_rloo"
    assert run.data.params["algorithm.scale"] == "1.0"
    assert run.data.metrics["mine/mean_logprob"] < 0
    assert run.data.metrics["actor/grad_norm"] > 0
    wrong = harness(work, "algorithm=my_rloo", search, "algorithm.scale=big", PYTHONPATH=path)
    assert wrong.returncode == 2
    assert "algorithm.scale" in wrong.stderr
    assert "'big'" in wrong.stderr
    unknown = harness(work, "algorithm=nope", search, PYTHONPATH=path)
    assert "dr_grpo; grpo; my_rloo" in unknown.stderr
