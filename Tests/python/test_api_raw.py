"""The C interface as a careless C program would use it: an error status every time, never a crash."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_int64, c_size_t, c_void_p, cast

import numpy as np
import pytest

from carl import _c_api
from carl._c_api import LIB, EncoderHandle, TrainerHandle, carl_batch, carl_image, carl_metrics, carl_tensor_info
from carl._images import pack_images

OK, ARGUMENT, HANDLE, CONFIG, STATE = 0, 1, 2, 3, 8
CONFIGURATION = b'{"width": 0.125, "prototypes": 6, "view_size": 12, "projector": [16, 8]}'


@pytest.fixture
def handle():
    pointer = TrainerHandle()
    assert LIB.carl_trainer_create(CONFIGURATION, byref(pointer)) == OK
    yield pointer
    LIB.carl_trainer_free(pointer)


def message() -> str:
    return LIB.carl_last_error().decode()


def metrics() -> carl_metrics:
    return carl_metrics(struct_size=ctypes.sizeof(carl_metrics))


def calls(handle):
    """Every call on a trainer with arguments that are right but for the handle."""
    packed = pack_images(np.zeros((4, 12, 12, 3), np.uint8))
    floats = np.zeros((2, 12, 12, 3), np.float32)
    batches = (carl_batch * 2)(*[carl_batch(floats.ctypes.data, 2, 12, 12, 3)] * 2)
    out = np.zeros(4 * 64, np.float32)
    number, needed, info, encoder = c_int64(0), c_size_t(0), carl_tensor_info(), EncoderHandle()
    keep = (packed, floats, batches, out, number, needed, info, encoder)
    yield "step", lambda: LIB.carl_trainer_step(handle, packed.address, 4, None, 0, byref(metrics())), keep
    yield "step_views", lambda: LIB.carl_trainer_step_views(handle, batches, 2, byref(metrics())), keep
    yield "width", lambda: LIB.carl_trainer_output_width(handle, 0, byref(number)), keep
    yield "embed", lambda: LIB.carl_trainer_embed(handle, batches, 0, out.ctypes.data, 128), keep
    yield (
        "embed_images",
        lambda: LIB.carl_trainer_embed_images(handle, packed.address, 4, 0, 0, out.ctypes.data, 256),
        keep,
    )
    yield "save", lambda: LIB.carl_trainer_save(handle, b"/nonexistent/x", None), keep
    yield "notes", lambda: LIB.carl_trainer_notes(handle, None, 0, byref(needed)), keep
    yield "config", lambda: LIB.carl_trainer_config(handle, None, 0, byref(needed)), keep
    yield "size", lambda: LIB.carl_trainer_state_size(handle, byref(number)), keep
    yield "info", lambda: LIB.carl_trainer_state_info(handle, 0, byref(info)), keep
    yield "get", lambda: LIB.carl_trainer_state_get(handle, b"prototypes.weight", out.ctypes.data, 48), keep
    yield "set", lambda: LIB.carl_trainer_state_set(handle, b"prototypes.weight", out.ctypes.data, 48), keep
    yield "gradient", lambda: LIB.carl_trainer_gradient_get(handle, b"prototypes.weight", out.ctypes.data, 48), keep
    yield "profiling", lambda: LIB.carl_trainer_set_profiling(handle, 1), keep
    yield "profile", lambda: LIB.carl_trainer_profile(handle, None, 0, byref(needed)), keep
    yield "encoder", lambda: LIB.carl_encoder_from_trainer(handle, 0, byref(encoder)), keep


def test_freed_handles():
    pointer = TrainerHandle()
    assert LIB.carl_trainer_create(CONFIGURATION, byref(pointer)) == OK
    assert LIB.carl_trainer_free(pointer) == OK
    for name, call, _ in calls(pointer):
        assert call() == HANDLE, name
    assert LIB.carl_trainer_free(pointer) == HANDLE


def test_null_handles():
    for name, call, _ in calls(None):
        assert call() == HANDLE, name
    assert LIB.carl_trainer_free(None) == OK
    assert LIB.carl_encoder_free(None) == OK


@pytest.mark.parametrize("address", [1, 8, 0x1000, 2**63, 2**64 - 1])
def test_made_up_handles(address):
    fake = cast(c_void_p(address), TrainerHandle)
    for name, call, _ in calls(fake):
        assert call() == HANDLE, name


def test_foreign_handles(handle):
    encoder = EncoderHandle()
    assert LIB.carl_encoder_from_trainer(handle, 0, byref(encoder)) == OK
    for name, call, _ in calls(cast(encoder, TrainerHandle)):
        assert call() == HANDLE, name
    assert LIB.carl_trainer_free(cast(encoder, TrainerHandle)) == HANDLE
    assert LIB.carl_encoder_free(cast(handle, EncoderHandle)) == HANDLE
    width = c_int64(0)
    assert LIB.carl_encoder_output_width(cast(handle, EncoderHandle), 0, byref(width)) == HANDLE
    assert LIB.carl_encoder_output_width(encoder, 0, byref(width)) == OK
    assert LIB.carl_encoder_free(encoder) == OK
    assert LIB.carl_encoder_free(encoder) == HANDLE


def test_right_calls_work(handle):
    for name, call, _ in calls(handle):
        assert call() == (6 if name == "save" else OK), (name, message())


def test_null_arguments(handle):
    packed = pack_images(np.zeros((4, 12, 12, 3), np.uint8))
    out = np.zeros(300, np.float32)
    batch = carl_batch(None, 2, 12, 12, 3)
    number = c_int64(0)
    assert LIB.carl_trainer_create(None, byref(TrainerHandle())) == ARGUMENT
    assert LIB.carl_trainer_create(b"{}", None) == ARGUMENT
    assert LIB.carl_trainer_resume(None, None, byref(TrainerHandle())) == ARGUMENT
    assert LIB.carl_trainer_resume(b"x", None, None) == ARGUMENT
    assert LIB.carl_trainer_step(handle, None, 4, None, 0, None) == ARGUMENT
    assert LIB.carl_trainer_step_views(handle, None, 2, None) == ARGUMENT
    assert LIB.carl_trainer_step_views(handle, (carl_batch * 2)(batch, batch), 2, None) == ARGUMENT
    assert LIB.carl_trainer_output_width(handle, 0, None) == ARGUMENT
    assert LIB.carl_trainer_embed(handle, None, 0, out.ctypes.data, 128) == ARGUMENT
    assert LIB.carl_trainer_embed(handle, byref(batch), 0, out.ctypes.data, 128) == ARGUMENT
    assert LIB.carl_trainer_embed_images(handle, None, 4, 0, 0, out.ctypes.data, 256) == ARGUMENT
    assert LIB.carl_trainer_embed_images(handle, packed.address, 4, 0, 0, None, 256) == ARGUMENT
    assert LIB.carl_trainer_save(handle, None, None) == ARGUMENT
    assert LIB.carl_trainer_state_size(handle, None) == ARGUMENT
    assert LIB.carl_trainer_state_info(handle, 0, None) == ARGUMENT
    assert LIB.carl_trainer_state_get(handle, None, out.ctypes.data, 48) == ARGUMENT
    assert LIB.carl_trainer_state_get(handle, b"prototypes.weight", None, 48) == ARGUMENT
    assert LIB.carl_encoder_load(None, 0, byref(EncoderHandle())) == ARGUMENT
    assert LIB.carl_encoder_load_with(None, None, 0, byref(EncoderHandle())) == ARGUMENT
    assert LIB.carl_encoder_load_with(b"x", b"{}", 0, None) == ARGUMENT
    assert LIB.carl_encoder_load_with(b"x", b"{}", -1, byref(EncoderHandle())) == ARGUMENT
    assert LIB.carl_encoder_from_trainer(handle, 0, None) == ARGUMENT
    assert LIB.carl_make_views(None, 1, b"{}", 0, 0, None, 0, None, None, 0) in (ARGUMENT, CONFIG)
    assert LIB.carl_nearest_neighbours(None, 1, None, 1, 1, 1, 0, None, None) == ARGUMENT
    assert LIB.carl_knn_classify_several(None, None, 1, None, 1, 1, 1, None, 1, 0.1, 0, None) == ARGUMENT
    assert LIB.carl_retrieval(None, None, 1, None, None, 1, 1, None, 0, 0, 0, None, None) == ARGUMENT
    assert LIB.carl_assignment_loss(None, None, 2, 1, 1, None, 1, None, 0, None, None, None, None) == ARGUMENT
    assert LIB.carl_peak_rate(1, None) == ARGUMENT
    assert number.value == 0


def test_profiling_is_on_or_off(handle):
    needed = c_size_t(0)
    assert LIB.carl_trainer_profile(handle, None, 0, byref(needed)) == STATE
    for wrong in (-1, 2, 2**31 - 1):
        assert LIB.carl_trainer_set_profiling(handle, wrong) == ARGUMENT
        assert "enabled" in message()
    assert LIB.carl_trainer_set_profiling(handle, 0) == OK


def test_wrong_sizes(handle):
    packed = pack_images(np.zeros((4, 12, 12, 3), np.uint8))
    out = np.zeros(300, np.float32)
    floats = np.zeros((2, 12, 12, 3), np.float32)
    assert LIB.carl_trainer_embed_images(handle, packed.address, 4, 0, 0, out.ctypes.data, 255) == ARGUMENT
    assert LIB.carl_trainer_embed_images(handle, packed.address, 4, -1, 0, out.ctypes.data, 256) == ARGUMENT
    assert LIB.carl_trainer_embed_images(handle, packed.address, 4, 0, 9, out.ctypes.data, 256) == ARGUMENT
    assert LIB.carl_trainer_embed_images(handle, packed.address, 0, 0, 0, out.ctypes.data, 0) == ARGUMENT
    assert LIB.carl_trainer_step(handle, packed.address, 2**62, None, 0, None) == ARGUMENT
    for shape in [
        (0, 12, 12, 3),
        (-1, 12, 12, 3),
        (2, 0, 12, 3),
        (2, 12, 2**31 - 1, 3),
        (2**31 - 1,) * 4,
        (2, 12, 12, 0),
    ]:
        batch = carl_batch(floats.ctypes.data, *shape)
        assert LIB.carl_trainer_embed(handle, byref(batch), 0, out.ctypes.data, 128) == ARGUMENT, shape
        assert LIB.carl_trainer_step_views(handle, (carl_batch * 2)(batch, batch), 2, None) == ARGUMENT, shape
    for count in (0, 1, 47, 49, 2**62):
        assert LIB.carl_trainer_state_get(handle, b"prototypes.weight", out.ctypes.data, count) == ARGUMENT
        assert LIB.carl_trainer_state_set(handle, b"prototypes.weight", out.ctypes.data, count) == ARGUMENT
    assert LIB.carl_trainer_state_get(handle, b"no.such.tensor", out.ctypes.data, 48) == ARGUMENT
    assert "no.such.tensor" in message()
    info = carl_tensor_info()
    for index in (-1, 10**6, 2**62, -(2**63)):
        assert LIB.carl_trainer_state_info(handle, index, byref(info)) == ARGUMENT
    report = carl_metrics(struct_size=3)
    assert LIB.carl_trainer_step(handle, packed.address, 4, None, 0, byref(report)) == ARGUMENT
    assert "struct_size" in message()


def test_wrong_images(handle):
    pixels = np.zeros(12 * 12 * 3, np.uint8)
    for change in [
        {"pixels": None},
        {"height": 0},
        {"height": -1},
        {"height": 70_000},
        {"width": 0},
        {"width": 2**31 - 1},
        {"channels": 0},
        {"channels": 1},
        {"channels": 2000},
        {"reserved": 1},
        {"row_stride": 0},
        {"row_stride": 35},
        {"row_stride": -35},
        {"row_stride": 2**63 - 1},
        {"row_stride": -(2**63)},
    ]:
        values = {
            "pixels": pixels.ctypes.data,
            "height": 12,
            "width": 12,
            "channels": 3,
            "reserved": 0,
            "row_stride": 36,
        }
        image = carl_image(**{**values, **change})
        images = (carl_image * 2)(image, image)
        status = LIB.carl_trainer_step(handle, cast(images, c_void_p), 2, None, 0, None)
        assert status == ARGUMENT, (change, status, message())
        assert message()


def test_small_buffers_for_text(handle):
    needed = c_size_t(0)
    buffer = ctypes.create_string_buffer(4)
    assert LIB.carl_trainer_config(handle, cast(buffer, c_void_p), 4, byref(needed)) == ARGUMENT
    assert needed.value > 100


def test_status_names():
    assert LIB.carl_status_name(0) == b"CARL_OK"
    for status in (-1, 12, 2**31 - 1):
        assert LIB.carl_status_name(status) == b"unknown status"
    assert len({LIB.carl_status_name(status) for status in range(12)}) == 12


def test_state_before_the_first_step(handle):
    out = np.zeros(48, np.float32)
    assert LIB.carl_trainer_gradient_get(handle, b"prototypes.weight", out.ctypes.data, 48) == STATE


def test_a_step_refused_for_its_arguments_leaves_the_gradients(handle):
    packed = pack_images(np.random.default_rng(0).integers(0, 256, (4, 12, 12, 3), dtype=np.uint8))
    before, after = np.zeros(48, np.float32), np.ones(48, np.float32)
    assert LIB.carl_trainer_step(handle, packed.address, 4, None, 0, None) == OK
    assert LIB.carl_trainer_gradient_get(handle, b"prototypes.weight", before.ctypes.data, 48) == OK
    assert LIB.carl_trainer_step(handle, packed.address, 1, None, 0, None) == ARGUMENT
    assert LIB.carl_trainer_gradient_get(handle, b"prototypes.weight", after.ctypes.data, 48) == OK
    assert before.any() and (before == after).all()


def test_texts_that_are_not_utf_8(handle, tmp_path):
    path = bytes(tmp_path) + b"/caf\xe9.carl"
    assert LIB.carl_trainer_save(handle, path, None) == ARGUMENT and "path is not valid UTF-8" in message()
    assert LIB.carl_trainer_resume(path, None, byref(TrainerHandle())) == ARGUMENT and "UTF-8" in message()
    assert LIB.carl_trainer_create(b'{"caf\xe9": 1}', byref(TrainerHandle())) == ARGUMENT and "UTF-8" in message()
    assert LIB.carl_trainer_save(handle, bytes(tmp_path) + "/caf\u00e9.carl".encode(), None) == OK
    assert [file.name for file in tmp_path.iterdir()] == ["caf\u00e9.carl"]


def test_garbage_for_json(handle):
    for text in (b"", b"\xff\xfe", b'{"width"', b'{"a":' * 2000, b"\x00"):
        assert LIB.carl_trainer_create(text, byref(TrainerHandle())) in (CONFIG, ARGUMENT), text[:10]
        assert message()
        assert LIB.carl_trainer_save(handle, b"/tmp/never-written.carl", text) != OK
    assert _c_api.string_from(LIB.carl_trainer_notes, handle) == "{}"


def test_evaluation_refuses_sizes_that_cannot_be(handle):
    rows, labels = np.eye(3, dtype=np.float32), np.arange(3)
    out, counts = np.zeros(6), np.zeros(6, np.int64)

    def retrieval(n=3, m=3, dimension=3, cutoffs=(1,), count=1, leave=0, threads=1):
        wanted = np.array(cutoffs, np.int64)
        return LIB.carl_retrieval(
            rows.ctypes.data,
            labels.ctypes.data,
            n,
            rows.ctypes.data,
            labels.ctypes.data,
            m,
            dimension,
            wanted.ctypes.data,
            count,
            leave,
            threads,
            out.ctypes.data,
            counts.ctypes.data,
        )

    def classify(k=(1,), count=1, classes=3, temperature=0.1, threads=1):
        wanted = np.array(k, np.int64)
        return LIB.carl_knn_classify_several(
            rows.ctypes.data,
            labels.ctypes.data,
            3,
            rows.ctypes.data,
            3,
            3,
            classes,
            wanted.ctypes.data,
            count,
            temperature,
            threads,
            counts.ctypes.data,
        )

    assert retrieval() == OK and classify() == OK
    for bad in (0, -1, 2**62, -(2**63)):
        assert retrieval(n=bad) == retrieval(m=bad) == retrieval(dimension=bad) == retrieval(cutoffs=(bad,)) == ARGUMENT
        assert classify(k=(bad,)) == ARGUMENT
    assert (
        retrieval(cutoffs=(4,))
        == retrieval(leave=2)
        == retrieval(leave=-1)
        == retrieval(threads=-1)
        == retrieval(m=2, leave=1)
        == ARGUMENT
    )
    assert retrieval(count=2**40) == classify(count=2**40) == classify(count=0) == ARGUMENT
    assert classify(classes=2) == classify(temperature=float("nan")) == classify(threads=-1) == ARGUMENT
