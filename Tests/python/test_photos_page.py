"""docs/photos.md, executed: every command and every piece of Python, in the page's order."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from carl.cli import main
from weights_files import resnet18, write_safetensors

PAGE = Path(__file__).resolve().parents[2] / "docs" / "photos.md"
#: What makes the run one of seconds.
SMALL = ["width=0.125", "projector=[16,8]", "batch_size=16", "epochs=2"]


def blocks(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def picture(random, kind, size=32):
    """Rings, stripes or tiles of a colour."""
    y, x = np.mgrid[:size, :size]
    if kind == "rings":
        values = np.sin(np.hypot(y - random.uniform(8, 24), x - random.uniform(8, 24)))
    elif kind == "stripes":
        angle = random.uniform(0, np.pi)
        values = np.sin(np.cos(angle) * x + np.sin(angle) * y)
    else:
        values = np.kron(random.uniform(-1, 1, (4, 4)), np.ones((size // 4, size // 4)))
    colour = random.uniform(40, 100, 3)
    return (127 + values[..., None] * colour + random.normal(0, 4, (size, size, 3))).clip(0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """photos/, 30 of which one is there twice, labelled/ and test/; and resnet50.safetensors, a smaller network."""
    image = pytest.importorskip("PIL.Image")
    random = np.random.default_rng(0)
    kinds = ("rings", "stripes", "tiles")
    for part, count in (("photos", 10), ("labelled", 5), ("test", 3)):
        for kind in kinds:
            for number in range(count):
                place = tmp_path / part if part == "photos" else tmp_path / part / kind
                place.mkdir(parents=True, exist_ok=True)
                image.fromarray(picture(random, kind)).save(place / f"{kind}{number}.png")
    image.fromarray(picture(random, "rings")).save(tmp_path / "photos" / "a.jpg")
    image.open(tmp_path / "photos" / "tiles3.png").save(tmp_path / "photos" / "copy.bmp")
    write_safetensors(tmp_path / "resnet50.safetensors", resnet18(0.125))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore:prototypes")
def test_the_page_runs(folder, capsys):
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    printed = ""
    for language, text in blocks(PAGE.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(text, str(PAGE), "exec"), {"__name__": "page"})
            printed += capsys.readouterr().out
            continue
        assert language == "sh"
        for line in text.splitlines():
            program, *arguments = shlex.split(line, comments=True)
            assert program == "carl"
            small = [*SMALL, "--quiet"] if arguments[0] == "train" else []
            assert main([*arguments, *small]) == 0, (line, capsys.readouterr().err)
            printed += capsys.readouterr().out
    assert "exact ['photos/copy.bmp', 'photos/tiles3.png']" in printed and "raw pixels" in printed
    with open("duplicates.csv", encoding="utf-8", newline="") as file:
        assert [row["kind"] for row in csv.DictReader(file)][:2] == ["first", "exact"]
    with open("predictions.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 32 and {row["predicted"] for row in rows} <= {"rings", "stripes", "tiles"}
    for name in ("outliers.csv", "features.csv", "features.npy", "features.paths.txt", "confusion.png", "groups.csv"):
        assert (folder / name).stat().st_size > 0
    for name in ("query", "gallery", "map"):
        assert (folder / "runs" / "photos" / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_names_the_commands_that_answer():
    text = PAGE.read_text(encoding="utf-8")
    for command in (
        "train",
        "duplicates",
        "outliers",
        "neighbours",
        "embed",
        "knn",
        "linear",
        "predict",
        "plot confusion",
    ):
        assert f"\ncarl {command} " in text
