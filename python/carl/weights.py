"""Weights files: safetensors files with an encoder that another program has trained."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ._c_api import LIB, string_from
from ._checkpoint import check_kind
from ._native_path import readable
from ._parameters import TrainerKeys
from ._reading import sha256_of
from .config import parse_object
from .errors import ConfigurationError, FileError, InvalidArgumentError

#: Keys that say which network a file is of: its tensors fit no other.
_STRUCTURE = ("encoder", "stem", "width", "patch_size", "position_grid", "registers")


#: Keys besides those of the encoder and its images that an encoder made of weights heeds.
_HEEDED = ("in_channels", "layer_scale", "pool", "view_size", "views", "mean", "std", "precision", "threads",
           "evaluation_crop", "evaluation_interpolation")  # fmt: skip

#: Channels of the weights that images of other channels can be given to: their first layer is adapted.
ADAPTED = 3


@dataclass(frozen=True, repr=False)
class WeightsInfo:
    """What a weights file holds, as of ``carl.weights_info``.

    path: of the file.
    family: whose names its tensors have: "resnet" (torchvision's, timm's, this package's export), "timm_vit", "dinov2",
        "transformers_vit", "transformers_dinov2", "torchvision_vit".
    config: keys of ``carl.TrainerConfig``: those of the encoder, and those of its images (view_size, mean, std,
        evaluation_crop, evaluation_interpolation).
    preprocessing: size, crop, interpolation, mean, std: images are resized to size / crop on the shorter side and
        cropped in the centre. From a table by family, since files do not say it; those of ``carl.export`` do.
    ignored: tensors that are left out, such as a classifier's.
    notes: sentences on what differs from the program that the weights come from.
    """

    path: str
    family: str
    config: dict[str, Any]
    preprocessing: dict[str, Any]
    ignored: list[str]
    notes: list[str]

    def rows(self) -> list[tuple[str, str]]:
        """What to show of it, as names and texts."""
        config, images = self.config, self.preprocessing
        network = [str(config["encoder"])]
        if "patch_size" in config:
            grid = int(config["position_grid"])
            network += [f"patches of {config['patch_size']} pixels", f"positions of {grid} x {grid}"]
            network += [f"{config['registers']} registers"] if config["registers"] else []
            network += ["LayerScale"] if config["layer_scale"] is not None else []
            network += [f"pool {config['pool']}"]
        else:
            network += [f"stem {config['stem']}", f"width {config['width']:g}"]
        size = int(images["size"])
        resized = int(size / float(images["crop"]))
        numbers = [" ".join(f"{value:g}" for value in images[key]) for key in ("mean", "std")]
        rows = [
            ("file", self.path),
            ("family", self.family),
            ("encoder", ", ".join([*network, f"{config['in_channels']} channels"])),
            (
                "images",
                f"shorter side resized to {resized} ({images['interpolation']}), {size} cropped in the centre, "
                f"mean {numbers[0]}, std {numbers[1]}",
            ),
        ]
        if self.ignored:
            more = f" and {len(self.ignored) - 6} more" if len(self.ignored) > 6 else ""
            rows.append(("left out", ", ".join(self.ignored[:6]) + more))
        return [*rows, *(("note", note) for note in self.notes)]

    def __repr__(self) -> str:
        return "WeightsInfo\n" + "\n".join(f"  {name:<9} {text}" for name, text in self.rows())


def weights_info(path: str | os.PathLike[str]) -> WeightsInfo:
    """What a weights file is of: its family, the configuration keys of its encoder, and how images are made ready for
    it.

    path: a safetensors file (F32, F16, BF16, F64) of torchvision's, timm's, DINOv2's or transformers' names. Its whole
        content is checked. FileError for any other, which says what was found; of a .pth file it names the line that
        converts it, as pickle is never loaded.
    """
    place = weights_path(path)
    with readable(place) as file:

        def describe(_: Any, buffer: Any, capacity: int, needed: Any) -> int:
            return int(LIB.carl_weights_describe(file, buffer, capacity, needed))

        try:
            found = parse_object(string_from(describe, None), "weights")
        except FileError as error:
            check_kind(place, error, "no file of weights: want a .safetensors file")
            raise
    keys = ("family", "config", "preprocessing", "ignored", "notes")
    return WeightsInfo(place, **{key: found[key] for key in keys})


def warn_of_notes(info: WeightsInfo) -> None:
    """A UserWarning for each thing that features of the file will not have in common with their program's."""
    for note in info.notes:
        warnings.warn(f"{info.path}: {note}", UserWarning, stacklevel=3)


def weights_path(path: Any, name: str = "weights") -> str:
    """The path of a file, with ~ as the home folder."""
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise InvalidArgumentError(f"{name}: got {path!r}, want the path of a safetensors file")
    return os.path.expanduser(os.fsdecode(os.fspath(path)))


def weights_note(info: WeightsInfo) -> dict[str, str]:
    """What is noted of the file that a run began with: its name, family and checksum."""
    name = os.fsencode(os.path.basename(info.path)).decode("utf-8", "backslashreplace")
    return {"file": name, "family": info.family, "sha256": sha256_of(info.path)}


def weights_config(info: WeightsInfo, given: Mapping[str, Any], channels: int) -> dict[str, Any]:
    """The keys `given` with those of a file's encoder and images, for images of some channels. A given key stands where
    the weights leave it open; ConfigurationError where it contradicts them.

    With other channels than the file's three, mean and std are their averages.
    """
    own = dict(info.config)
    for key in _STRUCTURE:
        if key in own and given.get(key) is not None and given[key] != own[key]:
            raise contradiction(info, key, given[key], own[key])
    if "layer_scale" in own and given.get("layer_scale") is not None and own["layer_scale"] is None:
        raise contradiction(info, "layer_scale", given["layer_scale"], None)
    if channels != own["in_channels"]:
        if own["in_channels"] != ADAPTED:
            raise contradiction(info, "in_channels", channels, own["in_channels"])
        own["mean"], own["std"] = ([sum(own[key]) / 3] for key in ("mean", "std"))
    own["in_channels"] = channels
    if isinstance(given.get("views"), (list, tuple, dict)):
        del own["view_size"]  # specifications have sizes of their own
    return {**own, **{key: value for key, value in given.items() if value is not None}}


def check_heeded(given: Mapping[str, Any]) -> None:
    """ConfigurationError for a key that only training heeds, where an encoder is made of weights. Keys that there are
    not are the library's to refuse."""
    trained = [each.name for each in fields(TrainerKeys) if each.name not in (*_STRUCTURE, *_HEEDED)]
    for key, value in given.items():
        if value is not None and key in trained:
            raise ConfigurationError(
                f"{key}: has no effect on an encoder that is used as it is: want a key of the encoder or of its "
                f"images, such as {', '.join(_HEEDED[1:4])}"
            )


def contradiction(info: WeightsInfo, key: str, given: Any, own: Any) -> ConfigurationError:
    has = f"{key} {own!r}" if own is not None else f"no {key}"
    return ConfigurationError(f"{key}: got {given!r}, but the weights {info.path} have {has}: leave {key} out")


__all__ = ["WeightsInfo", "weights_info"]
