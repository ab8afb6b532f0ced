"""Whether what was learnt from and what was measured are the model's own, on held-out prompts."""

import polars as pl

from analysis.gates.gate import Gate, Level, about, arms, mean_of
from analysis.gates.tags import explained
from analysis.study import Study

# Mean |log-prob difference| of a step: what rounding in bfloat16 stays below, and a trial's own
# default of trainer.mismatch.warn.
MISMATCH_TOLERANCE = 0.05
PROMPT_COLUMNS = ["item", "problem", "prompt"]
HELD_OUT = "eval/"  # how the metrics of held-out prompts begin


def sampler(study: Study) -> Gate:
    """Whether sampler and trainer are the same policy."""
    question, metric = "Responses are the trained model's own", "rollout/mismatch/mean"
    worst = mean_of(study, metric, largest=True)
    lost = worst.filter(~pl.col("value").is_finite().fill_null(False))
    if not lost.is_empty() or worst.is_empty():
        names = ", ".join(lost["trial"]) or "no trial has a result"
        detail = f"the sampler's log-probs were not compared, or are no numbers: {names}"
        return about(study, question, Level.WARN, detail, arms(lost))
    trial, mean = worst.sort("value", "trial")["trial", "value"].row(-1)
    detail = f"sampler and trainer differ by at most {mean:.2g} per token in the mean ({trial})"
    far = worst.filter(pl.col("value") > MISMATCH_TOLERANCE)
    level = Level.OK if far.is_empty() else Level.WARN
    return about(study, question, level, detail, arms(far))


def held_out(study: Study) -> Gate:
    """Whether the result is measured on prompts that are not trained on, the same for every trial.

    Another task is another set, where the task is the factor; a comparison is then between tasks.
    """
    question = "Same held-out prompts, same order"
    if not study.primary.startswith(HELD_OUT):
        detail = f"{study.primary} is measured on the prompts that are trained on"
        return Gate(question, Level.WARN, detail)
    tables = {t: table.select(PROMPT_COLUMNS) for t, table in study.tables.items()}
    if not tables:
        return Gate(question, Level.WARN, "no evaluation table is stored")
    arm_of = dict(study.trials["trial", "variant"].rows())
    base = next((x for t, x in tables.items() if arm_of[t] == study.baseline), None)
    first = next(iter(tables.values())) if base is None else base
    differ = [trial for trial, table in tables.items() if not table.equals(first)]
    without = sorted(set(study.finished["trial"]) - set(tables))
    if differ:
        labels = {arm_of[trial] for trial in differ}
        meant = all(explained(study, label, ("task",)) for label in labels)
        detail = f"not the baseline's prompts: {', '.join(differ)}"
        level = Level.WARN if meant else Level.FAIL
        return about(study, question, level, detail, labels)
    detail = f"{len(first)} prompts in {len(tables)} trials"
    if without:
        detail += f"; no table for {', '.join(without)}"
    return Gate(question, Level.WARN if without else Level.OK, detail)
