"""What a plan must be for its variants to be compared: refused before anything starts."""

from analysis.quantity import RESULT
from harness.config import group_hash
from harness.errors import ConfigError
from harness.machine import provenance
from harness.tasks import sets
from harness.tracking.none import NoTracking
from harness.wording import few
from sweeps.measured import lacking
from sweeps.plan import Plan, differences

# Last names of the keys that say what is right.
GRADERS = ("grader", "method")


def check(plan: Plan) -> None:
    """Everything about a plan beyond the keys that differ.

    Raises:
        ConfigError: a variant that is the baseline, a factor that nobody changes, another budget,
            another held-out set or grader, a metric of the question that a variant does not
            measure, or uncommitted code where that is not wanted.
    """
    _clean(plan)
    _refuse_untracked(plan)
    _refuse_twins(plan)
    _refuse_idle_factors(plan)
    alike(plan)


def alike(plan: Plan) -> None:
    """What all trials that are compared must share, whatever is chosen for them.

    Raises:
        ConfigError: a variant has another budget, held-out set or grader than the baseline.
    """
    _refuse_other_budgets(plan)
    _refuse_other_held_out_sets(plan)
    _refuse_other_graders(plan)
    _refuse_unmeasured(plan)


def _clean(plan: Plan) -> None:
    if not plan.jobs[0].sweep.require_clean:
        return
    if provenance.git_state()[0] == "none":
        raise ConfigError(
            "sweep.require_clean=true: the code lies in no git tree that can be read, so that "
            "nothing says whether it is clean; run it from one, or set sweep.require_clean=false"
        )
    changed = provenance.changed_files()
    if changed:
        raise ConfigError(
            f"sweep.require_clean=true: the code's git tree has uncommitted changes "
            f"({few(changed)}); commit them, or set sweep.require_clean=false"
        )


def _refuse_untracked(plan: Plan) -> None:
    """Looks at results read the store, as the report does."""
    if plan.ablation.until is not None and isinstance(plan.jobs[0].tracking, NoTracking):
        raise ConfigError(
            f"{plan.ablation.name}: seeds are added until the predictions are decided, by results "
            f"that are published, received tracking=none; take tracking=mlflow, or a list of seeds"
        )


def _refuse_twins(plan: Plan) -> None:
    """An ablation file without factors asks for them: it compares a variant with itself."""
    if not plan.grid and not plan.ablation.factors:
        return
    seen: dict[str, str] = {}
    for label, config in plan.variants.items():
        same = seen.setdefault(group_hash(config), label)
        if same != label:
            raise ConfigError(
                f"{plan.ablation.name}: variants {same} and {label} are the same trials, spelled "
                f"in two ways or different only in what changes no number; leave one out"
            )


def _refuse_idle_factors(plan: Plan) -> None:
    """A grid's factors are what it sweeps; a file's are a promise."""
    ablation = plan.ablation
    base = plan.variants[ablation.baseline]
    changed = sorted(
        {key for config in plan.variants.values() for key in differences(base, config)}
    )
    idle = [
        factor
        for factor in ablation.factors
        if not any(key == factor or key.startswith(f"{factor}.") for key in changed)
    ]
    if idle and not plan.grid:
        raise ConfigError(
            f"ablation {ablation.name}: no variant changes {', '.join(idle)}, which `factors` "
            f"declares; leave it out or change it; what differs: {', '.join(changed) or 'nothing'}"
        )


def _refuse_other_budgets(plan: Plan) -> None:
    base = plan.variants[plan.ablation.baseline].budget
    for label, config in plan.variants.items():
        if config.budget != base:
            raise ConfigError(
                f"{plan.ablation.name}: every variant gets the same budget; {label} has "
                f"{config.budget.amount:g} {config.budget.unit.value}, {plan.ablation.baseline} "
                f"{base.amount:g} {base.unit.value}"
            )


def _refuse_other_graders(plan: Plan) -> None:
    base = plan.variants[plan.ablation.baseline]
    for label, config in plan.variants.items():
        other = [k for k in differences(base, config) if k.rpartition(".")[2] in GRADERS]
        if other:
            raise ConfigError(
                f"{plan.ablation.name}: {label} would be graded otherwise than "
                f"{plan.ablation.baseline} ({few(other)}), so that accuracies cannot be compared; "
                f"give all variants one grader, or run a multirun for each"
            )


def _refuse_unmeasured(plan: Plan) -> None:
    """The primary metric in every variant; a predicted one in the two that it is about."""
    ablation = plan.ablation
    asked = [(label, ablation.primary.metric, RESULT) for label in ablation.labels]
    for p in ablation.predictions:
        asked += [(label, p.metric, p.reads) for label in (p.variant, p.baseline)]
    for label, metric, quantity in dict.fromkeys(asked):
        if reason := lacking(plan.variants[label], metric, quantity):
            raise ConfigError(f"{plan.ablation.name}: {metric} is not measured: {label} {reason}")


def _refuse_other_held_out_sets(plan: Plan) -> None:
    own = {label: sets.digest(config.task.held_out()) for label, config in plan.variants.items()}
    other = [label for label, digest in own.items() if digest != own[plan.ablation.baseline]]
    if other:
        raise ConfigError(
            f"{plan.ablation.name}: {few(other)} would be evaluated on other prompts than "
            f"{plan.ablation.baseline}, so that nothing can be compared; give all variants one "
            f"held-out set, or run a multirun for each"
        )
