"""Whether a trial fits where it is to run: on its GPU and its machine, as they are now."""

from collections.abc import Mapping

from harness.config import TrialConfig
from harness.distributed.sharding import Device
from harness.errors import ConfigError
from harness.machine import devices
from harness.machine.devices import Room

# Share of a GPU that is left free: what its allocator cannot use between blocks that are.
HEADROOM = 0.05
SPARE = "lower trainer.token_budget, set trainer.sharding.checkpointing=true"
# Ranks of one machine share its memory: more of them there need more in all.
SPREAD = "raise trainer.ranks over several machines, or take a machine with more"


def check(config: TrialConfig, device: Mapping[str, int], host: Mapping[str, int]) -> None:
    """Refuse a trial that will not fit.

    Where this process sees no GPU, as a cluster's driver or a dry run on another machine, nothing
    is compared: the ranks look for themselves.

    Args:
        device: bytes that each rank needs on its device, part by part.
        host: bytes that each rank with a GPU needs on its machine.

    Raises:
        ConfigError: how much is needed, how much there is, and what makes it smaller.
    """
    needed = sum(device.values())
    if config.trainer.device is Device.CPU:
        _check_host(config, needed, f"{SPARE}, {SPREAD}")
        return
    card = devices.gpu()
    if card is None:
        return
    _check_gpu(config, needed, card)
    _check_host(config, sum(host.values()), f"set trainer.sharding.offload=false, {SPREAD}")


def _check_gpu(config: TrialConfig, needed: int, card: Room) -> None:
    """Its free memory, and where trials share it no more than this one's part of it all."""
    share = config.ray.gpus_per_rank
    there = min(card.free, int(card.total * share)) - int(HEADROOM * card.total * share)
    if needed > there:
        part = f", of which a trial may take {share:g} (ray.gpus_per_rank)" if share < 1 else ""
        raise ConfigError(
            f"each rank needs about {needed / 1e9:.1f} GB of its GPU and has {there / 1e9:.1f}: "
            f"{card.free / 1e9:.1f} of {card.total / 1e9:.1f} are free{part}, {HEADROOM:.0%} stay "
            f"so (dry_run=true shows what for); {SPARE}, or raise trainer.ranks"
        )


def _check_host(config: TrialConfig, needed: int, remedy: str) -> None:
    """Memory of this machine: what is free, or of several ranks, which start together, all of it.

    Ranks on a cluster's machines look at their own.
    """
    room, ranks = devices.host(), config.trainer.ranks
    there = room.free if ranks == 1 else room.total // ranks
    if needed > there:
        raise ConfigError(
            f"each rank needs about {needed / 1e9:.1f} GB of its machine and has "
            f"{there / 1e9:.1f} (dry_run=true shows what for); {remedy}"
        )
