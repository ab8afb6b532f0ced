"""Run again what a sweep lacks: by its own command, as it stands in its plan.

The command is started in this process's place: its signals, output and exit code are the sweep's.
"""

import os
import re
import shlex
import sys
from pathlib import Path

from harness.errors import ConfigError
from harness.wording import quoted
from sweeps import overview

# What makes a command of `harness` a multirun.
MULTIRUN = ("-m", "--multirun")
# Keys of the first command that are not said again: a retry throws nothing away, looks not only,
# chooses its trials itself, and works in the folder that it is told.
OWN = ("fresh", "runs", "dry_run", "sweep.only")


def again(runs: Path, name: str, failed: bool) -> list[str]:
    """Arguments of `harness` for what has no result in a sweep.

    Args:
        runs: the output folder, absolute.
        failed: for the trials alone that have failed.

    Raises:
        ConfigError: there is no such sweep or trial, or no multirun has planned it.
    """
    seen = overview.Look(runs, name)()
    rows = (
        seen.of(overview.FAILED)
        if failed
        else [r for r in seen.rows if r.state != overview.FINISHED]
    )
    if not rows:
        what = "failed trial" if failed else "trial without a result"
        other = "; leave --failed out for what has no result" if failed else ""
        raise ConfigError(f"sweep {name!r} has no {what}: {seen.counts}{other}")
    manifest = overview.newest(runs, name)
    words = _words(manifest.command)
    if not set(MULTIRUN) & set(words):
        raise ConfigError(
            f"sweep {name!r}: its plan holds no command of a multirun; give its own command again, "
            f"harness -m ..., which continues it"
        )
    # Seeds that an earlier command named are of the plan as well.
    seeds = f"seed={','.join(map(str, manifest.ablation.seeds))}"
    kept = [seeds if _key(word) == "seed" else word for word in words if _key(word) not in OWN]
    return [*kept, f"runs={quoted(runs)}", *["sweep.only=failed"] * failed]


def run(arguments: list[str]) -> None:
    """Become `harness` with these arguments, in this folder."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "harness", *arguments])


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)[1:]
    except ValueError:  # an open quote
        return []


def _key(word: str) -> str:
    """What an override sets; nothing for another word."""
    found = re.match(r"[+]{0,2}([\w.]+)=", word)
    return "" if found is None else found[1]
