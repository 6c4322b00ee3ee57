"""TensorBoard: event files, by the tensorboard package alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgumentError, missing_package
from .base import Logger, run_dir_of

if TYPE_CHECKING:
    from ..estimator import CARL


class TensorBoard(Logger):
    """Writes events.out.tfevents.* for ``tensorboard --logdir``. Needs the package tensorboard, and no other framework.

    folder: where; by default the run's folder. every: steps between two points.
    A resumed run writes a further file, and tells TensorBoard to forget what the interrupted one had beyond its
    checkpoint.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None, every: int = 1) -> None:
        super().__init__(every)
        self.folder = folder
        self._writer: Any = None

    def open(self, model: CARL, config: Mapping[str, Any]) -> None:
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError:
            raise missing_package("the logger TensorBoard", "tensorboard") from None
        folder = self.folder if self.folder is not None else run_dir_of(model)
        if folder is None:
            raise InvalidArgumentError("folder: the logger TensorBoard needs one, or a run_dir of the model")
        self._events, self._summaries = event_pb2, summary_pb2
        self._writer = EventFileWriter(os.path.expanduser(os.fspath(folder)))
        step = model.trainer_.step_count
        self._add(event_pb2.Event(step=step + 1, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START)))
        if step == 0:
            text = "    " + json.dumps(dict(config), indent=2).replace(
                "\n", "\n    "
            )  # four spaces: Markdown's verbatim text
            metadata = summary_pb2.SummaryMetadata(
                plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name="text"),
                data_class=summary_pb2.DATA_CLASS_TENSOR,
            )
            one = tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=1)])
            tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[text.encode()], tensor_shape=one)
            value = summary_pb2.Summary.Value(tag="configuration", metadata=metadata, tensor=tensor)
            self._add(event_pb2.Event(step=0, summary=summary_pb2.Summary(value=[value])))

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        values = [self._summaries.Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
        self._add(self._events.Event(step=step, summary=self._summaries.Summary(value=values)))

    def close(self, failed: bool) -> None:
        self._writer.close()
        self._writer = None

    def _add(self, event: Any) -> None:
        import time

        event.wall_time = time.time()
        self._writer.add_event(event)
