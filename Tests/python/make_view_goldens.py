"""Makes Tests/CARLTests/Views/goldens.json: what Pillow's operations, as torchvision applies them, make of small random
images.

Run it with Pillow and NumPy installed, only when a case is added: python Tests/python/make_view_goldens.py
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

rng = np.random.default_rng(7)
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def hue(image, shift):
    h, s, v = image.convert("HSV").split()
    turned = (np.asarray(h).astype(np.int16) + int(shift * 255)).astype(np.uint8)
    return Image.merge("HSV", (Image.fromarray(turned), s, v)).convert("RGB")


def apply(image, operation, amount):
    enhancers = {
        "brightness": ImageEnhance.Brightness,
        "contrast": ImageEnhance.Contrast,
        "saturation": ImageEnhance.Color,
    }
    return hue(image, amount) if operation == "hue" else enhancers[operation](image).enhance(amount)


def gaussian_blur(image, sigma, kernel):
    """torchvision's, on bytes: a float convolution with reflected edges, rounded to bytes. (Pillow's own is a sum of
    box filters.)"""
    pixels = np.asarray(image).astype(np.float64)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    reach = kernel // 2
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    padded = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), "reflect")
    height, width = pixels.shape[:2]
    rows = sum(w * padded[j : j + height] for j, w in enumerate(weights))
    blurred = np.rint(sum(w * rows[:, j : j + width] for j, w in enumerate(weights))).astype(np.uint8)
    return Image.fromarray(blurred.squeeze(-1) if blurred.shape[-1] == 1 else blurred)


def case(
    name,
    shape,
    size,
    tolerance,
    crop=None,
    interpolation="bilinear",
    flip=False,
    jitter=(),
    gray=False,
    blur=None,
    solarize=False,
):
    height, width, channels = shape
    pixels = rng.integers(0, 256, shape, dtype=np.uint8)
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    left, top, w, h = crop or (0, 0, width, height)
    image = image.crop((left, top, left + w, top + h)).resize((size, size), FILTERS[interpolation])
    if flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for operation, amount in jitter:
        image = apply(image, operation, amount)
    if gray:
        image = Image.merge("RGB", [image.convert("L")] * 3)
    if blur:
        image = gaussian_blur(image, *blur)
    if solarize:
        image = ImageOps.solarize(image, 128)
    return {
        "name": name,
        "shape": shape,
        "size": size,
        "tolerance": tolerance,
        "crop": [left, top, w, h],
        "interpolation": interpolation,
        "flip": flip,
        "jitter": [{"op": o, "amount": a} for o, a in jitter],
        "gray": gray,
        "blur": blur,
        "solarize": solarize,
        "pixels": pixels.ravel().tolist(),
        "expected": np.asarray(image).ravel().tolist(),
    }


CASES = [
    # Pillow rounds to bytes after each of the two passes of a resize: up to 1.1 steps.
    case("enlarge", (6, 5, 3), 11, 1.1),
    case("reduce", (23, 31, 3), 8, 1.1),
    case("reduce gray", (40, 17, 1), 9, 1.1),
    case("crop", (20, 20, 3), 7, 1.1, crop=(3, 5, 11, 9)),
    case("bicubic reduce", (30, 30, 3), 8, 1.3, interpolation="bicubic"),
    case("bicubic enlarge", (5, 7, 1), 12, 1.3, interpolation="bicubic"),
    # One rounding, and for contrast and saturation that of the mean or the luma.
    case("brightness", (8, 8, 3), 8, 1.1, jitter=[("brightness", 1.4)]),
    case("contrast", (8, 8, 3), 8, 1.6, jitter=[("contrast", 0.5)]),
    case("contrast gray", (8, 8, 1), 8, 1.6, jitter=[("contrast", 1.7)]),
    case("saturation", (8, 8, 3), 8, 2.1, jitter=[("saturation", 1.6)]),
    case("gray", (8, 8, 3), 8, 1.1, gray=True),
    case("solarize", (8, 8, 3), 8, 0.6, solarize=True),
    # Pillow's HSV cuts the hue to one of 256 steps, each worth 6 steps of a channel, and turns it by 51 / 256 for 0.2.
    case("hue", (8, 8, 3), 8, 10.0, jitter=[("hue", 0.2)]),
    case(
        "all", (8, 8, 3), 8, 14.0, jitter=[("hue", -0.1), ("brightness", 0.8), ("saturation", 1.3), ("contrast", 1.2)]
    ),
    case("flip", (9, 14, 3), 11, 1.1, flip=True),
    case("bicubic crop and flip", (50, 45, 3), 13, 1.3, crop=(4, 0, 41, 37), interpolation="bicubic", flip=True),
    case("enlarge one pixel", (6, 6, 3), 9, 1.1, crop=(5, 2, 1, 1)),
    case("blur", (16, 16, 3), 16, 0.6, blur=(0.8, 5)),
    case("wide blur", (20, 20, 1), 20, 0.6, blur=(2.0, 23)),
    case("blur of a reduced gray crop", (40, 40, 3), 18, 2.2, crop=(1, 2, 33, 37), gray=True, blur=(1.1, 3)),
]

if __name__ == "__main__":
    target = Path(__file__).parent.parent / "CARLTests" / "Views" / "goldens.json"
    target.write_text("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in CASES) + "\n]\n")
