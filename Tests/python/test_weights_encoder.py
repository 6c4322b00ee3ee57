"""Weights files of other programs: what they are said to be, embedding with them, and what is refused."""

from __future__ import annotations

import os

import numpy as np
import pytest

import carl
from weights_files import resnet18, vit_tiny, write_safetensors


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    write_safetensors(folder / "resnet.safetensors", resnet18())
    write_safetensors(folder / "small.safetensors", resnet18(0.125, kernel=3))
    write_safetensors(folder / "gray.safetensors", resnet18(0.125, channels=1, kernel=3))
    write_safetensors(folder / "timm.safetensors", vit_tiny())
    write_safetensors(folder / "dinov2.safetensors", vit_tiny(dinov2=True, registers=2))
    (folder / "model.pth").write_bytes(b"PK\x03\x04" + b"\0" * 100)
    return folder


@pytest.fixture
def photos(tmp_path, images):
    """Six images, the fourth of which is gray."""
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "photos").mkdir()
    for number, pixels in enumerate(images[:6]):
        picture = image.fromarray(pixels).resize((40, 36))
        (picture.convert("L") if number == 3 else picture).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path / "photos"


def test_info_of_a_resnet(files):
    info = carl.weights_info(files / "resnet.safetensors")
    assert info.family == "resnet" and sorted(info.ignored) == ["fc.bias", "fc.weight"] and info.notes == []
    assert {key: info.config[key] for key in ("encoder", "stem", "width", "in_channels", "view_size")} == {
        "encoder": "resnet18",
        "stem": "imagenet",
        "width": 0.25,
        "in_channels": 3,
        "view_size": 224,
    }
    assert info.preprocessing["size"] == 224 and info.preprocessing["crop"] == 0.875
    text = repr(info)
    for part in ("resnet.safetensors", "resnet18, stem imagenet, width 0.25", "resized to 256 (bilinear)", "fc.weight"):
        assert part in text
    assert carl.weights_info(str(files / "small.safetensors")).config["view_size"] == 32


def test_info_of_transformers(files):
    timm, dinov2 = (carl.weights_info(files / f"{name}.safetensors") for name in ("timm", "dinov2"))
    assert (timm.family, dinov2.family) == ("timm_vit", "dinov2")
    assert timm.config["patch_size"] == 8 and timm.config["position_grid"] == 4 and timm.config["layer_scale"] is None
    assert timm.preprocessing["mean"] == [0.5, 0.5, 0.5] and timm.preprocessing["interpolation"] == "bicubic"
    assert dinov2.config["registers"] == 2 and dinov2.config["layer_scale"] is not None
    assert "2 registers, LayerScale, pool class" in repr(dinov2) and "positions of 4 x 4" in repr(timm)


def test_files_of_other_kinds_are_refused_by_name(files, tmp_path, images):
    model = carl.CARL(weights=tmp_path / "none.safetensors", progress=False)
    for use in (carl.weights_info, carl.Encoder.from_weights, lambda path: model.fit(images), model.transform):
        with pytest.raises(carl.FileError, match="none.safetensors"):
            use(images if use == model.transform else tmp_path / "none.safetensors")
    path = files / "model.pth"
    trainer = carl.Trainer(width=0.125, prototypes=4)
    for use in (
        carl.weights_info,
        carl.Encoder.from_weights,
        carl.Encoder,
        carl.load,
        carl.Classifier.load,
        carl.Trainer.resume,
        trainer.load_weights,
        lambda path: carl.CARL(weights=path).fit(images),
        lambda path: carl.CARL(weights=path).transform(images),
    ):
        with pytest.raises(carl.FileError, match="safetensors.torch.save_file.*weights_only=True"):
            use(path)
    trainer.close()
    for wrong in (3, "", None, b""):
        with pytest.raises(carl.InvalidArgumentError, match="weights: got .* want the path of a safetensors file"):
            carl.weights_info(wrong)


@pytest.mark.parametrize("use", [carl.load, carl.Encoder, carl.Trainer.resume, carl.Classifier.load])
def test_a_weights_file_is_no_model_and_the_error_names_what_reads_it(files, use):
    with pytest.raises(carl.FileError) as caught:
        use(files / "resnet.safetensors")
    for name in ("carl.Encoder.from_weights", "carl embed --weights", "carl.CARL(weights=path)", "carl.weights_info"):
        assert name in str(caught.value)
    assert "carl_encoder" not in str(caught.value)


def test_a_model_is_no_weights_file(tmp_path, trainer):
    trainer.save(tmp_path / "model.carl")
    with pytest.raises(carl.FileError, match="carl-checkpoint"):
        carl.Encoder.from_weights(tmp_path / "model.carl")


@pytest.mark.parametrize("name", ["small", "timm", "dinov2"])
def test_transform_of_folders_arrays_and_lists(files, photos, images, name):
    size = {} if name != "dinov2" else {"view_size": 32}
    with carl.Encoder.from_weights(files / f"{name}.safetensors", threads=1, **size) as encoder:
        features = encoder.transform(images)
        assert features.shape == (40, encoder.output_width()) and features.dtype == np.float32
        assert np.isfinite(features).all() and features.std(axis=0).max() > 1e-3
        # Batches of another size are rounded otherwise.
        assert np.allclose(features[:3], encoder.transform(list(images[:3])), rtol=1e-4, atol=1e-5)
        assert np.array_equal(features, encoder.embed_images(images))
        found, names = encoder.transform(photos, return_paths=True)
        assert len(found) == 6 and [os.path.basename(path) for path in names] == [f"{n}.png" for n in range(6)]
        assert np.allclose(encoder.transform(photos / "2.png")[0], found[2], rtol=1e-4, atol=1e-5)
        (photos / "4.png").write_bytes(b"no image")
        with pytest.warns(UserWarning, match="4.png"):
            broken = encoder.transform(photos, on_error="nan")
        assert np.isnan(broken[4]).all()
        assert np.allclose(np.delete(broken, 4, 0), np.delete(found, 4, 0), rtol=1e-4, atol=1e-5)
        with pytest.raises(carl.FileError, match="4.png"):
            encoder.transform(photos)
        with pytest.raises(carl.InvalidStateError, match="neither projection head nor prototypes"):
            encoder.transform(images, "probabilities")
    with pytest.raises(carl.InvalidHandleError):
        encoder.transform(images)


def test_encoders_of_models_transform_too(tmp_path, trainer, images):
    trainer.save(tmp_path / "model.carl")
    for encoder in (carl.Encoder(tmp_path / "model.carl"), carl.Encoder.from_trainer(trainer)):
        with encoder:
            assert encoder.in_channels_ == 3
            assert np.array_equal(encoder.transform(images), trainer.embed_images(images))


def test_overrides(files, images):
    path = files / "timm.safetensors"
    with carl.Encoder.from_weights(path, pool="class_mean") as encoder, carl.Encoder.from_weights(path) as plain:
        assert encoder.output_width() == 2 * plain.output_width()
        assert np.allclose(encoder.transform(images)[:, :192], plain.transform(images), atol=1e-6)
        with carl.Encoder.from_weights(path, view_size=64, mean=[0.4] * 3, evaluation_crop=1.0) as other:
            assert not np.allclose(other.transform(images), plain.transform(images), atol=1e-3)
    with pytest.raises(carl.ConfigurationError, match='unknown key "pol"; did you mean "pool"'):
        carl.Encoder.from_weights(path, pol="mean")


@pytest.mark.parametrize(
    "file, keys, own",
    [
        ("timm", {"encoder": "vit_small"}, "encoder 'vit_tiny'"),
        ("timm", {"patch_size": 16}, "patch_size 8"),
        ("timm", {"position_grid": 14}, "position_grid 4"),
        ("timm", {"layer_scale": 1e-5}, "no layer_scale"),
        ("dinov2", {"registers": 4}, "registers 2"),
        ("resnet", {"encoder": "resnet50"}, "encoder 'resnet18'"),
        ("resnet", {"width": 1.0}, "width 0.25"),
        ("resnet", {"stem": "small"}, "stem 'imagenet'"),
        ("gray", {"in_channels": 3}, "in_channels 1"),
    ],
)
def test_contradictions_name_the_key_the_file_and_both_values(files, images, file, keys, own):
    path = files / f"{file}.safetensors"
    (key, value), *_ = keys.items()
    model = carl.CARL(weights=path, progress=False, **keys)
    for use in (lambda: carl.Encoder.from_weights(path, **keys), lambda: model.fit(images)):
        with pytest.raises(carl.ConfigurationError) as caught:
            use()
        for part in (f"{key}: got {value!r}", str(path), own):
            assert part in str(caught.value)
    assert not hasattr(model, "trainer_")


def test_other_channels_follow_the_stated_rule(files, images):
    path = files / "small.safetensors"
    gray = images[..., :1]
    options = {"mean": [0.5], "std": [0.25]}
    with (
        carl.Encoder.from_weights(path, in_channels=1, **options) as one,
        carl.Encoder.from_weights(path, **options) as three,
    ):
        assert one.in_channels_ == 1 and three.in_channels_ == 3
        # A gray image gives what three equal channels give.
        assert np.allclose(one.transform(gray), three.transform(np.repeat(gray, 3, axis=3)), atol=1e-4)
        with pytest.raises(carl.InvalidArgumentError, match="got 1 channels, the model takes 3"):
            three.transform(gray)
    tensors = resnet18(0.125, kernel=3)
    with carl.Encoder.from_weights(path, in_channels=5) as five:
        assert five.transform(np.repeat(gray, 5, axis=3)).shape == (40, 64)
    with carl.Trainer({**carl.weights_info(path).config, "in_channels": 5, "mean": [0.5], "std": [0.25]}) as trainer:
        trainer.load_weights(path)
        state = trainer.state_dict()
        own = state["encoder.conv1.weight"]
        assert np.allclose(own, tensors["conv1.weight"][:, [0, 1, 2, 0, 1]] * 3 / 5, atol=1e-7)
        assert np.allclose(state["encoder.layer4.1.conv2.weight"], tensors["layer4.1.conv2.weight"], atol=1e-7)


def test_load_weights_changes_all_or_nothing(files, tmp_path):
    path = files / "small.safetensors"
    with carl.Trainer(carl.weights_info(path).config, teacher_momentum=0.9) as trainer:
        trainer.load_weights(path)
        state = trainer.state_dict()
        assert np.array_equal(state["teacher.encoder.conv1.weight"], state["encoder.conv1.weight"])
        tensors = resnet18(0.125, kernel=3, seed=5)
        del tensors["layer3.0.bn1.weight"]
        tensors["layer5.weight"] = np.zeros(3)
        write_safetensors(tmp_path / "bad.safetensors", tensors)
        with pytest.raises(carl.FileError, match="missing: layer3.0.bn1.weight.*more than.*: layer5.weight"):
            trainer.load_weights(tmp_path / "bad.safetensors")
        after = trainer.state_dict()
        assert all(np.array_equal(state[name], after[name]) for name in state)


def test_gray_files_are_read_as_the_weights_want_them(files, photos):
    image = pytest.importorskip("PIL.Image")
    for file in photos.iterdir():
        image.open(file).convert("L").save(file)
    with carl.Encoder.from_weights(files / "small.safetensors") as encoder:
        expected = encoder.transform(photos)
    assert np.array_equal(carl.CARL(weights=files / "small.safetensors").transform(photos), expected)


def test_step_features_is_step_views_without_the_encoder(make_trainer, views):
    features = []
    for kind in ("views", "features"):
        trainer = make_trainer(train_encoder="none")
        if kind == "views":
            features = np.stack([trainer.embed(view) for view in views])
            expected, state = trainer.step_views(views), trainer.state_dict()
        else:
            found = trainer.step_features(features)
            assert trainer.step_count == 1
            assert found.loss == pytest.approx(expected.loss, rel=1e-5)
            for name, values in trainer.state_dict().items():
                assert np.allclose(values, state[name], atol=1e-5), name


def test_step_features_refuses_what_does_not_fit(make_trainer):
    trainer = make_trainer(train_encoder="none")
    width = trainer.output_width()
    for wrong in (np.zeros((4, width)), np.zeros((2, 4, width), int), "x"):
        with pytest.raises(carl.InvalidArgumentError, match="features"):
            trainer.step_features(wrong)
    with pytest.raises(carl.InvalidArgumentError, match=f"got 3 an image, the encoder gives {width}"):
        trainer.step_features(np.zeros((2, 4, 3), np.float32))
    for wrong in (np.zeros((1, 4, width), np.float32), np.zeros((2, 1, width), np.float32)):
        with pytest.raises(carl.InvalidArgumentError):
            trainer.step_features(wrong)
    with pytest.raises(carl.InvalidArgumentError, match="global_views"):
        trainer.step_features(np.ones((2, 4, width), np.float32), 3)
    assert trainer.step_count == 0
    with pytest.raises(carl.InvalidStateError, match="train_encoder"):
        make_trainer().step_features(np.ones((2, 4, width), np.float32))
