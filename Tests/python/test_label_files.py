"""Labels, keys and values that the command line and the protocols are told of: files of labels, --image-key,
--value-range, --on-error."""

from __future__ import annotations

import json
import tarfile

import numpy as np
import pytest

import carl
from carl import evaluate
from carl.cli import main
from carl.sources.labelled import open_labelled
from conftest import small_model

Image = pytest.importorskip("PIL.Image")

COUNT = 20


@pytest.fixture
def run(images, tmp_path):
    small_model(epochs=1, run_dir=tmp_path / "run").fit(images)
    return str(tmp_path / "run")


@pytest.fixture
def photos(tmp_path):
    """Twenty files of two kinds in one flat folder, their names in another order than their kinds."""
    random = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for place in range(COUNT):
        image = random.integers(0, 80, (14, 14, 3)) + 120 * (place % 2)
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / "photos" / f"{place:02d}.png")
    return str(tmp_path / "photos")


NAMES = ["ant" if place % 2 == 0 else "bee" for place in range(COUNT)]


def label_file(kind, tmp_path):
    """A file of the labels of `photos`."""
    numbers = np.arange(COUNT) % 2
    if kind == "npy":
        np.save(tmp_path / "y.npy", numbers)
        return tmp_path / "y.npy"
    if kind == "text.npy":
        np.save(tmp_path / "y.npy", np.array(NAMES))
        return tmp_path / "y.npy"
    rows = list(zip((f"{place:02d}.png" for place in range(COUNT)), NAMES))
    text, ending = {
        "txt": ("\n".join(NAMES) + "\n", "txt"),
        "numbers.txt": ("\n".join(map(str, numbers)), "txt"),
        "dos.txt": ("\ufeff" + "\r\n".join(NAMES) + "\r\n\r\n", "txt"),
        "csv": ("label\n" + "\n".join(NAMES), "csv"),
        "named.csv": ("name,label\n" + "\n".join(f"{name},{label}" for name, label in reversed(rows)), "csv"),
        "more.csv": ("Label,x,Path\n" + "\n".join(f'{b},"1,2",photos/{a}' for a, b in rows) + "\nz,0,z.png", "csv"),
        "tsv": ("file\tclass\n" + "\n".join(f"{name}\t{label}" for name, label in rows), "tsv"),
    }[kind]
    (tmp_path / f"y.{ending}").write_text(text, encoding="utf-8", newline="")
    return tmp_path / f"y.{ending}"


KINDS = ["npy", "text.npy", "txt", "numbers.txt", "dos.txt", "csv", "named.csv", "more.csv", "tsv"]


@pytest.mark.parametrize("kind", KINDS)
def test_forms_of_a_file(kind, photos, tmp_path):
    found = open_labelled(photos, label_file(kind, tmp_path))
    assert found.labels.tolist() == [place % 2 for place in range(COUNT)]
    assert found.class_names == (None if kind in ("npy", "numbers.txt") else ["ant", "bee"])


@pytest.mark.parametrize("kind", ["txt", "named.csv", "text.npy", "npy"])
@pytest.mark.usefixtures("undrawn")
def test_all_commands_take_it(kind, run, photos, tmp_path, capsys):
    pytest.importorskip("sklearn")
    file = str(label_file(kind, tmp_path))
    pair, few = ["--train-labels", file, "--test-labels", file], ["--epochs", "1", "--seeds", "0"]
    saved = str(tmp_path / "classifier.carl")
    for command in (
        ["knn", run, photos, photos, *pair, "-k", "1"],
        ["linear", run, photos, photos, *pair, *few, "--save", saved],
        ["finetune", run, photos, photos, *pair, *few, "--labels", "100%"],
        ["transfer", run, photos, photos, *pair, *few],
        ["cluster", run, photos, "--labels", file],
        ["retrieval", run, photos, "--labels", file, "-k", "1"],
        ["retrieval", run, photos, photos, "--labels", file, "--query-labels", file, "-k", "1"],
        ["predict", saved, photos, "--labels", file, "--out", str(tmp_path / "p.csv")],
        ["plot", "confusion", run, "--data", photos, "--labels", file],
        ["plot", "confusion", saved, "--data", photos, "--labels", file, "--out", str(tmp_path / "c.png")],
        ["report", run, "--data", photos, "--labels", file, "--images", "6"],
        ["train", photos, "--eval", photos, "--eval-labels", file, "--out", str(tmp_path / "judged"), "--quiet",
         "epochs=1", "batch_size=8", "view_size=12", "width=0.125", "projector=[16,8]", "prototypes=6"],
    ):  # fmt: skip
        assert main([*command, *(["--json"] if command[0] != "train" else [])]) == 0, command
        printed = capsys.readouterr()
        if command[0] == "knn":
            assert json.loads(printed.out)["accuracies"] == {"1": 1.0}
        if command[0] == "linear":
            assert set(json.loads(printed.out)["per_class"]) == ({"0", "1"} if kind == "npy" else {"ant", "bee"})
        if command[0] == "predict":
            assert json.loads(printed.out)["accuracy"] is not None


def test_two_files_may_know_other_classes(run, photos, tmp_path):
    """Numbers of text depend on the classes of a file: two sets meet by their names."""
    (tmp_path / "a.txt").write_text("\n".join(NAMES))
    (tmp_path / "b.txt").write_text("\n".join("bee" if name == "bee" else "aardvark" for name in NAMES))
    names = ["--train-labels", str(tmp_path / "a.txt"), "--test-labels", str(tmp_path / "b.txt")]
    with pytest.warns(UserWarning, match="the first has no aardvark; the second has no ant") as told:
        assert main(["knn", run, photos, photos, *names, "-k", "1"]) == 0
    assert [str(each.message) for each in told][1:] == [
        "labels of TEST: aardvark not in labels of TRAIN, so these samples count as wrong"
    ]
    kept = json.loads((tmp_path / "run" / "evaluation" / "knn.json").read_text())
    assert kept["accuracies"] == {"1": 0.5}  # the bees


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("y.txt:ant\nbee\n", "got 2 labels, want 20"),
        ("y.txt:" + "ant\n" * 3 + "\n" + "bee\n" * 16, "label 4 of 20 is empty"),
        ("y.csv:a.png,ant\n", "its first line is a.png, ant; want the columns' heads, one of label, class, target"),
        ("y.csv:name,label\n00.png,ant\n", r"has no label of .*01\.png, .*02\.png, .*03\.png and 16 more"),
        ("y.csv:name,label\n00.png,ant\n00.png,bee\n", "00.png has two labels, ant and bee"),
        ("y.csv:name,label\n00.png\n", "line 2 has 1 columns, want 2"),
        ("y.csv:", "its first line is missing"),
    ],
)
def test_what_is_no_file_of_labels(text, words, photos, tmp_path):
    name, _, content = text.partition(":")
    (tmp_path / name).write_text(content)
    with pytest.raises(carl.CARLError, match=words):
        open_labelled(photos, tmp_path / name)


def test_a_name_that_may_be_two_images(tmp_path):
    for folder in "ab":
        (tmp_path / "set" / folder).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "set" / folder / "1.png")
    (tmp_path / "y.csv").write_text("name,label\n1.png,x\n")
    with pytest.raises(carl.InvalidArgumentError, match=r"1\.png may be .*a/1\.png or .*b/1\.png"):
        open_labelled(str(tmp_path / "set"), tmp_path / "y.csv")
    (tmp_path / "y.csv").write_text("name,label\na/1.png,x\nb/1.png,y\n")
    assert open_labelled(str(tmp_path / "set"), tmp_path / "y.csv").labels.tolist() == [0, 1]


def test_protocols_take_paths_of_labels(run, photos, tmp_path):
    file = label_file("txt", tmp_path)
    for protocol, options in ((evaluate.linear_probe, {}), (evaluate.finetune, {"label_fraction": 1.0})):
        result = protocol(run, photos, file, photos, NAMES, epochs=1, seeds=0, progress=False, **options)
        assert set(result.per_class) == {"ant", "bee"}


@pytest.fixture
def keyed(tmp_path):
    """An archive whose arrays have names of its own: gray pictures, and labels of text."""
    random = np.random.default_rng(1)
    pixels = random.integers(0, 80, (COUNT, 14, 14, 3)) + 120 * (np.arange(COUNT) % 2)[:, None, None, None]
    np.savez(
        tmp_path / "keyed.npz", pictures=pixels.astype(np.uint8), kinds=np.array(NAMES), masks=np.zeros((COUNT, 4))
    )
    return str(tmp_path / "keyed.npz")


@pytest.mark.usefixtures("undrawn")
def test_keys_of_arrays(run, keyed, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    assert main(["knn", run, keyed, keyed]) == 1
    assert "or image_key" in capsys.readouterr().err
    keys = ["--image-key", "pictures", "--label-key", "kinds"]
    pair, few = [keyed, keyed, *keys], ["--epochs", "1", "--seeds", "0"]
    saved = str(tmp_path / "classifier.carl")
    for command in (
        ["knn", run, *pair, "-k", "1"],
        ["linear", run, *pair, *few, "--save", saved],
        ["finetune", run, *pair, *few, "--labels", "100%"],
        ["transfer", run, *pair, *few],
        ["retrieval", run, keyed, *keys, "-k", "1"],
        ["predict", saved, keyed, *keys, "--out", str(tmp_path / "p.csv")],
        ["embed", run, keyed, *keys, "--out", str(tmp_path / "f.csv")],
        ["duplicates", run, keyed, *keys[:2]],
        ["outliers", run, keyed, *keys[:2], "-k", "3"],
        ["plot", "confusion", run, "--data", keyed, *keys],
        ["report", run, "--data", keyed, *keys, "--images", "6"],
    ):
        assert main(command) == 0, (command, capsys.readouterr().err)
    assert (tmp_path / "p.csv").read_text().splitlines()[1].split(",")[:2] == ["image 0", "ant"]
    assert (tmp_path / "f.csv").read_text().splitlines()[2].split(",")[:2] == ["image 1", "bee"]


def test_keys_of_samples_in_tar(run, tmp_path, capsys):
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        for place in range(8):
            for ending, value in (("rgb.png", 200 * (place % 2)), ("seg.png", 0)):
                file = tmp_path / "one.png"
                pixels = np.random.default_rng(place).integers(0, 50, (14, 14, 3)) + value
                Image.fromarray(pixels.astype(np.uint8)).save(file)
                archive.add(file, f"{place}.{ending}")
            (tmp_path / "one.txt").write_text(NAMES[place])
            archive.add(tmp_path / "one.txt", f"{place}.kind")
    keys = ["--image-key", "rgb.png", "--label-key", "kind"]
    tar = str(tmp_path / "s.tar")
    assert main(["retrieval", run, tar, *keys, "-k", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["queries"] == 8
    assert main(["knn", run, tar, tar, *keys, "-k", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracies"] == {"1": 1.0}


@pytest.fixture
def wide(tmp_path):
    """Photos as float32 in 0 .. 1."""
    random = np.random.default_rng(2)
    pixels = random.random((COUNT, 14, 14, 3)) / 3 + 0.5 * (np.arange(COUNT) % 2)[:, None, None, None]
    np.savez(tmp_path / "wide.npz", images=pixels.astype(np.float32), labels=np.arange(COUNT) % 2)
    return str(tmp_path / "wide.npz")


@pytest.mark.usefixtures("undrawn")
def test_values_for_every_command(run, wide, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    pair, few, saved = [wide, wide], ["--epochs", "1", "--seeds", "0"], str(tmp_path / "classifier.carl")
    assert main(["knn", run, *pair]) == 1
    assert "value_range" in capsys.readouterr().err
    for command in (
        ["knn", run, *pair, "-k", "1"],
        ["linear", run, *pair, *few, "--save", saved],
        ["finetune", run, *pair, *few, "--labels", "100%"],
        ["transfer", run, *pair, *few],
        ["retrieval", run, wide, "-k", "1"],
        ["embed", run, wide, "--out", str(tmp_path / "f.csv")],
        ["duplicates", run, wide],
        ["outliers", run, wide, "-k", "3"],
        ["plot", "counts", run, "--data", wide],
        ["report", run, "--data", wide, "--images", "6"],
        ["predict", saved, wide, "--out", str(tmp_path / "p.csv")],
    ):
        assert main([*command, "--value-range", "0,1"]) == 0, (command, capsys.readouterr().err)
    # A classifier knows the values it was trained with.
    assert main(["predict", saved, wide, "--out", str(tmp_path / "q.csv")]) == 0
    assert (tmp_path / "q.csv").read_bytes() == (tmp_path / "p.csv").read_bytes()
    assert main(["predict", saved, wide, "--out", str(tmp_path / "r.csv"), "--value-range", "[0, 9]"]) == 0
    assert (tmp_path / "r.csv").read_bytes() != (tmp_path / "p.csv").read_bytes()
    with pytest.raises(SystemExit):
        main(["embed", run, wide, "--out", str(tmp_path / "f.csv"), "--value-range", "1,0"])
    assert "'1,0' is not two numbers such as 0,1, the lower first" in capsys.readouterr().err


def test_a_query_with_values_of_its_own(run, tmp_path, capsys):
    """One image is read by the same rule as a folder."""
    folder = tmp_path / "floats"
    folder.mkdir()
    random = np.random.default_rng(3)
    for place in range(4):
        Image.fromarray(random.random((14, 14)).astype(np.float32)).save(folder / f"{place}.tif")
    query = str(folder / "1.tif")
    assert main(["embed", run, query, "--out", str(tmp_path / "one.csv")]) == 1
    assert "value_range" in capsys.readouterr().err
    given = ["--value-range", "0,1"]
    assert main(["embed", run, query, "--out", str(tmp_path / "one.npy"), *given]) == 0
    assert main(["embed", run, str(folder), "--out", str(tmp_path / "all.npy"), *given]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "one.npy")[0], np.load(tmp_path / "all.npy")[1], atol=1e-5)
    pytest.importorskip("matplotlib")
    assert main(["neighbours", run, str(folder), "--query", query, "-k", "2", *given]) == 0


def test_protocols_in_python_take_values(run, wide):
    model = carl.load(run)
    for protocol, options in (
        (evaluate.linear_probe, {}),
        (evaluate.finetune, {"label_fraction": 1.0}),
        (evaluate.transfer, {}),
    ):
        options = {"epochs": 1, "seeds": 0, "progress": False, **options}
        with pytest.raises(carl.InvalidArgumentError, match="value_range"):
            protocol(model, wide, None, wide, None, **options)
        result = protocol(
            carl.Encoder.from_trainer(model.trainer_), wide, None, wide, None, value_range=(0, 1), **options
        )
        assert result.test_samples == COUNT
    with pytest.raises(carl.InvalidArgumentError, match="value_range: got"):
        evaluate.linear_probe(model, wide, None, wide, None, value_range=(1, 0))


def test_broken_images_by_choice(run, tmp_path, capsys):
    for kind in "ab":
        (tmp_path / "set" / kind).mkdir(parents=True)
        for place in range(20):
            pixels = np.random.default_rng(place).integers(0, 80, (14, 14, 3)) + 100 * (kind == "b")
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "set" / kind / f"{place}.png")
    (tmp_path / "set" / "a" / "3.png").write_bytes(b"nothing")
    folder = str(tmp_path / "set")
    few = ["--epochs", "1", "--seeds", "0"]
    for command in (
        ["knn", run, folder, folder, "-k", "1"],
        ["linear", run, folder, folder, *few],
        ["finetune", run, folder, folder, *few, "--labels", "100%"],
        ["transfer", run, folder, folder, *few],
        ["retrieval", run, folder, "-k", "1"],
        ["duplicates", run, folder],
        ["outliers", run, folder, "-k", "3"],
        ["neighbours", run, folder, "--query", f"{folder}/b/1.png", "-k", "2"],
    ):
        assert main([*command, "--on-error", "raise"]) == 1, command
        assert "3.png" in capsys.readouterr().err
        assert main(command) == 0, command
        capsys.readouterr()
    out = str(tmp_path / "f.npy")
    assert main(["embed", run, folder, "--out", out]) == 1
    assert "3.png: cannot identify image file (--on-error nan leaves its row empty)" in capsys.readouterr().err
    assert main(["embed", run, folder, "--out", out, "--on-error", "nan"]) == 0


@pytest.mark.usefixtures("undrawn")
def test_a_report_wants_the_labels_that_it_is_told_of(run, photos, tmp_path, capsys):
    page = tmp_path / "page.html"
    few = tmp_path / "few.npy"
    np.save(few, np.zeros(3, int))
    for labels in (few, tmp_path / "nowhere.txt"):
        assert main(["report", run, "--data", photos, "--labels", str(labels), "--out", str(page)]) == 1
        assert str(labels) in capsys.readouterr().err and not page.exists()


def test_either_term_at_log_k_is_a_collapse(run):
    """All images on one prototype: consistency 0, prior log K; even assignments of all: the other way round."""
    from carl import report

    text = report.write(run, images=6).path.read_text(encoding="utf-8")
    assert "Either of them at log K means a collapse" in text and "Both" not in text.split("log K")[2]


@pytest.mark.parametrize("kind", ["npy", "text.npy", "txt", "numbers.txt", "csv"])
def test_protocols_of_features_take_paths_of_labels(kind, run, photos, tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("scipy")
    file = label_file(kind, tmp_path)
    features = carl.load(run).transform(photos)
    assert evaluate.knn(features, file, features, str(file), k=1).accuracy == 1.0
    assert evaluate.retrieval(features, file, k=1).to_dict() == evaluate.retrieval(features, str(file), k=1).to_dict()
    assert evaluate.cluster(features, file).labels == 2
    assert evaluate.cluster(np.arange(COUNT) % 2, str(file)).ari == 1.0
    probe = evaluate.linear_probe(None, features, str(file), features, file, method="logistic")
    assert probe.classes == 2 and probe.test_samples == COUNT


def test_features_have_no_names_for_a_table(photos, tmp_path):
    named = label_file("named.csv", tmp_path)
    with pytest.raises(carl.InvalidArgumentError, match="without a column of names"):
        evaluate.knn(np.eye(COUNT), str(named), np.eye(COUNT))
    with pytest.raises(carl.InvalidArgumentError, match="got 20 labels, want 3"):
        evaluate.knn(np.eye(3), str(label_file("npy", tmp_path)), np.eye(3))


@pytest.mark.parametrize("name", ["y.json", "y.npz", "y.jpg", "y", "folder"])
def test_a_file_of_another_kind_is_told_the_forms(name, run, photos, tmp_path, capsys):
    file = tmp_path / name
    if name == "folder":
        file.mkdir()
    elif name == "y.npz":
        np.savez(file, labels=np.arange(COUNT) % 2)
    else:
        file.write_text("[0, 1]" * 20)
    assert main(["plot", "map", run, "--data", photos, "--labels", str(file)]) == 1
    said = capsys.readouterr().err
    assert str(file) in said and "want" in said and ".npy, IDX, .txt" in said and ".csv" in said
    with pytest.raises(carl.FileError, match=r"\.npy, IDX, \.txt"):
        carl.Classifier(carl.load(run), epochs=1).fit(photos, str(file))
