"""Small models and images that the tests of the Python interface share."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before NumPy is imported: the threads of its BLAS wait by spinning, and take the processors from the library's own. On
# two processors a step of the float64 references takes ten times as long beside them.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np  # noqa: E402
import pytest  # noqa: E402

import carl  # noqa: E402

# A shell starts what runs in its background with SIGINT ignored, and children inherit that: tests of Ctrl-C want it as
# a terminal has it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

#: A network small enough that a step takes milliseconds.
SMALL: dict[str, Any] = {
    "encoder": "resnet18",
    "stem": "small",
    "width": 0.125,
    "projector": [16, 8],
    "prototypes": 6,
    "view_size": 12,
    "learning_rate": 0.01,
    "seed": 3,
}


@pytest.fixture
def images() -> np.ndarray:
    """uint8 (40, 12, 12, 3) with structure: a gradient of its own colour and direction in each."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:12, :12] / 11
    angle = random.uniform(0, 2 * np.pi, 40)[:, None, None]
    ramp = np.cos(angle) * x + np.sin(angle) * y
    colour = random.uniform(60, 120, (40, 1, 1, 3))
    noise = random.uniform(-10, 10, (40, 12, 12, 3))
    return (ramp[..., None] * colour + 120 + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture
def views() -> list[np.ndarray]:
    """Two float32 views (16, 12, 12, 3)."""
    random = np.random.default_rng(1)
    base = random.standard_normal((16, 12, 12, 3))
    return [(base + 0.3 * random.standard_normal(base.shape)).astype(np.float32) for _ in range(2)]


@pytest.fixture
def make_trainer() -> Iterator[Callable[..., carl.Trainer]]:
    made: list[carl.Trainer] = []

    def make(**changes: Any) -> carl.Trainer:
        made.append(carl.Trainer({**SMALL, **changes}))
        return made[-1]

    yield make
    for trainer in made:
        trainer.close()


@pytest.fixture
def trainer(make_trainer: Callable[..., carl.Trainer]) -> carl.Trainer:
    return make_trainer()


def small_model(**changes: Any) -> carl.CARL:
    """An unfitted estimator around the small network."""
    params = {key: value for key, value in SMALL.items() if key != "view_size"}
    return carl.CARL(**{**params, "epochs": 2, "batch_size": 8, "progress": False, **changes})


@pytest.fixture
def png_files(images: np.ndarray, tmp_path: Path) -> list[str]:
    """Paths of the first 16 images as PNG files."""
    Image = pytest.importorskip("PIL.Image")
    paths = []
    for place, image in enumerate(images[:16]):
        paths.append(str(tmp_path / f"{place:02}.png"))
        Image.fromarray(image).save(paths[-1])
    return paths


@pytest.fixture
def model_of() -> Callable[..., carl.CARL]:
    return small_model


@pytest.fixture
def no_leak() -> Iterator[None]:
    """Fails if the test leaves a trainer or encoder alive."""

    def alive() -> int:
        return int(carl.live_objects())

    # A collection looks at all objects of all packages that tests have imported, and can only make the number smaller.
    if alive():
        gc.collect()
    before = alive()
    yield
    if alive() != before:
        gc.collect()
    assert alive() == before


def pytest_collection_finish() -> None:
    """What was imported so far stays: collections need not look at it each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made, and a few bytes written in the place of their picture, which takes most of a report's time: for
    tests of what figures are made of. Those of the figures draw them."""
    figure = pytest.importorskip("matplotlib.figure")
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, stream, **options: stream.write(b"\x89PNG"))


def same_state(a: carl.Trainer, b: carl.Trainer) -> bool:
    """Whether two trainers hold bitwise the same parameters and statistics."""
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(first[key].tobytes() == second[key].tobytes() for key in first)


def judged_figures(path: Any) -> dict[str, Any]:
    """The figures of an evaluation file, which beside them names the checkpoint and the data they are of."""
    import json

    with open(path, encoding="utf-8") as file:
        kept = json.load(file)
    assert set(kept.pop("checkpoint")) == {"step", "sha256"} and kept.pop("data")
    return kept


def functions_of_the_header() -> set[str]:
    """The names of the functions that carl.h declares."""
    header = (Path(__file__).resolve().parents[2] / "include" / "carl.h").read_text()
    header = re.sub(r"/\*.*?\*/", "", header, flags=re.S)
    return set(re.findall(r"^[a-z].*?\b(carl_[a-z0-9_]+)\s*\(", header, re.M))


def run_python(code: str, *, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a new interpreter that finds the same package."""
    package_root = os.path.dirname(os.path.dirname(carl.__file__))
    env = {**os.environ, **environment}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [package_root, env.get("PYTHONPATH", "")]))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout, env=env)
