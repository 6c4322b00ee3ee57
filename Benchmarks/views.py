"""Views a second against torchvision with Pillow on one core, in turn, and how far the two agree.

    pip install torch torchvision
    python Benchmarks/views.py [--quick] [--json] [--agreement]

Both take the same images of bytes and make normalised float32 views with the same operations, ranges and probabilities:
random resized crop, flip, colour jitter, grayscale, Gaussian blur. torchvision gets Pillow images that are ready and
leaves a view a tensor; the batch that it would still have to be copied to is not counted. Times are CPU seconds of one
thread. "all cores" is libcarl alone, by the clock. torchvision is not needed for anything else in this project.

--agreement compares single operations: libcarl draws a factor, torchvision is given the same one.
"""

import argparse
import colorsys
import json
import time

import numpy as np

import carl
from support.interleaved import medians

try:
    import peer_torchvision  # noqa: F401  (lets torchvision be imported where its compiled part does not match PyTorch)
except ImportError:
    pass

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
#: size of a view, side of an image, images in a batch, specification
CASES = {
    "32x32 from 32x32": (32, 32, 256, {"scale": [0.2, 1], "jitter": [0.4, 0.4, 0.4, 0.1], "blur_kernel": 3}),
    "224x224 from 400x400": (224, 400, 16, {"scale": [0.08, 1], "jitter": [0.8, 0.8, 0.8, 0.2], "blur_kernel": 23}),
}
SHARED = {"jitter_p": 0.8, "gray": 0.2, "blur": [0.1, 2], "blur_p": 0.5, "mean": MEAN, "std": STD}


def torchvision_modules():
    try:
        import torch
        from torchvision import transforms
    except ImportError:
        raise SystemExit("this comparison needs torchvision: pip install torch torchvision") from None
    torch.set_num_threads(1)
    return transforms


def photos(count, side, seed=0):
    """Smooth images with a little noise: uint8 (count, side, side, 3)."""
    from PIL import Image

    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        coarse = random.integers(0, 256, (max(2, side // 16), max(2, side // 16), 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))
        made.append((smooth + random.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8))
    return np.stack(made)


def peer(transforms, size, spec):
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(size, tuple(spec["scale"])),
            transforms.RandomHorizontalFlip(),
            transforms.RandomApply([transforms.ColorJitter(*spec["jitter"])], spec["jitter_p"]),
            transforms.RandomGrayscale(spec["gray"]),
            transforms.RandomApply([transforms.GaussianBlur(spec["blur_kernel"], tuple(spec["blur"]))], spec["blur_p"]),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


def speed(rounds):
    from PIL import Image

    transforms = torchvision_modules()
    rows = {}
    for name, (size, side, count, changes) in CASES.items():
        spec = {"size": size, **SHARED, **changes}
        images = photos(count, side)
        ready = [Image.fromarray(image) for image in images]
        transform = peer(transforms, size, spec)
        seeds = iter(range(1 << 30))
        repeats = 8
        runs = {
            "carl": lambda: [carl.make_views(images, spec, next(seeds), threads=1) for _ in range(repeats)],
            "torchvision": lambda: [transform(image) for image in ready],
        }
        for run in runs.values():
            run()
        seconds = medians(runs, rounds, time.process_time)
        together = medians(
            {"all": lambda: [carl.make_views(images, spec, next(seeds)) for _ in range(repeats)]}, rounds
        )["all"]
        rows[name] = {
            "carl": repeats * count / seconds["carl"],
            "torchvision": count / seconds["torchvision"],
            "carl_all_cores": repeats * count / together,
        }
        rows[name]["ratio"] = rows[name]["carl"] / rows[name]["torchvision"]
    return rows


def agreement():
    """Largest and mean difference in steps of 255, each operation alone."""
    from PIL import Image

    transforms = torchvision_modules()
    functional, modes = transforms.functional, transforms.InterpolationMode
    images = photos(24, 96)
    # Colours from which the factor that was drawn can be read.
    images[:, 0, 0], images[:, 0, 1] = (200, 100, 100), (100, 100, 100)
    ready = [Image.fromarray(image) for image in images]
    same = {"size": 96, "scale": [1, 1], "ratio": [1, 1], "flip": 0, "jitter_p": 1, "mean": [0], "std": [1]}
    rows = {}

    def compare(name, changes, operation, factor=lambda view: None):
        made = carl.make_views(images, {**same, **changes}, 1)[0] * 255
        other = np.stack([np.asarray(operation(image, factor(view))) for image, view in zip(ready, made)])
        difference = np.abs(made - other.reshape(made.shape))
        rows[name] = {"largest": float(difference.max()), "mean": float(difference.mean())}

    for interpolation in ("bilinear", "bicubic"):
        mode = modes[interpolation.upper()]
        for size in (40, 96, 150):
            compare(
                f"resize 96 to {size}, {interpolation}",
                {"size": size, "interpolation": interpolation},
                lambda image, _, size=size, mode=mode: functional.resize(image, [size, size], mode),
            )
    compare("flip", {"flip": 1}, lambda image, _: functional.hflip(image))
    compare(
        "brightness", {"jitter": [0.4, 0, 0, 0]}, functional.adjust_brightness, lambda view: float(view[0, 1, 0]) / 100
    )
    compare(
        "contrast",
        {"jitter": [0, 0.4, 0, 0]},
        functional.adjust_contrast,
        lambda view: float(view[0, 0, 0] - view[0, 0, 1]) / 100,
    )
    compare(
        "saturation",
        {"jitter": [0, 0, 0.4, 0]},
        functional.adjust_saturation,
        lambda view: float(view[0, 0, 0] - view[0, 0, 1]) / 100,
    )

    def turned(view):
        hue = colorsys.rgb_to_hsv(*(float(v) for v in view[0, 0]))[0]
        return hue - 1 if hue > 0.5 else hue

    compare("hue, Pillow image", {"jitter": [0, 0, 0, 0.2]}, functional.adjust_hue, turned)
    compare(
        "hue, torchvision tensor",
        {"jitter": [0, 0, 0, 0.2]},
        lambda image, shift: functional.adjust_hue(functional.to_tensor(image), shift).permute(1, 2, 0).numpy() * 255,
        turned,
    )
    compare("grayscale", {"gray": 1}, lambda image, _: functional.to_grayscale(image, 3))
    for kernel, sigma in ((3, 0.5), (9, 2.0), (23, 2.0)):
        compare(
            f"blur, kernel {kernel}, sigma {sigma}",
            {"blur": [sigma, sigma], "blur_p": 1, "blur_kernel": kernel},
            lambda image, _, kernel=kernel, sigma=sigma: functional.gaussian_blur(image, kernel, sigma),
        )
    compare("solarize", {"solarize": 1}, lambda image, _: functional.solarize(image, 128))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--agreement", action="store_true", help="compare single operations instead of speeds")
    options = parser.parse_args()
    rows = agreement() if options.agreement else speed(3 if options.quick else 11)
    if options.json:
        print(json.dumps(rows))
    elif options.agreement:
        print(f"{'difference in steps of 255':<36}{'largest':>9}{'mean':>8}")
        for name, row in rows.items():
            print(f"{name:<36}{row['largest']:>9.3f}{row['mean']:>8.3f}")
    else:
        print(f"{'views a second':<24}{'carl':>10}{'torchvision':>13}{'ratio':>8}{'carl, all cores':>17}")
        for name, row in rows.items():
            print(
                f"{name:<24}{row['carl']:>10,.0f}{row['torchvision']:>13,.0f}{row['ratio']:>7.1f}x"
                f"{row['carl_all_cores']:>17,.0f}"
            )


if __name__ == "__main__":
    main()
