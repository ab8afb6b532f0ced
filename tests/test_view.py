"""What a single run shows of a slow trial, of a fast one, and of what it does while it waits."""

import io
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub.file_download import http_get
from rich.console import Console

from harness.distributed.sharding import Layout
from harness.learner.policy import Policy
from harness.machine import progress
from harness.machine.progress import Unit, waiting
from harness.models.download import Download
from harness.models.loading import Source
from harness.rollout.engine import Request, Stream
from harness.rollout.transformers import TransformersEngine
from harness.tasks.countdown import Countdown
from harness.types import Rollout, Sampling
from harness.view import View

EVALUATED = {"eval/accuracy": 0.25, "eval/response_length/mean": 47.9, "eval/kl": 0.0}
SLOW = {
    "timing_s/step": 61.2,
    "timing_s/gen": 22.4,
    "timing_s/update_actor": 31.0,
    "timing_s/old_log_prob": 7.4,
    "timing_s/update_weights": 0.4,
}


def shown(*steps: tuple[int, float, Mapping[str, float]]) -> tuple[View, list[str]]:
    out = io.StringIO()
    with View(Console(file=out, width=200), "grpo__s0") as view:
        for step in steps:
            view.observe(*step)
        done = view.budget.done if view.budget else None
    assert progress._waits == []
    assert view.budget is None or view.budget.done == done
    return view, out.getvalue().splitlines()


def test_the_first_slow_step_says_what_it_took() -> None:
    _, lines = shown((0, 0.0, EVALUATED), (1, 0.1, SLOW), (2, 0.2, SLOW))
    assert lines == [
        "trial grpo__s0",
        "step     0    0% of the budget   held-out accuracy 0.250   response length 47.9   "
        "KL to base 0.000",
        "step     1  took 60 s: learning 30 s, sampling 20 s, log-probs 7 s",
    ]


def test_a_fast_run_says_nothing_of_time() -> None:
    view, lines = shown((0, 0.0, EVALUATED), (1, 0.5, {**SLOW, "timing_s/step": 9.9}))
    assert lines[0] == "trial grpo__s0"
    assert len(lines) == 2
    assert view.budget is not None
    assert (view.budget.done, view.budget.total) == (0.5, 1.0)


def test_a_resumed_run_counts_what_it_does_itself() -> None:
    """Resumed at 0.6: of the 0.4 that are left, 0.1 is done at 0.7."""
    view, _ = shown((6, 0.6, {}), (7, 0.7, {}))
    assert view.budget is not None
    assert (view.budget.done, view.budget.total) == pytest.approx((0.1, 0.4))
    view, _ = shown((10, 1.0, {}))
    assert view.budget is None


@pytest.mark.parametrize("length", [1, 24])
def test_the_engine_reports_every_response_once_and_draws_the_same(
    engine: TransformersEngine, task: Countdown, length: int
) -> None:
    requests = [Request(prompt=p, items=(2 * p.item, 2 * p.item + 1)) for p in task.held_out()]
    sampling = Sampling(max_new_tokens=length)
    stream = Stream(seed=11, name="rollout", step=4)
    alone = engine.generate(requests, sampling, stream)
    with waiting(Unit.RESPONSES, "sampling", "all", 1000) as wait:
        seen = engine.generate(requests, sampling, stream)
    assert wait.done == pytest.approx(2 * len(requests))
    assert torch.equal(alone.tokens_BT, seen.tokens_BT)
    assert torch.equal(alone.logprobs_BT, seen.logprobs_BT)


def test_a_policy_reports_every_row_that_it_scores(source: Source, rollout: Rollout) -> None:
    with waiting(Unit.RESPONSES, "evaluating", "all", 1000) as wait:
        Policy(source.model(), 1.0, Layout(64)).score(rollout)
    assert wait.done == len(rollout.texts)


def test_a_model_that_is_loaded_is_one_copy(source: Source) -> None:
    with waiting(Unit.COPIES, "loading", "two", 2) as wait:
        source.model()
    assert wait.done == pytest.approx(1)


class _Bytes(BaseHTTPRequestHandler):
    """A hub that has one file of 1,000 bytes."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"x" * 1000)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Bytes)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/model.safetensors"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_download_of_the_hub_is_a_wait(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[str, float, float]] = []

    class Seen(Download):
        def close(self) -> None:
            if self.wait is not None:
                seen.append((self.wait.words, self.wait.done, self.wait.total))
            super().close()

    with (tmp_path / "file").open("wb") as file:
        http_get(hub, file, displayed_filename="model.safetensors", tqdm_class=Seen)
    assert (tmp_path / "file").stat().st_size == 1000
    assert seen[0] == ("downloading model.safetensors, 0.0 GB", 1000, 1000)
    assert progress._waits == []
    assert capsys.readouterr() == ("", "")
