"""Trust gates: what a reviewer would ask before believing the numbers, computed.

A gate reads the study, never the page. Where its evidence is missing it is a WARN: an OK always
rests on something. Gates that test over seeds (control arm, A/A, side effects, pairing) raise a
false alarm in at most 5 % of studies; the others compare what is recorded and cannot.
"""

from analysis.gates import (
    budget,
    controls,
    design,
    looking,
    machine,
    made_of,
    responses,
    sealed,
    seeds,
    side_effects,
    trials,
    tuned,
)
from analysis.gates.gate import Gate, Level
from analysis.gates.trials import COMPLETE, unfinished
from analysis.study import Study

__all__ = ["COMPLETE", "Gate", "Level", "gates", "unfinished"]


def gates(study: Study) -> list[Gate]:
    """Every gate, in the order of the report; those of control arms only where there are some."""
    found = [
        seeds.enough(study),
        seeds.balanced(study),
        trials.complete(study),
        trials.collapsed(study),
        trials.strangers(study),
        trials.on_disk(study),
        seeds.spread(study),
        seeds.pairing(study),
        made_of.content(study),
        made_of.config(study),
        made_of.sources(study),
        made_of.evaluation(study),
        machine.commit(study),
        machine.surroundings(study),
        design.factors(study),
        design.deviations(study),
        budget.equal(study),
        budget.tokens(study),
        responses.sampler(study),
        responses.held_out(study),
        side_effects.differ(study),
        controls.random_reward(study),
        controls.same_twice(study),
        design.rule(study),
        sealed.predictions(study),
        looking.interim_looks(study),
        tuned.equally(study),
    ]
    return [gate for gate in found if gate is not None]
