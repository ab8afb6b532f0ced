"""Tables inside written pages: what recipes need, what trust gates ask."""

import ast
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from analysis import gates as judged
from docs.generator import choices, claimed
from harness.__main__ import use_sweeper_plugin
from harness.cli import labelled
from harness.config import TrialConfig
from harness.learner.memory import estimate, on_host
from harness.typed import typed

ROOT = Path(__file__).resolve().parents[2]
GIGA = 1e9
# Tokens of a prompt, as tests/test_recipes.py has them.
PROMPT, LAPTOP_PROMPT = 256, 64
LAPTOP_MODEL = "Qwen/Qwen2.5-0.5B"


def recipes() -> str:
    """GPUs and memory of every recipe, estimated as dry_run=true does."""
    lines = [
        "| recipe | model | GPUs | GB on each | GB of the machine for each |",
        "|---|---|---|---|---|",
    ]
    known = importlib.import_module("tests.test_recipes")  # the models' sizes, without a hub
    for name in (*known.RECIPES, known.LAPTOP):
        laptop = name == known.LAPTOP
        config = _composed(f"+recipe={name}", *[f"model.path={LAPTOP_MODEL}"] * laptop)
        size = known.shape(config.model.path)
        prompt = LAPTOP_PROMPT if laptop else PROMPT
        device = sum(estimate(size, config, torch.float32, prompt).values()) / GIGA
        host = sum(on_host(size, config, torch.float32).values()) / GIGA
        on_gpus = (config.trainer.ranks, f"{device:.1f}", f"{host:.1f}")
        counts = ("none", "", f"{device:.1f}") if laptop else on_gpus
        lines.append(f"| `{name}` | {config.model.path} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)


def _composed(*given: str) -> TrialConfig:
    """A recipe's config, as its command has it."""
    use_sweeper_plugin()
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        node = compose("config", overrides=list(given), return_hydra_config=True)
    chosen = node.hydra.runtime.choices
    OmegaConf.set_struct(node, False)
    del node["hydra"]
    found: TrialConfig = typed(labelled(node, chosen))
    return found


def gates() -> str:
    """Every trust gate in the order of a report: its question, and what it looks at."""
    tree = ast.parse(inspect.getsource(judged.gates))
    calls = [n.func for n in ast.walk(tree) if isinstance(n, ast.Call)]
    lines = ["| gate | what it looks at |", "|---|---|"]
    for call in calls:
        if isinstance(call, ast.Attribute) and isinstance(call.value, ast.Name):
            gate = getattr(getattr(judged, call.value.id), call.attr)
            about = (inspect.getdoc(gate) or "").partition("\n\n")[0]
            lines.append(f"| {_question(gate)} | {choices.cell(about)} |")
    return "\n".join(lines)


def _question(gate: Callable[..., object]) -> str:
    """The first text in a gate's code that can be read as a question's title."""
    tree = ast.parse(inspect.getsource(gate))
    (function,) = tree.body
    assert isinstance(function, ast.FunctionDef)
    texts = [
        node.value
        for statement in function.body[1:]
        for node in ast.walk(statement)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    titles = [text for text in texts if text[:1].isupper()]
    named = [n.id for s in function.body for n in ast.walk(s) if isinstance(n, ast.Name)]
    module = vars(sys.modules[gate.__module__])
    titles += [module[n] for n in named if n.isupper() and isinstance(module.get(n), str)]
    return next((title for title in titles if " " in title), gate.__name__)


PARTS: dict[str, Callable[[], str]] = {
    "recipes": recipes,
    "gates": gates,
    "claims": claimed.claims,
    "v_star": claimed.v_star,
}
