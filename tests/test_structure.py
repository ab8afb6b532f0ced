"""Who may import whom, how long things may be, and what no module may do: read from the source.

Each rule is a function of (file, source) -> offences, so that the second half shows it offenders.
"""

import ast
import fnmatch
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("harness", "analysis", "sweeps")

# The folders and modules of harness, lower first. A module imports only lower layers, or modules of
# its own folder.
LAYERS = (
    ("errors", "wording"),
    ("blame", "functions"),
    ("schema", "checks", "typed", "distributed"),
    ("maths", "machine", "prompts", "stages", "guard"),
    ("types", "config"),
    ("protocols", "kl", "curricula", "models", "tracking", "windows"),
    ("contract",),
    ("tasks", "rollout"),
    ("rewards", "algorithms", "learner"),
    ("measure", "preflight", "testing", "identity"),
    ("loop", "standing", "rehearsal", "facts"),
    ("trial",),
    ("launch", "refusals"),
    ("manual", "view"),
    ("cli",),
    ("__main__",),
    ("commands",),
    ("audit_reward", "data", "evaluate", "exercises", "parity"),
)
LAYER_OF = {name: rank for rank, names in enumerate(LAYERS) for name in names}
# What an algorithm may see: mathematics and the data it is given, nothing that runs it.
ALGORITHM_MAY_IMPORT = {
    *("checks", "errors", "kl", "schema", "types"),
    *("maths.returns", "maths.tensor_ops", "rollout.collected"),
}
# Third-party packages and the only files that may import them.
CONFINED = {
    "ray": ("sweeps/*", "harness/launch.py", "harness/machine/cluster.py"),
    "torch.distributed": (
        *("harness/distributed/ranks.py", "harness/distributed/sharding.py"),
        *("harness/learner/checkpoint.py", "harness/learner/policy.py"),
        "harness/learner/storage.py",
    ),
    "mlflow": ("harness/tracking*", "analysis/reading/server.py"),
    "tensorboard": ("harness/tracking/tensorboard.py",),
    "wandb": ("harness/tracking/wandb.py",),
    "vllm": ("harness/rollout/vllm_library.py",),
    "optuna": ("sweeps/proposals.py",),
    "hydra": (
        *("harness/__main__.py", "harness/cli.py", "harness/manual.py", "harness/refusals.py"),
        "sweeps/*",
    ),
    "matplotlib": (
        *("analysis/canvas.py", "analysis/drawing.py", "analysis/figures.py", "analysis/forest.py"),
    ),
    "torch": ("harness/*", "sweeps/*"),
}
MAX_LINE, MAX_FILE, MAX_FUNCTION, MAX_LOOP = 100, 300, 40, 150
LOOP = ("harness/loop.py", "train")
# Drawing from these with an explicit seed or generator is the rule; all else of them is global.
SEEDED_NUMPY = {"Generator", "Philox", "PCG64", "SeedSequence", "BitGenerator", "default_rng"}
TORCH_GLOBAL = {"manual_seed", "seed", "set_rng_state", "manual_seed_all", "initial_seed"}
TORCH_DRAWS = {"rand", "randn", "randint", "randperm", "multinomial", "bernoulli", "normal"}

Rule = Callable[[str, str], list[str]]


def imports(tree: ast.AST, file: str = "") -> Iterator[tuple[str, int, bool]]:
    """(dotted name, line, inside a function) of everything imported; names of `from` included."""
    parts = list(PurePosixPath(file).parts[:-1])
    lazy = {
        id(child)
        for f in ast.walk(tree)
        if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.walk(f)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, id(node) in lazy
        elif isinstance(node, ast.ImportFrom):
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield f"{base}.{alias.name}", node.lineno, id(node) in lazy


def layers(file: str, source: str) -> list[str]:
    """harness: only lower layers. Between packages: harness < analysis < sweeps."""
    found = []
    package = PurePosixPath(file).parts[0]
    own = part_of(file)
    for name, line, lazy in imports(ast.parse(source), file):
        target, *rest = name.split(".")
        if target not in PACKAGES:
            continue
        if PACKAGES.index(target) > PACKAGES.index(package):
            if (
                file.startswith("harness/commands/parity_ops/")
                and name.startswith("analysis.")
                and lazy
            ):
                continue  # parity of the statistics: the one upward import
            found.append(f"{file}:{line} {package} imports {name}")
        elif package == target == "harness" and rest and rest[0] != own:
            found += [f"{file}:{line} {problem}" for problem in misplaced(own, rest[0])]
    return found


def part_of(file: str) -> str:
    """The module or sub-package of harness that a file belongs to."""
    part = PurePosixPath(file).parts[1]
    return part.removesuffix(".py")


def misplaced(own: str, target: str) -> list[str]:
    for part in (own, target):
        if part not in LAYER_OF and part != "__init__":
            return [f"harness.{part} has no layer: add it to LAYERS in tests/test_structure.py"]
    if own == "__init__" or LAYER_OF[target] < LAYER_OF[own]:
        return []
    return [f"harness.{own} imports harness.{target}, which is not a lower layer"]


def has_layer(file: str, source: str) -> list[str]:
    own = part_of(file) if file.startswith("harness/") else "__init__"
    if own in LAYER_OF or own == "__init__":
        return []
    return [f"{file} has no layer: add {own!r} to LAYERS in tests/test_structure.py"]


def algorithms_are_pure(file: str, source: str) -> list[str]:
    """An algorithm sees the standard library, torch and a few modules; no other algorithm."""
    if not fnmatch.fnmatch(file, "harness/algorithms/*"):
        return []
    found = []
    for name, line, _ in imports(ast.parse(source), file):
        top, *rest = name.split(".")
        seen = {".".join(rest[:depth]) for depth in (1, 2)}
        ours = top == "harness" and not seen.isdisjoint(ALGORITHM_MAY_IMPORT)
        torch_math = top == "torch" and "distributed" not in rest
        if not (ours or torch_math or top in sys.stdlib_module_names):
            found.append(f"{file}:{line} an algorithm imports {name}")
    return found


def confined(file: str, source: str) -> list[str]:
    """Heavy packages stay behind the module that owns them."""
    found = []
    for name, line, _ in imports(ast.parse(source), file):
        for package, homes in CONFINED.items():
            inside = name == package or name.startswith(f"{package}.")
            if inside and not any(fnmatch.fnmatch(file, home) for home in homes):
                found.append(f"{file}:{line} imports {name}; {package} belongs to {homes}")
    return found


def sizes(file: str, source: str) -> list[str]:
    lines = source.splitlines()
    found = [
        f"{file}:{i} line of {len(line)} characters (at most {MAX_LINE})"
        for i, line in enumerate(lines, 1)
        if len(line) > MAX_LINE
    ]
    if len(lines) > MAX_FILE:
        found.append(f"{file} has {len(lines)} lines (at most {MAX_FILE})")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            limit = MAX_LOOP if (file, node.name) == LOOP else MAX_FUNCTION
            if length > limit:
                found.append(f"{file}:{node.lineno} {node.name} has {length} lines (max {limit})")
    return found


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an attribute chain, "" for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return ""


def no_global_rng(file: str, source: str) -> list[str]:
    """Every draw names its stream: no global generator is seeded or read."""
    tree = ast.parse(source)
    found = [
        f"{file}:{line} imports {name}"
        for name, line, _ in imports(tree)
        if name == "random" or name.startswith(("random.", "numpy.random."))
        if name.rpartition(".")[2] not in SEEDED_NUMPY
    ]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        base, _, attribute = dotted(node.func).rpartition(".")
        arguments = {keyword.arg for keyword in node.keywords}
        numpy_global = base in ("np.random", "numpy.random") and attribute not in SEEDED_NUMPY
        unseeded = attribute == "default_rng" and not (node.args or node.keywords)
        torch_global = base.split(".")[0] == "torch" and attribute in TORCH_GLOBAL
        draw = base == "torch" and attribute in TORCH_DRAWS and "generator" not in arguments
        if numpy_global or unseeded or torch_global or draw:
            found.append(f"{file}:{node.lineno} {base}.{attribute} uses the global generator")
    return found


def no_escape_hatches(file: str, source: str) -> list[str]:
    """No bare except, no eval, no exec."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            found.append(f"{file}:{node.lineno} bare except")
        if isinstance(node, ast.Call) and dotted(node.func) in ("eval", "exec"):
            found.append(f"{file}:{node.lineno} calls {dotted(node.func)}")
    return found


RULES: tuple[Rule, ...] = (
    has_layer,
    layers,
    algorithms_are_pure,
    confined,
    sizes,
    no_global_rng,
    no_escape_hatches,
)


def sources() -> dict[str, str]:
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if "notebooks" not in path.parts
    }


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(rule: Rule) -> None:
    files = sources()
    assert {
        "harness/types.py",
        "harness/algorithms/grpo.py",
        "analysis/stats/differences.py",
    } <= set(files)
    offences = [offence for file, source in files.items() for offence in rule(file, source)]
    assert not offences, "\n" + "\n".join(offences)


def test_analysis_does_not_reach_torch() -> None:
    """Nothing that a report imports, directly or through harness, imports torch."""
    files = sources()
    start = [file for file in files if file.startswith("analysis/")]
    chains = dict.fromkeys(start, "")
    while start:
        file = start.pop()
        for name, _, lazy in imports(ast.parse(files[file]), file):
            chain = f"{chains[file]} > {file}" if chains[file] else file
            assert lazy or name.split(".")[0] != "torch", f"{chain} imports {name}"
            for target in () if lazy else candidates(name):
                if target in files and target not in chains:
                    chains[target] = chain
                    start.append(target)


def candidates(name: str) -> Iterator[str]:
    """Files that importing a dotted name runs: each package on the way, and the module."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        path = "/".join(parts[:end])
        yield f"{path}.py"
        yield f"{path}/__init__.py"


# --- planted offenders ----------------------------------------------------------------------------

OFFENDERS: list[tuple[Rule, str, str]] = [
    (has_layer, "harness/novelty.py", ""),
    (layers, "harness/novelty.py", "from harness import errors"),
    (layers, "harness/types.py", "from harness.loop import train"),
    (layers, "harness/types.py", "from harness import config"),
    (layers, "harness/maths/tensor_ops.py", "def f():\n    from harness.types import Batch"),
    (layers, "harness/tasks/countdown.py", "from harness.rewards.binary import Binary"),
    (layers, "harness/rollout/collect.py", "from harness.learner.policy import Policy"),
    (layers, "harness/rollout/collect.py", "from ..learner.policy import Policy"),
    (layers, "harness/trial.py", "import analysis.stats"),
    (layers, "harness/trial.py", "def f():\n    from analysis import stats"),
    (layers, "harness/commands/parity_ops/statistics.py", "from analysis import stats"),
    (layers, "harness/cli.py", "from sweeps.trainable import run"),
    (layers, "analysis/report.py", "from sweeps import plan"),
    (algorithms_are_pure, "harness/algorithms/new.py", "from harness.algorithms.grpo import Grpo"),
    (algorithms_are_pure, "harness/algorithms/new.py", "from .grpo import Grpo"),
    (
        algorithms_are_pure,
        "harness/algorithms/new.py",
        "from harness.maths.streams import uniforms",
    ),
    (algorithms_are_pure, "harness/algorithms/new.py", "import omegaconf"),
    (algorithms_are_pure, "harness/algorithms/new.py", "import torch.distributed as dist"),
    (confined, "harness/trial.py", "import ray"),
    (confined, "harness/learner/batching.py", "from torch import distributed"),
    (confined, "harness/loop.py", "def f():\n    from mlflow import MlflowClient"),
    (confined, "analysis/report.py", "import mlflow"),
    (confined, "harness/rollout/engine.py", "from vllm import LLM"),
    (confined, "harness/tracking/recording.py", "import wandb"),
    (confined, "harness/loop.py", "from tensorboard.summary import Writer"),
    (confined, "harness/config.py", "from hydra import compose"),
    (confined, "analysis/report.py", "from matplotlib.figure import Figure"),
    (confined, "analysis/stats/differences.py", "from torch import Tensor"),
    (sizes, "harness/x.py", "#" * 101),
    (sizes, "harness/x.py", "pass\n" * 301),
    (sizes, "harness/x.py", "def f():\n" + "    pass\n" * 40),
    (sizes, "harness/x.py", "def train():\n" + "    pass\n" * 40),
    (sizes, "harness/loop.py", "def train():\n" + "    pass\n" * 150),
    (no_global_rng, "harness/x.py", "import random"),
    (no_global_rng, "harness/x.py", "from random import choice"),
    (no_global_rng, "harness/x.py", "import numpy as np\nnp.random.seed(0)"),
    (no_global_rng, "harness/x.py", "import numpy as np\nnp.random.default_rng()"),
    (no_global_rng, "harness/x.py", "from numpy.random import rand"),
    (no_global_rng, "harness/x.py", "import torch\ntorch.manual_seed(0)"),
    (no_global_rng, "harness/x.py", "import torch\ntorch.cuda.manual_seed_all(0)"),
    (no_global_rng, "harness/x.py", "import torch\ntorch.randn(3)"),
    (no_escape_hatches, "harness/x.py", "try:\n    f()\nexcept:\n    pass"),
    (no_escape_hatches, "harness/x.py", "eval('1')"),
    (no_escape_hatches, "harness/x.py", "exec('1')"),
]
INNOCENT: list[tuple[Rule, str, str]] = [
    (has_layer, "harness/algorithms/new.py", ""),
    (layers, "harness/algorithms/new.py", "from harness.types import Batch"),
    (layers, "harness/tasks/countdown.py", "from harness.tasks import search"),
    (
        layers,
        "harness/commands/parity_ops/statistics.py",
        "def f():\n    from analysis import stats",
    ),
    (layers, "sweeps/x.py", "from analysis import stats\nfrom harness.trial import run"),
    (algorithms_are_pure, "harness/algorithms/new.py", "import math\nfrom torch import Tensor"),
    (confined, "sweeps/trainable.py", "import ray\nfrom hydra import compose"),
    (confined, "harness/distributed/sharding.py", "import torch.distributed as dist"),
    (confined, "harness/x.py", "import rayon, hydra_plugins"),
    (sizes, "harness/loop.py", "def train():\n" + "    pass\n" * 149),
    (sizes, "harness/x.py", "def f():\n" + "    pass\n" * 39 + "#" * 100),
    (no_global_rng, "harness/x.py", "import numpy as np\nnp.random.default_rng(3).normal()"),
    (no_global_rng, "harness/x.py", "import torch\ntorch.randn(3, generator=g)"),
    (
        no_escape_hatches,
        "harness/x.py",
        "model.eval()\ntry:\n    f()\nexcept ValueError:\n    pass",
    ),
]


@pytest.mark.parametrize(("rule", "file", "source"), OFFENDERS)
def test_offender_is_seen(rule: Rule, file: str, source: str) -> None:
    assert rule(file, source)


@pytest.mark.parametrize(("rule", "file", "source"), INNOCENT)
def test_innocent_is_not_accused(rule: Rule, file: str, source: str) -> None:
    assert rule(file, source) == []


def test_every_rule_has_an_offender() -> None:
    assert {rule for rule, _, _ in OFFENDERS} == set(RULES)
