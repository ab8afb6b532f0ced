"""Whether every variant was tuned as much as the others, and confirmed on seeds of its own."""

from analysis import tuning
from analysis.gates.gate import Gate, Level
from analysis.study import Study


def equally(study: Study) -> Gate:
    """FAIL where one variant was tuned more, or on the seeds that are to confirm it."""
    found = tuning.judged(study)
    question = "Equal tuning budget per arm, fresh seeds"
    if found.grave or found.slight:
        level = Level.FAIL if found.grave else Level.WARN
        return Gate(question, level, "; ".join([*found.grave, *found.slight]))
    return Gate(question, Level.OK, found.fact)
