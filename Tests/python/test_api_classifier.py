"""carl.Classifier: steps, prediction, files, and the C calls behind it as a careless program would use them."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_int64, c_size_t, c_void_p, cast

import numpy as np
import pytest

import carl
from carl._c_api import LIB, ClassifierHandle, EncoderHandle, carl_batch, carl_classifier_metrics, carl_tensor_info
from carl._images import pack_images

OK, ARGUMENT, HANDLE = 0, 1, 2


@pytest.fixture
def labels():
    return np.arange(40) % 4


def make(trainer, **config):
    return carl.Classifier(trainer, 4, **{"seed": 1, **config})


def test_learns_and_predicts(trainer, images, no_leak):
    bright = (images.mean(axis=(1, 2, 3)) > np.median(images.mean(axis=(1, 2, 3)))).astype(int)
    with carl.Classifier(
        trainer, ["dark", "light"], learning_rate=0.02, total_steps=30, label_smoothing=0.1
    ) as classifier:
        metrics = [classifier.step(images, bright, np.arange(40), epoch) for epoch in range(30)]
        assert metrics[-1].loss < metrics[0].loss and metrics[-1].step == 30
        assert metrics[-1].learning_rate < 0.001 < metrics[0].learning_rate == pytest.approx(0.02)
        predicted = classifier.predict(images)
        assert set(predicted) <= {"dark", "light"}
        assert (predicted == np.array(["dark", "light"])[bright]).mean() > 0.85
        probabilities = classifier.predict_proba(images)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
        assert (probabilities.argmax(axis=1) == (predicted == "light")).all()


def test_same_seed_same_bits(trainer, images, labels):
    runs = []
    for seed in (1, 1, 2):
        with make(trainer, seed=seed) as classifier:
            losses = [classifier.step(images[:16], labels[:16]).loss for _ in range(3)]
            runs.append((losses, classifier.embed_images(images, output="logits").tobytes()))
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("kind", ["trainer", "encoder", "estimator", "path", "folder"])
def test_every_kind_of_model(kind, trainer, images, labels, tmp_path, model_of, no_leak):
    folder = tmp_path / "run"
    path = tmp_path / "model.carl"
    if kind in ("estimator", "folder"):
        model = model_of(epochs=1, run_dir=folder if kind == "folder" else None).fit(images)
        features = model.transform(images)
        source = folder if kind == "folder" else model
    else:
        trainer.save(path)
        features = trainer.embed_images(images)
        source = {"trainer": trainer, "path": path, "encoder": None}[kind] or carl.Encoder(path)
    with carl.Classifier(source, 4) as classifier:
        np.testing.assert_allclose(classifier.embed_images(images), features, rtol=1e-4, atol=1e-5)
    if kind == "encoder":
        assert source.embed_images(images).shape == features.shape  # still open
        source.close()


def test_save_and_load_go_on_exactly(trainer, images, tmp_path):
    with carl.Classifier(trainer, ["a", "b", "c", "d"], learning_rate=0.01) as classifier:
        classifier.step(images, np.arange(40) % 4)
        classifier.save(tmp_path / "c.carl")
        with carl.Classifier.load(tmp_path / "c.carl") as copy:
            assert copy.classes_.tolist() == ["a", "b", "c", "d"] and copy.config == classifier.config
            assert classifier.step(images, np.arange(40) % 4).loss == copy.step(images, np.arange(40) % 4).loss
            assert (classifier.predict(images) == copy.predict(images)).all()
        with carl.Classifier.load(tmp_path / "c.carl", threads=1) as copy:
            assert copy.config["threads"] == 1
        with pytest.raises(carl.ConfigurationError, match="classes"):
            carl.Classifier.load(tmp_path / "c.carl", classes=7)
        with pytest.raises(carl.FileError, match="holds a classifier, want a checkpoint"):
            carl.Trainer.resume(tmp_path / "c.carl")
        trainer.save(tmp_path / "t.carl")
        with pytest.raises(carl.FileError, match="want a classifier"):
            carl.Classifier.load(tmp_path / "t.carl")


def test_configuration_is_complete(trainer):
    with make(trainer, freeze_encoder=True, view={"scale": [0.5, 1.0]}) as classifier:
        config = classifier.config
        assert config["freeze_encoder"] is True and config["learning_rate"] == 0 and config["view"]["scale"] == [0.5, 1]
        assert config["view"]["size"] == 12 and config["view"]["jitter"] == [0, 0, 0, 0]
        assert "freeze_encoder=True" in repr(classifier)
    assert repr(classifier) == "Classifier(closed)"
    with pytest.raises(carl.InvalidHandleError):
        classifier.predict(np.zeros((1, 12, 12, 3), np.uint8))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": [0, 1, 2]}, "3 labels, want 4"),
        ({"labels": [0, 1, 2, 4]}, r"labels\[3\]: got 4"),
        ({"labels": [0, -1, 2, 3]}, r"labels\[1\]: got -1"),
        ({"labels": [0, 2**40, 2, 3]}, r"labels\[1\]"),
        ({"labels": [0.0, 1.0, 2.5, 3.0]}, r"labels\[2\]: got 2.5"),
        ({"labels": ["a", "b", "c", "d"]}, "want integers"),
        ({"labels": np.zeros((4, 1), int)}, "one label"),
        ({"images": np.zeros((4, 12, 12, 1), np.uint8)}, "channels"),
        ({"images": np.zeros((4, 12, 12, 3), np.float32)}, "float32"),
        ({"indices": [0, 1]}, "indices"),
        ({"epoch": -1}, "epoch"),
    ],
)
def test_bad_steps(trainer, change, words):
    values = {"images": np.zeros((4, 12, 12, 3), np.uint8), "labels": [0, 1, 2, 3], **change}
    with make(trainer) as classifier:
        with pytest.raises(carl.InvalidArgumentError, match=words):
            classifier.step(**values)
        assert classifier.step(np.zeros((4, 12, 12, 3), np.uint8), [0, 1, 2, 3]).step == 1


def test_bad_batches(trainer):
    x = np.zeros((4, 12, 12, 3), np.float32)
    with make(trainer) as classifier:
        x[2, 3] = np.nan
        with pytest.raises(carl.InvalidArgumentError, match="nan"):
            classifier.step_batch(x, [0, 1, 2, 3])
        with pytest.raises(carl.InvalidArgumentError, match="float64"):
            classifier.step_batch(np.zeros((4, 12, 12, 3)), [0, 1, 2, 3])
        with pytest.raises(carl.InvalidArgumentError, match="5 labels"):
            classifier.step_batch(np.zeros((4, 12, 12, 3), np.float32), [0, 1, 2, 3, 0])


def test_bad_configurations(trainer, tmp_path):
    for changes, words in [
        ({"label_smoothing": 2}, "label_smoothing"),
        ({"view": {"count": 3}}, "count"),
        ({"freeze_encoder": True, "learning_rate": 0.1}, "head_learning_rate"),
        ({"seed": -1}, "seed"),
    ]:
        with pytest.raises(carl.ConfigurationError, match=words):
            make(trainer, **changes)
    with pytest.raises(carl.ConfigurationError, match='"classes" must be'):
        carl.Classifier(trainer, 2**20 + 1)
    for classes, words in [(0, "classes"), (2.5, "classes"), (["a", "a"], "different"), ([], "different")]:
        with pytest.raises(carl.InvalidArgumentError, match=words):
            carl.Classifier(trainer, classes)
    with pytest.raises(carl.InvalidArgumentError, match="model: got int"):
        carl.Classifier(3, 4)
    with pytest.raises(carl.NotFittedError):
        carl.Classifier(carl.CARL(), 4)
    with pytest.raises(carl.FileError):
        carl.Classifier(tmp_path / "none.carl", 4)


# ---- The C interface


@pytest.fixture
def handles(trainer):
    encoder, classifier = EncoderHandle(), ClassifierHandle()
    assert LIB.carl_encoder_from_trainer(trainer._handle, 0, byref(encoder)) == OK
    assert LIB.carl_classifier_create(encoder, b'{"classes": 4}', byref(classifier)) == OK
    yield encoder, classifier
    LIB.carl_classifier_free(classifier)
    LIB.carl_encoder_free(encoder)


def calls(handle):
    """Every call on a classifier with arguments that are right but for the handle."""
    packed = pack_images(np.zeros((4, 12, 12, 3), np.uint8))
    floats, targets = np.zeros((4, 12, 12, 3), np.float32), np.zeros(4, np.int32)
    batch = carl_batch(floats.ctypes.data, 4, 12, 12, 3)
    out, number, needed, info = np.zeros(4 * 64, np.float32), c_int64(0), c_size_t(0), carl_tensor_info()
    report = carl_classifier_metrics(struct_size=ctypes.sizeof(carl_classifier_metrics))
    address, values = out.ctypes.data, targets.ctypes.data
    keep = (packed, floats, targets, out)
    yield "step", lambda: LIB.carl_classifier_step(handle, packed.address, values, 4, None, 0, byref(report)), keep
    yield "step_batch", lambda: LIB.carl_classifier_step_batch(handle, byref(batch), values, 4, byref(report)), keep
    yield "standardize", lambda: LIB.carl_classifier_standardize(handle, packed.address, 4), keep
    yield "width", lambda: LIB.carl_classifier_output_width(handle, 3, byref(number)), keep
    yield "embed", lambda: LIB.carl_classifier_embed(handle, byref(batch), 3, address, 16), keep
    yield "embed_images", lambda: LIB.carl_classifier_embed_images(handle, packed.address, 4, 0, 0, address, 256), keep
    yield "save", lambda: LIB.carl_classifier_save(handle, b"/nonexistent/x", None), keep
    yield "notes", lambda: LIB.carl_classifier_notes(handle, None, 0, byref(needed)), keep
    yield "config", lambda: LIB.carl_classifier_config(handle, None, 0, byref(needed)), keep
    yield "size", lambda: LIB.carl_classifier_state_size(handle, byref(number)), keep
    yield "info", lambda: LIB.carl_classifier_state_info(handle, 0, byref(info)), keep
    yield "get", lambda: LIB.carl_classifier_state_get(handle, b"classifier.bias", address, 4), keep
    yield "set", lambda: LIB.carl_classifier_state_set(handle, b"classifier.bias", address, 4), keep
    yield "gradient", lambda: LIB.carl_classifier_gradient_get(handle, b"classifier.bias", address, 4), keep


def test_right_calls_work(handles):
    for name, call, _ in calls(handles[1]):
        assert call() == (6 if name == "save" else OK), (name, LIB.carl_last_error())


def test_wrong_handles(handles):
    encoder, classifier = handles
    freed = ClassifierHandle()
    assert LIB.carl_classifier_create(encoder, b'{"classes": 4}', byref(freed)) == OK
    assert LIB.carl_classifier_free(freed) == OK
    for wrong in [
        None,
        freed,
        cast(encoder, ClassifierHandle),
        *(cast(c_void_p(a), ClassifierHandle) for a in (1, 8, 2**63, 2**64 - 1)),
    ]:
        for name, call, _ in calls(wrong):
            assert call() == HANDLE, name
    assert LIB.carl_classifier_free(None) == OK
    assert LIB.carl_classifier_free(freed) == HANDLE
    assert LIB.carl_classifier_free(cast(encoder, ClassifierHandle)) == HANDLE
    assert LIB.carl_encoder_free(cast(classifier, EncoderHandle)) == HANDLE
    for wrong in (None, cast(classifier, EncoderHandle)):
        assert LIB.carl_classifier_create(wrong, b'{"classes": 4}', byref(ClassifierHandle())) == HANDLE


def test_wrong_sizes_and_garbage(handles):
    encoder, handle = handles
    packed, targets = pack_images(np.zeros((4, 12, 12, 3), np.uint8)), np.zeros(4, np.int32)
    floats, out = np.zeros((4, 12, 12, 3), np.float32), np.zeros(300, np.float32)
    values, address = targets.ctypes.data, out.ctypes.data
    for shape in [
        (0, 12, 12, 3),
        (-1, 12, 12, 3),
        (4, 0, 12, 3),
        (4, 12, 2**31 - 1, 3),
        (2**31 - 1,) * 4,
        (4, 12, 12, 0),
    ]:
        batch = carl_batch(floats.ctypes.data, *shape)
        assert LIB.carl_classifier_step_batch(handle, byref(batch), values, shape[0] % 2**64, None) == ARGUMENT, shape
        assert LIB.carl_classifier_embed(handle, byref(batch), 3, address, 16) == ARGUMENT, shape
    assert LIB.carl_classifier_step(handle, packed.address, values, 2**62, None, 0, None) == ARGUMENT
    assert LIB.carl_classifier_standardize(handle, packed.address, 2**62) == ARGUMENT
    assert LIB.carl_classifier_embed_images(handle, packed.address, 4, 5000, 3, address, 16) == ARGUMENT
    for count in (0, 3, 5, 2**62):
        assert LIB.carl_classifier_state_get(handle, b"classifier.bias", address, count) == ARGUMENT
    for text in (b"", b"\xff\xfe", b'{"classes"', b'{"a":' * 2000, b"[]", b"null"):
        assert LIB.carl_classifier_create(encoder, text, byref(ClassifierHandle())) in (ARGUMENT, 3), text[:10]
    report = carl_classifier_metrics(struct_size=5)
    assert LIB.carl_classifier_step(handle, packed.address, values, 4, None, 0, byref(report)) == ARGUMENT
    assert b"struct_size" in LIB.carl_last_error()
