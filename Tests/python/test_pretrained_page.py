"""docs/pretrained.md, executed: every command and every piece of Python, in the page's order, with a small file."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import carl
from carl.cli import main
from test_photos_page import blocks, folder

__all__ = ["folder"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pretrained.md"
#: What makes the runs some of seconds.
SMALL = ["projector=[16,8]", "batch_size=16", "epochs=2", "view_size=32", "--quiet"]


@pytest.mark.filterwarnings("ignore:prototypes", "ignore:batch_size")
def test_the_page_runs(folder, capsys):
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    printed = ""
    for language, text in blocks(PAGE.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(text, str(PAGE), "exec"), {"__name__": "page"})
        elif language == "sh":
            for line in text.splitlines():
                program, *arguments = shlex.split(line, comments=True)
                assert program == "carl"
                small = SMALL if arguments[0] == "train" else []
                assert main([*arguments, *small]) == 0, (line, capsys.readouterr().err)
        printed += capsys.readouterr().out
    assert "resnet18, stem imagenet, width 0.125" in printed and "raw pixels" in printed and "(32, 64)" in printed
    assert "32 images in 5 groups (k-means)" in printed and "groups (prototypes)" in printed
    with open("duplicates.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["name"] for row in rows if row["kind"] in ("first", "exact")} >= {
        "photos/copy.bmp",
        "photos/tiles3.png",
    }
    assert np.load("features.npy").shape == (32, 64)
    for name in ("larger.csv", "outliers.csv", "query.png", "predictions.csv", "groups.csv"):
        assert (folder / name).stat().st_size > 0
    assert carl.load("runs/frozen").config_.train_encoder == "none"


def test_the_page_has_the_library_s_line_and_table(folder, tmp_path):
    text = PAGE.read_text(encoding="utf-8")
    (tmp_path / "resnet50.pth").write_bytes(b"PK\x03\x04" + b"\0" * 100)
    with pytest.raises(carl.FileError) as caught:
        carl.weights_info("resnet50.pth")
    line = re.search(r'python -c "[^"]*"', str(caught.value))
    assert line is not None and line[0] in text
    families = set(re.findall(r"^\| `(\w+)` \| [A-Zt]", text, re.MULTILINE))
    assert families >= {"resnet", "timm_vit", "dinov2", "transformers_vit", "transformers_dinov2", "torchvision_vit"}
