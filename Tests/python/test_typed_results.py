"""What a user's script sees of the results' types."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import carl
from carl import evaluate

SCRIPT = """
import numpy as np
import carl
x, y = np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1])
share: float = carl.evaluate.knn(x, y, x, y).accuracy
found = carl.evaluate.knn(x, y, x)
labels = found.predictions
best: float = max(carl.evaluate.knn(x, y, x, y, k=[1, 2]).accuracies.values())


class Every(carl.Callback):
    def on_step(self, model: carl.CARL, metrics: carl.Metrics) -> None:
        if metrics.step % 10 == 0 and metrics.collapsed:
            raise carl.StopTraining


def train(photos: str) -> float:
    model = carl.CARL(encoder="resnet18", prototypes=30, epochs=2, callbacks=[Every()]).fit(photos, eval_set=photos)
    features, names = model.transform(photos, return_paths=True)
    shape: tuple[int, ...] = features.shape
    first: str = names[0]
    losses: list[float] = [metrics.loss for metrics in model.history_]
    config: carl.TrainerConfig = model.config_
    clusters = model.predict(photos)
    print(shape, first, config.width, carl.evaluate.cluster(clusters, [0, 1]).nmi, model._repr_html_())
    with carl.Trainer(config.replace(threads=1), seed=3) as trainer:
        step: carl.Metrics = trainer.step(np.zeros((4, 12, 12, 3), np.uint8))
        state: dict[str, np.ndarray] = trainer.state_dict()
        trainer.save("t.carl", notes={"tensors": len(state)})
    with carl.Classifier("t.carl", ["cat", "dog"], freeze_encoder=True) as classifier:
        judged = classifier.step(np.zeros((4, 12, 12, 3), np.uint8), [0, 1, 0, 1])
        share = judged.accuracy + classifier.score(photos)
    encoder = carl.Encoder("t.carl")
    rows: np.ndarray = encoder.transform(photos)
    whitened = carl.evaluate.Whitening().fit(rows).transform(rows)
    for row in carl.runs.read_metrics("runs/x"):
        print(row["loss"], whitened.dtype)
    return share + step.loss + sum(losses)
"""


def strict(script, folder):
    home = Path(carl.__file__).parents[1]
    (folder / "script.py").write_text(script)
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--follow-imports=silent",  # as of an installed package, whose own lines are not looked at
            "--config-file",
            "",
            "--cache-dir",
            str(folder / "cache"),
            "script.py",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        # Of an installed package mypy knows, and it does not want to be told.
        env={"PATH": "", **({} if home.name in ("site-packages", "dist-packages") else {"MYPYPATH": str(home)})},
    )


def test_a_script_needs_no_cast(tmp_path):
    pytest.importorskip("mypy")
    done = strict(SCRIPT, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = strict(SCRIPT + "\nfound.accuracy\n", tmp_path)  # of no labels there is none
    assert wrong.returncode == 1 and '"KNNPredictions" has no attribute "accuracy"' in wrong.stdout


def test_predictions_without_labels():
    x, y = np.eye(4, dtype=np.float32), np.array(["a", "b", "a", "b"])
    found = evaluate.knn(x, y, x, k=1)
    assert found.predictions.tolist() == y.tolist() and not isinstance(found, evaluate.KNNResult)
    judged = evaluate.knn(x, y, x, y, k=[1, 2])
    assert judged.accuracy == judged.accuracies[1] == 1.0
    assert found.to_dict().keys() < judged.to_dict().keys() and found.to_dict()["protocol"] == "knn"
