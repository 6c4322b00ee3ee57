"""Trains on a folder of images, or on random shapes without one, and looks at what came out.

python examples/python/first_steps.py [FOLDER]
"""

import sys

import numpy as np

import carl


def shapes(count: int, size: int = 32) -> np.ndarray:
    """uint8 (count, size, size, 3): discs and squares of random colour, place and size."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    images = np.empty((count, size, size, 3), np.uint8)
    for image in images:
        centre_y, centre_x = random.uniform(8, size - 8, 2)
        radius = random.uniform(4, 9)
        if random.random() < 0.5:
            inside = (y - centre_y) ** 2 + (x - centre_x) ** 2 < radius**2
        else:
            inside = np.maximum(abs(y - centre_y), abs(x - centre_x)) < radius
        image[:] = random.integers(0, 100, 3)
        image[inside] = random.integers(120, 256, 3)
    return images


def main() -> None:
    images = sys.argv[1] if len(sys.argv) > 1 else shapes(512)
    model = carl.CARL(encoder="resnet18", width=0.25, prototypes=16, epochs=3, batch_size=64)
    model.fit(images)

    features = model.transform(images)
    clusters = model.predict(images)
    print("features", features.shape, features.dtype)
    print("images in each prototype", np.bincount(clusters, minlength=16))

    model.save("first_steps.carl")
    again = carl.load("first_steps.carl")
    assert np.array_equal(again.predict(images), clusters)
    print("written: first_steps.carl")


if __name__ == "__main__":
    main()
