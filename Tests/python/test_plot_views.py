"""The contact sheet of views."""

from __future__ import annotations

import json

import numpy as np
import pytest

import carl
from carl import cli
from carl._c_api import LIB
from conftest import small_model

pytest.importorskip("matplotlib")
from carl import plots  # noqa: E402
from carl.plots.views import denormalised, legend_of  # noqa: E402


def shown(axes):
    return np.asarray(axes.images[0].get_array())


def test_rows_are_images_and_columns_their_views(images):
    spec = [{"size": 10, "count": 2}, {"size": 6, "flip": 0, "mean": [0.1], "std": [2.0]}]
    figure = plots.views(images[:3], spec, seed=4, epoch=5, indices=[7, 1, 9])
    assert len(figure.axes) == 12
    made = carl.make_views(images[:3], spec, 4, epoch=5, indices=[7, 1, 9])
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for row in range(3):
        assert np.array_equal(shown(figure.axes[4 * row]), images[row])
        wanted = [made[0][row] * std + mean, made[1][row] * std + mean, made[2][row] * 2 + 0.1]
        for column, values in enumerate(wanted, start=1):
            assert np.abs(shown(figure.axes[4 * row + column]) - 255 * values.clip(0, 1)).max() <= 0.51
    assert figure.axes[3].get_title() == "view 3: 6"


def test_a_view_that_changes_nothing_is_the_image(images):
    spec = {"size": 12, "scale": [1, 1], "ratio": [1, 1], "flip": 0}
    figure = plots.views(images[:2], spec)
    assert np.abs(shown(figure.axes[1]).astype(int) - images[0]).max() <= 1


def test_gray_and_many_channels_and_sizes(images):
    assert shown(plots.views(images[:2, ..., 0], "gray", view_size=9).axes[1]).shape == (9, 9)
    many = np.concatenate([images, images], axis=3)
    assert shown(plots.views(many[:2], {"size": 8}).axes[1]).shape == (8, 8)
    assert len(plots.views([images[0], images[1, :7]], {"size": 8}).axes) == 4
    assert denormalised(np.full((1, 1, 1), 9, np.float32), {"mean": [0], "std": [1]}).tolist() == [[[255]]]


def test_the_settings_are_named():
    lines = legend_of(carl.expand_views("byol", 3, 64))
    assert lines[0].startswith(
        "view 1: 64 pixels; crop 0.08 to 1 of the area, bicubic; flip 50%; jitter 80% (brightness 0.4"
    )
    assert "blur 100% (sigma 0.1 to 2)" in lines[0] and "solarize" not in lines[0] and "solarize 20%" in lines[1]
    assert legend_of(carl.expand_views([{"count": 3, "flip": 0}, {"count": 2}]))[0].startswith(
        "views 1 to 3: 32 pixels; crop"
    )
    assert "flip" not in legend_of(carl.expand_views({"flip": 0}))[0]
    figure = plots.views(np.zeros((1, 64, 64, 3), np.uint8), "byol", view_size=64)
    assert "solarize 20%" in figure.get_supxlabel().replace("\n    ", " ")


def test_command(images, tmp_path, capsys):
    np.save(tmp_path / "x.npy", images)
    small_model(run_dir=tmp_path / "run", seed=5).fit(str(tmp_path / "x.npy"))
    assert cli.main(["plot", "views", str(tmp_path / "run"), "--images", "3", "--epoch", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == str(tmp_path / "run" / "plots" / "views.png")
    assert (tmp_path / "run" / "plots" / "views.png").read_bytes().startswith(b"\x89PNG")
    out = str(tmp_path / "v.svg")
    assert cli.main(["plot", "views", str(tmp_path / "x.npy"), "--views", '[{"size": 8}]', "--out", out]) == 0
    assert (
        cli.main(["plot", "views", str(tmp_path / "x.npy"), "--views", "weak", "--view-size", "9", "--out", out]) == 0
    )
    capsys.readouterr()
    for arguments, words in (
        ([str(tmp_path / "x.npy")], "--out"),
        ([str(tmp_path / "none"), "--out", out], "no such"),
        ([str(tmp_path / "x.npy"), "--views", "waek", "--out", out], "weak"),
        ([str(tmp_path / "x.npy"), "--seed", "-1", "--out", out], "seed"),
        ([str(tmp_path / "x.npy"), "--epoch", "-1", "--out", out], "epoch"),
    ):
        assert cli.main(["plot", "views", *arguments]) == 1
        assert words in capsys.readouterr().err


def test_small_views_first_say_what_follows(images, tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", images)
    early = {"view_size": 12, "early_view_size": 8, "early_steps": 3}
    small_model(run_dir=tmp_path / "run", **early).fit(str(tmp_path / "x.npy"))
    drawn = []
    monkeypatch.setattr(plots, "save", lambda figure, place: drawn.append(figure) or place)
    assert cli.main(["plot", "views", str(tmp_path / "run"), "--images", "2"]) == 0
    assert "the first 3 steps have views of 8 pixels, then 12" in drawn[0].get_supxlabel().replace("\n    ", " ")


def test_the_c_function_refuses_what_is_wrong():
    for text, size, channels in (
        (None, 32, 3),
        (b"", 32, 3),
        (b'"simclr"', 0, 3),
        (b'"simclr"', 5000, 3),
        (b'"simclr"', 32, 0),
        (b'"simclr"', 32, 2000),
        (b'{"size": -1}', 32, 3),
        (b"[]", 32, 3),
        (b'"\xff"', 32, 3),
    ):
        assert LIB.carl_views_expand(text, size, channels, None, 0, None) != 0
        assert LIB.carl_last_error()
    assert LIB.carl_views_expand(b'"simclr"', 32, 3, None, 0, None) != 0  # nothing asked for


@pytest.mark.parametrize("kind", ["views", "counts"])
def test_a_broken_image_that_is_not_shown_is_told(images, tmp_path, capsys, caplog, kind):
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "photos").mkdir()
    for number, pixels in enumerate(images[:7]):
        image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    for number in range(7):
        (tmp_path / "photos" / f"broken{number}.png").write_bytes(b"none")
    photos, out = str(tmp_path / "photos"), str(tmp_path / "p.png")
    if kind == "views":
        arguments = ["views", photos, "--images", "14", "--view-size", "8"]
    else:
        small_model(epochs=1).fit(images).save(tmp_path / "model.carl")
        arguments = ["counts", str(tmp_path / "model.carl"), "--data", photos]
    assert cli.main(["plot", *arguments, "--out", out]) == 0
    told = [record.getMessage() for record in caplog.records if record.name == "carl"]
    assert len(told) == 6 and "broken0.png" in told[0] and told[-1] == "left out 2 further images that cannot be read"
