"""Ctrl-C in the middle of training, as a terminal sends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import carl
from conftest import same_state

PROGRAM = """
import sys
import numpy as np
import carl
images = np.load(sys.argv[1])
model = carl.CARL(width=0.125, projector=[16, 8], prototypes=6, epochs=2000, batch_size=8, progress=False, run_dir=sys.argv[2],
                  callbacks=lambda model, metrics: print(metrics.step, flush=True))
try:
    model.fit(images)
except KeyboardInterrupt:
    assert model.transform(images).shape == (len(images), model.n_features_out_)
    assert np.isfinite(model.trainer_.step(images).loss)
    print("usable", flush=True)
    raise
"""


@pytest.mark.parametrize("attempt", range(3))
def test_ctrl_c_leaves_a_model_and_a_checkpoint(images, tmp_path, attempt):
    np.save(tmp_path / "images.npy", images)
    run = tmp_path / "run"
    root = os.path.dirname(os.path.dirname(carl.__file__))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "images.npy"), str(run)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env=env,
    )
    try:
        for line in process.stdout:
            if int(line) >= 7 + attempt:
                break
        time.sleep(0.003 * attempt)  # another moment within a step each time
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "usable" in out, err
    assert process.returncode == -signal.SIGINT and "KeyboardInterrupt" in err
    stopped = carl.load(run)
    steps = stopped.trainer_.step_count
    assert steps >= 7 and "interrupted" in (run / "train.log").read_text()
    # The checkpoint is the exact state after a whole number of steps, with the right place in the data.
    assert (stopped._position.epoch * 5 + stopped._position.batch) == steps
    reference = carl.CARL(**{**stopped.get_params(), "run_dir": None, "callbacks": _stop_at(steps)})
    reference.fit(images)
    assert same_state(reference.trainer_, stopped.trainer_)


def _stop_at(steps):
    def stop(model, metrics):
        if metrics.step == steps:
            raise carl.StopTraining

    return stop


def test_ctrl_c_while_waiting_for_data(images):
    class Slow:
        def __iter__(self):
            yield images[:8]
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)
            yield images[8:16]

        def __len__(self):
            return 2

    model = carl.CARL(width=0.125, projector=[16, 8], prototypes=6, epochs=1, progress=False)
    with pytest.raises(KeyboardInterrupt):
        model.fit(Slow())
        time.sleep(5)  # the signal may come after the last step
    assert model.transform(images).shape[0] == 40
