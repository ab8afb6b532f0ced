"""Plans whose variants cannot be compared, each refused in one line before anything starts."""

import dataclasses
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_automatic_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from analysis.ablation import Prediction, Relation, Variant
from harness.errors import ConfigError
from harness.machine import provenance
from sweeps.comparable import check
from sweeps.plan import Plan, plans
from tests.conftest import ROOT
from tests.sweeps.test_plan import edited, planned

ABLATIONS = ROOT / "sweeps" / "ablation"


def refused(plan: Plan | Callable[[], Plan]) -> str:
    with pytest.raises(ConfigError) as refusal:
        check(plan if isinstance(plan, Plan) else plan())
    message = str(refusal.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize(
    "sweep", ["rollout.temperature=1,1.0", "tracking=none,mlflow", "ray.retries=0,1"]
)
def test_values_that_are_one_trial_spelled_twice(sweep: str) -> None:
    message = refused(planned(sweep))
    key = sweep.partition("=")[0].rpartition(".")[2]
    assert f"variants {key}=" in message or "variants none and mlflow" in message
    assert "are the same trials" in message


def test_a_variant_that_equals_the_baseline(tmp_path: Path) -> None:
    """Two at once: dr_grpo is GRPO, and then nobody changes the factors."""
    old, new = "overrides: [algorithm=dr_grpo]", "overrides: [algorithm=grpo]"
    assert "variants grpo and dr_grpo are the same trials" in refused(edited(tmp_path, old, new))


@pytest.mark.parametrize("name", [path.stem for path in sorted(ABLATIONS.glob("*.yaml"))])
def test_our_own_ablations_can_be_compared(name: str) -> None:
    """Every variant composes and types. Also a_a, without factors: a variant beside itself."""
    check(planned(f"+ablation={name}"))


def test_a_factor_that_no_variant_changes(tmp_path: Path) -> None:
    message = refused(edited(tmp_path, "factors: [", "factors: [trainer.optimizer.learning_rate, "))
    assert "no variant changes trainer.optimizer.learning_rate, which `factors` declares" in message
    assert "what differs: algorithm._target_" in message


def test_budgets_that_differ(tmp_path: Path) -> None:
    message = refused(planned("budget.amount=4,8"))
    assert "amount=8 has 8 updates, amount=4 4 updates" in message


def test_held_out_sets_that_differ() -> None:
    message = refused(planned("task.eval_size=16,24", "task.train_size=64"))
    assert "eval_size=24 would be evaluated on other prompts than eval_size=16" in message


def test_a_tree_with_changes_is_refused_only_where_that_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real git tree with one changed and one new file."""
    import subprocess

    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "code.py").write_text("a = 1\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(provenance, "_ROOT", tmp_path)
    asked = planned("algorithm=grpo,dr_grpo", "sweep.require_clean=true")
    check(asked)
    (tmp_path / "code.py").write_text("a = 2\n")
    (tmp_path / "new.py").write_text("")
    assert "uncommitted changes (code.py, new.py)" in refused(asked)
    check(planned("algorithm=grpo,dr_grpo"))


def test_a_label_longer_than_a_folders_name() -> None:
    Variant("a" * 200)
    with pytest.raises(ConfigError, match="at most 200 bytes, received 201"):
        Variant("a" * 201)


def test_a_shuffled_sweep_is_the_same_question_every_time() -> None:
    labels = [
        planned("algorithm.group_size=shuffle(2,4,6,8,10,12)").ablation.labels for _ in range(2)
    ]
    assert labels[0] == labels[1]
    assert sorted(labels[0]) == sorted(f"group_size={n}" for n in (2, 4, 6, 8, 10, 12))
    assert labels[0] != [f"group_size={n}" for n in (2, 4, 6, 8, 10, 12)]


def several(*arguments: str) -> list[Plan]:
    GlobalHydra.instance().clear()
    path = create_automatic_config_search_path(None, None, "pkg://conf")
    hydra = Hydra.create_main_hydra2("harness", path)
    master = hydra.compose_config(
        "config", list(arguments), run_mode=RunMode.MULTIRUN, with_log_configuration=False
    )
    return plans(hydra.config_loader, master, arguments)


def test_two_ablations_are_two_plans_each_with_its_own_grid() -> None:
    a_a, length_bias = several("+ablation=a_a,length_bias", "seed=4,5", "budget.amount=8")
    assert a_a == planned("+ablation=a_a", "seed=4,5", "budget.amount=8")
    assert length_bias == planned("+ablation=length_bias", "seed=4,5", "budget.amount=8")


def test_one_ablation_named_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="names each question once"):
        several("+ablation=a_a,a_a")


length_bias = cache(lambda *arguments: planned("+ablation=length_bias", *arguments))


def predicting(metric: str, quantity: str = "result", *arguments: str) -> Plan:
    """length_bias with one more prediction."""
    made = length_bias(*arguments)
    size = {"ratio": 0.5} if "_to(" in quantity else {"margin": 0.05}
    claim = Prediction(
        metric, "dr_grpo", Relation.LESS, "grpo", "why not", quantity=quantity, **size
    )
    predictions = [*made.ablation.predictions, claim]
    return dataclasses.replace(
        made, ablation=dataclasses.replace(made.ablation, predictions=predictions)
    )


@pytest.mark.parametrize(
    ("metric", "quantity", "argument", "said"),
    [
        ("eval/pass_at_k", "result", "evaluation.pass_k=0", "evaluation.pass_k=0, which skips it"),
        ("eval/greedy_accuracy", "result", "evaluation.pass_k=0", "pass_k=0, which skips it"),
        ("eval/pass_at_k", "tokens_to(0.9)", "evaluation.pass_k=4", "no curve for tokens to 0.9"),
        ("eval/accuracy/difficulty_9", "result", "evaluation.pass_k=0", "eval/accuracy/difficulty"),
        ("eval/accuracy/part_sums", "area_over_steps", "evaluation.pass_k=0", "no such part"),
    ],
)
def test_a_prediction_on_what_is_not_measured(
    metric: str, quantity: str, argument: str, said: str
) -> None:
    message = refused(predicting(metric, quantity, argument))
    assert f"length_bias: {metric} is not measured: dr_grpo" in message
    assert said in message


def test_predictions_on_what_is_measured() -> None:
    for metric in ("eval/pass_at_k", "eval/accuracy_no_early_stop"):
        check(predicting(metric))
    check(predicting("eval/accuracy", "seconds_to(0.6)", "evaluation.pass_k=0"))
    part = "eval/accuracy/part_multiplication"
    check(predicting(part, "area_over_tokens", "task=mixture"))
    message = refused(predicting("eval/accuracy/part_sums", "result", "task=mixture"))
    assert f"eval/accuracy/part_countdown, {part}" in message


def test_a_primary_metric_that_is_not_measured() -> None:
    made = length_bias("evaluation.pass_k=0")
    primary = dataclasses.replace(made.ablation.primary, metric="eval/avg_at_k")
    changed = dataclasses.replace(made.ablation, primary=primary)
    assert "eval/avg_at_k is not measured: grpo has evaluation.pass_k=0" in refused(
        dataclasses.replace(made, ablation=changed)
    )
