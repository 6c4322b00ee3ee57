"""Image files to arrays, by Pillow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
#: TIFF's tags.
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_TRANSPARENT = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})
_GRAY_MODES = frozenset({"1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N", "I", "F"})


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
    opened: bool = False,
) -> np.ndarray:
    """A Pillow image as uint8 (H, W, 1) or (H, W, 3), turned upright by its EXIF orientation.

    channels: 1 or 3 to convert; None keeps gray images gray and makes everything else RGB. Palettes and CMYK are
    resolved, transparency is put on white, of an animation the first picture is taken.

    values: how gray values of other types than bytes become bytes; `name` is the image's, for errors.

    least_side: the image is halved, by averaging its pixels, while both sides stay at least so many pixels.

    opened: here, and not by the caller, whose image of a PGM file may have lost what the file says of its values.

    The image stays as it is: it may be the caller's. FileError for one that is larger than the library takes.
    """
    Image = pillow()
    check_sides(image)
    file = _Stored.of(image, opened)
    image = _upright(image)
    gray = is_gray(image) if channels is None else channels == 1
    told = values  # where None, nobody counts what was told of a set
    values = values or Values()
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):  # which Pillow would clip at 255
        image, told = Image.fromarray(values.image(file.numbers(np.asarray(image), values), name)), None
    elif image.mode in _TRANSPARENT or "transparency" in image.info:
        image = _halved(_in_mode(image, "RGBA"), least_side)  # first, as the rest goes over all pixels several times
        paper = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(paper, image)
    image = _halved(_in_mode(image, "L" if gray else "RGB"), least_side)
    array = np.asarray(image)
    if told is not None:
        told.look_at(array, array, name)
    return array[..., None] if gray else array


@dataclass(frozen=True)
class _Stored:
    """What a file says of its gray values and Pillow does not hand on: asked of an image before it is loaded.

    kind: their type, where Pillow has a wider or a signed one. black: the value of black where 0 is white. maxval: of a
    PGM file of more than 8 bits, whose values Pillow stretches to 65535.
    """

    kind: np.dtype[Any] | None = None
    black: int | None = None
    maxval: int = 65535

    @classmethod
    def of(cls, image: Image.Image, opened: bool) -> _Stored:
        if image.format == "TIFF" and (image.mode == "I" or image.mode.startswith("I;16")):
            tags = getattr(image, "tag_v2", {})
            wide = image.mode == "I" and tags.get(_SAMPLE_FORMAT, (1,)) in ((1,), 1)
            bits = int(np.ravel(tags.get(_BITS, 16))[0])
            return cls(np.dtype(np.uint32) if wide else None, 2**bits - 1 if tags.get(_PHOTOMETRIC) == 0 else None)
        if image.mode != "I" or image.format not in ("PNG", "PPM"):
            return cls()
        # Some releases of Pillow open 16 bits of these as "I", of 32 bits.
        tile = getattr(image, "tile", None)
        arguments = tile[0][3] if image.format == "PPM" and tile and opened else None
        return cls(np.dtype(np.uint16), None, int(arguments[1]) if isinstance(arguments, tuple) else 65535)

    def numbers(self, found: np.ndarray, values: Values) -> np.ndarray:
        """The values as the file has them. A PGM file's maxval is white where nothing else is said."""
        if self.kind is not None and self.kind.itemsize == found.dtype.itemsize:
            found = found.view(self.kind)
        elif self.kind is not None:
            found = found.astype(self.kind)
        if values.range is not None and self.maxval != 65535:
            found = np.rint(found * (self.maxval / 65535)).astype(found.dtype)
        return found if self.black is None else (self.black - found.astype(np.int64)).astype(found.dtype)


def _upright(image: Image.Image) -> Image.Image:
    """The image turned by its EXIF orientation; itself where it has none, which Pillow would copy."""
    from PIL import ImageOps

    image.load()
    turned = image.getexif().get(_ORIENTATION, 1) != 1
    return ImageOps.exif_transpose(image) if turned else image


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    between = {"LAB": "RGB", "La": "LA"}.get(image.mode)  # the one mode that it becomes
    image = image if between is None else image.convert(between)
    return image if image.mode == mode else image.convert(mode)


def _halved(image: Image.Image, least_side: int | None) -> Image.Image:
    """The image, averaged over squares of 2, 4, 8 ... pixels, while both sides stay at least `least_side`."""
    factor = _reduction(min(image.size), least_side)
    return image.reduce(factor) if factor > 1 else image


def _reduction(side: int, least_side: int | None) -> int:
    """By how much a side can be divided, 1, 2, 4 ..., and have `least_side` pixels at least."""
    factor = 1
    while least_side is not None and side // (2 * factor) >= least_side:
        factor *= 2
    return factor


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
        return to_array(image, channels, least_side, values, name, opened=True)


@dataclass(frozen=True)
class Header:
    """What is known of an image before it is decoded.

    reduces: whether its decoder gives it at a half, a quarter or an eighth of its size, as JPEG's does. held: bytes of
    a pixel, at the size at which it is decoded, that decoding and converting take; whole: those that the decoder takes
    for each pixel of the file, whatever it gives. 0 for arrays, of which nothing is decoded.
    """

    height: int
    width: int
    channels: int
    reduces: bool = False
    held: int = 0
    whole: int = 0

    def decoding_bytes(self, least_side: int | None) -> int:
        """About what decoding holds beside the image that it gives."""
        factor = min(8, _reduction(min(self.height, self.width), least_side)) if self.reduces else 1
        pixels = self.height * self.width
        return self.whole * pixels + self.held * (self.height // factor) * (self.width // factor)


def header_of(image: Image.Image) -> Header:
    check_sides(image)
    reduces = image.format in ("JPEG", "MPO")
    # Two copies of four bytes; two more where transparency is put on paper, or WebP's decoder has some of its own.
    more = image.mode in _TRANSPARENT or "transparency" in image.info or image.format == "WEBP"
    # A progressive JPEG file is a picture of coefficients of two bytes before it is one of pixels.
    whole = 6 if reduces and image.info.get("progressive") else 0
    return Header(image.height, image.width, 1 if is_gray(image) else 3, reduces, 16 if more else 8, whole)


def file_header(file: str | IO[bytes]) -> Header:
    """Of an image file, of which no more is read."""
    with _opened(file) as image:
        return header_of(image)


def check_sides(image: Image.Image) -> None:
    """FileError for an image that is larger than the library takes."""
    if max(image.size) > MAX_SIDE:
        raise FileError(f"has {image.width} x {image.height} pixels, want sides of at most {MAX_SIDE}")


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
        except Image.DecompressionBombError:
            most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
            raise FileError(
                f"has more than {most:,} pixels, where Pillow stops: PIL.Image.MAX_IMAGE_PIXELS = None lifts its limit"
            ) from None
        with image:
            yield image
