"""MLflow, by its own package."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import missing_package
from .base import Logger, remember, remembered, run_dir_of

if TYPE_CHECKING:
    from ..estimator import CARL

#: Steps that are sent together: MLflow takes a call of its own for each batch, and 1000 values in one.
_STEPS = 40


class MLflow(Logger):
    """Logs to MLflow. Needs the package mlflow (or mlflow-skinny).

    uri: where it tracks; by default what MLflow's own settings say. experiment: its name. name: of the run, by default
    the name of the run's folder. every: steps between two points. A resumed run goes on in the same run there: its id
    is kept in mlflow.id in the run's folder.
    """

    def __init__(
        self, experiment: str = "carl", name: str | None = None, uri: str | None = None, every: int = 1
    ) -> None:
        super().__init__(every)
        self.experiment, self.name, self.uri = experiment, name, uri
        self._waiting: list[Any] = []

    def open(self, model: CARL, config: Mapping[str, Any]) -> None:
        try:
            from mlflow.entities import Metric, Param
            from mlflow.tracking import MlflowClient
        except ImportError:
            raise missing_package("the logger MLflow", "mlflow") from None
        # A client of its own: a run that the user has active elsewhere stays as it is.
        self._client, self._metric, self._waiting, self._steps = MlflowClient(tracking_uri=self.uri), Metric, [], 0
        folder, known = run_dir_of(model), remembered(model, "mlflow")
        if known:
            self._id = known
            self._client.update_run(known, status="RUNNING")
            return
        found = self._client.get_experiment_by_name(self.experiment)
        experiment = found.experiment_id if found else self._client.create_experiment(self.experiment)
        name = self.name or (folder.name if folder else None)
        self._id = self._client.create_run(experiment, run_name=name).info.run_id
        parameters = [
            Param(key, value if isinstance(value, str) else json.dumps(value)) for key, value in config.items()
        ]
        self._client.log_batch(self._id, params=parameters)
        remember(model, "mlflow", self._id)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        self._waiting += [self._metric(name, value, now, step) for name, value in figures.items()]
        self._steps += 1
        if self._steps == _STEPS:
            self._send()

    def close(self, failed: bool) -> None:
        self._send()
        self._client.set_terminated(self._id, status="FAILED" if failed else "FINISHED")

    def _send(self) -> None:
        if self._waiting:
            self._client.log_batch(self._id, metrics=self._waiting)
        self._waiting, self._steps = [], 0
