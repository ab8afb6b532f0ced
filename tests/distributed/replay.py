"""Train on recorded rollouts with any number of ranks: what a rank of these tests runs."""

import dataclasses
import multiprocessing
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.distributed.ranks import ALONE, Ranks, joined
from harness.distributed.sharding import Layout, Sharding, whole
from harness.learner import checkpoint
from harness.learner.batching import mini_batches, passes, row_lengths
from harness.learner.critic import Critic
from harness.learner.optimizer import Optimizer
from harness.learner.policy import Policy
from harness.learner.update import Models, estimates, update
from harness.maths.tensor_ops import on_last_token
from harness.models.loading import Source
from harness.types import Batch, Loss, Minibatch, Rollout

# Optimizer steps on each recorded rollout.
UPDATES_EACH = 4
# Ends a test that hangs: ten times what the longest takes.
JOIN_S = 900.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is replayed, and how."""

    algorithm: Any
    source: Source
    rollouts: tuple[Rollout, ...]
    sharding: Sharding = dataclasses.field(default_factory=Sharding)
    token_budget: int = 120
    save_after: int | None = None
    """Write a checkpoint to `folder` after so many updates."""
    load_first: bool = False
    """Begin from the checkpoint in `folder`, with the rollouts that it has not seen."""
    folder: Path | None = None


@dataclass
class Recorded:
    """An algorithm, and the sum of the absolute values of its policy term over a step."""

    algorithm: Any
    total: float = 0.0
    tokens: int = 0

    @property
    def columns(self) -> frozenset[str]:
        columns: frozenset[str] = self.algorithm.columns
        return columns

    def rollout_plan(self, progress: float) -> Any:
        return self.algorithm.rollout_plan(progress)

    def advantages(self, batch: Batch) -> Any:
        return self.algorithm.advantages(batch)

    def loss(self, minibatch: Minibatch) -> Loss:
        made: Loss = self.algorithm.loss(minibatch)
        values = made.terms[0].values.detach().double().abs()
        self.total += float((values if values.dim() == 1 else values[minibatch.mask_BT]).sum())
        self.tokens += values.numel() if values.dim() == 1 else int(minibatch.mask_BT.sum())
        return made


def models_of(case: Case, ranks: Ranks) -> Models:
    layout = Layout(case.token_budget, case.sharding, ranks=ranks)
    settings = Optimizer(learning_rate=1e-3, warmup=0.0)
    critic = getattr(case.algorithm, "critic", None)
    policy = Policy(
        case.source.model(), 1.0, layout, settings, values=critic is not None and critic.shared
    )
    return Models(
        policy=policy,
        reference=Policy(case.source.model(), 1.0, layout),
        critic=None
        if critic is None
        else Critic(policy if critic.shared else case.source.model(), layout, settings),
    )


def batch_of(models: Models, algorithm: Any, rollout: Rollout, number: int) -> Batch:
    """Uneven rewards; the base's own are made up."""
    rows = len(rollout.texts)
    rewards_B = torch.tensor([((i + number) ** 2) % 5 / 4 for i in range(rows)]).double()
    reference_BN = torch.tensor(
        [[(i // 4 + j + number) % 3 / 2 for j in range(4)] for i in range(rows)]
    )
    return Batch(
        group_B=rollout.group_B,
        mask_BT=rollout.mask_BT,
        rewards_BT=on_last_token(rewards_B, rollout.mask_BT),
        budget=32,
        progress=0.5,
        columns={
            "reference_scores_BN": reference_BN.double(),
            **models.annotated(rollout, algorithm.columns),
        },
    )


def replay(case: Case, ranks: Ranks) -> dict[str, Any]:
    """Per update: loss, mean absolute term, gradient norm, the whole gradient; final weights."""
    torch.set_num_threads(1)
    models = models_of(case, ranks)
    done = 0
    if case.load_first:
        newest = next(checkpoint.steps(case.folder, ranks))
        tensors = models.state_dict()
        checkpoint.load(newest.path, tensors, ranks)
        done = newest.plain["updates"]
        models.load_state_dict(tensors)
    found: dict[str, Any] = {"steps": [], "pass_counts": []}
    for number, rollout in enumerate(case.rollouts):
        if number * UPDATES_EACH < done:
            continue
        algorithm = Recorded(case.algorithm)
        batch, advantages_BT, _ = estimates(algorithm, batch_of(models, algorithm, rollout, number))
        for rows_b in mini_batches(len(rollout.texts), UPDATES_EACH, 0, number, 0):
            algorithm.total, algorithm.tokens = 0.0, 0
            own = [p.counts for p in passes(rows_b, row_lengths(rollout), case.token_budget, ranks)]
            found["pass_counts"].append(ranks.gathered(sum(own)))
            metrics = update(models, algorithm, rollout, batch, advantages_BT, rows_b)
            summed = ranks.summed({"total": algorithm.total, "tokens": algorithm.tokens})
            done += 1
            found["steps"].append(
                {
                    "metrics": metrics,
                    "scale": summed["total"] / summed["tokens"],
                    "gradient": flat(models, lambda p: p.grad),
                }
            )
            if done == case.save_after:
                assert case.folder is not None
                checkpoint.save(
                    case.folder / f"step_{done}", models.state_dict(), {"updates": done}, ranks
                )
    found["weights"] = flat(models, lambda p: p.detach())
    return found


def flat(models: Models, what: Callable[[Tensor], Tensor | None]) -> Tensor:
    """One vector of all that is trained."""
    parts = [what(p) for learner in models.trained for p in learner.parameters]
    return torch.cat([whole(x).double().flatten() for x in parts if x is not None])


def on_ranks(case: Case, count: int, folder: Path) -> dict[str, Any]:
    """The first rank's findings of a replay by `count` processes; 0 is this process, unsharded."""
    if count == 0:
        return replay(case, ALONE)
    found: dict[str, Any] = spawned(replay, case, count, folder)
    return found


def spawned(work: Callable[[Any, Ranks], Any], given: Any, count: int, folder: Path) -> Any:
    """What `work(given, ranks)` returns in the first of `count` processes of one group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    context = multiprocessing.get_context("spawn")
    file = folder / "found.pt"
    processes = [
        context.Process(target=_rank, args=(work, given, rank, count, address, file))
        for rank in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(JOIN_S)
        if process.exitcode is None:
            process.kill()
    assert [process.exitcode for process in processes] == [0] * count
    return torch.load(file, weights_only=False)


def _rank(
    work: Callable[[Any, Ranks], Any], given: Any, rank: int, count: int, address: str, file: Path
) -> None:
    with joined(rank, count, address, "cpu") as ranks:
        found = work(given, ranks)
    if rank == 0:
        torch.save(found, file)
