"""One trial: the training core and its plug-ins."""

import logging

from harness.machine import clock  # noqa: F401  first of all: it notes down when

# What is logged where no trial's log is open is not for a terminal.
logging.getLogger("harness").addHandler(logging.NullHandler())
