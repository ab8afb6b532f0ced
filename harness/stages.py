"""What a multirun is for: an ablation, the search for values before it, or their confirmation."""

from dataclasses import dataclass
from enum import Enum

from harness import checks
from harness.errors import ConfigError


class Stage(Enum):
    """What a multirun is for.

    ABLATE: an ablation or a grid as it is written. TUNE: values are searched for each variant.
    CONFIRM: an ablation or a grid with the tuned values, on seeds that no tuning has seen.
    """

    ABLATE = "ablate"
    TUNE = "tune"
    CONFIRM = "confirm"


class Searcher(Enum):
    """What proposes values: TPE learns from the trials before, RANDOM does not."""

    TPE = "tpe"
    RANDOM = "random"


class Scheduler(Enum):
    """ASHA stops trials early that fall behind, FIFO runs each to its end."""

    ASHA = "asha"
    FIFO = "fifo"


class Goal(Enum):
    """Which end of the primary metric a tuning looks for."""

    MAX = "max"
    MIN = "min"


class Only(Enum):
    """Which of the planned trials that have no result are run."""

    ALL = "all"
    FAILED = "failed"


@dataclass(frozen=True)
class SweepConfig:
    """What a multirun asks for beside its trials.

    Attributes:
        require_clean: refuse to start while the code's git tree has uncommitted changes.
        show_looks: where seeds are added until the predictions are decided, show each difference at
            every look; otherwise only how many are decided, and never in which direction.
        fail_fast: the first trial that fails for good, after its retries, stops the sweep.
        only: all planned trials without a result, or those alone that have failed.
        stage: what it is for; all keys below are read where it is tune.
        trials: that each variant gets.
        searcher: what proposes their values.
        goal: which end of the ablation's primary metric is best.
        scheduler: which of them may be stopped early.
        grace: share of the budget before which none is stopped.
        reduction: of the trials that reach grace, grace * reduction, grace * reduction^2 ... of the
            budget, the best 1/reduction go on (ASHA; Li et al. 2020, arXiv:1810.05934, algorithm
            2).
        at_once: trials of a variant that TPE may have under way: the n-th proposal knows those up
            to n - at_once. RANDOM has no such limit.
    """

    require_clean: bool = False
    show_looks: bool = False
    fail_fast: bool = False
    only: Only = Only.ALL
    stage: Stage = Stage.ABLATE
    trials: int = 20
    searcher: Searcher = Searcher.TPE
    goal: Goal = Goal.MAX
    scheduler: Scheduler = Scheduler.ASHA
    grace: float = 0.2
    reduction: float = 2.0
    at_once: int = 4

    def __post_init__(self) -> None:
        checks.at_least("sweep.trials", self.trials, 1)
        checks.share("sweep.grace", self.grace)
        checks.above("sweep.reduction", self.reduction, 1)
        checks.at_least("sweep.at_once", self.at_once, 1)
        if self.stage is Stage.TUNE and (self.fail_fast or self.only is Only.FAILED):
            raise ConfigError(
                f"sweep.stage=tune counts failed trials as such and goes on, received "
                f"sweep.fail_fast={str(self.fail_fast).lower()} sweep.only={self.only.value}; "
                f"leave both out"
            )
