"""carl.Trainer: steps, embedding, determinism, and what it says to bad input."""

from __future__ import annotations

import copy
import math
import os
import pickle
import threading

import numpy as np
import pytest

import carl
from conftest import SMALL, run_python, same_state

# ---- Steps


def test_step_reports(trainer, images):
    metrics = trainer.step(images)
    assert metrics.step == trainer.step_count == 1
    terms = metrics.consistency + metrics.prior_weight * metrics.prior + metrics.contrast_weight * metrics.contrast
    assert metrics.loss == pytest.approx(terms, rel=1e-6) and metrics.contrast > 0
    assert 1 <= metrics.assigned_prototypes <= 6
    assert metrics["loss"] == metrics.loss and dict(metrics)["prior"] == metrics.prior
    assert 1 <= metrics.effective_prototypes <= 6 and 1 <= metrics.used_prototypes <= 6
    assert 1 / 6 <= metrics.max_probability <= 1 and 0 <= metrics.agreement <= 1
    assert metrics.log_prototypes == pytest.approx(math.log(6))
    assert metrics.views_per_second > 0 and metrics.seconds > 0 and metrics.memory_bytes > 0
    assert metrics.updated is True and metrics.collapsed == 0 and metrics.data_wait == 0
    assert 0 <= metrics.view_seconds <= metrics.seconds
    with pytest.raises(AttributeError):
        metrics.loss = 0.0
    with pytest.raises(KeyError):
        metrics["los"]
    assert pickle.loads(pickle.dumps(metrics)) == metrics


def test_training_changes_the_parameters_and_lowers_the_loss(make_trainer, views):
    trainer = make_trainer(learning_rate=0.05)
    before = trainer.state_dict()
    losses = [trainer.step_views(views).loss for _ in range(30)]
    after = trainer.state_dict()
    assert losses[-1] < losses[0]
    assert all(np.isfinite(value).all() for value in after.values())
    changed = [key for key in before if not np.array_equal(before[key], after[key])]
    assert (
        "encoder.conv1.weight" in changed and "prototypes.weight" in changed and "encoder.bn1.running_mean" in changed
    )


@pytest.mark.parametrize(
    "form",
    [
        lambda x: x[:, ::-1, ::-1][:, ::-1, ::-1],
        lambda x: np.asfortranarray(x),
        lambda x: np.repeat(x, 2, axis=2)[:, :, ::2],
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: np.pad(x, ((0, 0), (2, 3), (4, 1), (0, 0)))[:, 2:-3, 4:-1],
        lambda x: np.pad(x, ((0, 0), (0, 0), (0, 0), (0, 2)))[..., :3],
        lambda x: x.transpose(0, 3, 1, 2).copy().transpose(0, 2, 3, 1),
        lambda x: list(x),
        lambda x: [np.asfortranarray(image) for image in x],
        lambda x: x[::-1][::-1],
    ],
)
def test_strides_do_not_matter(make_trainer, images, form):
    plain, other = make_trainer(), make_trainer()
    strided = form(images)
    a, b = plain.step(images), other.step(strided)
    assert a.loss == b.loss
    assert same_state(plain, other)
    assert np.array_equal(plain.embed_images(images), other.embed_images(strided))


def test_upside_down_images_are_upside_down(trainer, images):
    flipped = images[:, ::-1]
    assert flipped.strides[1] < 0
    assert np.array_equal(trainer.embed_images(flipped), trainer.embed_images(flipped.copy()))
    assert not np.array_equal(trainer.embed_images(flipped), trainer.embed_images(images))


def test_gray_images_with_and_without_channel(make_trainer, images):
    a, b = make_trainer(in_channels=1), make_trainer(in_channels=1)
    gray = images[..., 0]
    assert a.step(gray).loss == b.step(gray[..., None].copy()).loss
    assert same_state(a, b)


def test_many_channels(make_trainer):
    trainer = make_trainer(in_channels=7)
    batch = np.random.default_rng(0).integers(0, 256, (8, 13, 15, 7), dtype=np.uint8)
    assert math.isfinite(trainer.step(batch).loss)


def test_images_of_differing_sizes(trainer):
    random = np.random.default_rng(0)
    batch = [random.integers(0, 256, (int(h), int(w), 3), dtype=np.uint8) for h, w in random.integers(1, 40, (9, 2))]
    assert math.isfinite(trainer.step(batch).loss)
    assert trainer.embed_images(batch).shape == (9, trainer.output_width())


def test_views_depend_on_the_index_and_epoch(make_trainer, images):
    losses = []
    for indices, epoch in [(None, 0), (np.arange(40), 0), (np.arange(40), 1), (np.arange(40)[::-1], 0)]:
        losses.append(make_trainer().step(images, indices, epoch).loss)
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3


def test_step_views_leave_the_arrays_alone(trainer, views):
    before = [view.copy() for view in views]
    trainer.step_views(views)
    assert all(np.array_equal(a, b) for a, b in zip(before, views))


def test_step_views_of_differing_sizes_and_strides(make_trainer, views):
    a, b = make_trainer(), make_trainer()
    small = views[1][:, 1:9, 2:11]
    assert not small.flags.c_contiguous
    assert a.step_views([*views, small]).loss == b.step_views([*views, small.copy()]).loss
    assert same_state(a, b)


def test_accumulation_updates_every_other_step(make_trainer, views):
    trainer = make_trainer(accumulate=2)
    first = trainer.state_dict()["encoder.conv1.weight"]
    assert trainer.step_views(views).updated is False
    assert np.array_equal(first, trainer.state_dict()["encoder.conv1.weight"])
    assert trainer.step_views(views).updated is True
    assert not np.array_equal(first, trainer.state_dict()["encoder.conv1.weight"])


# ---- Embedding


def test_outputs(trainer, views):
    widths = {"features": 64, "projection": 8, "probabilities": 6, "logits": 6}
    for output, width in widths.items():
        assert trainer.output_width(output) == width
        result = trainer.embed(views[0], output)
        assert result.shape == (16, width) and result.dtype == np.float32
    logits = trainer.embed(views[0], "logits").astype(np.float64)
    softmax = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(
        trainer.embed(views[0], "probabilities"), softmax / softmax.sum(1, keepdims=True), rtol=1e-4, atol=1e-6
    )


def test_embedding_one_by_one_is_embedding_together(trainer, images):
    together = trainer.embed_images(images)
    alone = np.concatenate([trainer.embed_images(image[None]) for image in images])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


def test_embedding_does_not_train(trainer, images, views):
    before = trainer.state_dict()
    trainer.embed_images(images)
    trainer.embed(views[0])
    after = trainer.state_dict()
    assert all(np.array_equal(before[key], after[key]) for key in before)


def test_more_images_than_one_chunk(trainer, images):
    many = np.concatenate([images] * 8)
    result = trainer.embed_images(many)
    np.testing.assert_allclose(result[-40:], result[:40], rtol=1e-5, atol=1e-6)


def test_encoder_embeds_the_same(trainer, images, views, tmp_path, no_leak):
    trainer.step(images)
    trainer.save(tmp_path / "t.carl")
    with carl.Encoder(tmp_path / "t.carl") as loaded, carl.Encoder.from_trainer(trainer) as copied:
        for encoder in (loaded, copied):
            assert np.array_equal(encoder.embed_images(images), trainer.embed_images(images))
            assert np.array_equal(encoder.embed(views[0], "logits"), trainer.embed(views[0], "logits"))
        frozen = copied.embed_images(images)
        trainer.step(images)
        assert np.array_equal(frozen, copied.embed_images(images))
    with pytest.raises(carl.InvalidHandleError):
        loaded.embed(views[0])
    with pytest.raises(TypeError, match="trainer"):
        carl.Encoder.from_trainer(loaded)


# ---- Determinism, resume, copies


def test_same_seed_is_bitwise_the_same(make_trainer, images):
    a, b = make_trainer(), make_trainer()
    for _ in range(3):
        assert a.step(images).loss == b.step(images).loss
    assert same_state(a, b)
    assert not same_state(a, make_trainer(seed=4))


def test_number_of_threads_changes_rounding_only(make_trainer, views):
    one, two = make_trainer(threads=1), make_trainer(threads=2)
    for _ in range(2):
        a, b = one.step_views(views), two.step_views(views)
        assert a.loss == pytest.approx(b.loss, rel=1e-4)
    first, second = one.state_dict(), two.state_dict()
    for key in first:
        np.testing.assert_allclose(first[key], second[key], rtol=5e-3, atol=1e-4, err_msg=key)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "lars"},
        {"optimizer": "adamw"},
        {"teacher_momentum": 0.9},
        {"accumulate": 2},
        {"schedule": "cosine", "total_steps": 20, "warmup_steps": 3},
        {"prior_weight": {"start": 4, "end": 1, "steps": 10}},
    ],
)
def test_resume_is_bitwise_exact(make_trainer, images, tmp_path, changes):
    whole, half = make_trainer(**changes), make_trainer(**changes)
    for _ in range(3):
        whole.step(images[:16])
        half.step(images[:16])
    half.save(tmp_path / "half.carl", notes={"place": 3})
    with carl.Trainer.resume(tmp_path / "half.carl") as again:
        assert again.step_count == 3 and again.notes == {"place": 3} and again.config == half.config
        for _ in range(3):
            a, b = whole.step(images[16:32]), again.step(images[16:32])
            assert (a.step, a.loss, a.learning_rate, a.prior_weight, a.used_prototypes) == (
                b.step,
                b.loss,
                b.learning_rate,
                b.prior_weight,
                b.used_prototypes,
            )
        assert same_state(whole, again)


def test_resume_overrides(trainer, tmp_path):
    trainer.save(tmp_path / "t.carl")
    with carl.Trainer.resume(tmp_path / "t.carl", threads=1, learning_rate=0.5) as again:
        assert again.config.threads == 1 and again.config.learning_rate == 0.5
    for bad, word in [({"prototypes": 7}, "prototypes"), ({"thread": 1}, "threads"), ({"width": 0.25}, "width")]:
        with pytest.raises(carl.ConfigurationError, match=word):
            carl.Trainer.resume(tmp_path / "t.carl", **bad)


def test_parameters_that_were_frozen_start_as_new_ones_with_adamw(make_trainer, images, tmp_path):
    """Their moments are 0, and corrected as such: the first step has the length of the learning rate."""
    trainer = make_trainer(optimizer="adamw", learning_rate=0.001, weight_decay=0.0, train_encoder="none")
    for _ in range(30):
        trainer.step(images)
    trainer.reconfigure(train_encoder="all")
    for _ in range(2):
        before = trainer.state_dict()
        trainer.step(images)
        after = trainer.state_dict()
        for name in ("encoder.conv1.weight", "encoder.layer1.0.conv1.weight"):
            assert np.abs(after[name] - before[name]).max() < 0.0015
        trainer.save(tmp_path / "t.carl")
        trainer = carl.Trainer.resume(tmp_path / "t.carl")


def test_accumulate_changes_between_updates_alone(make_trainer, images):
    trainer = make_trainer(accumulate=4, learning_rate=0.05)

    def moves(steps):
        for _ in range(steps):
            before = trainer.state_dict()["prototypes.weight"]
            trainer.step(images)
            yield not np.array_equal(before, trainer.state_dict()["prototypes.weight"])

    assert list(moves(3)) == [False, False, False]
    with pytest.raises(carl.ConfigurationError, match="accumulate.*3 step"):
        trainer.reconfigure(accumulate=2)
    trainer.reconfigure(learning_rate=0.1)
    assert list(moves(1)) == [True]
    trainer.reconfigure(accumulate=3)
    assert list(moves(6)) == [False, False, True] * 2


def test_pickle_and_copies_go_on_alike(trainer, images, no_leak):
    trainer.step(images)
    for copied in (pickle.loads(pickle.dumps(trainer)), copy.deepcopy(trainer), copy.copy(trainer)):
        assert same_state(trainer, copied) and copied.step_count == 1
        # The original must not move, so that each copy is compared with the same state.
        with pickle.loads(pickle.dumps(trainer)) as reference, copied:
            assert reference.step(images).loss == copied.step(images).loss


# ---- State


def test_state_has_torchvision_s_names(trainer):
    state = trainer.state_dict()
    assert state["encoder.conv1.weight"].shape == (8, 3, 3, 3)
    assert state["encoder.layer1.0.conv1.weight"].shape == (8, 8, 3, 3)
    assert state["encoder.layer2.0.downsample.0.weight"].shape == (16, 8, 1, 1)
    assert state["projector.0.weight"].shape == (16, 64) and state["projector.3.weight"].shape == (8, 16)
    assert state["projector.1.running_var"].shape == (16,)
    assert state["prototypes.weight"].shape == (6, 8)
    assert all(value.dtype == np.float32 for value in state.values())


def test_teacher_is_in_the_state(make_trainer, views):
    trainer = make_trainer(teacher_momentum=0.5)
    state = trainer.state_dict()
    assert np.array_equal(state["teacher.encoder.conv1.weight"], state["encoder.conv1.weight"])
    trainer.step_views(views)
    state = trainer.state_dict()
    assert not np.array_equal(state["teacher.encoder.conv1.weight"], state["encoder.conv1.weight"])
    assert not any(key.startswith("teacher.") for key in trainer.gradients())


def test_load_state_dict(make_trainer, views):
    a, b = make_trainer(), make_trainer(seed=99)
    a.step_views(views)
    state = a.state_dict()
    state["encoder.bn1.num_batches_tracked"] = np.int64(4)
    state["encoder.conv1.weight"] = np.asfortranarray(state["encoder.conv1.weight"].astype(np.float64))
    b.load_state_dict(state)
    assert same_state(a, b)
    assert np.array_equal(a.embed(views[0]), b.embed(views[0]))


def test_load_state_dict_refuses_and_changes_nothing(trainer):
    before = trainer.state_dict()
    good = {key: value + 1 for key, value in before.items()}

    def without(key):
        return {k: v for k, v in good.items() if k != key}

    cases = [
        (without("encoder.conv1.weight"), "encoder.conv1.weight"),
        ({**good, "prototypes.weigh": np.zeros((6, 8), np.float32)}, "did you mean 'prototypes.weight'"),
        ({**good, "prototypes.weight": np.zeros((8, 6), np.float32)}, r"\(8, 6\)"),
        ({**good, "prototypes.weight": np.zeros((6, 8), np.int32)}, "int32"),
        ({**good, "prototypes.weight": np.full((6, 8), np.nan, np.float32)}, "finite"),
        ({**good, "prototypes.weight": [[1.0]]}, "list"),
        ({key.removeprefix("encoder."): value for key, value in good.items()}, '"encoder."'),
        ([1], "list"),
    ]
    for state, words in cases:
        with pytest.raises(carl.InvalidArgumentError, match=words):
            trainer.load_state_dict(state)
    with pytest.raises(carl.InvalidArgumentError, match="none of its"):
        trainer.load_state_dict({"a": np.zeros(1, np.float32)}, strict=False)
    after = trainer.state_dict()
    assert all(np.array_equal(before[key], after[key]) for key in before)
    trainer.load_state_dict({"prototypes.weight": np.ones((6, 8), np.float32)}, strict=False)
    assert (trainer.state_dict()["prototypes.weight"] == 1).all()


def test_gradients(trainer, views):
    with pytest.raises(carl.InvalidStateError):
        trainer.gradients()
    trainer.step_views(views)
    gradients, state = trainer.gradients(), trainer.state_dict()
    assert set(gradients) == {key for key in state if "running_" not in key}
    assert all(gradients[key].shape == state[key].shape for key in gradients)
    norm = math.sqrt(sum(float((value.astype(np.float64) ** 2).sum()) for value in gradients.values()))
    again = trainer.step_views(views)
    assert norm > 0 and again.gradient_norm == pytest.approx(
        math.sqrt(sum(float((v.astype(np.float64) ** 2).sum()) for v in trainer.gradients().values())), rel=1e-4
    )


# ---- Bad input


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (np.zeros((4, 12, 12, 3), np.float32), ["batch", "float32", "uint8"]),
        (np.zeros((4, 12, 12, 3), np.int64), ["int64", "uint8"]),
        (np.zeros((4, 12, 12, 3), bool), ["bool"]),
        (np.zeros((4, 12, 12, 1), np.uint8), ["1 channel", "3"]),
        (np.zeros((4, 12, 12), np.uint8), ["1 channel", "3"]),
        (np.zeros((4, 3, 12, 12), np.uint8), ["channels last"]),
        (np.zeros((12, 12, 3), np.uint8), ["one colour image"]),
        (np.zeros((4, 432), np.uint8), ["(4, 432)"]),
        (np.zeros((), np.uint8), ["()"]),
        (np.zeros((0, 12, 12, 3), np.uint8), ["empty"]),
        (np.zeros((4, 0, 12, 3), np.uint8), ["empty"]),
        (np.zeros((4, 12, 12, 0), np.uint8), ["empty"]),
        (np.zeros((1, 12, 12, 3), np.uint8), ["1", "at least 2"]),
        (np.broadcast_to(np.uint8(0), (2, 70_000, 5, 3)), ["70000", "65535"]),
        (np.broadcast_to(np.uint8(0), (2, 5, 5, 2000)), ["2000"]),
        ([], ["empty"]),
        ([np.zeros((3, 3, 3), np.uint8), np.zeros((3, 3, 2), np.uint8)], ["batch[1]", "2 channel"]),
        ([np.zeros((3, 3, 3), np.uint8), np.zeros((3, 3, 3), np.float64)], ["batch[1]", "float64"]),
        ([np.zeros((3, 3, 3), np.uint8), None], ["batch[1]", "NoneType"]),
        ([np.zeros((3, 3, 3), np.uint8), np.zeros((1, 3, 3, 3), np.uint8)], ["batch[1]"]),
        ([[[1, 2], [3, 4]]], ["batch[0]", "list"]),
        (None, ["batch", "NoneType"]),
        ("photos", ["batch", "str"]),
        (b"bytes", ["batch", "bytes"]),
        (np.array([object()]), ["object"]),
    ],
)
def test_bad_batches(trainer, images, batch, words):
    with pytest.raises(carl.InvalidArgumentError) as caught:
        trainer.step(batch)
    for word in words:
        assert word in str(caught.value)
    assert trainer.step_count == 0
    trainer.step(images)


@pytest.mark.parametrize(
    ("indices", "epoch", "words"),
    [
        (np.arange(3), 0, "indices"),
        (np.arange(40.0), 0, "indices"),
        (np.arange(40) - 1, 0, "indices"),
        (np.arange(40).reshape(8, 5), 0, "indices"),
        (np.arange(40), -1, "epoch"),
        (np.arange(40), 2**24, "epoch"),
        (np.arange(40), 1.5, "epoch"),
        (np.arange(40), True, "epoch"),
        (np.arange(40), 2**70, "epoch"),
    ],
)
def test_bad_indices(trainer, images, indices, epoch, words):
    with pytest.raises(carl.InvalidArgumentError, match=words):
        trainer.step(images, indices, epoch)


def _float(*shape):
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("views", "words"),
    [
        ([_float(4, 8, 8, 3)], "at least 2"),
        ([], "at least 2"),
        ([_float(4, 8, 8, 3), _float(5, 8, 8, 3)], r"views\[1\]"),
        ([_float(4, 8, 8, 3), _float(4, 8, 8, 1)], r"views\[1\]"),
        ([_float(4, 8, 8, 3), np.zeros((4, 8, 8, 3))], r"views\[1\].*float64.*float32"),
        ([_float(4, 8, 8, 3), np.zeros((4, 8, 8, 3), np.float16)], r"float16"),
        ([_float(4, 8, 8, 3), np.zeros((4, 8, 8, 3), np.uint8)], r"uint8"),
        ([_float(4, 8, 8, 3), np.zeros((4, 8, 8, 3), ">f4")], r">f4"),
        ([_float(4, 8, 8), _float(4, 8, 8)], r"\(4, 8, 8\)"),
        ([_float(1, 8, 8, 3), _float(1, 8, 8, 3)], "at least 2"),
        ([_float(0, 8, 8, 3), _float(0, 8, 8, 3)], "empty"),
        ([_float(4, 8, 8, 2), _float(4, 8, 8, 2)], "in_channels|channels"),
        (None, "views"),
        (3.0, "views"),
        (_float(4, 8, 8, 3), "views"),
    ],
)
def test_bad_views(trainer, views, words):
    with pytest.raises(carl.InvalidArgumentError, match=words):
        trainer.step_views(views)
    assert trainer.step_count == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_views(trainer, views, value):
    before = trainer.state_dict()
    views[1][3, 2, 1, 0] = value
    with pytest.raises(carl.InvalidArgumentError, match=r"views\[1\].*\(3, 2, 1, 0\)"):
        trainer.step_views(views)
    with pytest.raises(carl.InvalidArgumentError, match="finite"):
        trainer.embed(views[1])
    after = trainer.state_dict()
    assert all(np.array_equal(before[key], after[key]) for key in before)


def test_huge_values_are_an_error_not_a_nan(trainer, views):
    before = trainer.state_dict()
    for view in views:
        view *= 3e37
    try:
        trainer.step_views(views)
    except carl.NotFiniteError as error:
        assert isinstance(error, ArithmeticError)
        after = trainer.state_dict()
        assert all(np.array_equal(before[key], after[key]) for key in before)
    assert all(np.isfinite(value).all() for value in trainer.state_dict().values())


def test_a_step_that_failed_has_no_gradients(trainer, views):
    trainer.step_views(views)
    assert all(np.isfinite(value).all() for value in trainer.gradients().values())
    state = trainer.state_dict()
    trainer.load_state_dict({**state, "encoder.conv1.weight": np.full_like(state["encoder.conv1.weight"], 3e38)})
    with pytest.raises(carl.NotFiniteError):
        trainer.step_views(views)
    with pytest.raises(carl.InvalidStateError, match="of one that failed"):
        trainer.gradients()
    trainer.load_state_dict(state)
    trainer.step_views(views)
    assert trainer.gradients()


def test_a_link_to_a_file_that_is_not_there_yet_is_followed(trainer, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link.carl").symlink_to(tmp_path / "second.carl")
    (tmp_path / "second.carl").symlink_to("there/file.carl")
    trainer.save(tmp_path / "link.carl")
    assert (tmp_path / "link.carl").is_symlink() and (tmp_path / "second.carl").is_symlink()
    assert same_state(carl.Trainer.resume(tmp_path / "there" / "file.carl"), trainer)


@pytest.mark.parametrize("output", ["feature", None, 0, ["features"]])
def test_bad_output(trainer, views, output):
    with pytest.raises(carl.InvalidArgumentError, match="output"):
        trainer.embed(views[0], output)
    with pytest.raises(carl.InvalidArgumentError, match="output"):
        trainer.output_width(output)


@pytest.mark.parametrize("size", [-1, 1.5, 10**6, None, "12"])
def test_bad_size(trainer, images, size):
    with pytest.raises(carl.InvalidArgumentError, match="size"):
        trainer.embed_images(images, size)


def test_a_closed_trainer_says_so(images, views, tmp_path, no_leak):
    trainer = carl.Trainer(SMALL)
    trainer.close()
    trainer.close()
    assert trainer.closed and "closed" in repr(trainer)
    for call in (
        lambda: trainer.step(images),
        lambda: trainer.step_views(views),
        lambda: trainer.embed(views[0]),
        lambda: trainer.embed_images(images),
        lambda: trainer.state_dict(),
        lambda: trainer.gradients(),
        lambda: trainer.load_state_dict({}),
        lambda: trainer.save(tmp_path / "x"),
        lambda: trainer.config,
        lambda: trainer.notes,
        lambda: trainer.output_width(),
        lambda: pickle.dumps(trainer),
    ):
        with pytest.raises(carl.InvalidHandleError, match="closed"):
            call()


def test_context_and_garbage_free_the_memory(no_leak):
    with carl.Trainer(SMALL) as trainer:
        assert carl.live_objects() >= 1
    assert trainer.closed
    carl.Trainer(SMALL)
    with pytest.raises(carl.ConfigurationError):
        carl.Trainer(width=-1)


# ---- Files


def test_bad_files(trainer, tmp_path):
    with pytest.raises(carl.FileError):
        trainer.save(tmp_path / "no such folder" / "t.carl")
    with pytest.raises(carl.InvalidArgumentError, match="path"):
        trainer.save("")
    with pytest.raises(carl.InvalidArgumentError, match="path"):
        trainer.save(3)
    with pytest.raises(carl.InvalidArgumentError, match="zero"):
        trainer.save("a\0b")
    with pytest.raises(carl.InvalidArgumentError, match="notes"):
        trainer.save(tmp_path / "t", notes=[1])
    with pytest.raises(carl.ConfigurationError, match="a: got a value of type object"):
        trainer.save(tmp_path / "t", notes={"a": object()})
    with pytest.raises(carl.FileError, match="missing"):
        carl.Trainer.resume(tmp_path / "missing.carl")
    with pytest.raises(carl.FileError):
        carl.Trainer.resume(tmp_path)
    trainer.save(tmp_path / "good.carl")
    good = (tmp_path / "good.carl").read_bytes()
    damaged = {
        "empty": b"",
        "short": good[:5],
        "cut": good[: len(good) // 2],
        "header": good[:8] + b"x" * 50 + good[58:],
        "length": b"\xff" * 8 + good[8:],
        "text": b"hello" * 100,
        "cut by one": good[:-1],
    }
    for name, data in damaged.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(carl.FileError):
            carl.Trainer.resume(tmp_path / name)
        with pytest.raises(carl.FileError):
            carl.Encoder(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == sorted([*damaged, "good.carl"])


def test_unusual_file_names(trainer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("with space.carl", "ünïcödé-图.carl", "relative"):
        trainer.save(name, notes={"text": "ünï"})
        with carl.Trainer.resume(tmp_path / name) as again:
            assert again.notes == {"text": "ünï"}


def test_bytes(trainer):
    assert isinstance(trainer.to_bytes(), bytes)
    with pytest.raises(carl.FileError):
        carl.Trainer.from_bytes(b"nonsense")
    with pytest.raises(carl.InvalidArgumentError):
        carl.Trainer.from_bytes("text")


# ---- Threads and processes


def test_two_threads_on_one_trainer_is_busy_or_in_turn(trainer, images):
    outcomes: list[object] = []

    def work():
        for _ in range(10):
            try:
                outcomes.append(trainer.step(images).loss)
            except carl.BusyError as error:
                outcomes.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = [outcome for outcome in outcomes if isinstance(outcome, float)]
    assert len(outcomes) == 30 and trainer.step_count == len(done) >= 10
    assert all(math.isfinite(loss) for loss in done)


def test_different_trainers_run_at_once(make_trainer, images):
    expected = [make_trainer(seed=seed).step(images).loss for seed in range(4)]
    trainers = [make_trainer(seed=seed) for seed in range(4)]
    found: dict[int, float] = {}
    threads = [
        threading.Thread(target=lambda n=n: found.__setitem__(n, trainers[n].step(images).loss)) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[n] for n in range(4)] == expected


def test_works_in_a_forked_child():
    code = """
import os, sys
import numpy as np
import carl
x = np.random.default_rng(0).integers(0, 256, (16, 12, 12, 3), dtype=np.uint8)
config = dict(width=0.125, prototypes=6, view_size=12, projector=[16, 8])
trainer = carl.Trainer(config)
trainer.step(x)
twin = carl.Trainer(config)
twin.step(x)
expected = twin.step(x).loss
child = os.fork()
if child == 0:
    ok = trainer.step(x).loss == expected
    fresh = carl.Trainer(config)
    fresh.step(x)
    ok = ok and fresh.step(x).loss == expected
    os._exit(0 if ok else 3)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
assert trainer.step(x).loss == expected
"""
    done = run_python(code, timeout=60)
    assert done.returncode == 0, done.stderr


def test_terms_of_a_step_by_name(trainer, images):
    assert trainer.terms == {}
    metrics = trainer.step(images)
    terms = trainer.terms
    for name in ("consistency", "prior", "contrast", "prior_weight", "contrast_weight"):
        assert terms[name] == pytest.approx(getattr(metrics, name), rel=1e-6), name
