"""Signs that the seeds are not what the tests take them for, with the numbers of every seed."""

from typing import Any

from analysis import stats, text
from analysis.stats import Rule, Sign
from analysis.study import Study

FEWEST = stats.MIN_SEEDS_VERDICT
SHOWN = 4  # significant digits of a seed's own value


def odd(study: Study) -> dict[str, list[tuple[str, Sign]]]:
    """Primary or predicted metric -> what speaks against a t test there, with its variant."""
    metrics = [study.primary, *(p.metric for p in study.manifest.ablation.predictions)]
    labels = [study.baseline, *study.others]
    found = {
        metric: [
            (labels[sign.arm], sign)
            for sign in stats.unusual([study.values(metric, label) for label in labels])
        ]
        for metric in dict.fromkeys(metrics)
    }
    return {metric: signs for metric, signs in found.items() if signs}


def shown(study: Study) -> list[str]:
    """Paragraphs: warnings with the numbers of every seed; what the rules are, where one speaks."""
    lines = [
        f"- **Warning**, {text.code(metric)}: {_said(study, metric, label, sign)}"
        for metric, signs in odd(study).items()
        for label, sign in signs
    ]
    if max((len(study.values(study.primary, x)) for x in study.labels), default=0) < FEWEST:
        return [f"Below {FEWEST} seeds, outliers, skew and unequal spread cannot be seen."]
    if not lines:
        return ["No outlier, skew or unequal spread over seeds shows in the metrics of the claims."]
    values = [
        f"- {text.code(metric)}, {text.code(label)}: "
        f"{', '.join(f'{v:.{SHOWN}g}' for v in study.values(metric, label))}"
        for metric in odd(study)
        for label in study.labels
    ]
    rules = (
        "Per metric, Holm over three tests that are exact for normal values of one spread, so 5 % "
        "of clean metrics get a warning: the externally studentised residual (outlier, by the "
        "spread of all other seeds of all arms), F tests of each variant against the baseline "
        "(unequal spread), the third moment over all arms against simulated normal ones (skew). "
        "At 3 seeds they see only what is gross. Values by seed:"
    )
    return ["\n".join(lines), rules, "\n".join(values)]


def _said(study: Study, metric: str, label: str, sign: Sign) -> str:
    p = f"p = {text.p_value(sign.p)}" if sign.p >= text.SMALLEST_P else f"p {text.p_value(sign.p)}"
    if sign.rule is Rule.SPREAD:
        return (
            f"{text.code(label)} spreads {sign.size:.2g} times as much over seeds as the baseline "
            f"({p}); Welch's test allows for that, other readings do not."
        )
    if sign.rule is Rule.SKEW or sign.seed is None:
        return f"the seeds are skewed, {text.code(label)} most ({p}); a mean hides that."
    value = study.values(metric, label)[sign.seed]
    side = "above" if sign.size > 0 else "below"
    return (
        f"one seed of {text.code(label)} at {value:.{SHOWN}g} lies {abs(sign.size):.1f} standard "
        f"errors {side} its other seeds ({p}); the mean and its interval hang on it."
    )


def data(study: Study) -> list[dict[str, Any]]:
    """Every sign for programs."""
    return [
        {"metric": metric, "variant": label, "rule": sign.rule.value, "p": sign.p}
        for metric, signs in odd(study).items()
        for label, sign in signs
    ]
