"""The policy: a causal language model that scores responses and takes optimizer steps."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import register_fsdp_forward_method

from harness.distributed.checksums import added, digest, sums
from harness.distributed.moves import State, kept_by, read_into
from harness.distributed.sharding import Layout, at_rest, local, placed, resharded, whole
from harness.learner.batching import Packed, packed, passes, row_lengths
from harness.learner.finite import check_scored
from harness.learner.optimizer import Optimizer, adamw
from harness.learner.scorer import Hidden, Scorer
from harness.machine.progress import Unit, advance
from harness.types import Rollout


class Learner:
    """A module, sharded or not, with its optimizer; without settings it only scores."""

    def __init__(
        self,
        module: torch.nn.Module,
        layout: Layout,
        settings: Optimizer | None,
        parameters: Iterable[Tensor] | None = None,
        weights: State | None = None,
    ) -> None:
        self.module = module
        self.layout = layout
        self.settings = settings
        self.parameters = list(module.parameters() if parameters is None else parameters)
        self.optimizer: torch.optim.Optimizer | None = None
        self.version = 0  # of the weights: another number, other weights
        if settings is None:
            for parameter in self.parameters:
                parameter.requires_grad_(False)
        else:
            self.optimizer = adamw(settings, self.parameters, layout.device)
        name = "reference" if settings is None else type(self).__name__.lower()
        add = layout.moves.add
        self.weights_state = weights or add(f"{name}'s weights", partial(at_rest, module))
        self.moments_state = add(f"{name}'s optimizer", partial(kept_by, self.optimizer))

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def hold(self) -> None:
        """Put 0 in the place of the gradients that are there."""
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad.zero_()

    def norm(self) -> Tensor:
        """Of the gradients that are there; with shards, this rank's part of it (see `whole`)."""
        found = [p.grad for p in self.parameters if p.grad is not None]
        return torch.nn.utils.get_total_norm(found)

    def step(self, progress: float, norm: Tensor, held: bool = False) -> float:
        """One step on the gradients that are there, clipped; returns the learning rate.

        Args:
            norm: theirs, as `norm` gives it.
            held: the optimizer counts the step, but its rate is 0; see `hold` for its gradients.
        """
        assert self.optimizer is not None
        assert self.settings is not None
        self.layout.moves.at_hand(self.weights_state, self.moments_state)
        torch.nn.utils.clip_grads_with_norm_(self.parameters, self.settings.clip, norm)
        rate = 0.0 if held else self.settings.rate(progress)
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):  # torchao compiles its step around it
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        self.optimizer.step()
        for state in (self.weights_state, self.moments_state):
            state.touched()
        self.version += 1
        return rate

    def state_dict(self) -> dict[str, Any]:
        """Weights and optimizer by name, in this rank's shards; with offload as they wait."""
        assert self.optimizer is not None
        moves = self.layout.moves
        moves.at_hand(self.weights_state, self.moments_state)
        resharded(self.module)
        made = {
            "model": get_model_state_dict(self.module),
            "optimizer": get_optimizer_state_dict(self.module, self.optimizer),
        }
        moves.at_hand()
        waiting: dict[str, Any] = moves.waiting(made)
        return waiting

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state_dict."""
        assert self.optimizer is not None
        if self.layout.moves.active:  # the host's copies are what comes back to the device
            own = self.state_dict()
            read_into({name: own[name] for name in state}, state)
            self.version += 1
            return
        if "model" in state:
            set_model_state_dict(self.module, state["model"])
            self.version += 1
        set_optimizer_state_dict(self.module, self.optimizer, state["optimizer"])

    def _scored(
        self,
        rollout: Rollout,
        names: tuple[str, ...],
        rows_b: Tensor | None = None,
        **asked: bool,
    ) -> list[Tensor]:
        """Columns of the module, (B,T), 0 off the mask; on every rank.

        Args:
            names: of the columns; asked: what else the module is told.
            rows_b: the others' are 0; None: every row.

        Raises:
            DivergedError: some are no numbers.
        """
        self.layout.moves.at_hand(self.weights_state)
        columns: dict[str, Tensor] = {}
        rows_b = torch.arange(len(rollout.prompts)) if rows_b is None else rows_b
        layout = self.layout
        for part in passes(rows_b, row_lengths(rollout), layout.token_budget, layout.ranks):
            made = self.module(packed(rollout, part.rows_b), **asked)
            for name in names:
                column_BT = made[name].new_zeros(rollout.mask_BT.shape)
                column_BT = columns.setdefault(name, column_BT)
                if part.counts:
                    column_BT[part.rows_b, : made[name].shape[1]] = made[name]
            advance(Unit.RESPONSES, part.counts * len(part.rows_b) * layout.ranks.count)
        resharded(self.module)
        found = [layout.ranks.added(columns[name]) for name in names]
        for name, column_BT in zip(names, found, strict=True):
            check_scored(name, column_BT, rollout.mask_BT, self.optimizer is not None)
        return found


class Policy(Learner):
    """A model that scores the responses it is shown, and learns if it has an optimizer."""

    module: Scorer

    def __init__(
        self,
        model: Any,
        temperature: float,
        layout: Layout,
        optimizer: Optimizer | None = None,
        values: bool = False,
    ) -> None:
        scorer = Scorer(model, temperature, layout.torch_device, values)
        module = placed(scorer, layout)
        register_fsdp_forward_method(module, "hidden")
        own = [p for name, p in module.named_parameters() if not name.startswith("value_head.")]
        super().__init__(module, layout, optimizer, own)

    @property
    def temperature(self) -> float:
        """What logits are divided by."""
        return self.module.temperature

    def weights(self, dtype: torch.dtype | None = None) -> Iterator[tuple[str, Tensor]]:
        """Names and full tensors, one after the other: never more than one of them is whole.

        Args:
            dtype: what they are cast to before the ranks exchange them; None: their own.
        """
        shards = self._shards()  # now, not when the first is asked for: the engine needs the room
        return ((name, whole(x.detach().to(dtype or x.dtype))) for name, x in shards)

    def checksum(self, dtype: torch.dtype) -> str:
        """Of the weights as that type, from the ranks' own shards."""
        own = {
            name: sums(local(parameter.detach()).to(dtype)) for name, parameter in self._shards()
        }
        return digest(added(self.layout.ranks.gathered(own)))

    def _shards(self) -> Iterable[tuple[str, Tensor]]:
        """Names and parameters as they lie between two passes.

        A pass without gradient leaves the root's whole on every rank, where each would be counted
        once per rank.
        """
        self.layout.moves.at_hand(self.weights_state)
        resharded(self.module)
        named: Iterable[tuple[str, Tensor]] = self.module.model.named_parameters()
        return named

    def export(self, folder: Path) -> None:
        """Write the model in Hugging Face format; all ranks call it, the first one writes."""
        resharded(self.module)
        model = self.module.model
        buffers = dict(model.named_buffers())
        kept = {name: x for name, x in model.state_dict().items() if name in buffers}
        for name, x in self.weights():
            if self.layout.ranks.first:
                kept[name] = x.cpu()
        if self.layout.ranks.first:
            model.save_pretrained(folder, state_dict=kept)

    @torch.no_grad()
    def score(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Log-probs of the sampled tokens and entropies, both (B,T), 0 off the mask."""
        logprobs_BT, entropy_BT = self._scored(rollout, ("logprobs_BT", "entropy_BT"))
        return logprobs_BT, entropy_BT

    @torch.no_grad()
    def logprobs(self, rollout: Rollout, rows_b: Tensor | None = None) -> Tensor:
        """The log-probs of `score` alone, to the bit, without what entropies cost.

        Args:
            rows_b: the others' are 0; None: every row.
        """
        return self._scored(rollout, ("logprobs_BT",), rows_b, entropy=False)[0]

    @torch.no_grad()
    def hidden(self, inputs: Packed) -> Hidden:
        """What another model's exact KL to this one needs of some rows."""
        return self.module.hidden(inputs)
