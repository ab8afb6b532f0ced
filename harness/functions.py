"""Functions that a config names by their import path. No OmegaConf: graders import this too."""

import importlib
from collections.abc import Callable
from typing import Any

from harness.errors import ConfigError


def function(path: str, key: str) -> Callable[..., Any]:
    """The function at an import path.

    Args:
        path: `package.module.function`, importable from where the command is started.
        key: config key of it, for messages.

    Raises:
        ConfigError: it cannot be imported, or is none.
    """
    module, _, name = path.rpartition(".")
    try:
        if not module:
            raise ImportError("it names no module")
        found = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # importing runs the module, which may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"{key}: cannot import {path!r} ({reason}); name a function as "
            f"package.module.function, importable from where the command is started"
        ) from error
    if not callable(found):
        raise ConfigError(f"{key}: {path!r} is no function")
    made: Callable[..., Any] = found
    return made
