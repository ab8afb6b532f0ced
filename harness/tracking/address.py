"""Where the store is: its file, the address by which MLflow opens it, and who else names one."""

import atexit
import os
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from harness.errors import ConfigError

# A user's settings of MLflow's fluent interface: each trial has a run of its own, in the
# experiment of its sweep.
REFUSED = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID")
SQLITE = "sqlite:///"


def store_path(runs: Path) -> Path:
    """Where the store of an output folder is, links resolved."""
    return runs.expanduser().resolve() / "mlflow.db"


def check_environment(path: Path) -> None:
    """Refuse settings of MLflow that a trial would only half follow.

    Raises:
        ConfigError: which variable, and what to do.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri and path not in (_meant(uri), _meant(unquote(uri))):
        raise ConfigError(
            f"trials are recorded in {path}, but MLFLOW_TRACKING_URI={uri!r}; unset it, or set "
            f"runs to the folder of that store (a server can be given the store afterwards)"
        )
    for name in REFUSED:
        if os.environ.get(name):
            raise ConfigError(
                f"{name}={os.environ[name]!r} is set, but every trial has a run of its own in the "
                f"experiment of its sweep; unset it"
            )


def _meant(uri: str) -> Path | None:
    """The file of an sqlite address."""
    return Path(uri.removeprefix(SQLITE)).resolve() if uri.startswith(SQLITE) else None


def artifacts(path: Path) -> str:
    """The address below which the experiments of a store keep their artifacts."""
    return (path.parent / "artifacts").as_uri()


def address(path: Path) -> str:
    """The address under which MLflow opens a file."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    with suppress(ArgumentError):
        if make_url(f"{SQLITE}{path}").database == str(path):
            return f"{SQLITE}{path}"
    # SQLAlchemy cuts names at ? and (since 2.1) decodes %41; quoted, they mislead MLflow.
    return f"{SQLITE}{_plain(path.parent) / path.name}"


@cache
def _plain(folder: Path) -> Path:
    """A link to a folder whose own name no address can carry; it goes when the process ends."""
    home = tempfile.mkdtemp(prefix="harness-store-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    link = Path(home) / "runs"
    link.symlink_to(folder, target_is_directory=True)
    return link
