"""Hydra's door to the sweep: `harness -m` arrives here."""

from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class HarnessSearchPath(SearchPathPlugin):
    """Finds the group `ablation` in the folder `sweeps`, beside any path that a user adds.

    As a plug-in and not as `hydra.searchpath` in the config, which a user's own
    `hydra.searchpath=[...]` would replace.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append("harness", "pkg://sweeps")


class HarnessSweeper(Sweeper):
    """Hands the whole multirun to Ray Tune."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context = hydra_context
        self.config = config

    def sweep(self, arguments: list[str]) -> Any:
        from sweeps.sweep import sweep  # Hydra imports every plug-in at every start: stay light

        assert self.hydra_context is not None
        assert self.config is not None
        return sweep(self.hydra_context.config_loader, self.config, arguments)


ConfigStore.instance().store(
    group="hydra/sweeper",
    name="harness",
    node={"_target_": "hydra_plugins.harness_sweeper.HarnessSweeper"},
    provider="harness",
)
