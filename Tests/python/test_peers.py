"""The comparison with other methods: the encoder in PyTorch is the library's, its views are those of training, and
results stay one format."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import carl

BENCHMARKS = Path(__file__).resolve().parents[2] / "Benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] in ("support", "peers", "study")]:
        del sys.modules[name]


def photos(count, shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


@pytest.mark.parametrize(
    "encoder, stem, channels", [("resnet18", "small", 3), ("resnet18", "small", 1), ("resnet50", "imagenet", 3)]
)
def test_the_encoder_in_torch_has_the_librarys_features(encoder, stem, channels):
    torch = pytest.importorskip("torch")
    from support.torch_resnet import resnet

    images = photos(6, (32, 32) if channels == 1 else (32, 32, 3))
    small = {"width": 0.125, "epochs": 1, "batch_size": 6, "projector": [16, 8], "prototypes": 8, "progress": False}
    model = carl.CARL(encoder=encoder, stem=stem, **small).fit(images)
    weights = model.trainer_.state_dict()
    state = {key[8:]: torch.from_numpy(value) for key, value in weights.items() if key.startswith("encoder.")}
    peer = resnet(encoder, stem, 0.125, channels).to(memory_format=torch.channels_last)
    missing = peer.load_state_dict(state, strict=False)
    assert all(key.endswith("num_batches_tracked") for key in missing.missing_keys) and not missing.unexpected_keys
    spec = carl.expand_views("auto", channels, 32)[0]
    given = (images.reshape(6, 32, 32, channels) / np.float32(255) - np.float32(spec["mean"])) / np.float32(spec["std"])
    with torch.no_grad():
        features = peer.eval()(torch.from_numpy(given.astype(np.float32)).permute(0, 3, 1, 2)).numpy()
    expected = model.transform(images)
    assert features.shape == expected.shape
    np.testing.assert_allclose(features, expected, atol=1e-4 * np.abs(expected).max())


def test_convert_to_the_channels_and_size_of_another_data_set():
    from support.study_data import convert

    gray = np.arange(256, dtype=np.uint8)[:, None, None] * np.ones((1, 28, 28), np.uint8)
    colour = convert(gray, 3, 32)
    assert colour.shape == (256, 32, 32, 3) and (colour == gray[:, :1, :1, None]).all()
    assert (convert(colour, 1, 28) == gray).all()
    assert (convert(gray, 1, 28) == gray).all()
    red = np.zeros((1, 32, 32, 3), np.uint8)
    red[..., 0] = 255
    assert (convert(red, 1, 28) == round(0.299 * 255)).all()


def small_set(path):
    """Classes that differ in brightness, sorted by class as files may be."""
    labels = np.repeat(np.arange(4), 100)
    images = (photos(400, (12, 12, 3)) // 4 + (labels * 48).astype(np.uint8)[:, None, None, None]).astype(np.uint8)
    np.savez(path, train_images=images, train_labels=labels, test_images=images[::5], test_labels=labels[::5])
    return str(path)


def test_a_study_adds_labels_transfer_and_memory(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    import study
    from support.study_results import JUDGED, read_lines

    data, out, runs = small_set(tmp_path / "set.npz"), str(tmp_path / "out.jsonl"), tmp_path / "runs.jsonl"
    runs.write_text('{"name": "plain", "config": {"batch_size": 32, "prototypes": 8, "projector": [16, 8]}}\n')
    judged = ["--labels", "--transfer", data, "--curve"]
    small = ["--epochs", "1", "--width", "0.125"]
    monkeypatch.setattr(sys, "argv", ["study.py", str(runs), "--data", data, "--out", out, *small, *judged])
    study.main()
    (row,) = read_lines(out)
    # The same data set: what is transferred to is what was trained on.
    assert row["transfer_knn20"] == row["knn20"] and row["transfer_linear"] == row["linear"]
    assert set(JUDGED) <= row.keys() and row["linear_10_percent"] > 0.4
    assert [point["step"] for point in row["curve"]] == [2, 5, 7, 10]
    if sys.platform == "linux" and row["peak_memory"] is not None:
        assert row["peak_memory"] > 1e6
    study.main()  # the run is there
    assert read_lines(out) == [row]
    # A line of before these figures, of the same run, counts as the run and has empty cells in the table.
    new = {
        "transfer",
        "transfer_knn20",
        "transfer_knn200",
        "transfer_linear",
        "linear_1_percent",
        "linear_10_percent",
        "peak_memory",
    }
    old = {key: value for key, value in row.items() if key not in new}
    old["config"] = {**old["config"], "seed": 1}
    Path(out).write_text(json.dumps(old) + "\n" + json.dumps(row) + "\n")
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["study.py", "--table", out])
    study.main()
    head, _, line = capsys.readouterr().out.strip().splitlines()
    assert head.count("|") == line.count("|") and "transfer_linear" in head and "| 2 |" in line


@pytest.fixture
def peers(tmp_path, monkeypatch):
    """Runs peers.py on a small set; returns the lines of the given file."""
    pytest.importorskip("torch")
    pytest.importorskip("lightly")
    import peers
    from support.study_results import read_lines

    data = small_set(tmp_path / "set.npz")

    def run(out, *options):
        out = str(tmp_path / out)
        common = ["peers.py", "--data", data, "--width", "0.125", "--batch-size", "32", "--out", out]
        monkeypatch.setattr(sys, "argv", [*common, *options])
        peers.main()
        return read_lines(out)

    return run


SMALL = [f"--option={name}.hidden=32" for name in ("simclr", "swav", "byol", "dino", "barlow_twins", "vicreg")]


def test_every_peer_learns_and_is_judged(peers):
    rows = peers("out.jsonl", "--epochs", "8", "--seeds", "0", *SMALL, "--rates", "0.003")
    assert [row["config"]["peer"] for row in rows] == ["simclr", "swav", "byol", "dino", "barlow_twins", "vicreg"]
    for row in rows:
        assert "error" not in row, row
        assert row["steps"] == 8 * 10 and row["presentations"] == 8 * 320 * 2
        assert row["knn20"] > 0.5, row["name"]
    moved = {row["config"]["peer"]: row["loss"][1] - row["loss"][0] for row in rows}
    assert all(change < 0 for name, change in moved.items() if name in ("simclr", "byol", "barlow_twins", "vicreg")), (
        moved
    )
    assert {row["config"]["peer"] for row in rows if "nmi_prototypes" in row} == {"swav", "dino"}


def test_the_best_rate_of_a_search_is_taken(peers, tmp_path):
    rows = peers("search.jsonl", "--epochs", "1", "--peers", "simclr", *SMALL[:1], "--rates", "0.01", "0.02", "0.04")
    for row, figure in zip(rows, (0.3, 0.9, 0.4)):
        row["knn20"] = figure
    (tmp_path / "search.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    best = ["--final", "--best", str(tmp_path / "search.jsonl")]
    (row,) = peers("final.jsonl", "--epochs", "2", "--peers", "simclr", *SMALL[:1], *best)
    assert row["config"]["learning_rate"] == 0.02 and row["split"] == "test" and row["images"] == 400
    with pytest.raises(SystemExit, match="no search of simclr"):
        peers("other.jsonl", "--epochs", "1", "--peers", "simclr", *best)


def test_views_are_those_of_training(tmp_path):
    """The same images in the same order, so that a peer sees what the library's training with the same seed sees."""
    pytest.importorskip("torch")
    pytest.importorskip("lightly")
    from support.torch_training import Views

    images = photos(40, (8, 8, 3))
    config = {"width": 0.125, "batch_size": 16, "projector": [16, 8], "prototypes": 8, "seed": 5, "epochs": 2}
    seen = [metrics.loss for metrics in carl.CARL(**config, views="auto", progress=False).fit(images).history_]
    views = Views(images, carl.expand_views("auto", 3, 8), 16, 5)
    keys = {key: config[key] for key in ("width", "projector", "prototypes", "seed")}
    with carl.Trainer(encoder="resnet18", stem="small", view_size=8, total_steps=4, **keys) as trainer:
        batches = ([view.permute(0, 2, 3, 1).contiguous().numpy() for view in batch] for batch in views(4))
        losses = [trainer.step_views(batch).loss for batch in batches]
    np.testing.assert_allclose(losses, seen, rtol=1e-5)
