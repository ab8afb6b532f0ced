"""Whether the predictions were there before the results."""

from analysis import seal
from analysis.gates.gate import Gate, judged
from analysis.study import Study


def predictions(study: Study) -> Gate:
    """Grave: claims bent to their answers; slight: error rates are no longer the nominal ones."""
    return judged("Predictions sealed before the runs", seal.judged(study))
