"""Image files to arrays, by Pillow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CARLError, FileError

if TYPE_CHECKING:
    from PIL import Image

#: What counts as an image in a folder.
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})

_GRAY_MODES = frozenset({"1", "L", "I;16", "I;16L", "I;16B", "I;16N", "I", "F"})


def pillow() -> Any:
    """The Pillow package's Image module."""
    try:
        from PIL import Image
    except ImportError:
        raise CARLError("reading image files needs Pillow: pip install 'carl[images]'") from None
    return Image


def is_gray(image: Image.Image) -> bool:
    return image.mode in _GRAY_MODES


def to_array(image: Image.Image, channels: int | None = None) -> np.ndarray:
    """A Pillow image as uint8 (H, W, 1) or (H, W, 3), turned upright by its EXIF orientation.

    channels: 1 or 3 to convert; None keeps gray images gray and makes everything else RGB. 16-bit values are scaled to
    8 bits, palettes and CMYK are resolved, transparency is put on white.
    """
    Image = pillow()
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    gray = is_gray(image) if channels is None else channels == 1
    if image.mode.startswith("I;16") or image.mode == "I":
        # Pillow would clip at 255. 16-bit PNG files open as "I" in some of its releases, as "I;16" in others.
        values = np.asarray(image).astype(np.int64)
        image = Image.fromarray((values.clip(0, 65535) >> 8).astype(np.uint8))
    elif image.mode == "F":
        values = np.nan_to_num(np.asarray(image), nan=0.0)
        image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    elif image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or (image.mode == "P" and "transparency" in image.info):
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(paper, image)
    array = np.asarray(image.convert("L" if gray else "RGB"))
    return array[..., None] if gray else array


def read_image(path: str, channels: int | None) -> np.ndarray:
    """One file as an array; a FileError names the path of what cannot be read."""
    Image = pillow()
    try:
        with Image.open(path) as image:
            return to_array(image, channels)
    except CARLError:
        raise
    except Exception as error:  # decoders raise whatever they like on damaged files
        raise FileError(f"cannot read the image {path}: {error}") from error


def gray_file(path: str) -> bool:
    """Whether a file holds a gray image; only its header is read."""
    Image = pillow()
    try:
        with Image.open(path) as image:
            return is_gray(image)
    except Exception as error:
        raise FileError(f"cannot read the image {path}: {error}") from error
