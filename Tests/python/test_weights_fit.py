"""Training that begins with weights of another program: the estimator, its copies and its files."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np
import pytest

import carl
from carl.runs import read_config
from conftest import same_state
from weights_files import QUICK, model_with, resnet18, vit_tiny, weights, write_safetensors

__all__ = ["weights"]


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    return write_safetensors(tmp_path_factory.mktemp("weights") / "vit.safetensors", vit_tiny())


def test_fit_begins_with_the_file_s_encoder_and_images(weights, images):
    model = model_with(weights, view_size=None, learning_rate=0.0, mean=None, epochs=1).fit(images)
    config = model.config_
    assert (config.encoder, config.stem, config.width, config.view_size) == ("resnet18", "small", 0.125, 32)
    assert config.mean == pytest.approx([0.485, 0.456, 0.406]) and config.evaluation_crop == 1.0
    tensors = resnet18(0.125, kernel=3)
    for name in ("conv1.weight", "layer2.0.downsample.0.weight", "layer4.1.bn2.bias"):
        assert np.allclose(model.trainer_.state_dict()[f"encoder.{name}"], tensors[name], atol=1e-7), name
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert model.weights_ == {"file": "small.safetensors", "family": "resnet", "sha256": digest}
    assert carl.CARL(**QUICK, width=0.125, view_size=16).fit(images).weights_ is None


def test_gray_arrays_have_one_channel(weights, images):
    gray = images[..., 0]
    model = model_with(weights, learning_rate=0.0, train_encoder="none").fit(gray)
    assert model.in_channels_ == 1 and model.config_.mean == pytest.approx([(0.485 + 0.456 + 0.406) / 3])
    with carl.Encoder.from_weights(weights, in_channels=1, view_size=16) as encoder:
        assert np.allclose(model.transform(gray), encoder.transform(gray), rtol=1e-4, atol=1e-5)


def test_weights_serve_without_a_fit(weights, images):
    """In scikit-learn too: features in a pipeline that does not train them."""
    sklearn = pytest.importorskip("sklearn", minversion="1.6")
    from sklearn.frozen import FrozenEstimator
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    labels = np.arange(len(images)) % 2
    model = model_with(weights)
    assert len(model.get_feature_names_out()) == model.transform(images).shape[1]
    pipeline = make_pipeline(FrozenEstimator(model), LogisticRegression()).fit(images, labels)
    assert not hasattr(model, "trainer_") and pipeline.predict(images).shape == labels.shape
    assert not sklearn.utils.get_tags(model).requires_fit and sklearn.utils.get_tags(carl.CARL()).requires_fit
    with pytest.raises(ValueError, match="not fitted"):
        carl.CARL().get_feature_names_out()
    cloned = sklearn.base.clone(model)
    assert cloned is not model and cloned.weights == model.weights


def test_keys_that_the_weights_leave_open_are_the_user_s(transformer, images):
    model = model_with(transformer, pool="mean", drop_path=0.1, train_encoder=2, mean=[0.4], std=[0.2]).fit(images)
    assert model.config_.pool == "mean" and model.config_.drop_path == 0.1 and model.config_.view_size == 16
    assert set(model.config_.mean) == {0.4} and model.config_.evaluation_interpolation == "bicubic"
    before = vit_tiny()
    state = model.trainer_.state_dict()
    moved = [
        n
        for n in range(12)
        if not np.allclose(state[f"encoder.blocks.{n}.mlp.fc1.weight"], before[f"blocks.{n}.mlp.fc1.weight"], atol=1e-7)
    ]
    assert moved == [10, 11]


def test_defaults_of_the_learning_rate(weights, transformer, images):
    """Of a ResNet with LARS the usual ones; else a quarter of the rate without weights, slower from block to block;
    AdamW for vision transformers."""
    plain = carl.CARL(**QUICK, width=0.125, view_size=16).fit(images).config_
    config = model_with(weights).fit(images).config_
    assert config.learning_rate == pytest.approx(plain.learning_rate) and config.layer_decay == 1
    assert config.optimizer == plain.optimizer == "lars"
    sgd = carl.CARL(**QUICK, width=0.125, view_size=16, optimizer="sgd").fit(images).config_
    config = model_with(weights, optimizer="sgd").fit(images).config_
    assert config.learning_rate == pytest.approx(sgd.learning_rate / 4) and config.layer_decay == 0.9
    adamw = carl.CARL(**QUICK, width=0.125, view_size=16, optimizer="adamw").fit(images).config_
    config = model_with(transformer).fit(images).config_
    assert (config.optimizer, config.layer_decay) == ("adamw", 0.75)
    assert config.learning_rate == pytest.approx(adamw.learning_rate / 4)
    given = model_with(weights, layer_decay=0.8).fit(images).config_
    assert given.layer_decay == 0.8 and given.learning_rate == pytest.approx(plain.learning_rate)
    given = model_with(transformer, learning_rate=0.01).fit(images).config_
    assert (given.learning_rate, given.layer_decay, given.optimizer) == (0.01, 1, "adamw")
    given = model_with(transformer, layer_decay=0.8).fit(images).config_
    assert (given.layer_decay, given.optimizer) == (0.8, "adamw")
    assert given.learning_rate == pytest.approx(adamw.learning_rate)
    frozen = model_with(weights, train_encoder="none").fit(images).config_
    assert frozen.learning_rate == pytest.approx(plain.learning_rate) and frozen.layer_decay == 1


def test_parameters_clone_and_pickle(weights, images):
    base = pytest.importorskip("sklearn.base")
    model = model_with(weights)
    assert model.get_params()["weights"] == weights and f"weights={weights!r}" in repr(model)
    assert base.clone(model).get_params() == model.get_params()
    assert model.set_params(weights=None).weights is None
    model.set_params(weights=weights)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).transform(images), model.transform(images))
    model.fit(images)
    weights.unlink()
    copy = pickle.loads(pickle.dumps(model))
    assert copy.weights_ == model.weights_ and same_state(copy.trainer_, model.trainer_)
    assert np.array_equal(copy.transform(images), model.transform(images))
    assert not hasattr(base.clone(model), "trainer_")


def test_unfitted_models_give_the_features_of_the_weights(weights, images, no_leak):
    model = model_with(weights, view_size=None)
    with carl.Encoder.from_weights(weights) as encoder:
        expected = encoder.transform(images)
    assert np.array_equal(model.transform(images), expected)
    assert model.transform(images[:2], return_paths=True)[1] == ["image 0", "image 1"]
    assert model.transform(images[..., 0]).shape == expected.shape  # gray arrays, by the rule for channels
    assert not np.array_equal(model.set_params(view_size=24).transform(images), expected)
    for use in (model.predict, model.predict_proba, lambda x: model.transform(x, "logits")):
        with pytest.raises(carl.NotFittedError) as caught:
            use(images)
        assert "carl.Encoder.from_weights" in str(caught.value) and "carl embed --weights" in str(caught.value)
    with pytest.raises(carl.NotFittedError) as caught:
        carl.CARL().transform(images)
    assert "weights" not in str(caught.value)
    # A file that was replaced is read anew.
    write_safetensors(weights, resnet18(0.125, kernel=3, seed=9))
    assert not np.allclose(model.set_params(view_size=None).transform(images), expected, atol=1e-3)


def test_unfitted_models_are_judged_with_the_weights(weights, images):
    pytest.importorskip("sklearn")
    labels = np.arange(40) % 2
    found = carl.evaluate.linear_probe(
        model_with(weights), images, labels, images, labels, method="logistic", progress=False
    )
    assert found.test_samples == 40


def test_runs_go_on_without_the_file(weights, images, tmp_path):
    whole = model_with(weights, epochs=3).fit(images)
    first = model_with(weights, epochs=3, run_dir=tmp_path / "run")

    def stop(model, metrics):
        if metrics.step == 7:
            raise carl.StopTraining

    first.set_params(callbacks=stop).fit(images)
    assert read_config(tmp_path / "run")["weights"] == str(weights)
    assert first.weights_["sha256"] in (tmp_path / "run" / "train.log").read_text()
    weights.rename(tmp_path / "elsewhere.safetensors")
    second = model_with(weights, epochs=3, run_dir=tmp_path / "run").fit(images, resume=True)
    assert second.trainer_.step_count == 15 and same_state(second.trainer_, whole.trainer_)
    loaded = carl.load(tmp_path / "run")
    assert loaded.weights_ == whole.weights_ == second.weights_ and loaded.weights == str(weights)
    assert np.array_equal(loaded.transform(images), whole.transform(images))
    with pytest.raises(carl.FileError, match="small.safetensors"):
        loaded.fit(images)  # anew, for which the file is needed


def test_a_run_goes_on_with_its_own_file_alone(weights, images, tmp_path):
    other = write_safetensors(tmp_path / "other.safetensors", resnet18(0.125, kernel=3, seed=5))
    model_with(weights, run_dir=tmp_path / "run").fit(images)
    model_with(weights, epochs=2, run_dir=tmp_path / "run").fit(images, resume=True)
    for path in (weights, tmp_path / "moved.safetensors"):
        model_with(path, epochs=3, run_dir=tmp_path / "run").fit(images, resume=True)
    with pytest.raises(carl.InvalidArgumentError, match=r"weights: .*other\.safetensors is not the file"):
        model_with(other, epochs=4, run_dir=tmp_path / "run").fit(images, resume=True)
    carl.CARL(**QUICK, width=0.125, view_size=16, run_dir=tmp_path / "random").fit(images)
    with pytest.raises(carl.InvalidArgumentError, match="weights: .* began with random weights"):
        model_with(weights, epochs=2, run_dir=tmp_path / "random").fit(images, resume=True)


def test_views_as_a_list_have_the_file_s_mean(transformer, images):
    """A frozen encoder's features are the same before and after training."""
    views = [{"size": 16, "count": 2, "scale": [0.5, 1]}]
    model = model_with(transformer, views=views, view_size=None, train_encoder="none")
    before = model.transform(images)
    model.fit(images)
    assert [spec["mean"] for spec in model.config_.views] == [[0.5] * 3]
    assert np.array_equal(model.transform(images), before)


def test_damaged_notes_are_an_error(weights, images, tmp_path):
    model = model_with(weights).fit(images)
    notes = model._notes()
    notes["carl"]["weights"] = {"file": 3}
    model.trainer_.save(tmp_path / "bad.carl", notes)
    with pytest.raises(carl.FileError, match="weights is"):
        carl.load(tmp_path / "bad.carl")


def test_partial_fit_and_memory_begin_with_the_weights(weights, images):
    model = model_with(weights, learning_rate=0.0).partial_fit(images).partial_fit(images)
    tensors = resnet18(0.125, kernel=3)
    assert np.allclose(model.trainer_.state_dict()["encoder.conv1.weight"], tensors["conv1.weight"], atol=1e-7)
    model = model_with(weights, learning_rate=0.0, memory="100G").fit(images)
    assert np.allclose(model.trainer_.state_dict()["encoder.conv1.weight"], tensors["conv1.weight"], atol=1e-7)
    assert model.config_.width == 0.125


def test_a_budget_chooses_neither_width_nor_views(weights, images, monkeypatch):
    seen = []

    def plan(source, base, given, *rest, **options):
        seen.append((given.width, given.view_size))
        raise carl.InvalidStateError("seen")

    monkeypatch.setattr("carl._fit.make_plan", plan)
    for model in (
        model_with(weights, view_size=None, epochs=None, budget="1m"),
        carl.CARL(encoder="vit_tiny", patch_size=4, view_size=16, budget="1m", progress=False),
    ):
        with pytest.raises(carl.InvalidStateError, match="seen"):
            model.fit(images)
    assert seen == [(0.125, 32), (1.0, 16)]


def test_costs_and_hints_know_vision_transformers():
    from carl._encoder_cost import encoder_cost

    small, large = (encoder_cost("vit_small", "imagenet", 1.0, 3, side) for side in (112, 224))
    assert 4 < large.operations / small.operations < 5 and large.values > 3 * small.values
    # 4.6 GFLOPs are what ViT-S/16 takes at 224 pixels.
    assert large.operations == pytest.approx(4.6e9, rel=0.02)
    assert (
        encoder_cost("vit_tiny", "imagenet", 1.0, 3, 224, 8).operations
        > 4 * encoder_cost("vit_tiny", "imagenet", 1.0, 3, 224, 16).operations
    )


def test_the_file_is_read_once_for_many_calls(tmp_path, monkeypatch, images):
    from carl import _pretrained

    with carl.Trainer({"encoder": "resnet18", "width": 0.125, "view_size": 12, "prototypes": 2}) as trainer:
        file = carl.export.export_model(trainer, tmp_path / "weights.safetensors")
    read, real = [], _pretrained.weights_info
    monkeypatch.setattr(_pretrained, "weights_info", lambda path: read.append(path) or real(path))
    model = carl.CARL(weights=file)
    first = model.transform(images[:2])
    assert (model.transform(images[:2]) == first).all() and len(read) == 1
