"""The Ray cluster that a command uses: an existing one, or its own, which leaves nothing behind."""

import os
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from harness.errors import ConfigError, TrialsFailedError
from harness.machine import terminal
from harness.machine.files import locked
from harness.machine.process import as_ctrl_c, outliving_terminals

# Read by Ray and Tune when they are imported or started; a user's own setting wins.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no report leaves the machine
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a trial writes where the command was started
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the record is MLflow's
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a step without an evaluation has no objective
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # silences a warning about trials without a GPU
    "RAY_AIR_NEW_OUTPUT": "0",  # the display is ours
    "TUNE_MAX_PENDING_TRIALS_PG": "8",  # trials that start at once; with a search of one's own 1
    # Nobody waits for a trial that fails while its sweep is being ended; what went wrong stands in
    # its record, and Ray's page about it would stand before the one line that says so.
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # its pages about a dead process: they stand in its own logs
    # Ray lets its workers yield to all other processes (15), so that many of them do not starve its
    # own. A trial has cores of its own and no more threads than those: it is as nice as the command
    # that started it, in a sweep as alone. A cluster that is there already has its own setting.
    "RAY_worker_niceness": "0",
}
# How often the processes of our own cluster are looked at, and how long the main thread may take to
# notice by itself that one has died, and to end what is left; it may hang in a call to the dead.
POLL_S, GRACE_S = 0.5, 20.0
# In the session folder of a cluster of ours: locked while its driver lives; made under that lock.
LOCK, OURS = "harness.lock", "harness.ours"
# How long the machine of a cluster may take to answer; Ray itself asks for minutes, in silence.
ANSWER_S = 5.0


def set_environment() -> None:
    """What Ray and Tune read when they are imported; call it before."""
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)


def check_address(address: str | None) -> None:
    """Refuse a cluster that the environment names and the config does not.

    Raises:
        ConfigError: RAY_ADDRESS is set, ray.address is not.
    """
    named = os.environ.get("RAY_ADDRESS")
    if named and address is None:
        raise ConfigError(
            f"RAY_ADDRESS={named!r} is set, but ray.address is null, which starts a cluster of its "
            f"own; set ray.address=auto to use that one, or unset RAY_ADDRESS"
        )


@contextmanager
def ray_cluster(address: str | None) -> Iterator[None]:
    """Connect to a Ray cluster, or start one on this machine and end it with the block.

    Raises:
        ConfigError: no cluster answers at the address, or RAY_ADDRESS names another.
        TrialsFailedError: Ray cannot be started here.
    """
    check_address(address)
    set_environment()
    import ray

    session = Path(_connected(address).address_info["session_dir"])
    ended = threading.Event()
    try:
        if address is not None:
            with as_ctrl_c():
                yield
            return
        _clear(session.parent)
        with locked(session / LOCK, 0), as_ctrl_c():  # Ray has set its own by now
            (session / OURS).touch()
            threading.Thread(target=_watch, args=(ended,), daemon=True).start()
            yield
    finally:
        ray.shutdown()
        ended.set()
        if address is None:
            shutil.rmtree(session, ignore_errors=True)


def nodes(address: str | None) -> list[dict[str, float]]:
    """What each node of a cluster has, by Ray's names: CPU, GPU.

    Args:
        address: of a cluster that is there; None: this machine, without starting anything.

    Raises:
        ConfigError: no cluster answers at the address.
    """
    if address is not None:
        with ray_cluster(address):
            return joined()
    set_environment()
    from ray._private.utils import get_num_cpus  # what Ray would count: a container's share

    return [{"CPU": get_num_cpus(True), "GPU": torch.cuda.device_count()}]


def joined() -> list[dict[str, float]]:
    """As `nodes`, of the cluster that this process is connected to."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def check_alive() -> None:
    """Notice the death of a process of our own cluster before Ray does.

    When Ray notices, after 15 s, it ends this process without a word that Python could catch.

    Raises:
        TrialsFailedError: which process.
    """
    from ray._private import worker  # no public name knows the processes of a cluster

    node = worker._global_node
    dead = node.dead_processes() if node is not None else []
    if dead:
        name, process = dead[0]
        raise TrialsFailedError(
            f"Ray's {name} (process {process.pid}) was killed or crashed, and with it all running "
            f"trials; is there enough memory? The same command continues from their last "
            f"checkpoints"
        )


def _watch(ended: threading.Event) -> None:
    """End this process in one line if its main thread hangs after the death of its cluster.

    Ray ends it as well, after a minute, from C++ and in its own words.
    """
    while not ended.wait(POLL_S):
        try:
            check_alive()
        except TrialsFailedError as error:
            if not ended.wait(GRACE_S):
                terminal.complain(error)
                sys.stderr.flush()
                os._exit(1)
            return


def _connected(address: str | None) -> Any:
    import ray

    try:
        if address is not None:
            _answered(address)
        with outliving_terminals():
            return ray.init(
                address=address or "local",  # None would join whatever cluster ran here last
                include_dashboard=False,
                log_to_driver=False,
                logging_level="error",
                runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}},
            )
    # Nobody there; no such form of an address.
    except (ConnectionError, TimeoutError, socket.gaierror, ValueError) as error:
        if address is None:
            raise _not_started(error) from error
        raise ConfigError(
            f"ray.address={address!r}: no Ray cluster answers there; give host:port of `ray start "
            f"--head` (with RAY_AUTH_MODE=token if it wants a token), auto for the one of this "
            f"machine, or null to start one"
        ) from error
    except Exception as error:  # Ray's own are of this very class when its processes do not start
        raise _not_started(error) from error


def _answered(address: str) -> None:
    """Knock at a cluster.

    Raises:
        OSError, ValueError: nobody is there, or it is no address of a cluster that is there.
    """
    from ray._private.services import canonicalize_bootstrap_address

    # Ray's client (ray://) runs a driver on the cluster, without the plan's folder.
    found = None if "://" in address else canonicalize_bootstrap_address(address)
    if found is None:
        raise ValueError(f"{address} names no cluster that is there")
    host, _, port = found.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), ANSWER_S).close()


def _not_started(error: Exception) -> TrialsFailedError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return TrialsFailedError(
        f"Ray cannot be started on this machine ({reason}); look for a full disk or memory, or a "
        f"limit on processes and file sizes (ulimit -a); the same command then continues"
    )


def _clear(sessions: Path) -> None:
    """Remove what clusters of ours left whose drivers were killed, and nobody else's."""
    for mark in sessions.glob(f"session_*/{OURS}"):
        with suppress(ConfigError, OSError), locked(mark.with_name(LOCK), 0):
            shutil.rmtree(mark.parent, ignore_errors=True)
