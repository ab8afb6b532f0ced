"""TensorBoard's event files, as a listener writes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.machine import files
from harness.tracking import Names
from harness.tracking.listening import needs
from harness.tracking.record import Record


@dataclass(frozen=True)
class TensorBoard:
    """TensorBoard's event files: tensorboard --logdir runs/listeners/EXPERIMENT shows them."""

    def check(self) -> None:
        needs("tensorboard", "tensorboard")

    def begin(self, record: Record, folder: Path, names: Names) -> "Events":
        return Events(folder)


class Events:
    """One file of events. Values have single precision: TensorBoard shows no other."""

    def __init__(self, folder: Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        files.remove(folder)
        self._file = EventFileWriter(str(folder))
        # A TensorBoard that is looking on forgets what the file before this one had.
        self._file.add_event(Event(step=0, session_log=SessionLog(status=SessionLog.START)))

    def step(self, step: int, metrics: Mapping[str, float], time_ms: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=key, simple_value=value) for key, value in metrics.items()]
        event = Event(step=step, wall_time=time_ms / 1000, summary=Summary(value=values))
        self._file.add_event(event)
        self._file.flush()

    def end(self, finished: bool) -> None:
        self._file.close()
