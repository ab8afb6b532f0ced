"""A cluster that is not there, or has no room: said at once, before anything is made."""

import dataclasses
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.distributed.sharding import Device
from harness.errors import ConfigError
from harness.launch import check_room
from harness.machine.cluster import nodes, ray_cluster
from tests.conftest import SMALL, Here


@pytest.fixture
def closed() -> str:
    """host:port at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize("address", ["", "nobody.invalid:6379", "ray://127.0.0.1:10001", "local"])
def test_an_address_without_a_cluster_is_refused_without_asking_ray(
    closed: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's own client tries for minutes, and says nothing that a user could read."""

    def asked(**options: Any) -> None:
        raise AssertionError("it tries for minutes")

    monkeypatch.setattr("ray.init", asked)
    with pytest.raises(ConfigError, match="no Ray cluster answers there") as error:
        ray_cluster(address or closed).__enter__()
    assert "\n" not in str(error.value)


def test_a_wrong_address_is_said_before_a_base_is_made(
    tmp_path: Path, here: Here, closed: str
) -> None:
    done = here("-m", "seed=0,1", *SMALL, f"ray.address='{closed}'")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no Ray cluster answers there" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_more_cores_than_this_machine_has_are_refused_before_a_base_is_made(
    tmp_path: Path, here: Here
) -> None:
    many = 1 + (os.cpu_count() or 1)
    done = here("-m", "seed=0,1", *SMALL, f"ray.cpus_per_rank={many}")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"needs {many} CPU for each, but Ray has room for 0 (1 node with " in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_this_machine_is_one_node_with_what_ray_would_count() -> None:
    (node,) = nodes(None)
    assert 1 <= node["CPU"] <= (os.cpu_count() or 1)
    assert node["GPU"] >= 0


GPU_NODE = {"CPU": 8.0, "GPU": 1.0}


@pytest.fixture(scope="module")
def plain(composed: Callable[..., Any]) -> Any:
    return composed("task.train_size=32", "task.eval_size=16", "trainer.prompts_per_step=24")


@pytest.mark.parametrize(
    ("ranks", "share", "there", "room"),
    [
        (2, 1.0, [GPU_NODE, GPU_NODE, {"CPU": 64.0}], 2),
        (3, 1.0, [GPU_NODE, GPU_NODE, {"CPU": 64.0}], 2),
        (8, 0.1, [GPU_NODE], 8),  # a tenth of a GPU and a core each: the cores end first
        (3, 0.1, [{"CPU": 9.0, "GPU": 0.3}], 3),  # in floats .3 // .1 is 2
        (1, 1.0, [{"CPU": 64.0}], 0),
        (1, 1.0, [], 0),
    ],
)
def test_ranks_have_room_where_a_node_has_all_that_one_reserves(
    plain: Any, ranks: int, share: float, there: list[dict[str, float]], room: int
) -> None:
    trainer = dataclasses.replace(plain.trainer, ranks=ranks, device=Device.CUDA)
    ray = dataclasses.replace(plain.ray, gpus_per_rank=share)
    config = dataclasses.replace(plain, trainer=trainer, ray=ray)
    if room >= ranks:
        check_room([config], there)
        return
    with pytest.raises(ConfigError, match=rf"1 GPU for each, but Ray has room for {room} \("):
        check_room([config], there)
