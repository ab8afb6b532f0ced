"""Where the methods come from that this report used, and only those."""

from analysis import panels, text, units
from analysis.ablation import Relation
from analysis.findings import Findings
from analysis.study import Study

WELCH = (
    "Welch, B. L. (1947). The generalization of 'Student's' problem when several different "
    "population variances are involved. Biometrika 34, 28-35: intervals and tests of differences."
)
STUDENT = (
    "Student (1908). The probable error of a mean. Biometrika 6, 1-25: intervals of a mean, and of "
    "paired differences."
)
HOLM = (
    "Holm, S. (1979). A simple sequentially rejective multiple test procedure. Scandinavian "
    "Journal of Statistics 6, 65-70: verdicts of one family."
)
SCHUIRMANN = (
    "Schuirmann, D. J. (1987). A comparison of the two one-sided tests procedure and the power "
    "approach for assessing the equivalence of average bioavailability. Journal of "
    "Pharmacokinetics and Biopharmaceutics 15, 657-680: predictions of equality."
)
HEDGES = (
    "Hedges, L. V. (1981). Distribution theory for Glass's estimator of effect size and related "
    "estimators. Journal of Educational Statistics 6, 107-128: g."
)
ARMITAGE = (
    "Armitage, P., McPherson, C. K. and Rowe, B. C. (1969). Repeated significance tests on "
    "accumulating data. Journal of the Royal Statistical Society A 132, 235-244: what looking "
    "more than once costs."
)
LAN = (
    "Lan, K. K. G. and DeMets, D. L. (1983). Discrete sequential boundaries for clinical trials. "
    "Biometrika 70, 659-663: levels of the looks."
)
JENNISON = (
    "Jennison, C. and Turnbull, B. W. (1989). Interim analyses: the repeated confidence interval "
    "approach. Journal of the Royal Statistical Society B 51, 305-361: intervals at the looks."
)
MAURER = (
    "Maurer, W. and Bretz, F. (2013). Multiple testing in group sequential trials using graphical "
    "approaches. Statistics in Biopharmaceutical Research 5, 311-320: Holm's procedure over looks."
)
HENDERSON = (
    "Henderson, P. et al. (2018). Deep reinforcement learning that matters. AAAI 32: every seed "
    "is shown, and the seed is the replicate."
)
AGARWAL = (
    "Agarwal, R. et al. (2021). Deep reinforcement learning at the edge of the statistical "
    "precipice. NeurIPS 34: performance profiles and the optimality gap."
)
CHEN = (
    "Chen, M. et al. (2021). Evaluating large language models trained on code. arXiv 2107.03374: "
    "pass@k without bias."
)
SCHULMAN = "Schulman, J. (2020). Approximating KL divergence: the k3 estimate of the KL."
SHAPLEY = (
    "Shapley, L. S. (1953). A value for n-person games. Contributions to the Theory of Games 2, "
    "307-317: what each skill brings to the gain."
)
PINEAU = (
    "Pineau, J. et al. (2021). Improving reproducibility in machine learning research. Journal of "
    "Machine Learning Research 22, 1-20: the checklist."
)


def used(study: Study, found: Findings) -> list[str]:
    """Works that this report rests on, by author."""
    every = [*found.predicted, *found.compared]
    logged = set(study.metrics["metric"].unique())
    equal = any(p.relation is Relation.EQUAL for p in study.manifest.ablation.predictions)
    rests_on = {
        AGARWAL: panels.has_profile(study),
        ARMITAGE: len(study.history.revisions) > 1,
        CHEN: "eval/pass_at_k" in logged,
        HEDGES: bool(study.others),
        HENDERSON: True,
        HOLM: bool(every),
        JENNISON: bool(study.manifest.looks),
        LAN: bool(study.manifest.looks),
        MAURER: bool(study.manifest.looks),
        PINEAU: True,
        SCHUIRMANN: equal,
        SCHULMAN: "eval/kl" in logged,
        SHAPLEY: bool(study.first_tables),
        STUDENT: True,
        WELCH: bool(study.others) and not study.paired,
    }
    return [work for work, there in rests_on.items() if there]


def section(study: Study, found: Findings) -> str:
    """The list, in the order of the authors' names."""
    lines = [f"- {text.prose(work)}" for work in used(study, found)]
    bounded = (
        "Intervals of shares are taken on the logit of the mean (delta method), so that they stay "
        "within 0 and 1; those of other quantities that cannot be negative end at 0."
        if any(units.floor(m) == 0 for m in [study.primary])
        else ""
    )
    return "\n\n".join(part for part in ["## Methods cited", "\n".join(lines), bounded] if part)
