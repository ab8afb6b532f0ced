"""Whole states move between a rank's device and its host memory: who does not work waits there.

A state is the weights of a model or what its optimizer keeps. Its tensors stay the tensors that
they are, for FSDP2 and the optimizer alike; only their memory is given back while it waits. Nothing
but `at_hand` says who works: what reads a tensor that waits crashes. verl moves the same states in
the same phases (arXiv 2409.19256, section 5.4).

On a CPU there is nowhere else to go, but all of it happens: that is how it is tested.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

# Each tensor begins where any numeric type may.
ALIGNED = 64


@dataclass(frozen=True)
class _Slot:
    """Where a piece of memory waits in its state's host memory."""

    storage: torch.UntypedStorage
    start: int
    size: int


class State:
    """Tensors that move together."""

    def __init__(self, name: str, tensors: Callable[[], Iterable[Tensor]]) -> None:
        """All of it is on the device.

        Args:
            name: for people.
            tensors: that it has now; plain ones, shards (DTensor) or others with tensors inside.
        """
        self.name = name
        self.here = True
        self._tensors = tensors
        self._slots: dict[int, _Slot] = {}
        self._host: Tensor | None = None
        self._stale = True  # what waits on the host is not what is on the device

    def touched(self) -> None:
        """It was changed on the device: what the host has is no longer it."""
        self._stale = True

    def leave(self) -> None:
        """Give the device's memory back; what it held is kept on the host."""
        if not self.here:
            return
        if self._reserved(self._tensors()) or self._stale:
            for slot, host in self._pairs():
                host.copy_(_bytes(slot.storage), non_blocking=True)
            _wait()
        for slot in self._slots.values():
            slot.storage.resize_(0)
        self.here, self._stale = False, False

    def enter(self) -> None:
        """Take memory on the device again, with what was kept."""
        if self.here:
            return
        for slot, host in self._pairs():
            slot.storage.resize_(slot.size)
            _bytes(slot.storage).copy_(host, non_blocking=True)
        _wait()
        self.here = True

    def waiting(self, x: Tensor) -> Tensor | None:
        """A plain tensor as it waits on the host; None for one that is not of this state."""
        slot, host = self._slots.get(x.untyped_storage()._cdata), self._host
        if slot is None or host is None:
            return None
        begin = slot.start // x.element_size() + x.storage_offset()
        view = torch.empty(0, dtype=x.dtype)
        return view.set_(host.untyped_storage(), begin, x.size(), x.stride())

    def _pairs(self) -> Iterator[tuple[_Slot, Tensor]]:
        for slot in self._slots.values():
            assert self._host is not None
            yield slot, self._host[slot.start : slot.start + slot.size]

    def _reserved(self, tensors: Iterable[Tensor]) -> bool:
        """Have host memory for what it has now; whether that is new.

        An optimizer has nothing before its first step.
        """
        plain = [inner.untyped_storage() for x in tensors for inner in _plain(x)]
        found = {storage._cdata: storage for storage in plain if storage.nbytes()}
        if found.keys() == self._slots.keys():
            return False
        self._slots, end = {}, 0
        for key, storage in found.items():
            self._slots[key] = _Slot(storage, end, storage.nbytes())
            end += -(-storage.nbytes() // ALIGNED) * ALIGNED
        pinned = any(storage.device.type == "cuda" for storage in found.values())
        self._host = _locked(torch.empty(end, dtype=torch.uint8), pinned)
        return True


@dataclass
class Moves:
    """The states of a rank, if they move at all.

    Attributes:
        active: false leaves everything where it is.
    """

    active: bool = False
    states: list[State] = field(default_factory=list)

    def add(self, name: str, tensors: Callable[[], Iterable[Tensor]]) -> State:
        """A state that moves with the others."""
        made = State(name, tensors)
        if self.active:
            self.states.append(made)
        return made

    def at_hand(self, *needed: State) -> None:
        """These on the device, and no others; those that leave go first."""
        for state in self.states:
            if state not in needed:
                state.leave()
        for state in self.states:
            if state in needed:
                state.enter()

    def here(self) -> list[str]:
        """Names of those that are on the device."""
        return [state.name for state in self.states if state.here]

    def waiting(self, tree: Any) -> Any:
        """A state_dict as it waits on the host: to be saved, or read in place, without a copy."""
        if not self.states:
            return tree
        if isinstance(tree, dict):
            return {key: self.waiting(value) for key, value in tree.items()}
        if isinstance(tree, list | tuple):
            return type(tree)(self.waiting(value) for value in tree)
        if not isinstance(tree, Tensor):
            return tree
        if not is_traceable_wrapper_subclass(tree):
            found = (state.waiting(tree) for state in self.states)
            return next((x for x in found if x is not None), tree)
        names, about = tree.__tensor_flatten__()
        inner = {name: self.waiting(getattr(tree, name)) for name in names}
        return type(tree).__tensor_unflatten__(inner, about, tree.size(), tree.stride())


def kept_by(optimizer: torch.optim.Optimizer | None) -> list[Tensor]:
    """The tensors of an optimizer; there are none before its first step."""
    kept = {} if optimizer is None else optimizer.state
    return [x for own in kept.values() for x in own.values() if isinstance(x, Tensor)]


def read_into(own: Any, given: Any) -> None:
    """Copy a state_dict into another of its kind, where they are not the same memory."""
    if isinstance(own, dict):
        for key, value in own.items():
            read_into(value, given[key])
    elif isinstance(own, list | tuple):
        for one, other in zip(own, given, strict=True):
            read_into(one, other)
    elif isinstance(own, Tensor):
        for x, y in zip(_plain(own), _plain(given), strict=True):
            if x.data_ptr() != y.data_ptr():
                x.copy_(y)


def _plain(x: Tensor) -> Iterator[Tensor]:
    """A tensor that has memory of its own, or those inside of one."""
    if not is_traceable_wrapper_subclass(x):
        yield x
        return
    names, _ = x.__tensor_flatten__()
    for inner in (getattr(x, name) for name in names):
        if isinstance(inner, Tensor):
            yield from _plain(inner)


def _bytes(storage: torch.UntypedStorage) -> Tensor:
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)


def _locked(host: Tensor, pinned: bool) -> Tensor:
    """Memory that a GPU copies from and to by itself.

    torch's own allocator of such memory takes powers of two: 139 GB where 80 are needed.
    """
    if pinned and host.numel():
        runtime: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        torch.cuda.check_error(int(runtime.cudaHostRegister(host.data_ptr(), host.numel(), 0)))
        weakref.finalize(host, runtime.cudaHostUnregister, host.data_ptr())
    return host


def _wait() -> None:
    """Nothing reads or writes the memory that changes hands: FSDP2 has streams of its own."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
