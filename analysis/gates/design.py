"""What was declared before the runs, and whether only that differs."""

from analysis.ablation import Checkpoint
from analysis.gates.gate import Gate, Level, about
from analysis.study import Study


def factors(study: Study) -> Gate:
    """Whether arms differ in the declared factors only."""
    declared = study.manifest.ablation.factors
    undeclared = {
        (job.variant, key)
        for job in study.manifest.jobs
        for key in job.differs
        if not any(key == factor or key.startswith(f"{factor}.") for factor in declared)
    }
    detail = f"declared: {', '.join(declared) or 'none'}"
    if undeclared:
        keys = sorted({key for _, key in undeclared})
        detail += f"; undeclared differences: {', '.join(keys)}"
    level = Level.FAIL if undeclared else Level.OK
    labels = [label for label, _ in undeclared]
    return about(study, "Only declared factors differ", level, detail, labels)


def deviations(study: Study) -> Gate:
    """Whether the command line changed what the file says."""
    found = study.manifest.deviations
    level = Level.WARN if found else Level.OK
    return Gate("No deviations from the ablation file", level, "; ".join(found) or "none")


def rule(study: Study) -> Gate:
    """Which number of a trial is its result."""
    question = "Metric and checkpoint declared before the run"
    primary = study.manifest.ablation.primary
    detail = f"{primary.metric} at the {primary.checkpoint.value} checkpoint"
    if primary.checkpoint is Checkpoint.BEST:
        detail += ": a maximum over noisy checkpoints is biased upwards"
        return Gate(question, Level.WARN, detail)
    return Gate(question, Level.OK, detail)
