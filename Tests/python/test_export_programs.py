"""Exported models in the programs they are for: ONNX Runtime, torchvision, timm, torch."""

from __future__ import annotations

import importlib
import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import carl
from carl.export import export_model
from test_export import HEAD, IMAGES, NETWORKS, made, pictures, randomized

with suppress(ImportError):
    # what lets torchvision be imported beside a torch without its operators
    importlib.import_module("peer_torchvision")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "export.md"
#: Largest difference of an output, relative to its largest value.
TOLERANCE = 1e-4
OUTPUTS = ["features", "projection", "logits", "probabilities"]


def difference(found, expected):
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


# ---- ONNX


@pytest.fixture(scope="module")
def onnx():
    pytest.importorskip("onnxruntime")
    return pytest.importorskip("onnx")


def session(onnx, file):
    import onnxruntime

    onnx.checker.check_model(onnx.load(file), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def outputs(found, images):
    """By name, of images (N, H, W, C)."""
    names = [output.name for output in found.get_outputs()]
    batch = images[..., None] if images.ndim == 3 else images
    return dict(zip(names, found.run(None, {"images": np.ascontiguousarray(batch.transpose(0, 3, 1, 2))}), strict=True))


def floats(count, height, width, channels):
    return np.random.default_rng(5).standard_normal((count, height, width, channels)).astype(np.float32)


@pytest.mark.parametrize("fold", [True, False], ids=["folded", "plain"])
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_gives_what_the_model_gives(onnx, name, fold, tmp_path):
    with made(name) as trainer:
        channels = trainer.config.in_channels
        found = session(onnx, export_model(trainer, tmp_path / "a.onnx", part="model", fold=fold))
        assert ("BatchNormalization" in {n.op_type for n in onnx.load(tmp_path / "a.onnx").graph.node}) != fold
        own = NETWORKS[name]["view_size"]
        sizes = [(own, own)] if "vit" in NETWORKS[name]["encoder"] else [(own, own), (31, 45), (17, 64)]
        for height, width in sizes:
            for count in (1, 3):
                images = floats(count, height, width, channels)
                results = outputs(found, images)
                assert list(results) == OUTPUTS
                for output, values in results.items():
                    assert difference(values, trainer.embed(images, output)) < TOLERANCE, (output, height, width)


@pytest.mark.parametrize("encoder", ["resnet18", "resnet34", "resnet50"])
@pytest.mark.parametrize("stem", ["small", "imagenet"])
def test_onnx_of_every_resnet(onnx, encoder, stem, tmp_path):
    with randomized(carl.Trainer(encoder=encoder, stem=stem, width=0.125, view_size=32, **HEAD)) as trainer:
        found = session(onnx, export_model(trainer, tmp_path / "a.onnx"))
        images = floats(2, 33, 47, 3)
        results = outputs(found, images)
        assert list(results) == ["features"]
        assert difference(results["features"], trainer.embed(images)) < TOLERANCE
        assert outputs(found, images[:0])["features"].shape == (0, trainer.output_width("features"))


@pytest.mark.parametrize("size", [16, (40, 24), (8, 72)])
@pytest.mark.parametrize("name", ["vit", "registers"])
def test_onnx_of_a_transformer_at_another_size(onnx, name, size, tmp_path):
    """Positions are resampled when the file is written."""
    with made(name) as trainer:
        found = session(onnx, export_model(trainer, tmp_path / "a.onnx", size=size))
        height, width = size if isinstance(size, tuple) else (size, size)
        images = floats(2, height, width, 3)
        assert difference(outputs(found, images)["features"], trainer.embed(images)) < TOLERANCE
        assert outputs(found, images[:0])["features"].shape == (0, trainer.output_width("features"))
        assert found.get_inputs()[0].shape == ["batch", 3, height, width]
        with pytest.raises(carl.InvalidArgumentError, match="size: got 20 x 20, want multiples of 8"):
            export_model(trainer, tmp_path / "b.onnx", size=20)


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_normalises_images_itself(onnx, name, tmp_path):
    """Images of bytes that need no resizing: the crop is the whole image."""
    with made(name, evaluation_crop=1.0) as trainer:
        size, channels = NETWORKS[name]["view_size"], trainer.config.in_channels
        images = np.random.default_rng(1).integers(0, 256, (3, size, size, channels)).astype(np.uint8)
        wanted = trainer.embed_images(images)
        for pixels, given in (("bytes", images), ("unit", (images / 255).astype(np.float32))):
            found = session(onnx, export_model(trainer, tmp_path / f"{pixels}.onnx", pixels=pixels))
            assert difference(outputs(found, given)["features"], wanted) < TOLERANCE
        plain = session(onnx, export_model(trainer, tmp_path / "plain.onnx"))
        assert difference(outputs(plain, given)["features"], wanted) > 0.01


def test_onnx_of_other_objectives_and_heads(onnx, tmp_path):
    """Prototypes and embeddings that are not normalised, GELU, one layer alone, a temperature that changes."""
    images = floats(2, 24, 24, 3)
    for more in (
        {"objective": "carp", "projector": [12, 10, 8]},
        {"normalize_prototypes": False, "temperature": {"start": 1, "end": 0.2, "steps": 10}, "projector": [8]},
    ):
        with made("small", **more) as trainer:
            for fold in (True, False):
                found = session(onnx, export_model(trainer, tmp_path / "a.onnx", part="model", fold=fold))
                for output, values in outputs(found, images).items():
                    assert difference(values, trainer.embed(images, output)) < TOLERANCE, output


@pytest.mark.parametrize("name", ["small", "registers"])
def test_onnx_of_a_classifier(onnx, name, tmp_path):
    images, batch = pictures(count=6), floats(2, NETWORKS[name]["view_size"], NETWORKS[name]["view_size"], 3)
    with carl.Classifier(made(name), 3, freeze_encoder=True) as classifier:
        classifier.standardize(images)
        classifier.step(images, [0, 1, 2, 0, 1, 2])
        results = outputs(session(onnx, export_model(classifier, tmp_path / "a.onnx", part="model")), batch)
        assert list(results) == ["features", "logits", "probabilities"]
        for output, values in results.items():
            assert difference(values, classifier.embed(batch, output)) < TOLERANCE, output
        results = outputs(session(onnx, export_model(classifier, tmp_path / "b.onnx")), batch)
        assert list(results) == ["features"]


def test_onnx_says_what_images_it_wants(onnx, tmp_path):
    import json

    with made("small") as trainer:
        model = onnx.load(export_model(trainer, tmp_path / "a.onnx", pixels="unit"))
    note = json.loads({entry.key: entry.value for entry in model.metadata_props}["carl"])
    assert note["pixels"] == "unit" and note["view_size"] == 24 and note["mean"] == [0.1, 0.2, 0.3]
    assert note["evaluation_crop"] == IMAGES["evaluation_crop"] and model.producer_version == carl.__version__


def test_a_model_too_large_for_onnx_is_refused(onnx, tmp_path, monkeypatch):
    from carl import _onnx_graph

    monkeypatch.setattr(_onnx_graph, "_MOST_BYTES", 1 << 16)
    with made("small") as trainer, pytest.raises(carl.InvalidArgumentError, match="more than the 65536"):
        export_model(trainer, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


# ---- torchvision, timm, torch


def loaded(torch, path, network):
    tensors = pytest.importorskip("safetensors.torch").load_file(path)
    network.load_state_dict(tensors, strict=True)
    return network.eval()


def of_network(torch, network, images):
    with torch.no_grad():
        return network(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()


@pytest.mark.parametrize("encoder", ["resnet18", "resnet34", "resnet50"])
def test_torchvision_loads_a_resnet_strictly(encoder, tmp_path):
    torch = pytest.importorskip("torch")
    models = pytest.importorskip("torchvision").models
    images = floats(2, 65, 47, 3)
    with randomized(carl.Trainer(encoder=encoder, stem="imagenet", view_size=64, **HEAD)) as trainer:
        network = getattr(models, encoder)(weights=None)
        network.fc = torch.nn.Identity()
        loaded(torch, export_model(trainer, tmp_path / "a.safetensors"), network)
        assert difference(of_network(torch, network, images), trainer.embed(images)) < TOLERANCE
        with carl.Classifier(trainer, 5, freeze_encoder=True) as classifier:
            classifier.standardize(pictures(count=4))
            network = getattr(models, encoder)(weights=None, num_classes=5)
            loaded(torch, export_model(classifier, tmp_path / "b.safetensors", part="model"), network)
            assert difference(of_network(torch, network, images), classifier.embed(images, "logits")) < TOLERANCE


@pytest.mark.parametrize(
    ("name", "keys", "options"),
    [
        ("vit_tiny_patch16_224", {"encoder": "vit_tiny", "view_size": 224}, {}),
        ("vit_small_patch16_224", {"encoder": "vit_small", "view_size": 64}, {"img_size": 64}),
        (
            "vit_tiny_patch16_224",
            {"encoder": "vit_tiny", "view_size": 64, "pool": "mean"},
            {"img_size": 64, "global_pool": "avg", "fc_norm": False},
        ),
        (
            "vit_small_patch14_dinov2",
            {"encoder": "vit_small", "patch_size": 14, "layer_scale": 1e-5, "view_size": 98},
            {"img_size": 98},
        ),
        (
            "vit_small_patch14_reg4_dinov2",
            {"encoder": "vit_small", "patch_size": 14, "layer_scale": 1e-5, "registers": 4, "view_size": 98},
            {"img_size": 98},
        ),
    ],
    ids=["tiny", "small", "mean", "dinov2", "registers"],
)
def test_timm_loads_a_transformer_strictly(name, keys, options, tmp_path):
    torch = pytest.importorskip("torch")
    timm = pytest.importorskip("timm")
    with randomized(carl.Trainer({**keys, **HEAD})) as trainer:
        patch, own = keys.get("patch_size", 16), keys["view_size"]
        file = export_model(trainer, tmp_path / "a.safetensors")
        network = loaded(torch, file, timm.create_model(name, num_classes=0, dynamic_img_size=True, **options))
        for size in (own, own - 2 * patch):
            images = floats(2, size, size, 3)
            assert difference(of_network(torch, network, images), trainer.embed(images)) < TOLERANCE, size
        with carl.Classifier(trainer, 5, freeze_encoder=True) as classifier:
            classifier.standardize(pictures(count=4))
            file = export_model(classifier, tmp_path / "b.safetensors", part="model")
            network = loaded(torch, file, timm.create_model(name, num_classes=5, **options))
            images = floats(2, own, own, 3)
            assert difference(of_network(torch, network, images), classifier.embed(images, "logits")) < TOLERANCE


@pytest.mark.parametrize("part", ["encoder", "model"])
def test_torch_loads_a_state_dict(part, tmp_path):
    torch = pytest.importorskip("torch")
    with made("small") as trainer:
        found = torch.load(export_model(trainer, tmp_path / "a.pt", part=part), weights_only=True)
        prefix = "" if part == "model" else "encoder."
        state = {n.removeprefix(prefix): v for n, v in trainer.state_dict().items() if n.startswith(prefix)}
        assert set(found) == set(state)
        assert all(found[name].dtype == torch.float32 and np.array_equal(found[name], state[name]) for name in state)


def test_the_page_runs(onnx, tmp_path, monkeypatch, capsys):
    for package in ("torch", "torchvision", "safetensors"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))
    exec(compile(code, str(PAGE), "exec"), {"__name__": "page"})
    assert float(capsys.readouterr().out) < TOLERANCE
    assert {file.name for file in tmp_path.iterdir()} == {"encoder.safetensors", "model.onnx", "encoder.pt"}
