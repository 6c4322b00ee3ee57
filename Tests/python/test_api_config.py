"""The configuration: keys, defaults, JSON, and errors that name the key."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import carl
from conftest import SMALL

#: Without views.
PLAIN = {key: value for key, value in SMALL.items() if key not in ("views", "view_size")}
FIELDS = {field.name for field in dataclasses.fields(carl.TrainerConfig)}


def test_complete_configuration_has_no_unknown_key(trainer):
    config = trainer.config
    for key, value in SMALL.items():
        assert getattr(config, key) == value
    assert config.batch_size and config.temperature and config.optimizer == "lars"
    assert config.views is not None


def test_every_field_is_a_key_of_the_library(trainer):
    from carl._c_api import LIB, string_from

    known = set(json.loads(string_from(LIB.carl_trainer_config, trainer._handle)))
    assert known <= FIELDS
    # Keys that a later version of the library will know; see the class's documentation.
    assert FIELDS - known <= {"view_size"}


def test_configuration_goes_round(trainer):
    config = trainer.config
    again = carl.TrainerConfig.from_json(config.to_json())
    assert again == config
    with carl.Trainer(config) as other:
        assert other.config == config


@pytest.mark.parametrize("form", ["dataclass", "dict", "json"])
def test_forms_and_overrides(form):
    values = {**SMALL, "prototypes": np.int64(9)}
    config = {
        "dataclass": lambda: carl.TrainerConfig(**values),
        "dict": lambda: values,
        "json": lambda: carl.TrainerConfig(**values).to_json(),
    }[form]()
    with carl.Trainer(config, seed=11, temperature=None) as trainer:
        assert (trainer.config.prototypes, trainer.config.seed, trainer.config.width) == (9, 11, 0.125)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prototipes": 4}, ["prototipes", "prototypes"]),
        ({"learning_rates": 4}, ["learning_rates", "learning_rate"]),
        ({"lr": 0.1}, ["'lr'; did you mean 'learning_rate'?"]),
        ({"device": "cuda"}, ["'device'; there is none: everything runs on the processor"]),
        ({"prototypes": 0}, ["prototypes"]),
        ({"prototypes": 4, "partition_size": 5}, ["partition_size", "from 0 to", "4, got 5"]),
        ({"partition_size": -1}, ["partition_size"]),
        ({"partition_size": 2.5}, ["partition_size"]),
        ({"objective": "crap"}, ["objective", "carl", "carp"]),
        ({"freeze_prototypes": -1}, ["freeze_prototypes"]),
        ({"recompute": 1}, ["recompute"]),
        ({"temperature": {"start": 1, "end": 0, "steps": 3}}, ["temperature.end"]),
        ({"temperature": {"start": 1, "end": 0.1}}, ["temperature", "steps"]),
        ({"temperature": {"start": 1, "end": 0.1, "step": 3}}, ["temperature.step", "steps"]),
        ({"prior_weight": {"start": -1, "end": 0.1, "steps": 3}}, ["prior_weight.start"]),
        ({"prototypes": "many"}, ["prototypes"]),
        ({"prototypes": 2.5}, ["prototypes"]),
        ({"prototypes": 10**15}, ["prototypes"]),
        ({"temperature": 0}, ["temperature"]),
        ({"temperature": -1.0}, ["temperature"]),
        ({"encoder": "resnet19"}, ["encoder", "resnet18"]),
        ({"stem": "tiny"}, ["stem"]),
        ({"width": 0.001}, ["width"]),
        ({"width": 1e9}, ["width"]),
        ({"in_channels": 0}, ["in_channels"]),
        ({"in_channels": 5000}, ["in_channels"]),
        ({"projector": []}, ["projector"]),
        ({"projector": [0]}, ["projector"]),
        ({"projector": [2**40]}, ["projector"]),
        ({"projector": 128}, ["projector"]),
        ({"prior_weight": {"start": 1}}, ["prior_weight"]),
        ({"prior_weight": "high"}, ["prior_weight"]),
        ({"optimizer": "adam"}, ["optimizer"]),
        ({"momentum": 1.5}, ["momentum"]),
        ({"schedule": "cosine", "total_steps": None}, ["total_steps"]),
        ({"seed": -1}, ["seed"]),
        ({"threads": -2}, ["threads"]),
        ({"views": 3}, ["views"]),
        ({"views": "no such preset"}, ["views", "no such preset"]),
        ({"stop_gradient": "yes"}, ["stop_gradient"]),
        ({"accumulate": 0}, ["accumulate"]),
        ({"batch_size": 1}, ["batch_size"]),
    ],
)
def test_bad_values_name_the_key(changes, words, no_leak):
    values = {**SMALL, **changes}
    if "views" in changes:
        del values["view_size"]
    with pytest.raises(carl.ConfigurationError) as caught:
        carl.Trainer(values)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "3", '{"width": 0.125} x', '{"width": NaN}', "{'width': 1}", "[" * 5000]
)
def test_malformed_json(text):
    with pytest.raises(carl.ConfigurationError):
        carl.Trainer(text)


@pytest.mark.parametrize(
    "config", [3, [("width", 1)], {3: 4}, {"width": object()}, {"width": float("nan")}, {"seed": 1 + 2j}]
)
def test_other_types(config):
    with pytest.raises(carl.ConfigurationError):
        carl.Trainer(config)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning_rate": float("nan")}, "learning_rate: got nan, want a finite number"),
        ({"width": np.float32("inf")}, "width: got inf, want a finite number"),
        ({"mean": [float("nan")]}, "mean[0]: got nan, want a finite number"),
        ({"prior_weight": {"start": float("inf"), "end": 1, "steps": 2}}, "prior_weight.start: got inf, want a finite"),
        ({"views": [{"size": 24, "jitter": np.array([0.1, np.nan])}]}, "views[0].jitter[1]: got nan, want a finite"),
        ({"views": [{"size": 24, b"area": 1}]}, "views[0]: got a key of type bytes, want text"),
        ({"seed": np.random.default_rng(0)}, "seed: got a value of type Generator, want a whole number"),
        ({"seed": 10**5000}, "seed: got a number of 16610 bits"),
        ({"projector": {1, 2}}, "projector: got a value of type set, want a number, text"),
    ],
)
def test_what_json_cannot_express_names_the_key(changes, words):
    values = {key: value for key, value in SMALL.items() if key != "view_size" or "views" not in changes}
    with pytest.raises(carl.ConfigurationError) as caught:
        carl.Trainer({**values, **changes})
    assert words in str(caught.value)


def test_the_dataclass_knows_its_keys():
    with pytest.raises(carl.ConfigurationError, match="did you mean 'temperature'"):
        carl.TrainerConfig.from_dict({"temperatur": 1})
    assert carl.TrainerConfig(width=2).replace(width=3).to_dict() == {"width": 3}


def test_zero_character_is_refused():
    with pytest.raises(carl.InvalidArgumentError, match="zero character"):
        carl.Trainer('{"encoder": "resnet18\0"}')
    with pytest.raises(carl.CARLError):
        carl.Trainer(encoder="resnet18\0")


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("given", ["mean", "std", "both"])
def test_mean_and_std_hold_for_specifications_that_give_none(channels, given):
    """As for a preset's views: the key's value, then the standard one; a specification's own stands before both."""
    keys = {"mean": [0.25], "std": [0.75]}
    keys = keys if given == "both" else {given: keys[given]}
    own = {"size": 12, "mean": [0.125], "std": [0.5]}
    config = {**PLAIN, "in_channels": channels, **keys}
    images = np.random.default_rng(0).integers(0, 256, (5, 12, 12, channels), np.uint8)
    with (
        carl.Trainer({**config, "views": [{"size": 12, "count": 2}, own]}) as trainer,
        carl.Trainer({**config, "views": "weak", "view_size": 12}) as preset,
    ):
        views = trainer.config.views
        standard = carl.expand_views("weak", channels, 12)[0]
        for key in ("mean", "std"):
            assert views[0][key] == keys.get(key, standard[key]) and views[1][key] == own[key]
        with carl.Trainer(trainer.config) as again:
            assert again.config == trainer.config
        assert np.array_equal(trainer.embed_images(images), preset.embed_images(images))
        normalised = (images / np.float32(255) - np.float32(views[0]["mean"])) / np.float32(views[0]["std"])
        assert np.allclose(trainer.embed_images(images), trainer.embed(normalised), rtol=1e-4, atol=1e-5)


def test_another_mean_for_a_model_whose_views_are_specifications(tmp_path):
    """Takes the place of what all views had; a view's own stays."""
    own = {"size": 12, "mean": [0.125]}
    images = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3), np.uint8)
    for number, views in enumerate(([{"size": 12, "count": 2}], [own, own])):
        with carl.Trainer({**PLAIN, "views": views}) as trainer:
            trainer.save(tmp_path / "model.carl")
            before = trainer.embed_images(images)
        with carl.Encoder(tmp_path / "model.carl", mean=[0.5]) as encoder:
            assert np.array_equal(encoder.embed_images(images), before) == bool(number)
        trainer = carl.Trainer.resume(tmp_path / "model.carl", mean=[0.5])
        with trainer:
            assert trainer.config.views[0]["mean"] == ([0.5] if number == 0 else [0.125])
