"""The training loop by hand, with views made by NumPy.

python examples/python/own_loop.py
"""

import numpy as np

import carl


def view(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A shifted, perhaps mirrored, normalised copy: float32 (B, H, W, C)."""
    shift = random.integers(-3, 4, 2)
    moved = np.roll(images, shift, axis=(1, 2))
    if random.random() < 0.5:
        moved = moved[:, :, ::-1]
    return np.ascontiguousarray((moved / 255.0 - 0.5) / 0.25, dtype=np.float32)


def main() -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (256, 16, 16, 1), dtype=np.uint8)
    with carl.Trainer(encoder="resnet18", stem="small", width=0.25, in_channels=1, prototypes=16, seed=1) as trainer:
        for _ in range(10):
            batch = images[random.choice(len(images), 32, replace=False)]
            metrics = trainer.step_views([view(batch, random), view(batch, random)])
            print(
                f"step {metrics.step}: loss {metrics.loss:.3f}, effective prototypes {metrics.effective_prototypes:.1f}"
            )
        print("features", trainer.embed(view(images, random)).shape)


if __name__ == "__main__":
    main()
