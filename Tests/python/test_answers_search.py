"""Neighbours, duplicates and outliers of a folder of photos: the functions, and the commands on files."""

from __future__ import annotations

import csv
import json
import sys
import tarfile

import numpy as np
import pytest

import carl
from carl import evaluate
from carl.cli import main
from conftest import small_model


def rows(count=30, width=8, seed=0):
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


def test_no_row_is_its_own_neighbour():
    values = rows()
    values[7] = values[3]  # a copy is another image
    near, similarities = evaluate.nearest_neighbours(values, k=5, exclude_self=True)
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    table = unit @ unit.T
    np.fill_diagonal(table, -2)
    np.testing.assert_allclose(similarities, -np.sort(-table, axis=1)[:, :5], atol=1e-5)
    assert not (near == np.arange(len(values))[:, None]).any() and near[7, 0] == 3 and near[3, 0] == 7


def test_many_copies_of_a_row_do_not_hide_it():
    values = np.repeat(rows(1), 6, axis=0)
    near, _ = evaluate.nearest_neighbours(values, k=2, exclude_self=True)
    assert near.shape == (6, 2) and not (near == np.arange(6)[:, None]).any()
    with pytest.raises(carl.InvalidArgumentError, match=r"k: got 6, want 1 \.\. 5"):
        evaluate.nearest_neighbours(values, k=6, exclude_self=True)
    with pytest.raises(carl.InvalidArgumentError, match="queries: got 2 rows, want the 6 references"):
        evaluate.nearest_neighbours(values, values[:2], 1, exclude_self=True)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ">f4", np.uint8, np.int64, bool])
def test_features_of_any_precision(dtype):
    values, labels = np.abs(3 * rows()).astype(np.float16), np.arange(30) % 2
    values = values if np.dtype(dtype).kind == "f" else np.floor(values).astype(dtype)
    single = values.astype(np.float32)
    given = values.astype(dtype)
    for function in (
        lambda x: evaluate.nearest_neighbours(x, k=3)[1],
        lambda x: evaluate.knn(x, labels, x, k=3).predictions,
        lambda x: evaluate.retrieval(x, labels).average_precision,
        lambda x: evaluate.outliers(x, 3),
        lambda x: evaluate.Whitening().fit_transform(x),
    ):
        np.testing.assert_array_equal(function(given), function(single))
    with pytest.raises(carl.InvalidArgumentError, match="finite"):
        evaluate.nearest_neighbours(np.full((3, 2), 1e300), k=1)
    for wrong in (np.ones((3, 2), complex), np.array([["a", "b"]] * 3), np.ones((3, 2), object)):
        with pytest.raises(carl.InvalidArgumentError, match=f"references: got dtype {wrong.dtype}, want real numbers"):
            evaluate.nearest_neighbours(wrong, k=1)


@pytest.mark.parametrize("names", [np.array(["cat", "dog"]), np.array(["cat", "dog"], object), np.array([False, True])])
def test_labels_of_any_kind(names):
    pytest.importorskip("sklearn")
    values, numbers = rows(), np.arange(30) % 2
    labels = names[numbers]
    found, expected = evaluate.knn(values, labels, values, labels, 3), evaluate.knn(values, numbers, values, numbers, 3)
    assert found.accuracies == expected.accuracies
    np.testing.assert_array_equal(
        found.predictions, names.astype(labels.dtype)[expected.predictions].astype(found.predictions.dtype)
    )
    assert evaluate.retrieval(values, labels).map == evaluate.retrieval(values, numbers).map
    half = evaluate.retrieval(values[:20], labels[:20], values[20:], labels[20:])
    assert half.map == evaluate.retrieval(values[:20], numbers[:20], values[20:], numbers[20:]).map
    assert evaluate.cluster(numbers, labels).ari == 1 and evaluate.confusion(numbers, labels)[0].tolist() == [
        [15, 0],
        [0, 15],
    ]


def test_labels_of_two_kinds_are_told():
    with pytest.raises(carl.InvalidArgumentError, match="test_y: got labels such as 0, train_y has such as 'cat'"):
        evaluate.knn(rows(4), np.array(["cat", "dog"] * 2), rows(4), np.arange(4) % 2, 1)


def test_fingerprints_are_of_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5), np.uint8)
    mark = evaluate.fingerprint(pixels)
    pillow = pytest.importorskip("PIL.Image")
    same = (pixels[..., None], carl.as_source(pixels[None]).read(np.array([0]))[0], pillow.fromarray(pixels))
    assert [evaluate.fingerprint(each) for each in same] == [mark] * 3
    assert mark not in [evaluate.fingerprint(each) for each in (pixels.T, pixels + 1, pixels[:, ::-1])]
    for wrong, words in (("photos/a.jpg", "got str"), (pixels / 255, "got dtype float64, want uint8")):
        with pytest.raises(carl.InvalidArgumentError, match=f"image: {words}"):
            evaluate.fingerprint(wrong)


def test_groups_of_copies():
    values = rows(40)
    values[9] = values[4]  # of the same pixels
    values[20] = values[4] + 0.02 * rows(1, seed=1)[0]
    values[31] = values[12] + 0.02 * rows(1, seed=2)[0]
    marks = [str(place) for place in range(40)]
    marks[9] = marks[4]
    first, second = evaluate.duplicates(values, marks)
    assert first.places.tolist() == [4, 9, 20] and first.exact.tolist() == [True, True, False] and first.kind == "near"
    assert first.similarities[:2].tolist() == [1, 1] and 0.97 <= first.similarities[2] < 1
    assert second.places.tolist() == [12, 31]
    (exact,) = evaluate.duplicates(values, marks, None)
    assert exact.places.tolist() == [4, 9] and exact.kind == "exact"
    assert evaluate.duplicates(values[:4], threshold=1.0) == [] and evaluate.duplicates(values[:1]) == []


def test_groups_are_no_chains():
    angles = np.arange(12) * 0.2  # each is like the next, the first and the last are not alike
    values = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    groups = evaluate.duplicates(np.concatenate([values, -values]), threshold=0.9)
    assert len(groups) > 2 and all((group.similarities >= 0.9).all() for group in groups)
    places = np.concatenate([group.places for group in groups])
    assert len(places) == len(set(places.tolist()))


def test_more_copies_than_neighbours_are_looked_at_first():
    values = np.concatenate([rows(200, seed=3), np.repeat(rows(1), 70, axis=0) + 1e-3 * rows(70, seed=4)])
    (group,) = evaluate.duplicates(values)
    assert group.places[0] == 200 and sorted(group.places.tolist()) == list(range(200, 270))


def test_the_outlier_is_the_image_unlike_all_others():
    values = np.abs(rows(30)) + 1
    values[17] = [-1, 1] * 4
    scores = evaluate.outliers(values, 5)
    assert scores.argmin() == 17 and scores.dtype == np.float32
    with pytest.raises(carl.InvalidArgumentError, match="k: got 30"):
        evaluate.outliers(values, 30)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threshold": 0}, "threshold"),
        ({"threshold": 1.5}, "at most 1"),
        ({"threshold": "x"}, "threshold: got 'x', want a number"),
        ({"fingerprints": ["a"]}, "fingerprints: got 1"),
        ({"fingerprints": "abcd"}, "fingerprints: got str, want a list of texts"),
        ({"fingerprints": 3}, "fingerprints: got int, want a list of texts"),
        ({"fingerprints": ["a", "b", "c", [1]]}, r"fingerprints\[3\]: got list, want a text of fingerprint"),
    ],
)
@pytest.mark.parametrize("function", [evaluate.duplicates, evaluate.near_misses])
def test_wrong_options_of_duplicates(function, options, words):
    with pytest.raises(carl.InvalidArgumentError, match=words):
        function(rows(4), **options)


def test_pairs_just_below_the_threshold():
    """What duplicates() takes from a threshold on is what near_misses() gives below it, copies left out."""
    features = rows(40)
    features[7] = features[3]
    features[9] = features[3] + 0.3 * features[12]
    marks = [str(place if place != 7 else 3) for place in range(40)]
    (first, second, value), *others = evaluate.near_misses(features, marks, 0.99)
    assert (first, second) == (3, 9) and 0.8 < value < 0.99
    assert [each[2] for each in others] == sorted((each[2] for each in others), reverse=True)
    places = [place for pair in [(first, second), *((a, b) for a, b, _ in others)] for place in pair]
    assert len(set(places)) == len(places) and 7 not in places
    groups = evaluate.duplicates(features, marks, value - 1e-4)
    assert [group.places.tolist() for group in groups] == [[3, 7, 9]]
    assert (3, 9) not in [each[:2] for each in evaluate.near_misses(features, marks, value - 1e-4)]
    assert evaluate.near_misses(features[:1]) == [] and len(evaluate.near_misses(features, marks, count=2)) == 2
    with pytest.raises(carl.InvalidArgumentError, match="count: got 0"):
        evaluate.near_misses(features, count=0)


def near_rows():
    """Features (208, 64), the last eight in pairs near one of the first four and not near each other."""
    values = rows(208, 64, seed=5)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    for place in range(200, 208):
        first = values[(place - 200) // 2]
        across = values[place] - values[place] @ first * first
        values[place] = 0.98 * first + (1 - 0.98**2) ** 0.5 * across / np.linalg.norm(across)
    return values


def test_pairs_of_one_group_are_no_near_misses():
    features = near_rows()
    groups = evaluate.duplicates(features)
    assert [sorted(group.places.tolist()) for group in groups] == [[n, 200 + 2 * n, 201 + 2 * n] for n in range(4)]
    misses = evaluate.near_misses(features)
    assert len(misses) == 5
    for group in groups:
        assert all(len(set(pair) & set(group.places.tolist())) < 2 for *pair, _ in misses)


@pytest.mark.parametrize("threshold", [0.2, 0.4, 0.6, 0.9, 0.97])
@pytest.mark.parametrize("count", [1, 5, 40])
def test_near_misses_are_the_best_pairs_of_all(threshold, count):
    """Beside all pairs in float64, also of rows with more copies than neighbours are looked at."""
    features = rows(200, 4, seed=6)
    centred = features - features.mean(axis=0, dtype=np.float64) * (1 - 4 / 200)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    table = np.triu(unit @ unit.T, 1)
    for group in evaluate.duplicates(features, threshold=threshold):
        table[np.ix_(group.places, group.places)] = 0
    want: list[tuple[int, int]] = []
    for row, other in np.argwhere((table > 0) & (table < threshold))[
        np.argsort(-table[(table > 0) & (table < threshold)])
    ]:
        if len(want) < count and not {row, other} & {place for pair in want for place in pair}:
            want.append((row, other))
    assert [tuple(pair) for *pair, _ in evaluate.near_misses(features, None, threshold, count)] == want


def test_equal_rows_have_a_similarity_of_one():
    features = np.concatenate([rows(50, 64)] * 2)
    for threshold in (1.0, 1 - 1e-7):
        groups = evaluate.duplicates(features, threshold=threshold)
        assert [group.places.tolist() for group in groups] == [[place, 50 + place] for place in range(50)]
        assert all(value < 0.9 for *_, value in evaluate.near_misses(features, None, threshold))


def test_one_search_with_32_neighbours(monkeypatch):
    """However many copies there are: those of more are looked at by themselves."""
    asked = []
    search = evaluate.nearest_neighbours
    module = sys.modules["carl.evaluate.duplicates"]
    monkeypatch.setattr(
        module, "nearest_neighbours", lambda *args, **more: asked.append(args[2]) or search(*args, **more)
    )
    copies = np.concatenate([rows(100), np.repeat(rows(1, seed=9), 200, axis=0)])
    (group,) = evaluate.duplicates(copies)
    assert len(group.places) == 200 and asked == [32]
    evaluate.near_misses(copies)
    assert asked == [32, 32]


# ---- Commands


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder, and photos/ with an exact copy, a near one, a broken file, and a plain image among noise."""
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("search")
    photos = folder / "photos"
    photos.mkdir()
    pixels = np.kron(np.random.default_rng(0).integers(0, 256, (24, 4, 4, 3)), np.ones((1, 6, 6, 1), np.int64)).astype(
        np.uint8
    )
    for number, values in enumerate(pixels):
        image.fromarray(values).save(photos / f"{number:02}.png")
    image.fromarray(pixels[3]).save(photos / "copy.bmp")
    image.fromarray(pixels[5] ^ 1).save(photos / "near.png")
    (photos / "broken.jpg").write_bytes(b"no image")
    small_model(run_dir=folder / "run", view_size=24).fit(pixels)
    return folder


def command(run, name, *arguments):
    return main([name, str(run / "run"), str(run / "photos"), "--quiet", *map(str, arguments)])


@pytest.mark.filterwarnings("ignore:left out an image")
def test_neighbours(run, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    sheet = tmp_path / "sheet.png"
    assert command(run, "neighbours", "--query", run / "photos" / "03.png", "05.png", "-k", 4, "--out", sheet) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(run / "photos" / "03.png") and lines[5] == str(run / "photos" / "05.png")
    assert lines[1].split() == ["1.0000", str(run / "photos" / "copy.bmp")]
    assert lines[6].endswith("near.png") and sheet.read_bytes().startswith(b"\x89PNG")
    assert not any("03.png" in line for line in lines[1:5])
    assert command(run, "neighbours", "--query", "03.png", "--json") == 0
    kept = json.loads(capsys.readouterr().out)
    assert len(kept["queries"][0]["neighbours"]) == 10 and kept["sheet"] == str(run / "run" / "plots" / "query.png")
    model = carl.load(run / "run")
    features = model.transform(run / "photos", on_error="nan")
    own, other = features[3], features[7]
    similarity = own @ other / np.linalg.norm(own) / np.linalg.norm(other)
    found = {row["name"]: row["similarity"] for row in kept["queries"][0]["neighbours"]}
    for name, value in found.items():
        if name.endswith("07.png"):
            assert value == pytest.approx(similarity, abs=1e-4)


@pytest.mark.filterwarnings("ignore:left out an image")
def test_wrong_queries(run, tmp_path, capsys):
    assert command(run, "neighbours", "--query", "no.png") == 1
    assert "no.png: no such image, neither from here nor below" in capsys.readouterr().err
    assert command(run, "neighbours", "--query", "03.png", "-k", 26) == 1
    assert "-k: got 26, want at most 25" in capsys.readouterr().err
    assert command(run, "neighbours", "--query", "03.png", "--out", run / "photos" / "03.png") == 1
    assert "choose another name" in capsys.readouterr().err


def test_duplicates(run, tmp_path, capsys):
    with pytest.warns(UserWarning, match="left out an image that cannot be read: .*broken.jpg"):
        assert command(run, "duplicates", "--out", tmp_path / "d.csv") == 0
    lines = capsys.readouterr().out.splitlines()
    end = lines.index("26 images, 2 groups: 1 exact copy, 1 near one")
    assert lines[end + 1].startswith("just below the threshold of 0.97") and 1 <= len(lines[end + 2 :]) <= 5
    below = [float(line.split()[0]) for line in lines[end + 2 :]]
    assert below == sorted(below, reverse=True) and below[0] <= 0.97
    with open(tmp_path / "d.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["group"], row["kind"], row["name"].rpartition("/")[2]) for row in table] == [
        ("1", "first", "03.png"),
        ("1", "exact", "copy.bmp"),
        ("2", "first", "05.png"),
        ("2", "near", "near.png"),
    ]
    with pytest.warns(UserWarning, match="broken"):
        assert command(run, "duplicates", "--exact", "--json") == 0
    kept = json.loads(capsys.readouterr().out)
    assert [group["kind"] for group in kept["groups"]] == ["exact"] and kept["images"] == 26


@pytest.mark.parametrize("kind", ["npy", "npz", "tar", "broken"])
@pytest.mark.parametrize("others", [[], ["03.png"]])
@pytest.mark.parametrize("sheet", [True, False])
def test_a_query_is_one_image_file(run, tmp_path, capsys, monkeypatch, kind, others, sheet):
    """Arrays and archives have several: which image was meant would be a guess. Told before the set is embedded."""
    pixels = np.zeros((2, 24, 24, 3), np.uint8)
    query = tmp_path / f"query.{'png' if kind == 'broken' else kind}"
    if kind == "npy":
        np.save(query, pixels)
    elif kind == "npz":
        np.savez(query, images=pixels)
    elif kind == "tar":
        with tarfile.open(query, "w") as archive:
            archive.add(run / "photos" / "03.png", "a.png")
    else:
        query.write_bytes((run / "photos" / "03.png").read_bytes()[:60])
    monkeypatch.setattr("carl.cli._look.look", lambda *args, **more: pytest.fail("the set was embedded"))
    checkpoint = run / "model.carl"
    carl.load(run / "run").save(checkpoint)
    model = run / "run" if sheet else checkpoint
    assert main(["neighbours", str(model), str(run / "photos"), "--quiet", "--query", str(query), *others]) == 1
    error = capsys.readouterr().err
    assert f"--query: cannot read {query}: " in error and "want image files, each of one image" in error


@pytest.mark.filterwarnings("ignore:left out an image")
def test_outliers(run, tmp_path, capsys):
    assert command(run, "outliers", "-k", 3, "--images", 2, "--out", tmp_path / "o.csv", "--json") == 0
    kept = json.loads(capsys.readouterr().out)
    with open(tmp_path / "o.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    scores = [float(row["similarity"]) for row in table]
    assert len(table) == 26 and scores == sorted(scores) and len(kept["outliers"]) == 2
    assert kept["outliers"][0]["name"] == table[0]["name"]
    assert kept["median"] == pytest.approx((scores[12] + scores[13]) / 2)
    model = carl.load(run / "run")
    features = model.transform([row["name"] for row in table])
    np.testing.assert_allclose(evaluate.outliers(features, 3), scores, atol=1e-4)
    assert command(run, "outliers", "--out", tmp_path / "o.txt") == 1
    assert "ends with .csv" in capsys.readouterr().err


# ---- Raw pixels


def test_raw_pixels_are_means_over_areas():
    random = np.random.default_rng(0)
    large = random.integers(0, 256, (3, 64, 96, 3)).astype(np.uint8)
    expected = large.reshape(3, 32, 2, 32, 3, 3).mean(axis=(2, 4)).reshape(3, -1)
    np.testing.assert_allclose(evaluate.pixel_features(large), expected, rtol=1e-5)
    np.testing.assert_allclose(evaluate.pixel_features(list(large)), expected, rtol=1e-5)
    small = random.integers(0, 256, (3, 28, 28)).astype(np.uint8)
    np.testing.assert_array_equal(evaluate.pixel_features(small, 28), small.reshape(3, -1))
    uneven = evaluate.pixel_features([np.full((37, 5), 9, np.uint8), np.full((8, 50), 9, np.uint8)])
    np.testing.assert_allclose(uneven, 9, rtol=1e-6)


@pytest.mark.usefixtures("undrawn")
def test_knn_shows_the_accuracy_of_raw_pixels(run, images, tmp_path, capsys):
    labels = np.arange(40) % 2
    np.savez(tmp_path / "d.npz", images=images, labels=labels)
    data = str(tmp_path / "d.npz")
    assert main(["knn", str(run / "run"), data, data, "-k", "3"]) == 0
    raw = evaluate.knn(
        images.reshape(40, -1).astype(np.float32), labels, images.reshape(40, -1).astype(np.float32), labels, 3
    )
    printed = capsys.readouterr().out
    assert f"(raw pixels {raw.accuracy:.4f})" in printed  # and no whitened features of 40 images
    kept = json.loads((run / "run" / "evaluation" / "knn.json").read_text())
    assert kept["raw_pixels"] == {"3": raw.accuracy}
    pytest.importorskip("matplotlib")
    assert main(["report", str(run / "run"), "--data", data, "--images", "6"]) == 0
    assert "raw_pixels" in (run / "run" / "report.html").read_text()
    capsys.readouterr()
    assert main(["knn", str(run / "run"), data, data, "--no-baseline", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["raw_pixels"] is None


@pytest.mark.usefixtures("undrawn")
def test_knn_shows_whitened_features_where_they_can_be_estimated(run, tmp_path, capsys):
    many = np.random.default_rng(1).integers(0, 256, (20 * 64, 12, 12, 3)).astype(np.uint8)
    np.savez(tmp_path / "many.npz", images=many, labels=np.arange(len(many)) % 2)
    data, model = str(tmp_path / "many.npz"), carl.load(run / "run")
    assert model.transform(many[:1]).shape[1] == 64
    assert main(["knn", str(run / "run"), data, data, "-k", "3", "--json"]) == 0
    features = model.transform(many)
    want = evaluate.knn(features, np.arange(len(many)) % 2, features, np.arange(len(many)) % 2, 3, whiten=True)
    assert json.loads(capsys.readouterr().out)["whitened"] == {"3": want.accuracy}
    pytest.importorskip("matplotlib")
    assert main(["report", str(run / "run"), "--data", data, "--images", "6"]) == 0
    page = (run / "run" / "report.html").read_text()
    assert f"whitened, k = 3: {want.accuracy:.4f}; raw pixels, k = 3: " in page


@pytest.mark.parametrize("count", [40, 1100, 1500])
def test_a_group_of_copies_has_no_largest_size(count):
    values = 0.01 * np.random.default_rng(0).normal(size=(2 * count, 16)).astype(np.float32)
    values[:count, 0] += 1
    values[count:, 0] -= 1
    groups = evaluate.duplicates(values, threshold=0.95)
    assert [sorted(group.places) for group in groups] == [list(range(count)), list(range(count, 2 * count))]
    for group in groups:
        assert np.all(np.diff(group.similarities) <= 1e-6) and group.similarities.min() >= 0.95
