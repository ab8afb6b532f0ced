"""The one way in: `harness` and `python -m harness`."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

# The packages that are installed together; a command imports all of them by these names.
PACKAGES = ("harness", "conf", "sweeps", "analysis")


def namesake() -> str:
    """In one line what stands before one of our packages; "" where nothing does.

    The folder in which a command is started comes first in Python's path.
    """
    home = Path(__file__).resolve().parents[1]
    for name in PACKAGES:
        spec = find_spec(name)
        found = None if spec is None or spec.origin is None else Path(spec.origin).resolve()
        if found != home / name / "__init__.py":
            return (
                f"{'nothing' if found is None else found} is imported as {name!r}, which is a "
                f"package of the harness; rename it, or start the command in another folder"
            )
    return ""


def use_sweeper_plugin() -> None:
    """Let Hydra 1.3 find our sweeper, which it seeks under the namespace `hydra_plugins` only."""
    spec = find_spec("sweeps")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = str(Path(spec.submodule_search_locations[0]) / "hydra_plugins")
    try:
        import hydra_plugins  # type: ignore[import-not-found]
    except ImportError:
        hydra_plugins = ModuleType("hydra_plugins")
        hydra_plugins.__path__ = []
        sys.modules["hydra_plugins"] = hydra_plugins
    if folder not in hydra_plugins.__path__:
        hydra_plugins.__path__.append(folder)


def use_modules_beside() -> None:
    """Let the console script import what lies where it is started, as `python -m` does."""
    if not sys.flags.safe_path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def main() -> None:
    """Compose the config and run what it asks for; exit code 2 when the request is wrong."""
    # One thread per trial: two processes of two threads on two cores run ten times slower.
    # Read by OpenMP when torch is imported, so set before anything else is.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises, we word the message
    use_modules_beside()
    if other := namesake():
        from harness.machine.terminal import complain

        complain(other)
        sys.exit(2)
    use_sweeper_plugin()
    from harness.cli import run

    sys.exit(run())


if __name__ == "__main__":
    main()
