"""Vision transformers against the float64 reference: features at several sizes, every gradient and step."""

import numpy as np
import pytest

import carl
from reference.differences import relative_error
from reference.problems import images_of
from reference.trainer import Settings, Trainer
from reference.vit import VisionTransformer, random_state
from test_parity_training import PASS, UPDATE, assert_close, assert_same_terms, distance

BASE = dict(encoder="vit_tiny", patch_size=4, projector=[32, 16], prototypes=11, objective="carl", seed=5)
RATES = dict(optimizer="sgd", learning_rate=0.002, momentum=0.9, weight_decay=0.1, temperature=0.2, prior_weight=2.0)


def trainer_of(config, **changes):
    """With values that make every term count."""
    trainer = carl.Trainer({**BASE, **config, **changes})
    return trainer, filled(trainer)


def filled(trainer, seed=7):
    """Random tensors in the library's places; the head and the prototypes keep theirs."""
    rng, state = np.random.default_rng(seed), trainer.state_dict()
    shapes = {key: value.shape for key, value in state.items() if "encoder." in key}
    drawn = {key: value.astype(np.float32) for key, value in random_state(rng, shapes).items()}
    trainer.load_state_dict(state | drawn)
    return trainer.state_dict()


@pytest.mark.parametrize(
    "config, channels, batch, height, width",
    [
        (dict(), 3, 3, 16, 16),
        (dict(position_grid=4), 1, 1, 16, 16),
        (dict(position_grid=3), 3, 2, 28, 36),
        (dict(position_grid=7), 5, 2, 12, 4),
        (dict(patch_size=7, position_grid=4, registers=4, layer_scale=1e-5), 3, 2, 28, 28),
        (dict(patch_size=3, position_grid=5, pool="mean", registers=1), 3, 3, 21, 33),
        (dict(patch_size=16, position_grid=1, pool="class_mean", layer_scale=0.1), 3, 2, 16, 32),
        # More than one block of query rows, and tokens that are no multiple of a tile.
        (dict(patch_size=2, position_grid=14, registers=3), 1, 2, 42, 38),
        (dict(encoder="vit_small", position_grid=4), 3, 1, 16, 20),
        (dict(encoder="vit_base", position_grid=4), 3, 1, 16, 16),
    ],
)
def test_features(config, channels, batch, height, width):
    patch = config.get("patch_size", 4)
    trainer, state = trainer_of(config, in_channels=channels, views=[{"size": 4 * patch, "count": 2}])
    images = np.random.default_rng(1).standard_normal((batch, height, width, channels)).astype(np.float32)
    got = trainer.embed(images)
    exact = {key: value.astype(np.float64) for key, value in state.items()}
    want, _ = VisionTransformer(exact, config.get("pool", "class")).forward(images.astype(np.float64), False)
    assert relative_error(got, want) < 1e-5
    for image in range(batch):
        assert relative_error(got[image], want[image]) < 1e-5, image
        assert relative_error(trainer.embed(images[image : image + 1])[0], want[image]) < 1e-5, image


VARIANTS = {
    "class": (dict(), [16, 16]),
    "registers, LayerScale, both, positions resampled": (
        dict(registers=2, layer_scale=0.5, pool="class_mean"),
        [16, 16, 20],
    ),
    "mean, teacher": (dict(pool="mean", teacher_momentum=0.9), [16, 16, 8]),
    "stochastic depth": (dict(drop_path=0.5), [16, 16, 8]),
    "stochastic depth, LayerScale, adamw, contrast": (
        dict(
            drop_path=0.3,
            layer_scale=0.5,
            optimizer="adamw",
            learning_rate=1e-4,
            contrast_weight=1.0,
            teacher_momentum=0.5,
        ),
        [16, 16],
    ),
    "lars": (dict(optimizer="lars", learning_rate=0.1, trust_coefficient=0.02), [16, 16]),
    "last blocks": (dict(train_encoder=3, drop_path=0.5, layer_scale=0.5), [16, 16, 8]),
    "all blocks but not the patches, layer decay": (dict(train_encoder=12, layer_decay=0.7, registers=2), [16, 16]),
    "no block, teacher": (dict(train_encoder="none", teacher_momentum=0.9, pool="mean"), [16, 16, 8]),
    "layer decay, adamw": (dict(layer_decay=0.8, optimizer="adamw", learning_rate=1e-4, weight_decay=2.0), [16, 16]),
    "recomputed": (dict(recompute=True), [16, 16]),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_step_is_the_reference_s(name):
    changes, sizes = VARIANTS[name]
    config = {**BASE, **RATES, **changes}
    library = carl.Trainer(config, views=[{"size": 16, "count": 2}], threads=2)
    state = filled(library)
    if config.get("teacher_momentum"):
        assert any(key.startswith("teacher.encoder.blocks") for key in state)
    known = {key: value for key, value in config.items() if key in Settings.__dataclass_fields__}
    settings = Settings(**{"trust_coefficient": 0.02, **known})
    exact, single = Trainer(state, settings), Trainer(state, settings, np.float32)
    for step in range(2):
        before = library.state_dict()
        images = images_of(2, 5, 16, 3, seed=step, sizes=sizes)
        exact.load(before)
        single.load(before)
        metrics = library.step_views(images)
        want, rough = exact.forward_backward(images), single.forward_backward(images)
        assert_same_terms(metrics, want, rough, PASS, step)
        gradients = library.gradients()
        assert_close(f"gradients in step {step}", gradients, single.gradients, exact.gradients, PASS)
        exact.update(gradients)
        single.update(gradients)
        after = library.state_dict()
        assert_close(f"update in step {step}", after, single.state, exact.state, UPDATE, origin=before)
    first = "encoder.blocks.0.attn.qkv.weight"
    frozen = config.get("train_encoder", 12) != 12
    assert (
        np.array_equal(after[first], state[first])
        if frozen
        else distance(after[first], state[first]) > (1e-6 if "layer_decay" in config else 1e-4)
    )


def test_the_same_seed_gives_the_same_bits():
    states = []
    for _ in range(2):
        trainer = carl.Trainer({**BASE, **RATES}, views=[{"size": 16, "count": 2}], drop_path=0.2, threads=2)
        for step in range(2):
            trainer.step_views(images_of(2, 6, 16, 3, seed=step))
        states.append(trainer.state_dict())
    assert all(np.array_equal(value, states[1][key]) for key, value in states[0].items())


@pytest.mark.parametrize(
    "config, words",
    [
        (dict(width=0.5), ['"width" must be 1', "0.5"]),
        (dict(views=[{"size": 18, "count": 2}]), ['"views" must be', "patch_size", "18"]),
        (dict(patch_size=0), ['"patch_size" must be', "0"]),
        (dict(pool="max"), ['"pool" must be', "max"]),
        (dict(drop_path=1), ['"drop_path" must be', "1"]),
        (dict(drop_path=0.1, recompute=True), ['"recompute" must be false', "drop_path"]),
        (dict(layer_scale=-1), ['"layer_scale" must be', "-1"]),
        (dict(registers=1000), ['"registers" must be', "1000"]),
    ],
)
def test_settings_that_cannot_be(config, words):
    with pytest.raises(carl.ConfigurationError) as error:
        carl.Trainer({**BASE, "views": [{"size": 16, "count": 2}], **config})
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize("patch, size, local", [(7, 28, 14), (14, 56, 28), (4, 32, 16), (16, 64, 32), (5, 30, 15)])
def test_smaller_views_of_a_preset_are_whole_patches(patch, size, local):
    base = {key: value for key, value in BASE.items() if key not in ("views", "position_grid", "patch_size")}
    with carl.Trainer(base, patch_size=patch, views="multicrop", view_size=size) as trainer:
        specs = carl.expand_views(trainer.config.views, 3, trainer.config.view_size)
        assert [spec["size"] for spec in specs] == [size, local]
        images = np.random.default_rng(0).integers(0, 256, (4, size, size, 3), np.uint8)
        assert np.isfinite(trainer.step(images).loss)
        with carl.Trainer(trainer.config) as again:
            assert again.config == trainer.config


def test_views_of_small_images_are_whole_patches():
    images = np.random.default_rng(0).integers(0, 256, (8, 30, 30, 3), np.uint8)
    few = dict(encoder="vit_tiny", projector=[8], prototypes=2, batch_size=4, epochs=1, progress=False)
    assert carl.CARL(**few, patch_size=8).fit(images).config_.view_size == 24
    with pytest.raises(carl.InvalidArgumentError, match="patch_size: images of 30 pixels have no room for two"):
        carl.CARL(**few).fit(images)


def test_images_whose_sides_are_no_multiples_of_the_patch():
    trainer = carl.Trainer(BASE, views=[{"size": 16, "count": 2}])
    for height, width in ((15, 16), (16, 18), (3, 3)):
        with pytest.raises(carl.InvalidArgumentError, match=f"{height} x {width} pixels.*multiples of 4"):
            trainer.embed(np.zeros((1, height, width, 3), np.float32))
    with pytest.raises(carl.InvalidArgumentError, match="multiples of 4"):
        trainer.step_views([np.zeros((4, 18, 18, 3), np.float32)] * 2)


def test_a_classifier_on_a_transformer_takes_and_keeps_its_images(tmp_path):
    images = np.random.default_rng(2).integers(0, 256, (12, 16, 16, 1)).astype(np.uint8)
    trainer = carl.Trainer({**BASE, "in_channels": 1}, views=[{"size": 16, "count": 2}])
    classifier = carl.Classifier(trainer, classes=2)
    assert classifier.in_channels_ == 1
    classifier.step(images, np.arange(12) % 2)
    classifier.save(tmp_path / "c.carl")
    again = carl.Classifier.load(tmp_path / "c.carl")
    assert again.in_channels_ == 1
    assert np.array_equal(again.transform(images, "logits"), classifier.transform(images, "logits"))
