"""Features of weights files against the programs that the weights are of: torchvision's and timm's networks in float64,
and their preprocessing with Pillow."""

from __future__ import annotations

import importlib
from contextlib import suppress

import numpy as np
import pytest

import carl

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")
with suppress(ImportError):
    importlib.import_module(
        "peer_torchvision"
    )  # what lets torchvision be imported beside a torch without its operators

#: Largest difference of features, relative to their largest value.
TOLERANCE = 1e-4
NAMES = ("resnet18", "resnet50", "vit_tiny_patch16_224", "vit_small_patch16_224", "vit_small_patch14_reg4_dinov2")


def network(name):
    """The program's network, of random values everywhere: fresh ones would have norms of 1 and LayerScale of 1e-5."""
    torch.manual_seed(0)
    if name.startswith("resnet"):
        model = getattr(pytest.importorskip("torchvision").models, name)(weights=None)
        model.fc = torch.nn.Identity()
    else:
        timm = pytest.importorskip("timm")
        model = timm.create_model(name, num_classes=0, dynamic_img_size=True)
    with torch.no_grad():
        for key, value in [*model.named_parameters(), *model.named_buffers()]:
            if not value.is_floating_point():
                continue  # a counter
            if key.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif key.endswith("running_mean"):
                value.normal_(0, 0.1)
            elif "norm" in key or "bn" in key or "downsample.1" in key:
                value.normal_(0, 0.1).add_(1.0 if key.endswith("weight") else 0.0)
            elif key.endswith("gamma"):
                value.uniform_(0.2, 0.8)
            elif "pos_embed" in key or "token" in key:
                value.normal_(0, 0.3)
            elif key.endswith("bias"):
                value.normal_(0, 0.05)
    return model.double().eval()


@pytest.fixture(scope="module", params=NAMES)
def pair(request, tmp_path_factory):
    """A network, and the file of its weights."""
    model = network(request.param)
    path = tmp_path_factory.mktemp("reference") / f"{request.param}.safetensors"
    values = {key: value.float().contiguous() for key, value in model.state_dict().items()}
    safetensors_torch.save_file(values, path)
    # The same rounded values on both sides.
    model.load_state_dict({key: value.double() for key, value in values.items()}, strict=False)
    return model, path


def reference(model, batch):
    """Features of float32 images (B, H, W, C)."""
    with torch.no_grad():
        return model(torch.from_numpy(batch.transpose(0, 3, 1, 2).copy()).double()).numpy()


def difference(found, expected):
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def sizes_of(path):
    """The size that the weights are used at, that of their positions where it is another, and one more."""
    config = carl.weights_info(path).config
    patch = config.get("patch_size", 32)
    trained = config["position_grid"] * patch if "position_grid" in config else config["view_size"]
    return sorted({config["view_size"], trained, 11 * patch})


def test_features_equal_the_reference(pair):
    model, path = pair
    random = np.random.default_rng(0)
    for size in sizes_of(path):
        batch = random.standard_normal((2, size, size, 3)).astype(np.float32)
        with carl.Encoder.from_weights(path) as encoder:
            found = difference(encoder.embed(batch), reference(model, batch))
        print(f"{path.stem} at {size}: {found:.2e}")
        assert found < TOLERANCE, size


def test_images_are_made_ready_as_by_the_reference(pair, tmp_path):
    """The file's pipeline by Pillow: shorter side resized, centre cropped, normalised. Pillow rounds to bytes after
    each direction, and the library need not, so that pixels differ by about one step."""
    image = pytest.importorskip("PIL.Image")
    model, path = pair
    info = carl.weights_info(path)
    ready = info.preprocessing
    random = np.random.default_rng(1)
    pixels = np.kron(random.integers(0, 256, (30, 40, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    names = []
    for number, (height, width) in enumerate([(300, 400), (400, 300), (260, 260)]):
        names.append(tmp_path / f"{number}.png")
        image.fromarray(pixels).resize((width, height), image.Resampling.BICUBIC).save(names[-1])
    method = {"bilinear": image.Resampling.BILINEAR, "bicubic": image.Resampling.BICUBIC}[ready["interpolation"]]
    size, shorter = int(ready["size"]), int(ready["size"] / ready["crop"])
    batch = []
    for name in names:
        picture = image.open(name).convert("RGB")
        width, height = picture.size
        scale = shorter / min(width, height)
        picture = picture.resize(
            (shorter if width <= height else int(width * scale), shorter if height <= width else int(height * scale)),
            method,
        )
        left, top = round((picture.width - size) / 2), round((picture.height - size) / 2)
        values = np.asarray(picture.crop((left, top, left + size, top + size)), np.float32) / 255
        batch.append((values - np.float32(ready["mean"])) / np.float32(ready["std"]))
    expected = reference(model, np.stack(batch))
    with carl.Encoder.from_weights(path) as encoder:
        features = encoder.transform(names)
        exact = difference(encoder.embed(np.stack(batch)), expected)
    cosine = (features * expected).sum(1) / np.linalg.norm(features, axis=1) / np.linalg.norm(expected, axis=1)
    print(f"{path.stem}: files {difference(features, expected):.2e}, cosine {cosine.min():.6f}, pixels {exact:.2e}")
    assert exact < TOLERANCE and cosine.min() > 0.9995
    assert difference(features, expected) < 0.05
