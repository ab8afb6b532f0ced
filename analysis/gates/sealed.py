"""Whether the predictions were there before the results."""

from analysis import seal
from analysis.gates.gate import Gate, Level
from analysis.study import Study


def predictions(study: Study) -> Gate:
    """FAIL takes the claims' worth away; WARN leaves it, but not the nominal error rates."""
    found = seal.judged(study)
    question = "Predictions sealed before the runs"
    if found.grave or found.slight:
        level = Level.FAIL if found.grave else Level.WARN
        return Gate(question, level, "; ".join([*found.grave, *found.slight]))
    return Gate(question, Level.OK, found.fact)
