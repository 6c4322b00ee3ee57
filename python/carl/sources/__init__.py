"""Where images come from. ``as_source`` takes whatever users have."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from .._array_like import column_items, is_array_like, is_missing
from .._given import given_of, matching
from .._reading import check_regular
from .._values import checked_range
from ..errors import FileError, InvalidArgumentError
from .arrays import ArraySource, ListSource
from .base import DecodedSource, Images, ImageSource, JoinedSource
from .cifar import cifar_folder, cifar_source, is_cifar
from .datasets import MapStyleSource, TableSource, is_map_style, is_table
from .files import FileSource, folder_source, is_image_name
from .formats import idx_source, npy_source, npz_source
from .idx import is_idx, read_idx
from .order import epoch_order
from .stream import BatchStream
from .tar import TarSource, is_tar


def as_source(
    images: Any,
    channels: int | None = None,
    *,
    value_range: tuple[float, float] | None = None,
    image_key: str | None = None,
    label_key: str | None = None,
) -> ImageSource | BatchStream:
    """Makes a source of images from

    - an array (N, H, W) or (N, H, W, C), of any strides: NumPy's, or of whatever shares its memory by
        ``__array_interface__``, DLPack, ``__array__`` or the buffer protocol,
    - a torch tensor (N, C, H, W), (N, H, W) or (N, H, W, C) that does not require grad,
    - a list of arrays (H, W) or (H, W, C) or of Pillow images, sizes may differ,
    - the path of an image file, of a folder of them, with or without one sub-folder a class, or of tar archives of
        them,
    - the path, or pattern such as ``shards-*.tar`` or ``photos/**/*.png``, of .npy, .npz, IDX (may be compressed by
        gzip), CIFAR (.bin) and .tar files and of images,
    - several such paths or patterns, or paths of image files: a list, an array, a column of pandas, polars or Arrow, an
        iterator such as ``Path.glob`` gives,
    - a ``datasets.Dataset`` or a map-style ``torch.utils.data.Dataset``,
    - any other iterable of batches, arrays (B, H, W) or (B, H, W, C) or lists of images, or of single images, with
      labels or without: a ``DataLoader``, a ``webdataset.WebDataset``, a streamed data set,
    - a source.

    channels: 1 or 3 makes image files and Pillow images gray or RGB; None looks at them.
    value_range: (low, high), the values that become black and white where pixels are no bytes, whatever the images are
        given as. uint8 stays as it is and bool needs none; uint16 is divided by 256 without one; signed and wider
        integers and floats need one. A source that is passed keeps its own.
    image_key, label_key: which arrays of an .npz archive, columns of a ``datasets.Dataset``, or files of a tar
        archive's samples ("seg.png" of K.seg.png) are images and labels; by default they are found by their usual
        names. Labels that are named but cannot be used are an error.
    """
    options: _Options = {"value_range": checked_range(value_range), "image_key": image_key, "label_key": label_key}
    if isinstance(images, (ImageSource, BatchStream)):
        _plain(options, "a source")
        return images
    if isinstance(images, (str, os.PathLike)):
        source: ImageSource | BatchStream = path_source(images, channels, **options)
        return _remember(source, images, image_key)
    if hasattr(images, "read") and hasattr(images, "seek"):
        raise InvalidArgumentError(f"images: got an open file ({type(images).__name__}), want its path")
    columns, shape = getattr(images, "columns", getattr(images, "column_names", None)), getattr(images, "shape", None)
    if columns is not None and isinstance(shape, tuple) and len(shape) == 2 and shape[1] > 1 and not is_table(images):
        # A DataFrame of pandas or polars, or a table of Arrow's, which have the names in one place or the other.
        named = list(map(str, images.column_names if hasattr(images, "column_names") else columns))
        more = ", ..." if len(named) > 5 else ""
        raise InvalidArgumentError(
            f"images: got a table of the columns {', '.join(named[:5])}{more}; want one of them, such as "
            f"table[{named[0]!r}]"
        )
    images = _column_of(images)
    if isinstance(images, (list, tuple)):
        return _remember(_list_source(images, channels, options), images, image_key)
    if is_array_like(images):
        return ArraySource(images, **_plain(options, "an array"))
    if isinstance(images, Mapping) and images and all(hasattr(part, "column_names") for part in images.values()):
        raise InvalidArgumentError(
            f"images: got the parts {', '.join(images)} of a data set; want one of them, such as "
            f"images['{next(iter(images))}']"
        )
    if is_table(images):
        return TableSource(images, channels, image_key, value_range=options["value_range"], label_column=label_key)
    if is_map_style(images):
        return MapStyleSource(images, channels, **_plain(options, type(images).__name__))
    if isinstance(images, Iterable) and not isinstance(images, (bytes, Mapping, set, frozenset)):
        stream = BatchStream(images, channels, value_range=options["value_range"])
        if stream.once and stream.gives_paths():
            paths = list(stream)
            return _remember(_list_source(paths, channels, options), paths, image_key)
        _plain(options, type(images).__name__)
        return stream
    raise InvalidArgumentError(
        f"images: got {type(images).__name__}, want an array (N, H, W) or (N, H, W, C), a list of images, "
        "a folder's or file's path, a list of paths, a data set, or an iterable of batches"
    )


def _remember(source: ImageSource | BatchStream, images: Any, image_key: str | None) -> ImageSource | BatchStream:
    """Notes the paths that a source was made of, if it was."""
    given = given_of(images, image_key)
    if isinstance(source, ImageSource) and given.images is not None:
        source.given = given
    return source


class _Options(TypedDict):
    value_range: Any
    image_key: str | None
    label_key: str | None


def _plain(options: _Options, what: str) -> dict[str, Any]:
    """The options of sources without keys, where there must be none."""
    for key in ("image_key", "label_key"):
        if options[key] is not None:
            raise InvalidArgumentError(
                f"{key}: got {options[key]!r}, but {what} has no names to choose by: .npz and .tar archives and "
                "datasets.Dataset have"
            )
    return {"value_range": options["value_range"]}


def _column_of(images: Any) -> Any:
    """A column of single objects, such as paths, as a list; everything else as it is."""
    items = column_items(images)
    return images if items is None else items


def _refuse_gaps(items: Any) -> None:
    gaps = [place for place, item in enumerate(items) if is_missing(item)]
    if gaps:
        raise InvalidArgumentError(f"images[{gaps[0]}]: is missing, in all {len(gaps)} of {len(items)}: leave them out")
    paths = [isinstance(item, (str, os.PathLike)) for item in items]
    if any(paths) and not all(paths):
        other = paths.index(not paths[0])
        first, got = ("paths", type(items[other]).__name__) if paths[0] else (type(items[0]).__name__, "a path")
        raise InvalidArgumentError(f"images[{other}]: got {got} in a list that begins with {first}: want one kind")


def _list_source(images: Any, channels: int | None, options: _Options) -> ImageSource | BatchStream:
    if not images:
        raise InvalidArgumentError("images: got an empty list, want images")
    _refuse_gaps(images)
    if all(isinstance(item, (str, os.PathLike)) for item in images):
        given = [_expanded(item) for item in images]
        paths = [path for item in given for path in matching(item) or [item]]
        if all(is_tar(path) for path in paths):
            return TarSource(paths, channels, **options)
        if not any(_holds_a_set(path) for path in paths):
            return FileSource(paths, channels, **_plain(options, "an image file"))
        parts = [path_source(path, channels, **options) for path in paths]
        if channels is None and {part.channels for part in parts} == {1, 3}:
            # Gray files among coloured ones are made RGB; arrays are as they are, and repeated.
            parts = [path_source(path, 3, **options) for path in paths]
        return JoinedSource(parts)
    plain = _plain(options, "a list of images")
    first = images[0]
    if isinstance(first, (list, tuple, Mapping)) or getattr(first, "ndim", 0) == 4:
        single = not isinstance(first, list) and is_map_style(images)  # pairs of an image and a label, or rows
        return MapStyleSource(images, channels, **plain) if single else BatchStream(images, channels, **plain)
    return ListSource(images, channels=channels, **plain)


def path_source(
    path: str | os.PathLike[str],
    channels: int | None = None,
    *,
    value_range: Any = None,
    image_key: str | None = None,
    label_key: str | None = None,
) -> ImageSource:
    """The source of a folder or a file, or of the archives that a pattern names."""
    options: _Options = {"value_range": value_range, "image_key": image_key, "label_key": label_key}
    path = _expanded(path)
    if os.path.isdir(path):
        return _folder(path, channels, options)
    if not os.path.exists(path):
        if matches := matching(path):
            source = _list_source(matches, channels, options)
            assert isinstance(source, ImageSource)
            return source
        raise FileError(f"{path}: no such file or folder")
    check_regular(path)
    if is_image_name(os.path.basename(path)):
        return FileSource([path], channels, **_plain(options, path))
    lower = path.lower()
    if lower.endswith(".npz"):
        return npz_source(path, **options)
    if is_tar(path):
        return TarSource([path], channels, **options)
    plain = _plain(options, path)
    if lower.endswith(".npy"):
        return npy_source(path, **plain)
    if is_idx(path):
        return idx_source(path, **plain)
    if is_cifar(path):
        return cifar_source(path)
    raise FileError(
        f"{path}: want an image, a folder of images, an .npy, .npz, .tar or CIFAR .bin file, or an IDX file"
    )


def _folder(path: str, channels: int | None, options: _Options) -> ImageSource:
    try:
        names = sorted(name for name in os.listdir(path) if not name.startswith("."))
    except OSError as error:
        raise FileError(f"cannot read the folder {path}: {error}") from error
    archives = [os.path.join(path, name) for name in names if name.lower().endswith(".tar")]
    if archives and not any(is_image_name(name) or os.path.isdir(os.path.join(path, name)) for name in names):
        return TarSource(archives, channels, **options)
    plain = _plain(options, f"the folder {path}")
    if cifar := cifar_folder(path, names):
        return cifar
    return folder_source(path, channels, **plain)


def _holds_a_set(path: str) -> bool:
    return (
        os.path.isdir(path) or path.lower().endswith((".npy", ".npz")) or is_tar(path) or is_cifar(path) or is_idx(path)
    )


def _expanded(path: str | bytes | os.PathLike[str]) -> str:
    return str(os.path.expanduser(os.fsdecode(os.fspath(path))))  # of NumPy's own texts too


__all__ = [
    "ArraySource",
    "BatchStream",
    "DecodedSource",
    "FileSource",
    "ImageSource",
    "Images",
    "JoinedSource",
    "ListSource",
    "MapStyleSource",
    "TableSource",
    "TarSource",
    "as_source",
    "epoch_order",
    "folder_source",
    "path_source",
    "read_idx",
]
