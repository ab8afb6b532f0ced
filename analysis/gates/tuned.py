"""Whether every variant was tuned as much as the others, and confirmed on seeds of its own."""

from analysis import tuning
from analysis.gates.gate import Gate, judged
from analysis.study import Study


def equally(study: Study) -> Gate:
    """Grave: one variant was tuned more, or on the seeds that are to confirm it."""
    return judged("Equal tuning budget per arm, fresh seeds", tuning.judged(study))
