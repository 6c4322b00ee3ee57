"""Evaluation while training: what it reports, that it changes nothing, and where it goes."""

from __future__ import annotations

import json

import numpy as np
import pytest

import carl
from carl import runs
from carl._schedule import Schedule
from carl.evaluate import OnlineEvaluation, knn
from carl.evaluate._probe import fit_probe
from carl.evaluate.online import hold_out
from carl.evaluate.pixels import pixel_side
from conftest import same_state, small_model


@pytest.fixture
def labelled(images):
    """40 images and two labels that a mean of their colours tells apart."""
    labels = np.arange(40) % 2
    bright = images.astype(int) + 60 * labels[:, None, None, None] - 40
    return bright.clip(0, 255).astype(np.uint8), labels


def steps(rows):
    return [row["step"] for row in rows]


def figures(rows):
    return [{name: row[name] for name in ("step", "epoch", "knn", "linear")} for row in rows]


def test_training_is_the_same_bit_by_bit(images, labelled):
    plain = small_model().fit(images)
    judged = small_model(eval_every=2).fit(images, eval_set=labelled)
    assert same_state(plain.trainer_, judged.trainer_)
    assert [row.loss for row in plain.history_] == [row.loss for row in judged.history_]
    assert steps(judged.evaluations_) == [0, 2, 4, 6, 8, 10] and plain.evaluations_ == []
    assert [row["epoch"] for row in judged.evaluations_] == [0, 0, 0, 1, 1, 2]


def test_the_figures_are_those_of_the_features(images, labelled):
    model = small_model().fit(images, eval_set=(labelled[0][:30], labelled[1][:30], labelled[0][30:], labelled[1][30:]))
    features = model.transform(labelled[0])
    last = model.evaluations_[-1]
    assert last["knn"] == knn(features[:30], labelled[1][:30], features[30:], labelled[1][30:], 20).accuracy
    weights, biases = fit_probe(features[:30], labelled[1][:30], 2)
    assert last["linear"] == np.mean((features[30:] @ weights + biases).argmax(axis=1) == labelled[1][30:])
    assert steps(model.evaluations_) == [0, 5, 10] and last["seconds"] > 0


def test_when(images, labelled):
    assert steps(small_model(eval_every="2 epochs", epochs=3).fit(images, eval_set=labelled).evaluations_) == [
        0,
        10,
        15,
    ]
    assert steps(small_model(eval_every="3 steps").fit(images, eval_set=labelled).evaluations_) == [0, 3, 6, 9, 10]
    assert steps(small_model(eval_every=100).fit(images, eval_set=labelled).evaluations_) == [0, 10]
    for wrong in (0, -1, 2.5, "often", "0 epochs", "3 weeks", True):
        with pytest.raises(carl.InvalidArgumentError, match="eval_every"):
            Schedule(wrong)
    with pytest.raises(carl.InvalidArgumentError, match="eval_every: wants labelled images"):
        small_model(eval_every=2).fit(images)


def test_a_resumed_run_reports_what_a_whole_one_does(images, labelled, tmp_path):
    def stop(model, metrics):
        if metrics.step == 7:
            raise KeyboardInterrupt

    whole = small_model(run_dir=tmp_path / "whole", eval_every=2).fit(images, eval_set=labelled)
    with pytest.raises(KeyboardInterrupt):
        small_model(run_dir=tmp_path / "parts", eval_every=2, callbacks=stop).fit(images, eval_set=labelled)
    small_model(run_dir=tmp_path / "parts", eval_every=2).fit(images, eval_set=labelled, resume=True)
    rows = [runs.read_evaluations(tmp_path / name) for name in ("whole", "parts")]
    assert figures(rows[0]) == figures(rows[1]) == figures(whole.evaluations_)
    small_model(run_dir=tmp_path / "parts", eval_every=2).fit(
        images, eval_set=labelled, resume=True
    )  # nothing to do, nothing to add
    assert runs.read_evaluations(tmp_path / "parts") == rows[1]
    # A new run in a folder without a checkpoint begins its files anew.
    (tmp_path / "parts" / "checkpoints" / "last.carl").unlink()
    small_model(run_dir=tmp_path / "parts", seed=9).fit(images, eval_set=labelled)
    assert steps(runs.read_evaluations(tmp_path / "parts")) == [0, 5, 10]
    assert "k-NN" in (tmp_path / "parts" / "train.log").read_text()


def test_an_evaluation_that_was_interrupted_is_made_up_for(images, labelled, tmp_path, monkeypatch):
    judge = OnlineEvaluation.judge

    def interrupted(self, trainer):
        if trainer.step_count == 5:
            raise KeyboardInterrupt
        return judge(self, trainer)

    with monkeypatch.context() as patch:
        patch.setattr(OnlineEvaluation, "judge", interrupted)
        with pytest.raises(KeyboardInterrupt):
            small_model(run_dir=tmp_path).fit(images, eval_set=labelled)
    assert steps(runs.read_evaluations(tmp_path)) == [0]
    small_model(run_dir=tmp_path).fit(images, eval_set=labelled, resume=True)
    assert steps(runs.read_evaluations(tmp_path)) == [0, 5, 10]


def test_ctrl_c_at_any_moment_loses_no_step(images, tmp_path, monkeypatch):
    """Between a step and the writing of its figures, and, in a run that goes on, before its first step."""
    with monkeypatch.context() as patch:
        step = carl.Trainer.step

        def interrupted(self, *arguments):
            step(self, *arguments)
            if self.step_count == 7:
                raise KeyboardInterrupt
            return self.last_metrics

        patch.setattr(carl.Trainer, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            small_model(run_dir=tmp_path).fit(images)
    assert steps(runs.read_metrics(tmp_path)) == [1, 2, 3, 4, 5, 6, 7]
    with monkeypatch.context() as patch:
        patch.setattr(carl.Trainer, "step", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            small_model(run_dir=tmp_path).fit(images, resume=True)
    assert steps(runs.read_metrics(tmp_path)) == [1, 2, 3, 4, 5, 6, 7]
    model = small_model(run_dir=tmp_path).fit(images, resume=True)
    assert steps(runs.read_metrics(tmp_path)) == list(range(1, 11))
    whole = small_model().fit(images)
    assert [row["loss"] for row in runs.read_metrics(tmp_path)] == [row.loss for row in whole.history_] and same_state(
        model.trainer_, whole.trainer_
    )


def test_where_they_go(images, labelled, tmp_path):
    class Mine(carl.loggers.Logger):
        rows: dict = {}

        def write(self, step, figures):
            self.rows.setdefault(step, {}).update(figures)

    seen = []

    class Listener(carl.Callback):
        def on_evaluation(self, model, figures):
            seen.append((model.trainer_.step_count, dict(figures)))

    mine = Mine()
    model = small_model(run_dir=tmp_path, callbacks=[mine, Listener()]).fit(images, eval_set=labelled)
    assert [step for step, _ in seen] == [0, 5, 10] and [row for _, row in seen] == model.evaluations_
    assert mine.rows[10]["eval_knn"] == model.evaluations_[-1]["knn"] and set(mine.rows[0]) == {
        "eval_knn",
        "eval_linear",
        "eval_raw_pixels",
    }
    assert (
        runs.read_evaluations(tmp_path) == model.evaluations_
        and runs.read_evaluations(tmp_path / "eval.jsonl") == model.evaluations_
    )
    import pickle

    assert pickle.loads(pickle.dumps(model.set_params(callbacks=None))).evaluations_ == model.evaluations_


@pytest.mark.usefixtures("undrawn")
def test_in_the_curves_and_the_report(images, labelled, tmp_path):
    pytest.importorskip("matplotlib")
    from carl import plots, report

    model = small_model(run_dir=tmp_path).fit(images, eval_set=labelled)
    figure = plots.curves(model.history_, {}, model.evaluations_)
    panel = figure.axes[-1]
    assert panel.get_title(loc="left").startswith("Accuracy")
    assert [list(line.get_ydata()) for line in panel.lines[:2]] == [
        [row[name] for row in model.evaluations_] for name in ("knn", "linear")
    ]
    pixels = model.evaluations_[-1]["raw_pixels"]
    assert list(panel.lines[2].get_ydata()) == [pixels, pixels]
    text = report.write(tmp_path).path.read_text(encoding="utf-8")
    assert "k-NN accuracy" in text and f"{model.evaluations_[-1]['linear']:.3f}" in text
    assert f"<b>{pixels:.3f}</b><span>k-NN of raw pixels</span>" in text
    rows = [
        f"<tr><td>{row['step']}</td><td>{row['epoch']}</td><td>{row['knn']:.4f}</td><td>{pixels:.4f}</td>"
        f"<td>{row['linear']:.4f}</td></tr>"
        for row in model.evaluations_
    ]
    assert "".join(rows) in text


def test_raw_pixels_beside_the_features(images, labelled, tmp_path, capfd):
    model = small_model(run_dir=tmp_path, progress=True).fit(images, eval_set=labelled)
    pixels, labels = labelled
    references, queries = hold_out(labels)
    wanted = knn(
        carl.evaluate.pixel_features(pixels[references], 12),
        labels[references],
        carl.evaluate.pixel_features(pixels[queries], 12),
        labels[queries],
        20,
    ).accuracy
    assert [row["raw_pixels"] for row in model.evaluations_] == [wanted] * 3
    assert [row["raw_pixels"] for row in runs.read_evaluations(tmp_path)] == [wanted] * 3
    assert f", raw pixels {wanted:.4f}" in (tmp_path / "train.log").read_text()
    assert f", raw pixels {wanted:.4f}" in capfd.readouterr().err


def test_raw_pixels_of_many_images_are_bounded():
    class Many(carl.sources.ImageSource):
        def __len__(self):
            return 10**6

        def read(self, indices):
            return np.zeros((len(indices), 64, 64, 3), np.uint8)

        def describe(self):
            return "many"

    side = pixel_side(Many())
    assert 1 <= side < 32 and 10**6 * side * side * 3 * 4 <= 2**28 and pixel_side(Many(), 100) == 32


def test_forms_of_the_set(images, labelled, tmp_path):
    pixels, labels = labelled
    np.savez(tmp_path / "set.npz", images=pixels, labels=labels)
    np.save(tmp_path / "labels.npy", labels)
    np.save(tmp_path / "images.npy", pixels)
    with carl.Trainer(
        {
            **{key: value for key, value in small_model().get_params().items() if key in vars(carl.TrainerConfig())},
            "in_channels": 3,
            "stem": "small",
            "view_size": 12,
        }
    ) as trainer:
        wanted = OnlineEvaluation((pixels, labels), 3)
        assert (wanted.references, wanted.queries) == (32, 8)
        expected = wanted.judge(trainer)
        with carl.Encoder.from_trainer(trainer) as encoder:
            assert {**wanted.judge(encoder), "seconds": 0} == {**expected, "seconds": 0}
        model = small_model(epochs=1, in_channels=3).fit(pixels)
        assert wanted.judge(model)["knn"] == wanted.judge(model.trainer_)["knn"]
        for wrong in (small_model(), 3):
            with pytest.raises(carl.InvalidArgumentError, match="want a carl.Trainer or a carl.CARL that is fitted"):
                wanted.judge(wrong)
        for form in [
            str(tmp_path / "set.npz"),
            tmp_path / "set.npz",
            (tmp_path / "set.npz", None),
            (list(pixels), labels),
            (tmp_path / "images.npy", tmp_path / "labels.npy"),
            (str(tmp_path / "images.npy"), labels),
            (carl.as_source(pixels), labels),
        ]:
            found = OnlineEvaluation(form, 3)
            assert {**found.judge(trainer), "seconds": 0} == {**expected, "seconds": 0}
            found.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y: (x,), "eval_set: got 1 items"),
        (lambda x, y: 3, "eval_set: got int"),
        (lambda x, y: (x, y[:9]), r"eval_set\[1\]: got 9 labels, want 40"),
        (lambda x, y: (x, y * 0), "all are the same"),
        (lambda x, y: (x, None), "come without labels"),
        (lambda x, y: (x[..., :1], y), "1 channel"),
        (lambda x, y: (x, y, x, y + 5), r"eval_set\[3\]: no label of it"),
        (lambda x, y: (x, np.arange(40)), "every class has a single image"),
        (lambda x, y: ([x, x], y), "any order"),
        (lambda x, y: (x, y * 0.5), "continuous"),
        (lambda x, y: (x, y, x[:0], y[:0]), "empty"),
        (lambda x, y: (x, y - 1), "want labels of at least 0"),
    ],
)
def test_bad_sets_are_refused_before_training(images, labelled, change, words, no_leak):
    model = small_model()
    with pytest.raises(carl.InvalidArgumentError, match=words):
        model.fit(images, eval_set=change(*labelled))
    assert not hasattr(model, "trainer_")


def test_a_missing_path_is_named(images, tmp_path):
    with pytest.raises(carl.FileError, match="nowhere"):
        small_model().fit(images, eval_set=str(tmp_path / "nowhere"))


def test_held_out_images():
    labels = np.array([0] * 10 + [1] * 3 + [2] + [3] * 5)
    references, asked = hold_out(labels)
    assert asked.tolist() == [4, 9, 12, 18] and sorted([*references, *asked]) == list(range(19))


def test_the_probe_learns_and_is_the_same_each_time():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 400)
    features = (random.standard_normal((3, 20))[labels] + 0.4 * random.standard_normal((400, 20))).astype(np.float32)
    features[:, 3] = 7  # a constant column divides by nothing
    features[:, 4] *= 1000
    weights, biases = fit_probe(features[:300], labels[:300], 3)
    assert np.mean((features[300:] @ weights + biases).argmax(axis=1) == labels[300:]) > 0.97
    assert np.array_equal(weights, fit_probe(features[:300], labels[:300], 3)[0])


def test_from_the_command_line(images, labelled, tmp_path, capsys):
    from carl.cli import main

    pixels, labels = labelled
    np.save(tmp_path / "plain.npy", images)
    np.savez(tmp_path / "set.npz", images=pixels, labels=labels)
    np.save(tmp_path / "x.npy", pixels[:10])
    np.save(tmp_path / "y.npy", labels[:10])
    run = str(tmp_path / "run")
    small = ["width=0.125", "projector=[16,8]", "prototypes=6", "batch_size=8", "--quiet"]
    sets = ["--eval", str(tmp_path / "set.npz")]
    assert (
        main(["train", str(tmp_path / "plain.npy"), *small, "epochs=1", "eval_every=3", *sets, "--out", run, "--json"])
        == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert told["evaluation"]["step"] == 5 and steps(runs.read_evaluations(run)) == [0, 3, 5]
    # The set is known to the run that goes on, and when to judge may change.
    assert main(["train", run, "--resume", "epochs=2", "eval_every=4", "--quiet"]) == 0
    assert "k-NN" in capsys.readouterr().out and steps(runs.read_evaluations(run)) == [0, 3, 5, 8, 10]
    pair = [*sets, "--eval", str(tmp_path / "x.npy"), "--eval-labels", str(tmp_path / "y.npy")]
    other = ["train", str(tmp_path / "plain.npy"), *small, "epochs=1", "--out", str(tmp_path / "other")]
    assert main([*other, *pair]) == 1
    assert "--eval-labels: got 1, want one for each --eval (2)" in capsys.readouterr().err
    assert main([*other, "eval_every=2"]) == 1
    assert "--eval DATA" in capsys.readouterr().err
    assert main([*other, *sets, *sets, *sets]) == 1
    capsys.readouterr()
    x = ["--eval", str(tmp_path / "x.npy"), "--eval-labels", str(tmp_path / "y.npy")]
    assert main([*other, *x, *x]) == 0
