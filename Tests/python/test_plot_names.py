"""Names in plots are drawn in a font that has their signs, or escaped; legends lie beside the curves."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from carl import plots

pytest.importorskip("matplotlib")

from carl.plots import names as plot_names

CAT = "\u732b"
#: A private sign that no font is likely to have.
UNKNOWN = "\U0010fffd"


@pytest.fixture
def font(tmp_path):
    """A font that has the sign CAT alone, as if it were installed."""
    builder = pytest.importorskip("fontTools.fontBuilder").FontBuilder(1000, isTTF=True)
    pen = pytest.importorskip("fontTools.pens.ttGlyphPen").TTGlyphPen(None)
    for place in ((0, 0), (0, 700), (700, 700), (700, 0)):
        (pen.moveTo if place == (0, 0) else pen.lineTo)(place)
    pen.closePath()
    square = pen.glyph()
    builder.setupGlyphOrder([".notdef", "cat"])
    builder.setupCharacterMap({ord(CAT): "cat"})
    builder.setupGlyf({".notdef": square, "cat": square})
    builder.setupHorizontalMetrics({".notdef": (800, 0), "cat": (800, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Only Cats", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "cats.ttf")
    from matplotlib.font_manager import fontManager

    before = list(fontManager.ttflist)
    fontManager.ttflist.clear()
    fontManager.ttflist.extend(each for each in before if each.name.startswith("DejaVu"))
    fontManager.addfont(tmp_path / "cats.ttf")
    plot_names._font_of.cache_clear()
    yield "Only Cats"
    fontManager.ttflist[:] = before
    fontManager._findfont_cached.cache_clear()
    plot_names._font_of.cache_clear()


@pytest.fixture
def no_font(monkeypatch):
    """Only the fonts of matplotlib itself, one of which has a box for every sign."""
    from matplotlib.font_manager import fontManager

    own = [each for each in fontManager.ttflist if "mpl-data" in each.fname]
    monkeypatch.setattr(fontManager, "ttflist", own)
    plot_names._font_of.cache_clear()
    yield
    plot_names._font_of.cache_clear()


def figures(name):
    """Every kind of picture that has names, of classes or files."""
    random = np.random.default_rng(0)
    labels = np.arange(30) % 2
    features = random.standard_normal((30, 4))
    texts = np.array([name, "dog"])
    pixels = random.integers(0, 255, (30, 8, 8, 3)).astype(np.uint8)
    yield plots.confusion(np.arange(30) % 3, labels, [name, "dog"])
    yield plots.class_confusion(texts[labels], texts[labels])
    yield plots.embedding_map(features, labels, [name, "dog"])
    yield plots.neighbours(pixels, features, 2, 3, names=[f"photos/{name}.jpg"] * 30)


def texts_of(figure):
    from matplotlib.text import Text

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of signs that have no glyph
        figure.draw_without_rendering()
    return [text for text in figure.findobj(Text) if text.get_text()]


def test_a_font_that_has_the_sign(font, tmp_path):
    for number, figure in enumerate(figures(CAT)):
        found = [text for text in texts_of(figure) if CAT in text.get_text()]
        assert found and all(font in text.get_fontfamily() for text in found)
        assert plots.save(figure, tmp_path / f"{number}.png").stat().st_size > 0


def test_no_font_has_it(no_font):
    for figure in figures(CAT):
        texts = [text.get_text() for text in texts_of(figure)]
        assert any("\\u732b" in text for text in texts) and not any(CAT in text for text in texts)


def test_signs_of_the_usual_font_stay():
    assert plot_names.drawn(["é$x$", "_a"]).names == ["é$x$", "_a"]
    assert plot_names.drawn([f"a{UNKNOWN}"]).names == ["a\\U0010fffd"]


def test_names_that_mean_something_to_matplotlib():
    """A dollar sign begins no formula, an underscore hides no entry of a legend."""
    for name in ("$x$", "_hidden"):
        for figure in figures(name):
            found = [text for text in texts_of(figure) if name in text.get_text()]
            assert found and not any(text.get_parse_math() for text in found)


def history(count):
    names = "loss consistency prior contrast effective_prototypes used_prototypes assigned_prototypes max_probability"
    names += " agreement embedding_std learning_rate views_per_second"
    return [
        {"step": step, "log_prototypes": 2.0, **dict.fromkeys(names.split(), step % 7 / 7)}
        for step in range(1, count + 1)
    ]


@pytest.mark.parametrize("count", [1, 2, 400])
def test_legends_cover_no_curve(count):
    rows = history(count)
    judged = [{"step": step, "knn": 0.5, "linear": 0.6, "raw_pixels": 0.4} for step in (0, count)]
    records = [
        {"step": step, "assignments": [0, 1, 1], "assignment_entropy": 0.4, "mean_assignment_entropy": 0.6}
        for step in (0, count)
    ]
    for figure in (
        plots.curves(rows, {"prototypes": 8, "projector": [8]}, judged),
        plots.entropy(rows, records, np.full((5, 2), 0.5)),
        plots.usage(records, 8),
        plots.counts(np.arange(6) % 4, 8),
        plots.embedding_map(np.random.default_rng(0).standard_normal((9, 4)), np.arange(9) % 3),
    ):
        figure.draw_without_rendering()
        legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
        assert legends
        for legend in legends:
            box = legend.get_window_extent()
            assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)


def test_one_step_is_a_point():
    figure = plots.curves(history(1))
    lines = [line for axes in figure.axes for line in axes.lines if len(line.get_xdata()) == 1]
    assert lines and all(line.get_marker() == "o" for line in lines)


LONG = [f"n{number:08}_the_name_of_a_class_that_goes_on_and_on_to_{number}" for number in range(400)]


def test_long_names_are_shortened_in_their_middle(no_font):
    names = plot_names.drawn([LONG[7], "a" * 24, CAT * 30, ""]).names
    assert names[0] == "n00000007_t\u2026_and_on_to_7" and names[1] == "a" * 24 and names[3] == ""
    assert all(len(name) <= 24 for name in names)
    assert names[2].startswith("\\u732b\u2026") and names[2].endswith("\\u732b")  # no half of an escape
    assert plot_names.drawn(["abcdefghij"], 5).names == ["ab\u2026ij"]


@pytest.mark.parametrize("nearest", [1, 2, 12])
@pytest.mark.parametrize("names", [None, LONG[:3]])
def test_all_of_a_gallery_is_in_the_picture(nearest, names):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (30, 8, 8, 3)).astype(np.uint8)
    figure = plots.gallery(pixels, random.standard_normal((30, 3)), 3, nearest, names)
    wide = figure.get_size_inches()[0] * figure.dpi
    for text in texts_of(figure):
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= wide, text.get_text()


def test_long_names_leave_room_for_the_picture():
    classes = np.arange(240) % 40
    for figure in (
        plots.confusion(np.arange(240) % 7, classes, LONG),
        plots.class_confusion(np.array(LONG)[classes % 2], np.array(LONG)[classes % 2]),
        plots.class_confusion(np.array(LONG)[classes], np.array(LONG)[classes]),
        plots.embedding_map(np.random.default_rng(0).standard_normal((240, 4)), classes % 20, LONG),
    ):
        texts_of(figure)  # where the layout finds no room, matplotlib warns
        assert figure.axes[0].get_position().width > 0.4


def test_pictures_of_many_labels():
    figure = plots.confusion(np.arange(800) % 20, np.arange(800) % 350)
    assert figure.get_size_inches()[0] <= 14
    features = np.random.default_rng(0).standard_normal((50, 4))
    figure = plots.embedding_map(features, np.arange(50) % 21, what="labels")
    assert figure.axes[0].get_title(loc="left") == "PCA of 50 embeddings, coloured by 21 labels"
    assert plots.embedding_map(features, np.arange(50) % 20).axes[0].get_title(loc="left") == "PCA of 50 embeddings"


def test_what_is_counted_has_whole_numbers():
    records = [{"step": step, "assignments": [0, 1, 1]} for step in (0, 1)]
    rows = history(2)
    figures = [plots.usage(records, 2), plots.counts([0, 1, 1], 2), plots.curves(rows), plots.entropy(rows)]
    for figure in figures:
        figure.draw_without_rendering()
    axes = [figures[0].axes[0].yaxis, figures[0].axes[1].xaxis, figures[1].axes[0].xaxis, figures[1].axes[0].yaxis]
    for axis in [*axes, figures[2].axes[0].xaxis, figures[3].axes[0].xaxis]:
        assert all(float(place).is_integer() for place in axis.get_majorticklocs())
