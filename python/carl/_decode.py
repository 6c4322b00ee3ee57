"""Image files to arrays, by Pillow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ._layout import MAX_SIDE
from ._reading import Reader
from ._values import Values
from .errors import CARLError, FileError

if TYPE_CHECKING:
    from PIL import Image

#: What counts as an image in a folder or an archive.
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})

#: EXIF's tag.
_ORIENTATION = 0x0112
_GRAY_MODES = frozenset({"1", "L", "I;16", "I;16L", "I;16B", "I;16N", "I", "F"})


def pillow() -> Any:
    """The Pillow package's Image module."""
    try:
        from PIL import Image
    except ImportError:
        raise CARLError("reading image files needs Pillow: pip install pillow") from None
    return Image


def is_gray(image: Image.Image) -> bool:
    return image.mode in _GRAY_MODES


def to_array(
    image: Image.Image,
    channels: int | None = None,
    least_side: int | None = None,
    values: Values | None = None,
    name: str = "image",
) -> np.ndarray:
    """A Pillow image as uint8 (H, W, 1) or (H, W, 3), turned upright by its EXIF orientation.

    channels: 1 or 3 to convert; None keeps gray images gray and makes everything else RGB. Palettes and CMYK are
    resolved, transparency is put on white, of an animation the first picture is taken.

    values: how gray values of other types than bytes become bytes; `name` is the image's, for errors.

    least_side: the image is halved, by averaging its pixels, while both sides stay at least so many pixels.

    The image stays as it is: it may be the caller's. FileError for one that is larger than the library takes.
    """
    Image = pillow()
    unsigned = image.format in ("PNG", "PPM")  # some releases of Pillow open 16 bits of these as "I", of 32 bits
    image = _upright(image)
    if max(image.size) > MAX_SIDE:
        raise FileError(f"has {image.width} x {image.height} pixels, want sides of at most {MAX_SIDE}")
    gray = is_gray(image) if channels is None else channels == 1
    told = values  # where None, nobody counts what was told of a set
    values = values or Values()
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):  # which Pillow would clip at 255
        numbers = np.asarray(image)
        if image.mode == "I" and unsigned:
            numbers = numbers.astype(np.uint16)
        image, told = Image.fromarray(values.image(numbers, name)), None
    elif image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = _halved(_in_mode(image, "RGBA"), least_side)  # first, as the rest goes over all pixels several times
        paper = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(paper, image)
    image = _halved(_in_mode(image, "L" if gray else "RGB"), least_side)
    array = np.asarray(image)
    if told is not None:
        told.look_at(array, array, name)
    return array[..., None] if gray else array


def _upright(image: Image.Image) -> Image.Image:
    """The image turned by its EXIF orientation; itself where it has none, which Pillow would copy."""
    from PIL import ImageOps

    image.load()
    turned = image.getexif().get(_ORIENTATION, 1) != 1
    return ImageOps.exif_transpose(image) if turned else image


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)


def _halved(image: Image.Image, least_side: int | None) -> Image.Image:
    """The image, averaged over squares of 2, 4, 8 ... pixels, while both sides stay at least `least_side`."""
    factor = 1
    while least_side is not None and min(image.size) // (2 * factor) >= least_side:
        factor *= 2
    return image.reduce(factor) if factor > 1 else image


def decode(
    file: str | IO[bytes],
    channels: int | None,
    least_side: int | None = None,
    values: Values | None = None,
    name: str = "image",
) -> np.ndarray:
    """The image in a file, by its path or open, as of ``to_array``. Raises what Pillow raises.

    With `least_side` JPEG files are decoded at the smaller size, which is much faster. The result depends on the file
    and this number alone.
    """
    with _opened(file) as image:
        if least_side is not None:
            image.draft(None, (least_side, least_side))  # changes the image itself, so only one opened here
        return to_array(image, channels, least_side, values, name)


def gray_file(file: str | IO[bytes]) -> bool:
    """Whether a file holds a gray image; only its header is read."""
    with _opened(file) as image:
        return is_gray(image)


@contextmanager
def _opened(file: str | IO[bytes]) -> Iterator[Image.Image]:
    Image = pillow()
    from PIL import UnidentifiedImageError

    # Given a path, Pillow would block on a named pipe, and memory-map a file that is not compressed.
    with Reader(file) if isinstance(file, str) else file as content:
        try:
            image = Image.open(content)
        except UnidentifiedImageError:  # Pillow's message would show the file object
            raise FileError("cannot identify image file") from None
        with image:
            yield image
