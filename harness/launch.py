"""Start a trial: in this process, or as one process per rank under Ray.

Several ranks are actors in the trial's own placement group. The first of them that fails ends the
trial with its error; the others, which wait for it, are killed.
"""

import dataclasses
import logging
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from harness.config import TrialConfig
from harness.distributed.ranks import ALONE, Ranks, joined
from harness.distributed.sharding import Device
from harness.errors import ConfigError, HarnessError, RankError
from harness.identity import identity_of
from harness.machine import cluster
from harness.machine.cluster import check_address, check_alive, ray_cluster, set_environment
from harness.machine.stall import ended_by
from harness.standing import finished_before
from harness.trial import Observer, prepare, run_rank, trial_folder
from harness.wording import few

# How often the ranks are looked at.
POLL_S = 0.5
# Of shares of a GPU.
ROUNDING = 1e-9
# How long the rank that is to blame may take to be seen after the first error of any rank: those
# who wait for it may notice its death before Ray does.
BLAME_S = 8.0
# What gloo and NCCL say when another rank has gone.
PEER_GONE = ("Connection closed by peer", "Connection reset by peer", "gloo", "NCCL", "ncclRemote")


def run_trial(config: TrialConfig, observe: Observer) -> dict[str, float]:
    """Run a trial to its end, from its newest checkpoint if it has one.

    Args:
        config: the trial.
        observe: called after every recorded step with step, used share of the budget and metrics.

    Returns:
        Metrics of the last step.

    Raises:
        ConfigError: the request cannot be run; nothing was written.
        RankError: one of several ranks failed.
    """
    if config.trainer.ranks > 1:
        return _on_ranks(config, observe)
    return _in_this_process(config, observe, None, 0)


def bundle(config: TrialConfig) -> dict[str, float]:
    """What a rank reserves."""
    gpus = {"GPU": config.ray.gpus_per_rank} if config.trainer.device is Device.CUDA else {}
    return {"CPU": config.ray.cpus_per_rank, **gpus}


def check_room(configs: Iterable[TrialConfig], nodes: Sequence[Mapping[str, float]]) -> None:
    """Refuse trials for which Ray would wait for ever.

    Args:
        nodes: what each has, as `harness.machine.cluster.nodes` says.

    Raises:
        ConfigError: the ranks of a trial do not fit on the nodes, be they ever so idle.
    """
    for config in configs:
        needs = bundle(config)
        fit = sum(_copies(needs, node) for node in nodes)
        if fit < config.trainer.ranks:
            asked = " and ".join(f"{value:g} {key}" for key, value in needs.items())
            there = {" and ".join(f"{node.get(key, 0):g} {key}" for key in needs) for node in nodes}
            raise ConfigError(
                f"trainer.ranks={config.trainer.ranks} needs {asked} for each, but Ray has room "
                f"for {fit} ({len(nodes)} {'node' if len(nodes) == 1 else 'nodes'} with "
                f"{few(sorted(there))}); lower trainer.ranks, ray.cpus_per_rank or "
                f"ray.gpus_per_rank, set trainer.device, or connect to a larger cluster with "
                f"ray.address"
            )


def _copies(needs: Mapping[str, float], node: Mapping[str, float]) -> int:
    """Ranks that a node has room for; shares such as .1 are no exact numbers."""
    return int(min(node.get(key, 0) / value for key, value in needs.items()) + ROUNDING)


@contextmanager
def in_group(config: TrialConfig, address: str | None, rank: int) -> Iterator[Ranks]:
    """This process as a rank of its trial, in a process group where something of it needs one."""
    trainer = config.trainer
    if trainer.ranks == 1 and not trainer.sharding.fsdp and not config.rollout.needs_group:
        yield ALONE
        return
    with joined(rank, trainer.ranks, address, trainer.device.value) as ranks:
        yield ranks


def _in_this_process(
    config: TrialConfig, observe: Observer, address: str | None, rank: int
) -> dict[str, float]:
    with in_group(config, address, rank) as ranks:
        return run_rank(config, observe, ranks)


class Member:
    """One rank of a trial, a process of its own."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float, dict[str, float]]] = []

    def address(self) -> str:
        """host:port that is free on the machine of this process."""
        import ray

        with socket.socket() as free:
            free.bind(("", 0))
            return f"{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"

    def process(self) -> int:
        """Its number."""
        return os.getpid()

    def observed(self) -> list[tuple[int, float, dict[str, float]]]:
        """What was observed since the last call."""
        seen, self.seen = self.seen, []
        return seen

    def run(self, config: TrialConfig, rank: int, address: str) -> dict[str, float]:
        """Run to the end."""

        def observe(step: int, progress: float, metrics: Any) -> None:
            self.seen.append((step, progress, dict(metrics)))

        return _in_this_process(config, observe, address, rank)


def _on_ranks(config: TrialConfig, observe: Observer) -> dict[str, float]:
    """Run the ranks as actors and wait for all of them."""
    set_environment()
    import ray

    under_tune = ray.is_initialized()
    # What can be refused is refused before any process starts, and paths are made absolute: the
    # ranks may start in another folder.
    if not under_tune:
        check_address(config.ray.address)
    runs, source = prepare(config)
    config = dataclasses.replace(config, runs=str(runs))
    finished = finished_before(config, trial_folder(config), identity_of(config, source))
    if finished is not None:
        return finished
    with nullcontext() if under_tune else ray_cluster(config.ray.address):
        members: list[Any] = []
        try:
            group = ray.util.get_current_placement_group() or _reserved(config)
            members += [_member(config, group, i) for i in range(config.trainer.ranks)]
            return _watched(config, members, observe)
        finally:
            for member in members:
                ray.kill(member)


def _reserved(config: TrialConfig) -> Any:
    """A placement group for a trial that runs under no scheduler."""
    import ray

    check_room([config], cluster.joined())
    group = ray.util.placement_group([bundle(config)] * config.trainer.ranks)
    ray.get(group.ready())
    return group


def _member(config: TrialConfig, group: Any, index: int) -> Any:
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    reserved = bundle(config)
    threads = {"OMP_NUM_THREADS": str(config.trainer.threads), "OMP_WAIT_POLICY": "passive"}
    actor = ray.remote(Member).options(
        num_cpus=reserved["CPU"],
        num_gpus=reserved.get("GPU", 0),
        max_concurrency=2,  # one call runs the rank, the other asks what it has observed
        runtime_env={"env_vars": threads},
        scheduling_strategy=PlacementGroupSchedulingStrategy(
            placement_group=group, placement_group_bundle_index=index
        ),
    )
    return actor.remote()


def _watched(config: TrialConfig, members: Sequence[Any], observe: Observer) -> dict[str, float]:
    """The first rank's result, when all have ended well."""
    import ray
    from ray.exceptions import RayError

    address = ray.get(members[0].address.remote())
    logging.getLogger("harness").info("ranks: %s", ray.get([m.process.remote() for m in members]))
    runs = [member.run.remote(config, i, address) for i, member in enumerate(members)]
    pending = list(runs)
    while pending:
        check_alive()
        done, pending = ray.wait(pending, num_returns=1, timeout=POLL_S)
        try:
            ray.get(done)
            for event in ray.get(members[0].observed.remote()):
                observe(*event)
        except RayError as error:
            raise _blamed(config, runs) from error
    result: dict[str, float] = ray.get(runs[0])
    return result


def _blamed(config: TrialConfig, runs: Sequence[Any]) -> HarnessError:
    """The error of the rank that failed first: not of those that lost their connection to it."""
    import ray
    from ray.exceptions import RayError, RayTaskError

    ended, _ = ray.wait(list(runs), num_returns=len(runs), timeout=BLAME_S)
    errors = {}
    for rank, run in enumerate(runs):
        if run in ended:
            try:
                ray.get(run)
            except RayError as error:
                errors[rank] = error
    to_blame = {rank: error for rank, error in errors.items() if not _bereft(error)} or errors
    rank, first = next(iter(to_blame.items()))
    if not isinstance(first, RayTaskError):
        if stalled := ended_by(trial_folder(config)):
            return stalled
        reason = f"its process was killed or crashed ({type(first).__name__})"
    elif isinstance(first.cause, HarnessError):
        return first.cause
    else:
        reason = f"{type(first.cause).__name__}: {first.cause}"
    log = "trial.log" if rank == 0 else f"trial.rank{rank}.log"
    return RankError(
        f"rank {rank} of {len(runs)} failed: {' '.join(reason.split())}; its log is "
        f"{trial_folder(config) / log}; the same command resumes from the last checkpoint"
    )


def _bereft(error: Exception) -> bool:
    """Whether a rank failed only because another had gone."""
    return any(sign in str(getattr(error, "cause", "")) for sign in PEER_GONE)
