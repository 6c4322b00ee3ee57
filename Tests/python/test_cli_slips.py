"""The command line as it is typed: words in another order, a file that is something else, labels of other classes."""

from __future__ import annotations

import shutil
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import carl
from carl import demo
from carl.cli import main
from conftest import small_model

Image = pytest.importorskip("PIL.Image")
SMALL = ["width=0.125", "projector=[16,8]", "prototypes=6", "batch_size=8", "view_size=12", "--quiet"]


def saved(folder, images):
    folder.mkdir()
    for place, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{place:02}.png")
    return folder


@pytest.fixture
def photos(images, tmp_path):
    return saved(tmp_path / "photos", images[:24])


@pytest.fixture
def run(photos, tmp_path):
    small_model(run_dir=tmp_path / "run").fit(str(photos))
    return tmp_path / "run"


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "words",
    [
        ["epochs=1", "DATA", *SMALL],
        [*SMALL, "epochs=1", "DATA"],
        ["epochs=1", *SMALL, "DATA", "--out", "OUT"],
        ["DATA", "epochs=1", *SMALL, "--out", "OUT"],
        ["--out", "OUT", "--epochs", "1", "DATA", *SMALL],
    ],
)
def test_keys_may_stand_in_front_of_the_images(words, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = {"DATA": str(photos), "OUT": "runs/train"}
    assert main(["train", *(places.get(word, word) for word in words)]) == 0
    assert carl.load("runs/train").trainer_.step_count == 3


def test_images_that_are_left_out_or_not_there(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["train", "epochs=1", "--out", "runs/new"])
    assert "want DATA, the images to train on: runs/new is no run" in capsys.readouterr().err
    assert main(["train", "nowhere/", "epochs=1"]) == 1
    assert "nowhere/: no such file or folder" in capsys.readouterr().err
    assert main(["train", str(photos), "epohcs=1"]) == 1
    assert "did you mean" in capsys.readouterr().err


def test_a_run_that_total_steps_has_ended_says_so(photos, tmp_path, capsys):
    run = str(tmp_path / "run")
    assert main(["train", str(photos), *SMALL, "epochs=5", "total_steps=4", "--out", run]) == 0
    capsys.readouterr()
    for more in (["epochs=100"], ["total_steps=3"], []):
        assert main(["train", run, "--resume", *more]) == 0
        assert "nothing to do: 4 steps are taken" in (said := capsys.readouterr().out) and "total_steps=8" in said
    assert main(["train", run, "--resume", "total_steps=8", "--quiet"]) == 0
    assert carl.load(run).trainer_.step_count == 8


@pytest.mark.parametrize(
    ("command", "target"),
    [
        (["plot", "gallery", "RUN"], "photos/03.png"),
        (["plot", "curves", "RUN"], "photos/03.png"),
        (["report", "RUN"], "photos/03.png"),
        (["report", "RUN"], "run/config.json"),
        (["plot", "curves", "RUN"], "run/metrics.jsonl"),
        (["report", "run/checkpoints/last.carl"], "run/config.json"),
        (["embed", "RUN", "other"], "run/train.log"),
        (["embed", "RUN", "other"], "photos/03.png"),
    ],
)
def test_no_command_overwrites_what_a_run_is_made_of(command, target, run, tmp_path, images, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "other", images[24:28])
    before = content(tmp_path)
    assert main([*("run" if word == "RUN" else word for word in command), "--out", target]) == 1
    assert "--out" in capsys.readouterr().err
    assert content(tmp_path) == before


def test_own_outputs_in_a_run_folder_may_be_written_again(run, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["embed", "run", "photos", "--out", "run/features_of_mine.npy", "--quiet"]) == 0
        assert main(["export", "run", "--out", "run/exported/encoder.safetensors"]) == 0


def test_a_run_by_a_path_through_a_link(photos, tmp_path, monkeypatch):
    """What the system makes of link/.. is not what the text says."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real/sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real/sub")
    assert main(["train", "photos", *SMALL, "epochs=1", "--out", "link/../run"]) == 0
    assert (tmp_path / "real/run/checkpoints/last.carl").is_file() and not (tmp_path / "run").exists()
    assert main(["train", "link/../run", "--resume", "epochs=2", "--quiet"]) == 0
    assert carl.load("link/../run").trainer_.step_count == 6


def test_of_a_list_of_files_too(run, photos, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    listed = tmp_path / "listed"
    small_model(run_dir=listed).fit([str(path) for path in sorted(photos.glob("*.png"))])
    before = content(photos)
    assert main(["plot", "curves", str(listed), "--out", str(photos / "05.png")]) == 1
    assert content(photos) == before
    assert main(["plot", "curves", str(listed), "--out", str(photos / "curves.png")]) == 0


@pytest.mark.parametrize("key",
    [
        "epohcs=1", "encoder=resnet19", "run_dir=elsewhere", "progress=true", "width=0.3", "memory=1M", "eval_every=2",
        "checkpoint_every=-1", "on_error=foo", "weights=nofile",
    ],
)  # fmt: skip
def test_a_demonstration_touches_nothing_where_a_key_is_wrong(key, run, images, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo.evaluate, "linear_probe", lambda *given, **options: SimpleNamespace(accuracy=0.5))
    four = (images[:16, ..., 0], np.arange(16) % 2, images[16:24, ..., 0], np.arange(8) % 2)
    monkeypatch.setattr(demo, "load_fashion_mnist", lambda folder: four)
    shutil.copytree(run, tmp_path / "demo")
    (tmp_path / "demo/results.json").write_text('{"of": "the last"}')
    before = content(tmp_path)
    assert main(["demo", "--quick", "--out", str(tmp_path / "demo"), key]) == 1
    assert capsys.readouterr().err.startswith("carl: ")
    assert content(tmp_path) == before
    # a run that no demonstration has left
    assert main(["demo", "--quick", "--out", str(run)]) == 1
    assert "no demonstration" in capsys.readouterr().err
    assert content(tmp_path) == before


def test_negative_numbers_after_an_option(run, images, tmp_path, capsys):
    np.save(tmp_path / "x.npy", images[:6].astype(np.float32) / 127.5 - 1)
    out = tmp_path / "out.npy"
    for words in (["--value-range", "-1,1"], ["--value-range=-1,1"], ["--value-range", "-1.0,1"]):
        assert main(["embed", str(run), str(tmp_path / "x.npy"), *words, "--out", str(out), "--quiet"]) == 0
        found = np.load(out)
        np.testing.assert_allclose(found, carl.load(run).transform(images[:6]), rtol=0.05, atol=0.05)


def test_a_table_of_absolute_paths_and_images_by_relative_ones(run, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder in (f"{photos}/", "./", "photos/", f"{tmp_path.name}/photos/"):
        paths = [f"{folder}{place:02}.png" for place in range(24)]
        rows = [f"{path},{place % 3}" for place, path in enumerate(paths)]
        (tmp_path / "labels.csv").write_text("\n".join(["name,label", *rows]))
        assert main(["retrieval", "run", "photos", "--labels", "labels.csv", "-k", "1"]) == 0


def test_labels_of_other_classes_are_told(run, photos, images, tmp_path, capsys):
    labels = np.arange(24) % 2
    classifier = carl.Classifier(str(run), freeze_encoder=True, epochs=1, progress=False)
    classifier.fit(images[:24], np.array(["ant", "bee"])[labels]).save(tmp_path / "c.carl")
    out = ["--out", str(tmp_path / "p.csv"), "--quiet"]

    def predict(names):
        (tmp_path / "l.txt").write_text("\n".join(names))
        return main(["predict", str(tmp_path / "c.carl"), str(photos), "--labels", str(tmp_path / "l.txt"), *out])

    with pytest.warns(UserWarning, match="labels: cat, dog not among the classes of .*, ant, bee: so nothing"):
        assert predict(np.array(["cat", "dog"])[labels]) == 0
    assert "accuracy" not in capsys.readouterr().out
    with pytest.warns(UserWarning, match="labels: dog not among .* left out of the accuracy"):
        assert predict(np.array(["ant", "dog"])[labels]) == 0
    assert "of 12 labelled images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (["a.jpg", None], r"images\[1\]: is missing"),
        ([None, "a.jpg"], r"images\[0\]: is missing"),
        (["a.jpg", float("nan"), None], r"images\[1\]: is missing, in all 2 of 3"),
        (["a.jpg", np.zeros((4, 4), np.uint8)], r"images\[1\]: got ndarray in a list that begins with paths"),
        ([np.zeros((4, 4), np.uint8), "a.jpg"], r"images\[1\]: got a path in a list that begins with ndarray"),
    ],
)
def test_a_list_with_gaps_or_of_two_kinds(images, words):
    with pytest.raises(carl.InvalidArgumentError, match=words):
        carl.as_source(images)


def test_options_without_effect_are_refused(photos, run, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    views = ["plot", "views", str(photos), "--images", "2", "--out", str(tmp_path / "v.png")]
    specs = ["--views", '{"size": 12}']
    bench = ["bench", "width=0.125", "--images", "4", "--steps", "1"]
    for words, said in (
        ([*views, "--data", str(photos)], "--data: is of RUN"),
        ([*views, *specs, "--view-size", "16"], "--view-size: is of a preset"),
        ([*bench, "batch_size=7"], "say --images"),
        ([*bench, "view_size=64"], "say --size"),
        ([*bench, "epochs=9"], "epochs: has no effect"),
        ([*bench, "learning_rate=3"], "learning_rate: has no effect"),
        ([*bench, 'views={"size": 12}', "--size", "16"], "--size: the specifications"),
    ):
        assert main(words) == 1
        assert said in capsys.readouterr().err and not (tmp_path / "v.png").exists()
    assert main([*views, *specs]) == 0 and main([*bench, "views=weak", "--size", "12"]) == 0


@pytest.mark.parametrize("name", ["a.jpg", "a.json", "a.npy", "a.txt", "empty"])
def test_a_file_that_is_no_model_is_told_what_is_one(name, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save("a.jpg")
    np.save("a.npy", np.zeros((4, 9, 9, 3), np.uint8))
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "a.txt").write_text("0 1 2 3 4 5")
    (tmp_path / "empty").write_bytes(b"")
    for words in (
        ["info", name],
        ["embed", name, "photos", "--out", "f.npy"],
        ["cluster", name, "photos"],
        ["plot", "counts", name, "--data", "photos", "--out", "c.png"],
        ["export", name, "--out", "e.safetensors"],
        ["predict", name, "photos", "--out", "p.csv"],
    ):
        assert main(words) == 1
        assert f"{name} is no model: want a run folder, or a .carl file" in capsys.readouterr().err
    for words in (["embed", "--weights", name, "photos", "--out", "f.npy"], ["train", "photos", f"weights={name}"]):
        assert main(words) == 1
        assert f"{name} is no file of weights: want a .safetensors file" in capsys.readouterr().err


def test_broken_json_and_files_in_the_place_of_folders(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words, said in (
        (["train", "photos", 'views=[{"size": 64'], "views: got [{"),
        (["train", "photos", "--projector", "[16,"], "which is broken JSON"),
        (["train", "photos", "--out", "photos/00.png"], "--out: "),
        (["train", "photos", "--out", "photos/00.png/run"], "00.png is a file, want a folder"),
        (["train", "photos", "cache=photos/00.png", *SMALL], "00.png is a file, want a folder"),
        (["train", "photos", "--config", "photos/00.png"], "00.png: it is no UTF-8 text"),
        (["train", "photos", "--config", "none.json"], "cannot read none.json: No such file"),
    ):
        assert main(words) == 1
        error = capsys.readouterr().err
        assert said in error and "Errno" not in error and "codec" not in error


def test_missing_folders_of_what_is_written_are_made(photos, run, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    model, data, new = str(run), str(photos), tmp_path / "new"
    for place, words in enumerate(
        (
            ["embed", model, data, "--out", "f.csv"],
            ["export", model, "--out", "e.safetensors"],
            ["outliers", model, data, "--out", "o.csv"],
            ["duplicates", model, data, "--out", "d.csv"],
            ["cluster", model, data, "--out", "g.csv"],
            ["plot", "counts", model, "--out", "c.png"],
            ["neighbours", model, data, "--query", "00.png", "--out", "n.png"],
            ["report", model, "--images", "6", "--out", "r.html"],
        )
    ):
        file = new / str(place) / "deep" / words[-1]
        assert main([*words[:-1], str(file)]) == 0, capsys.readouterr().err
        assert file.stat().st_size > 0


def test_commands_name_what_they_were_given(photos, run, tmp_path, capsys):
    same = tmp_path / "same.txt"
    same.write_text("1\n" * 24)
    model, data = str(run), str(photos)
    pair = ["--train-labels", str(same), "--test-labels", str(same)]
    for words, said in (
        (["retrieval", model, data, "--labels", str(same)], "labels of DATA: all are the same"),
        (["knn", model, data, data, *pair], "labels of TRAIN: all are the same"),
    ):
        assert main(words) == 1
        assert said in capsys.readouterr().err
    two = tmp_path / "two.npy"
    np.save(two, np.arange(24) % 2)
    for words in (["knn", model, data, data, "--train-labels", str(two), "--test-labels", str(two)],
                  ["retrieval", model, data, "--labels", str(two)]):  # fmt: skip
        assert main([*words, "-k", "90"]) == 1
        assert "-k: got 90" in capsys.readouterr().err
    np.save(tmp_path / "three.npy", np.arange(24) % 3)
    pair = ["--train-labels", str(two), "--test-labels", str(tmp_path / "three.npy")]
    with pytest.warns(UserWarning, match="labels of TEST: 2 not in labels of TRAIN, so these samples"):
        assert main(["knn", model, data, data, *pair]) == 0
    for place in range(4):
        (photos / f"{place:02}.png").write_bytes(b"none")
    assert main(["retrieval", model, data, "--labels", str(two)]) == 1
    error = capsys.readouterr().err
    assert "2 of 24 images cannot be read, more than the 5% of a labelled set" in error and "max_broken" not in error


def test_a_class_that_is_called_as_an_argument_is(photos, run, tmp_path):
    letters = np.array(["j", "k"])[np.arange(24) % 2]
    np.save(tmp_path / "two.npy", letters)
    np.save(tmp_path / "three.npy", np.where(np.arange(24) < 3, "temperature", letters))
    pair = ["--train-labels", str(tmp_path / "two.npy"), "--test-labels", str(tmp_path / "three.npy")]
    with pytest.warns(UserWarning) as met:
        assert main(["knn", str(run), str(photos), str(photos), *pair]) == 0
    said = " ".join(str(each.message) for each in met)
    assert "temperature" in said and "--temperature" not in said and "-k" not in said


def test_endings_of_predictions(photos, run, tmp_path, capsys):
    for name in ("p.txt", "p.npy"):
        assert main(["predict", str(run), str(photos), "--out", str(tmp_path / name)]) == 1
        assert capsys.readouterr().err.strip().endswith("want one of .csv, .npz, .parquet")


def test_parameters_that_contradict_each_other(photos, tmp_path, capsys):
    config = tmp_path / "c.json"
    config.write_text('{"cache_size": 20, "epochs": 3, "on_error": "raise"}')
    for words, said in (
        (["epochs=2", "--epochs", "1"], "epochs: is given twice, as epochs=2 and as --epochs 1"),
        (["--batch-size", "8", "batch_size=9"], "batch_size=9 and as --batch-size 8"),
        (["cache_size=20"], "cache_size: has no effect without cache"),
        (["on_error=raise", "max_broken=0.2"], "max_broken: has no effect with on_error"),
        (["--config", str(config), "max_broken=0.2"], "max_broken: has no effect with on_error"),
    ):
        assert main(["train", str(photos), *words, "--out", str(tmp_path / "none")]) == 1
        assert said in capsys.readouterr().err and not (tmp_path / "none").exists()
    out = ["--out", str(tmp_path / "run")]
    assert (
        main(["train", str(photos), "--config", str(config), *SMALL, "epochs=5", "epochs=1", "--epochs", "1", *out])
        == 0
    )


def test_a_classifier_of_few_steps_says_so(photos, run, tmp_path):
    labels = tmp_path / "y.npy"
    np.save(labels, np.arange(24) % 2)
    pair = [str(run), str(photos), str(photos), "--train-labels", str(labels), "--test-labels", str(labels), "--quiet"]
    with pytest.warns(UserWarning, match="took 10 steps only, with 24 labelled images: more --epochs"):
        assert main(["linear", *pair]) == 0
    with pytest.warns(UserWarning, match="took 2 steps only"):
        assert main(["finetune", *pair, "--labels", "100%", "--epochs", "2", "--seeds", "0"]) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(["linear", *pair, "--epochs", "100"]) == 0


WRONG_NUMBERS = [
    (["duplicates", "RUN", "DATA", "--threshold", "97"], "--threshold: '97' is not a cosine similarity above 0"),
    (["duplicates", "RUN", "DATA", "--threshold", "nan"], "--threshold: 'nan'"),
    (["duplicates", "RUN", "DATA", "--threshold", "0"], "--threshold: '0'"),
    (["outliers", "RUN", "DATA", "-k", "24"], "-k: got 24, want 1 .. 23"),
    (["neighbours", "RUN", "DATA", "--query", "00.png", "-k", "25"], "-k: got 25, want 1 .. 24"),
    (["cluster", "RUN", "DATA", "--clusters", "25"], "--clusters: got 25, want 1 .. 24"),
    (["cluster", "RUN", "DATA", "--clusters", "3", "--seed", "-1"], "--seed: '-1' is not a whole number"),
    (["cluster", "RUN", "DATA", "--clusters", "3", "--seed", str(2**32)], "--seed: got 4294967296"),
    (["cluster", "RUN", "SET", "--clusters", "41"], "--clusters: got 41, want 1 .. 40"),
    (["knn", "RUN", "SET", "SET", "-k", "5", "41"], "-k: got 41, want 1 .. 40"),
    (["knn", "RUN", "SET", "SET", "--temperature", "-1"], "--temperature: '-1' is not a number of at least 0"),
    (["knn", "RUN", "SET", "SET", "--temperature", "inf"], "--temperature: 'inf'"),
    (["retrieval", "RUN", "SET", "-k", "40"], "-k: got 40, want 1 .. 39"),
    (["retrieval", "RUN", "SET", "SET", "-k", "1", "41"], "-k: got 41, want 1 .. 40"),
    (["plot", "neighbours", "RUN", "-k", "24"], "-k: got 24, want 1 .. 23"),
    (["plot", "neighbours", "RUN", "--seed", "-1"], "--seed: '-1' is not a whole number"),
]


@pytest.mark.parametrize(("words", "told"), WRONG_NUMBERS, ids=[" ".join(words) for words, _ in WRONG_NUMBERS])
def test_wrong_numbers_are_told_before_images_are_embedded(
    words, told, run, photos, images, tmp_path, monkeypatch, capsys
):
    for model in (carl.CARL, carl.Trainer):
        for method in ("transform", "predict", "embed_images"):
            if hasattr(model, method):
                monkeypatch.setattr(model, method, lambda *args, **more: pytest.fail("images were embedded"))
    np.savez(tmp_path / "set.npz", images=images, labels=np.arange(40) % 4)
    places = {"RUN": str(run), "DATA": str(photos), "SET": str(tmp_path / "set.npz")}
    capsys.readouterr()
    try:
        code = main([places.get(word, word) for word in words])
    except SystemExit as ended:  # an option that says by itself what it takes
        code = ended.code
    error = capsys.readouterr().err
    assert code != 0 and told in error.replace("argument ", "").replace("/--", " --")


@pytest.mark.filterwarnings("ignore:left out an image")
def test_numbers_beyond_the_images_that_can_be_read(run, photos, capsys):
    for place in range(6):
        (photos / f"{place:02}.png").write_bytes(b"no image")
    for words, told in (
        (["outliers", str(run), str(photos), "-k", "20"], "-k: got 20, want 1 .. 17"),
        (["cluster", str(run), str(photos), "--clusters", "20"], "--clusters: got 20, want 1 .. 18"),
        (["neighbours", str(run), str(photos), "--query", "10.png", "-k", "20"], "-k: got 20, want at most 17"),
        (["plot", "neighbours", str(run), "--data", str(photos), "-k", "20"], "-k: got 20, want 1 .. 17"),
    ):
        assert main(words) == 1
        assert told in capsys.readouterr().err
