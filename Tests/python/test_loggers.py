"""TensorBoard, Weights & Biases and MLflow: what arrives there, on resume too, and what a missing package says."""

from __future__ import annotations

import sys
import types

import pytest

import carl
from carl import loggers
from conftest import small_model

SERIES = {
    "loss",
    "consistency",
    "prior",
    "effective_prototypes",
    "used_prototypes",
    "learning_rate",
    "views_per_second",
}


def stop_at(step):
    def stop(model, metrics):
        if metrics.step == step:
            raise KeyboardInterrupt

    return stop


def event_files(folder):
    return sorted(folder.glob("events.out.tfevents.*"))


def read_events(folder):
    """The scalars of a folder as TensorBoard itself reads them: {tag: {step: value}}."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    reader = accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    reader.Reload()
    scalars = {tag: {event.step: event.value for event in reader.Scalars(tag)} for tag in reader.Tags()["scalars"]}
    return scalars, reader


def test_tensorboard_writes_real_event_files(images, tmp_path):
    pytest.importorskip("tensorboard")
    model = small_model(run_dir=tmp_path, callbacks=loggers.TensorBoard()).fit(images)
    assert len(event_files(tmp_path)) == 1
    scalars, reader = read_events(tmp_path)
    assert set(scalars) >= SERIES and "step" not in scalars
    for name in SERIES:
        wanted = {metrics.step: metrics[name] for metrics in model.history_}
        assert scalars[name] == pytest.approx(wanted, rel=1e-6)
    text = reader.Tensors("configuration")[0].tensor_proto.string_val[0].decode()
    assert '"prototypes": 6' in text


def test_tensorboard_forgets_what_a_resumed_run_repeats(images, tmp_path):
    pytest.importorskip("tensorboard")
    with pytest.raises(KeyboardInterrupt):
        small_model(run_dir=tmp_path, callbacks=[loggers.TensorBoard(), stop_at(7)]).fit(images)
    small_model(run_dir=tmp_path, callbacks=loggers.TensorBoard()).fit(images, resume=True)
    assert len(event_files(tmp_path)) == 2
    scalars, _ = read_events(tmp_path)
    rows = carl.runs.read_metrics(tmp_path)
    assert scalars["loss"] == pytest.approx({row["step"]: row["loss"] for row in rows}, rel=1e-6)


def test_evaluations_arrive_too(images, tmp_path):
    labelled = images, [0, 1] * 20
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    model = small_model(run_dir=tmp_path, callbacks=loggers.TensorBoard()).fit(images, eval_set=labelled)
    reader = accumulator.EventAccumulator(str(tmp_path), size_guidance={"scalars": 0})
    reader.Reload()
    for tag, name in (("eval_knn", "knn"), ("eval_linear", "linear")):
        found = {event.step: event.value for event in reader.Scalars(tag)}
        assert found == pytest.approx({row["step"]: row[name] for row in model.evaluations_}) and set(found) == {
            0,
            5,
            10,
        }


def test_every_and_folder(images, tmp_path):
    pytest.importorskip("tensorboard")
    small_model(callbacks=loggers.TensorBoard(tmp_path / "elsewhere", every=4)).fit(images)
    assert set(read_events(tmp_path / "elsewhere")[0]["loss"]) == {4, 8}
    with pytest.raises(carl.InvalidArgumentError, match="run_dir"):
        small_model(callbacks=loggers.TensorBoard()).fit(images)
    with pytest.raises(carl.InvalidArgumentError, match="every"):
        loggers.TensorBoard(every=0)


@pytest.mark.parametrize(
    ("name", "package"), [("tensorboard", "tensorboard"), ("wandb", "wandb"), ("mlflow", "mlflow")]
)
def test_a_missing_package_is_named(images, tmp_path, monkeypatch, name, package):
    for module in [each for each in sys.modules if each.split(".")[0] == package] + [package]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(carl.MissingPackageError, match=f"pip install {package}"):
        small_model(run_dir=tmp_path, callbacks=loggers.make(name)).fit(images)


def test_unknown_logger():
    with pytest.raises(carl.InvalidArgumentError, match="did you mean 'tensorboard'"):
        loggers.make("tensorbord")


class FakeRun:
    def __init__(self, arguments):
        self.arguments, self.logged, self.exit_code = arguments, {}, None
        self.id = arguments.get("id") or "run1"

    def log(self, figures, step):
        self.logged.setdefault(step, {}).update(figures)

    def finish(self, exit_code):
        self.exit_code = exit_code


def test_wandb_is_called_as_its_package_wants(images, tmp_path, monkeypatch):
    runs = []
    module = types.ModuleType("wandb")
    module.init = lambda **arguments: runs.append(FakeRun(arguments)) or runs[-1]
    monkeypatch.setitem(sys.modules, "wandb", module)
    with pytest.raises(KeyboardInterrupt):
        small_model(run_dir=tmp_path / "a", callbacks=[loggers.WandB("birds", tags=["x"]), stop_at(7)]).fit(images)
    small_model(run_dir=tmp_path / "a", callbacks=loggers.WandB("birds")).fit(
        images, eval_set=(images, [0, 1] * 20), resume=True
    )
    first, second = runs
    assert first.arguments["project"] == "birds" and first.arguments["name"] == "a" and first.arguments["tags"] == ["x"]
    assert first.arguments["config"]["prototypes"] == 6 and "id" not in first.arguments
    assert (second.arguments["id"], second.arguments["resume"]) == ("run1", "allow")
    assert first.exit_code == 1 and second.exit_code == 0
    assert sorted({*first.logged, *second.logged}) == list(range(1, 11)) and SERIES | {
        "eval_knn",
        "eval_linear",
    } <= set(second.logged[10])
    # A new run in a folder of its own begins anew.
    small_model(run_dir=tmp_path / "b", callbacks=loggers.WandB()).fit(images)
    assert "id" not in runs[2].arguments


def test_wandb_itself(images, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    small_model(run_dir=tmp_path, callbacks=loggers.WandB()).fit(images, eval_set=(images, [0, 1] * 20))
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb")) and (tmp_path / "wandb.id").read_text().strip()


def test_mlflow_itself(images, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    with pytest.raises(KeyboardInterrupt):
        small_model(run_dir=tmp_path / "run", callbacks=[loggers.MLflow("birds", uri=uri), stop_at(7)]).fit(images)
    client = MlflowClient(tracking_uri=uri)
    key = (tmp_path / "run" / "mlflow.id").read_text().strip()
    assert client.get_run(key).info.status == "FAILED" and client.get_run(key).info.run_name == "run"
    model = small_model(run_dir=tmp_path / "run", callbacks=loggers.MLflow("birds", uri=uri)).fit(
        images, eval_set=(images, [0, 1] * 20), resume=True
    )
    run = client.get_run(key)
    assert run.info.status == "FINISHED" and run.data.params["prototypes"] == "6"
    assert run.data.metrics["loss"] == pytest.approx(model.history_[-1].loss)
    assert run.data.metrics["eval_knn"] == model.evaluations_[-1]["knn"]
    assert [metric.step for metric in client.get_metric_history(key, "loss")] == list(range(1, 11))


def test_a_logger_of_one_s_own(images):
    class Mine(loggers.Logger):
        def open(self, model, config):
            self.rows, self.ended = {}, None

        def write(self, step, figures):
            self.rows[step] = figures

        def close(self, failed):
            self.ended = failed

    mine = Mine(every=2)
    small_model(callbacks=mine).fit(images)
    assert list(mine.rows) == [2, 4, 6, 8, 10] and mine.rows[2]["loss"] > 0 and mine.ended is False
