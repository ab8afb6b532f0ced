"""A folder from somebody else: nothing that it names is run, nothing outside of it is read."""

import base64
import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.report import build
from harness.commands.evaluate import config_of
from harness.errors import ConfigError
from harness.launch import run_trial
from harness.trial import trial_folder
from tests.analysis import synthetic_store as store
from tests.conftest import SMALL
from tests.processes import equal, weights


class Touch:
    """What a crafted pickle says: a file appears when it is read."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return Path.touch, (self.canary,)


@pytest.mark.commands
def test_a_hostile_folder_runs_nothing_and_reads_nothing(
    work: Path, tmp_path: Path, composed: Callable[..., Any]
) -> None:
    """Checkpoint, config, grader path, manifest and question, all in one received folder."""
    canary, secret = tmp_path / "canary", tmp_path / "secret.png"
    secret.write_bytes(b"\x89PNG my own")
    config = composed(*SMALL, f"runs={work / 'runs'}", "tracking=none")
    run_trial(config, lambda *seen: None)
    folder, whole = trial_folder(config), weights(trial_folder(config))

    # A crafted index of a checkpoint, with digests that fit it: passed over, not loaded.
    shutil.rmtree(folder / "final")
    for step in folder.glob("step_*"):
        (step / ".metadata").write_bytes(pickle.dumps(Touch(canary)))
        digests = json.loads((step / "digests.json").read_text())
        name = next(name for name in digests if name.endswith(".metadata"))
        digests[name] = hashlib.sha256((step / ".metadata").read_bytes()).hexdigest()
        (step / "digests.json").write_text(json.dumps(digests))
    run_trial(config, lambda *seen: None)
    assert equal(weights(folder), whole), "made again from the beginning"

    # A config whose grader is a shell, and one whose task is any class.
    plain = json.loads((folder / "trial.json").read_text())
    shell = {"_target_": "harness.tasks.jsonl.Jsonl", "path": "x", "grader": "os.system"}
    for task in (shell, {"_target_": "subprocess.Popen", "args": ["touch", str(canary)]}):
        (folder / "trial.json").write_text(json.dumps({**plain, "task": task}))
        with pytest.raises(ConfigError) as refused:
            config_of(folder / "final", [], trust=False)
        line = str(refused.value)
        assert (task.get("grader") or task["_target_"]) in line
        assert "trust=true" in line

    # A manifest that names code, and a question that names a file of mine.
    store.write(tmp_path / "got", [store.FULL])
    manifest = tmp_path / "got" / "sweeps" / store.FULL.name / "manifest.jsonl"
    honest = json.loads(manifest.read_text())
    hostile = {**honest, "_target_": "pathlib.Path.touch", "self": str(canary)}
    manifest.write_text(json.dumps(hostile) + "\n")
    with pytest.raises(ConfigError) as refused:
        build(tmp_path / "got", store.FULL.name)
    assert "\n" not in str(refused.value)
    honest["ablation"]["question"] = f"![x]({secret}) # title"
    manifest.write_text(json.dumps(honest) + "\n")
    page = build(tmp_path / "got", store.FULL.name).html.read_text()
    assert secret.read_bytes().hex() not in page
    assert base64.b64encode(secret.read_bytes()).decode() not in page
    assert page.count("<h1") == 1

    assert not canary.exists()


def test_the_canary_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Touch(tmp_path / "canary")))
    assert (tmp_path / "canary").exists()
