"""One trial: the training core and its plug-ins."""

from harness.machine import clock  # noqa: F401  first of all: it notes down when
