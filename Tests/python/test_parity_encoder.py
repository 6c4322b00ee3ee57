"""Encoders in evaluation mode against the float64 reference that reads the same state dict."""

import numpy as np
import pytest

import carl
from reference.differences import relative_error
from reference.problems import images_of
from reference.resnet import ResNet, random_state

LIMIT = 1e-4

CASES = [
    # encoder, stem, width, in_channels, batch, height, width
    ("resnet18", "small", 0.25, 3, 3, 32, 32),
    ("resnet18", "small", 0.25, 1, 2, 13, 18),
    ("resnet18", "small", 1.0, 3, 2, 20, 20),
    ("resnet18", "small", 0.5, 5, 1, 8, 9),
    ("resnet18", "small", 0.25, 3, 2, 1, 1),
    ("resnet18", "imagenet", 0.25, 3, 3, 64, 64),
    ("resnet18", "imagenet", 1.0, 1, 2, 47, 61),
    ("resnet34", "small", 0.25, 3, 2, 17, 15),
    ("resnet34", "imagenet", 0.25, 5, 2, 50, 33),
    ("resnet50", "small", 0.25, 5, 2, 16, 16),
    ("resnet50", "small", 1.0, 3, 1, 12, 11),
    ("resnet50", "imagenet", 0.25, 1, 3, 65, 64),
    ("resnet50", "imagenet", 1.0, 3, 1, 64, 70),
]


@pytest.mark.parametrize("encoder, stem, width, channels, batch, height, columns", CASES)
def test_features(encoder, stem, width, channels, batch, height, columns):
    rng = np.random.default_rng(7)
    state = random_state(rng, encoder, stem, width, channels, np.float32)
    images = rng.standard_normal((batch, height, columns, channels)).astype(np.float32)
    trainer = carl.Trainer(
        encoder=encoder, stem=stem, width=width, in_channels=channels, projector=[8, 4], prototypes=3
    )
    complete = trainer.state_dict()
    assert {key for key in complete if key.startswith("encoder.")} == state.keys()
    trainer.load_state_dict(complete | state)
    got = trainer.embed(images)
    exact = {key: value.astype(np.float64) for key, value in state.items()}
    want, _ = ResNet(exact, encoder, stem).forward(images.astype(np.float64), train=False)
    assert relative_error(got, want) < LIMIT
    for image in range(batch):
        assert relative_error(got[image], want[image]) < LIMIT, image


def test_features_of_an_image_do_not_depend_on_its_batch():
    trainer = carl.Trainer(encoder="resnet18", stem="small", width=0.25, projector=[8, 4], prototypes=3)
    images = images_of(1, 37, 16, 3)[0]
    whole = trainer.embed(images)
    single = np.concatenate([trainer.embed(images[i : i + 1]) for i in range(37)])
    assert relative_error(single, whole) < 1e-5


def test_state_dict_comes_back_as_it_was_given():
    rng = np.random.default_rng(8)
    trainer = carl.Trainer(
        encoder="resnet50", stem="imagenet", width=0.25, in_channels=2, projector=[6, 5, 4], prototypes=7
    )
    given = {key: rng.uniform(0.1, 1, value.shape).astype(np.float32) for key, value in trainer.state_dict().items()}
    trainer.load_state_dict(given)
    for key, value in trainer.state_dict().items():
        np.testing.assert_array_equal(value, given[key], err_msg=key)
