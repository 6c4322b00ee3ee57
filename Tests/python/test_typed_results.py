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
"""


def strict(script, folder):
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
        env={"MYPYPATH": str(Path(carl.__file__).parents[1]), "PATH": ""},
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
