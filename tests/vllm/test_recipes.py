"""A dry run of each recipe, where vLLM is installed and no GPU is: it says what it would need."""

import importlib.util
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.cli import _show_memory
from tests.gpu.world import TINY, World
from tests.test_recipes import RECIPES

pytestmark = pytest.mark.vllm

# What a recipe asks for that is not here: a data set of the hub's.
INSTEAD = {"gsm8k_1_5b": ("task=multiplication", "task/template=hashes")}
FEW = ("task.train_size=256", "task.eval_size=16")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return World("cpu", TINY, tmp_path_factory.mktemp("recipes"), 1, 8, 4).model


@pytest.mark.parametrize("name", RECIPES)
def test_it_prints_what_gpu_and_machine_must_have(
    composed: Callable[..., Any], model: str, tmp_path: Path, name: str
) -> None:
    few = () if name == "a_star_po_3b" else FEW
    kind = () if importlib.util.find_spec("torchao") else ("trainer.optimizer.kind=adamw",)
    asked = (*INSTEAD.get(name, ()), *few, *kind, f"model.path={model}", f"runs={tmp_path}")
    config = composed(f"+recipe={name}", *asked, "tracking=none", "dry_run=true")
    console = Console(file=io.StringIO(), width=150)
    _show_memory(console, config)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    gpu, _, machine = text.partition("per rank, of its machine:")
    assert "per GPU:" in gpu
    for part, known in ((gpu, "the device's own"), (machine, "Python and its libraries")):
        assert known in part
        assert len(re.findall(r"together +[0-9.]+ GB", part)) == 1
    assert f"{config.trainer.ranks} of them; estimated" in text
