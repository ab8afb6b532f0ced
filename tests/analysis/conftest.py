"""One real store for every test that only reads it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import synthetic_store as store

from analysis.revisions import History
from analysis.study import Study, read_study


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FULL: seed 3 of reinforce failed, seed 3 of grpo never started. SOUND: all is well."""
    folder = tmp_path_factory.mktemp("stored") / "runs"
    store.write(folder, [store.FULL, store.SOUND])
    return folder


@pytest.fixture(scope="session")
def full(stored: Path) -> Study:
    return read_study(stored, store.FULL.name)


@pytest.fixture(scope="session")
def sound(stored: Path) -> Study:
    return read_study(stored, store.SOUND.name)


@pytest.fixture(scope="session")
def asked() -> Callable[..., Study]:
    """A study under another plan."""

    def changed(study: Study, **change: Any) -> Study:
        manifest = study.manifest
        ablation = dataclasses.replace(manifest.ablation, **change)
        revision = dataclasses.replace(manifest, ablation=ablation)
        return dataclasses.replace(study, history=History([revision], []))

    return changed


@pytest.fixture(scope="session")
def length_bias(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to work in, whose runs/ holds an ablation as examples and notebooks name it."""
    folder = tmp_path_factory.mktemp("length_bias")
    store.write(folder / "runs", [store.LENGTH_BIAS])
    return folder
