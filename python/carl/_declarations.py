"""The declarations of ``carl.h`` that Python uses: structs, handles, and every function with its types."""

from __future__ import annotations

from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char_p,
    c_double,
    c_int32,
    c_int64,
    c_size_t,
    c_ssize_t,
    c_uint64,
    c_void_p,
)
from typing import Any

import numpy as np


class carl_image(Structure):
    _fields_ = [
        ("pixels", c_void_p),
        ("height", c_int32),
        ("width", c_int32),
        ("channels", c_int32),
        ("reserved", c_int32),
        ("row_stride", c_ssize_t),
    ]


class carl_batch(Structure):
    _fields_ = [
        ("values", c_void_p),
        ("batch", c_int32),
        ("height", c_int32),
        ("width", c_int32),
        ("channels", c_int32),
    ]


class carl_metrics(Structure):
    _fields_ = [
        ("struct_size", c_uint64),
        ("step", c_int64),
        ("loss", c_double),
        ("consistency", c_double),
        ("prior", c_double),
        ("prior_weight", c_double),
        ("temperature", c_double),
        ("learning_rate", c_double),
        ("teacher_momentum", c_double),
        ("log_prototypes", c_double),
        ("effective_prototypes", c_double),
        ("used_prototypes", c_double),
        ("dead_prototypes", c_double),
        ("max_probability", c_double),
        ("embedding_std", c_double),
        ("agreement", c_double),
        ("gradient_norm", c_double),
        ("views_per_second", c_double),
        ("seconds", c_double),
        ("view_seconds", c_double),
        ("memory_bytes", c_int64),
        ("collapsed", c_int32),
        ("updated", c_int32),
        ("contrast", c_double),
        ("contrast_weight", c_double),
        ("assigned_prototypes", c_double),
    ]


class carl_classifier_metrics(Structure):
    _fields_ = [
        ("struct_size", c_uint64),
        ("step", c_int64),
        ("loss", c_double),
        ("accuracy", c_double),
        ("learning_rate", c_double),
        ("head_learning_rate", c_double),
        ("gradient_norm", c_double),
        ("seconds", c_double),
        ("memory_bytes", c_int64),
    ]


class carl_tensor_info(Structure):
    _fields_ = [
        ("name", c_char_p),
        ("shape", c_int64 * 4),
        ("dimensions", c_int32),
        ("trained", c_int32),
        ("count", c_int64),
    ]


class carl_assignment_options(Structure):
    _fields_ = [
        ("struct_size", c_uint64),
        ("temperature", c_double),
        ("prior_weight", c_double),
        ("normalize_embedding", c_int32),
        ("normalize_prototypes", c_int32),
        ("stop_gradient", c_int32),
        ("symmetric", c_int32),
        ("partition_size", c_int64),
        ("seed", c_uint64),
        ("prior_over_targets", c_int32),
        ("threads", c_int32),
    ]


class carl_assignment_result(Structure):
    _fields_ = [("loss", c_double), ("consistency", c_double), ("prior", c_double)]


class carl_trainer(Structure):
    """Opaque: only pointers to it exist."""


class carl_encoder(Structure):
    """Opaque: only pointers to it exist."""


class carl_classifier(Structure):
    """Opaque: only pointers to it exist."""


TrainerHandle = POINTER(carl_trainer)
EncoderHandle = POINTER(carl_encoder)
ClassifierHandle = POINTER(carl_classifier)
LogCallback = CFUNCTYPE(None, c_int32, c_char_p, c_void_p)


class _address(c_void_p):
    """An array, or whatever has an `address`, as an argument; type and shape are checked before. Given as the object
    and not as a number, it lives as long as the call."""

    @classmethod
    def from_param(cls, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return c_void_p(value.ctypes.data)
        return c_void_p.from_param(getattr(value, "address", value))


_floats = _images = _address
_status = c_int32
_size_out = POINTER(c_size_t)
_width_out = POINTER(c_int64)

#: name -> (result, arguments), in the order of carl.h.
SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "carl_last_error": (c_char_p, []),
    "carl_status_name": (c_char_p, [c_int32]),
    "carl_abi_version": (c_int32, []),
    "carl_version_string": (c_char_p, []),
    "carl_check_cpu": (_status, []),
    "carl_build_info": (c_char_p, []),
    "carl_config_schema": (_status, [_address, c_size_t, _size_out]),
    "carl_trainer_create": (_status, [c_char_p, POINTER(TrainerHandle)]),
    "carl_trainer_free": (_status, [TrainerHandle]),
    "carl_trainer_step": (_status, [TrainerHandle, _images, c_size_t, _address, c_uint64, POINTER(carl_metrics)]),
    "carl_trainer_output_width": (_status, [TrainerHandle, c_int32, _width_out]),
    "carl_trainer_embed": (_status, [TrainerHandle, POINTER(carl_batch), c_int32, _floats, c_size_t]),
    "carl_trainer_embed_images": (_status, [TrainerHandle, _images, c_size_t, c_int32, c_int32, _floats, c_size_t]),
    "carl_trainer_save": (_status, [TrainerHandle, c_char_p, c_char_p]),
    "carl_trainer_resume": (_status, [c_char_p, c_char_p, POINTER(TrainerHandle)]),
    "carl_trainer_notes": (_status, [TrainerHandle, _address, c_size_t, _size_out]),
    "carl_trainer_config": (_status, [TrainerHandle, _address, c_size_t, _size_out]),
    "carl_trainer_terms": (_status, [TrainerHandle, _address, c_size_t, _size_out]),
    "carl_trainer_set_profiling": (_status, [TrainerHandle, c_int32]),
    "carl_trainer_profile": (_status, [TrainerHandle, _address, c_size_t, _size_out]),
    "carl_trainer_step_views": (_status, [TrainerHandle, POINTER(carl_batch), c_size_t, POINTER(carl_metrics)]),
    "carl_trainer_step_features": (
        _status,
        [TrainerHandle, _floats, c_size_t, c_size_t, c_size_t, c_size_t, POINTER(carl_metrics)],
    ),
    "carl_trainer_state_size": (_status, [TrainerHandle, POINTER(c_int64)]),
    "carl_trainer_state_info": (_status, [TrainerHandle, c_int64, POINTER(carl_tensor_info)]),
    "carl_trainer_state_get": (_status, [TrainerHandle, c_char_p, _floats, c_size_t]),
    "carl_trainer_state_set": (_status, [TrainerHandle, c_char_p, _floats, c_size_t]),
    "carl_trainer_gradient_get": (_status, [TrainerHandle, c_char_p, _floats, c_size_t]),
    "carl_trainer_load_weights": (_status, [TrainerHandle, c_char_p]),
    "carl_encoder_load_with": (_status, [c_char_p, c_char_p, c_int32, POINTER(EncoderHandle)]),
    "carl_encoder_load": (_status, [c_char_p, c_int32, POINTER(EncoderHandle)]),
    "carl_weights_describe": (_status, [c_char_p, _address, c_size_t, _size_out]),
    "carl_encoder_from_weights": (_status, [c_char_p, c_char_p, c_int32, POINTER(EncoderHandle)]),
    "carl_encoder_from_trainer": (_status, [TrainerHandle, c_int32, POINTER(EncoderHandle)]),
    "carl_encoder_free": (_status, [EncoderHandle]),
    "carl_encoder_output_width": (_status, [EncoderHandle, c_int32, _width_out]),
    "carl_encoder_embed": (_status, [EncoderHandle, POINTER(carl_batch), c_int32, _floats, c_size_t]),
    "carl_encoder_embed_images": (_status, [EncoderHandle, _images, c_size_t, c_int32, c_int32, _floats, c_size_t]),
    "carl_trainer_export": (_status, [TrainerHandle, c_char_p, c_int32, c_int32]),
    "carl_encoder_export": (_status, [EncoderHandle, c_char_p, c_int32]),
    "carl_classifier_create": (_status, [EncoderHandle, c_char_p, POINTER(ClassifierHandle)]),
    "carl_classifier_free": (_status, [ClassifierHandle]),
    "carl_classifier_step": (
        _status,
        [ClassifierHandle, _images, _address, c_size_t, _address, c_uint64, POINTER(carl_classifier_metrics)],
    ),
    "carl_classifier_step_batch": (
        _status,
        [ClassifierHandle, POINTER(carl_batch), _address, c_size_t, POINTER(carl_classifier_metrics)],
    ),
    "carl_classifier_standardize": (_status, [ClassifierHandle, _images, c_size_t]),
    "carl_classifier_output_width": (_status, [ClassifierHandle, c_int32, _width_out]),
    "carl_classifier_embed": (_status, [ClassifierHandle, POINTER(carl_batch), c_int32, _floats, c_size_t]),
    "carl_classifier_embed_images": (
        _status,
        [ClassifierHandle, _images, c_size_t, c_int32, c_int32, _floats, c_size_t],
    ),
    "carl_classifier_save": (_status, [ClassifierHandle, c_char_p, c_char_p]),
    "carl_classifier_load": (_status, [c_char_p, c_char_p, POINTER(ClassifierHandle)]),
    "carl_classifier_export": (_status, [ClassifierHandle, c_char_p, c_int32]),
    "carl_classifier_notes": (_status, [ClassifierHandle, _address, c_size_t, _size_out]),
    "carl_classifier_config": (_status, [ClassifierHandle, _address, c_size_t, _size_out]),
    "carl_classifier_state_size": (_status, [ClassifierHandle, POINTER(c_int64)]),
    "carl_classifier_state_info": (_status, [ClassifierHandle, c_int64, POINTER(carl_tensor_info)]),
    "carl_classifier_state_get": (_status, [ClassifierHandle, c_char_p, _floats, c_size_t]),
    "carl_classifier_state_set": (_status, [ClassifierHandle, c_char_p, _floats, c_size_t]),
    "carl_classifier_gradient_get": (_status, [ClassifierHandle, c_char_p, _floats, c_size_t]),
    "carl_assignment_options_init": (None, [POINTER(carl_assignment_options), c_size_t]),
    "carl_assignment_loss": (
        _status,
        [
            POINTER(carl_assignment_options),
            POINTER(c_void_p),
            c_size_t,
            c_int64,
            c_int64,  # embeddings, views, batch, dimension
            _floats,
            c_int64,  # prototypes, count
            POINTER(c_void_p),
            c_size_t,
            _floats,  # targets, count, target prototypes
            POINTER(carl_assignment_result),
            POINTER(c_void_p),
            _floats,  # result, gradients
        ],
    ),
    "carl_make_views": (
        _status,
        [_images, c_size_t, c_char_p, c_uint64, c_uint64, _address, c_int32, POINTER(c_void_p), _address, c_size_t],
    ),
    "carl_views_describe": (_status, [c_char_p, c_int32, _address, c_size_t, _size_out]),
    "carl_views_expand": (_status, [c_char_p, c_int32, c_int32, _address, c_size_t, _size_out]),
    "carl_nearest_neighbours": (
        _status,
        [_floats, c_int64, _floats, c_int64, c_int64, c_int64, c_int32, _address, _floats],
    ),
    "carl_knn_classify": (
        _status,
        [_floats, _address, c_int64, _floats, c_int64, c_int64, c_int64, c_int64, c_double, c_int32, _address],
    ),
    "carl_knn_classify_several": (
        _status,
        [
            _floats,
            _address,
            c_int64,
            _floats,
            c_int64,
            c_int64,
            c_int64,
            _address,
            c_size_t,
            c_double,
            c_int32,
            _address,
        ],
    ),
    "carl_retrieval": (
        _status,
        [
            _floats,
            _address,
            c_int64,
            _floats,
            _address,
            c_int64,
            c_int64,  # references, labels, n, queries, labels, m, dimension
            _address,
            c_size_t,
            c_int32,
            c_int32,  # cutoffs, count, leave one out, threads
            _address,
            _address,  # precision, relevant
        ],
    ),
    "carl_set_log_callback": (_status, [LogCallback, c_void_p]),
    "carl_set_cancel_flag": (_status, [POINTER(c_int32)]),
    "carl_cancel": (None, []),
    "carl_default_threads": (c_int32, []),
    "carl_peak_rate": (_status, [c_int32, POINTER(c_double)]),
    "carl_live_objects": (c_int64, []),
}
