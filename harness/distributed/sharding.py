"""Where a model lies: on one device, or in shards over the ranks (FSDP2)."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from harness.distributed.moves import Moves
from harness.distributed.ranks import ALONE, Ranks
from harness.errors import ConfigError


class Device(Enum):
    """Kind of device that a rank computes on."""

    CPU = "cpu"
    CUDA = "cuda"


class Precision(Enum):
    """Numeric type of forward and backward passes; weights and sums keep their own."""

    WEIGHTS = "weights"
    BFLOAT16 = "bfloat16"


@dataclass(frozen=True)
class Sharding:
    """How a model is laid out over the ranks.

    Attributes:
        fsdp: shard with FSDP2 on a single rank as well; several ranks always do.
        precision: `bfloat16` computes in it, from weights and with sums in their own type.
        offload: weights and optimizer states wait in host memory while others work, a whole state
            at a time (harness.distributed.moves); gradients stay on the device.
        checkpointing: keep only each block's input and compute the rest again for the gradient.
    """

    fsdp: bool = False
    precision: Precision = Precision.WEIGHTS
    offload: bool = False
    checkpointing: bool = False


@dataclass(frozen=True)
class Layout:
    """On what a model's passes run; the models of a rank share one.

    Attributes:
        token_budget: padded tokens of one pass.
        moves: of their states, where sharding.offload is set.
    """

    token_budget: int
    sharding: Sharding = field(default_factory=Sharding)
    device: Device = Device.CPU
    ranks: Ranks = ALONE
    moves: Moves = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "moves", Moves(self.sharding.offload))

    @property
    def torch_device(self) -> torch.device:
        """As torch calls it."""
        return torch.device(self.device.value)


def check(settings: Sharding, ranks: int) -> None:
    """Raise ConfigError for what one unsharded rank cannot do.

    Args:
        ranks: of the trial.
    """
    for name, asked in (
        ("precision", settings.precision is not Precision.WEIGHTS),
        ("offload", settings.offload),
    ):
        if asked and ranks == 1 and not settings.fsdp:
            raise ConfigError(
                f"trainer.sharding.{name} is FSDP2's; with one rank set trainer.sharding.fsdp=true"
            )


def check_there(device: Device) -> None:
    """Raise ConfigError for a device that this process does not have."""
    if device is Device.CUDA and not torch.cuda.is_available():
        raise ConfigError(
            "trainer.device=cuda, but torch sees no GPU here; set trainer.device=cpu or install a "
            "CUDA build of torch"
        )


def placed(module: torch.nn.Module, layout: Layout) -> torch.nn.Module:
    """The module where its passes will be computed, its blocks sharded where that is asked for.

    The gradients of the ranks are added, not averaged: a loss is divided by global counts already.

    Raises:
        ConfigError: the model does not name its blocks.
    """
    settings, ranks = layout.sharding, layout.ranks
    sharded = ranks.count > 1 or settings.fsdp
    if (sharded or settings.checkpointing) and not blocks(module):
        raise ConfigError(
            "this model does not say what its blocks are (_no_split_modules), so that it can be "
            "neither sharded nor checkpointed; use trainer.ranks=1 and "
            "trainer.sharding.checkpointing=false"
        )
    if settings.checkpointing:
        for block in blocks(module):
            kept = functools.partial(
                checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False
            )
            block.forward = kept
    if not sharded:
        return module.to(layout.device.value)
    options: dict[str, Any] = {
        "mesh": init_device_mesh(layout.device.value, (ranks.count,)),
        "mp_policy": _types(settings.precision),
    }
    for block in blocks(module):
        fully_shard(block, **options)
    fully_shard(module, **options)
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)  # gloo cannot divide
    return module


def blocks(module: torch.nn.Module) -> list[torch.nn.Module]:
    """The layers of the transformers model inside: the units of sharding and checkpointing.

    There are none where the model does not name them.
    """
    names = {
        name for part in module.modules() for name in getattr(part, "_no_split_modules", None) or ()
    }
    return [part for part in module.modules() if type(part).__name__ in names]


def computed_in(settings: Sharding, weights: torch.dtype) -> torch.dtype:
    """Numeric type of the passes: sampler and trainer share it."""
    return torch.bfloat16 if settings.precision is Precision.BFLOAT16 else weights


def whole(x: Tensor) -> Tensor:
    """The full tensor of a shard; a call that all ranks make together."""
    return x.full_tensor() if isinstance(x, DTensor) else x


def local(x: Tensor) -> Tensor:
    """This rank's shard, or the tensor itself where it is not sharded."""
    return x.to_local() if isinstance(x, DTensor) else x


def resharded(module: torch.nn.Module) -> None:
    """Let go of the full parameters that a pass without gradient leaves at the root."""
    if isinstance(module, FSDPModule):
        module.reshard()


def at_rest(module: torch.nn.Module) -> Iterable[Tensor]:
    """Its parameters as they lie between two passes: in shards."""
    resharded(module)
    return module.parameters()


def _types(precision: Precision) -> MixedPrecisionPolicy:
    if precision is Precision.WEIGHTS:
        return MixedPrecisionPolicy()
    return MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
