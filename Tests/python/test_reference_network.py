"""The references' networks and training step against finite differences and torchvision."""

import numpy as np
import pytest

from reference.differences import relative_error
from reference.problems import images_of, initial_state
from reference.projector import Projector
from reference.resnet import ResNet, random_state
from reference.trainer import Settings, Trainer
from reference.vit import VisionTransformer
from reference.vit import random_state as random_tokens


def directional(function, arrays, seed=0, step=1e-6):
    """(numeric, direction): the derivative of `function()` along one random direction of all `arrays` at once."""
    rng = np.random.default_rng(seed)
    direction = {key: rng.standard_normal(value.shape) * np.std(value) for key, value in arrays.items()}
    kept = {key: value.copy() for key, value in arrays.items()}

    def at(length):
        for key, value in arrays.items():
            value[...] = kept[key] + length * direction[key]
        return function()

    numeric = (at(step) - at(-step)) / (2 * step)
    at(0)
    return numeric, direction


@pytest.mark.parametrize(
    "name, stem", [("resnet18", "small"), ("resnet18", "imagenet"), ("resnet50", "imagenet"), ("resnet34", "small")]
)
@pytest.mark.parametrize("train", [True, False])
def test_encoder_gradients(name, stem, train):
    rng = np.random.default_rng(0)
    state = random_state(rng, name, stem, width=1 / 16, in_channels=2)
    images = rng.standard_normal((3, 33, 30, 2))
    network = ResNet(state, name, stem)
    features, tape = network.forward(images, train)
    weights = rng.standard_normal(features.shape)
    gradients = network.backward(weights, tape)
    parameters = {key: value for key, value in state.items() if "running" not in key}
    assert gradients.keys() == parameters.keys()
    # Small steps: a ReLU that changes sides is a kink for the difference and none for the gradient.
    numeric, direction = directional(lambda: (network.forward(images, train)[0] * weights).sum(), parameters, step=1e-8)
    analytic = sum((gradients[key] * direction[key]).sum() for key in parameters)
    assert abs(analytic - numeric) < 1e-4 * abs(numeric)


@pytest.mark.parametrize("pool", ["class", "mean", "class_mean"])
def test_transformer_gradients(pool):
    rng = np.random.default_rng(2)
    width, depth, patch, side = 64, 2, 3, 4
    shapes = {
        "cls_token": (1, 1, width),
        "reg_token": (1, 2, width),
        "pos_embed": (1, 1 + side * side, width),
        "patch_embed.proj.weight": (width, 2, patch, patch),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    for block in range(depth):
        for layer, outputs, inputs in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", 4 * width, width),
            ("mlp.fc2", width, 4 * width),
        ):
            shapes[f"blocks.{block}.{layer}.weight"] = (outputs, inputs)
            shapes[f"blocks.{block}.{layer}.bias"] = (outputs,)
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1.gamma", "ls2.gamma"):
            shapes[f"blocks.{block}.{name}"] = (width,)
    state = random_tokens(rng, {"encoder." + key: shape for key, shape in shapes.items()})
    images = rng.standard_normal((3, 9, 15, 2))
    network = VisionTransformer(state, pool, drop_path=0.4, seed=3)
    features, tape = network.forward(images, True)
    weights = rng.standard_normal(features.shape)
    gradients = network.backward(weights, tape)
    assert gradients.keys() == state.keys()
    numeric, direction = directional(lambda: (network.forward(images, True)[0] * weights).sum(), state, step=1e-6)
    analytic = sum((gradients[key] * direction[key]).sum() for key in state)
    assert abs(analytic - numeric) < 1e-6 * abs(numeric)


@pytest.mark.parametrize("name, train", [("resnet18", True), ("resnet18", False), ("resnet50", True)])
def test_encoder_agrees_with_torchvision(name, train):
    torch = pytest.importorskip("torch")
    try:
        import peer_torchvision  # noqa: F401  some installations need it before torchvision
    except ImportError:
        pass
    try:
        import torchvision
    except Exception:
        pytest.skip("torchvision does not load")
    rng = np.random.default_rng(1)
    state = random_state(rng, name, "imagenet", width=1.0, in_channels=3)
    model = getattr(torchvision.models, name)(weights=None).double()
    model.fc = torch.nn.Identity()
    given = {key.removeprefix("encoder."): torch.tensor(value) for key, value in state.items()}
    missing = model.load_state_dict(given, strict=False)
    assert all(key.endswith("num_batches_tracked") for key in missing.missing_keys) and not missing.unexpected_keys
    model.train(train)
    images = rng.standard_normal((3, 41, 36, 3))
    features, tape = (network := ResNet(state, name, "imagenet")).forward(images, train)
    expected = model(torch.tensor(images.transpose(0, 3, 1, 2).copy()))
    assert relative_error(features, expected.detach().numpy()) < 1e-10
    weights = rng.standard_normal(features.shape)
    expected.backward(torch.tensor(weights))
    gradients = network.backward(weights, tape)
    for key, parameter in model.named_parameters():
        assert relative_error(gradients["encoder." + key], parameter.grad.numpy()) < 1e-7, key
    for key, value in model.named_buffers():
        if not key.endswith("num_batches_tracked"):
            assert relative_error(state["encoder." + key], value.numpy()) < 1e-11, key


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_projector_agrees_with_a_torch_sequential(depth, activation):
    torch = pytest.importorskip("torch")
    widths = [5, 7, 6, 4][: depth + 1]
    parts = []
    for index, (into, out) in enumerate(zip(widths, widths[1:])):
        parts.append(torch.nn.Linear(into, out))
        if index + 1 < depth:
            parts += [torch.nn.BatchNorm1d(out), torch.nn.ReLU() if activation == "relu" else torch.nn.GELU()]
    model = torch.nn.Sequential(*parts).double()
    state = {"projector." + key: value.numpy().copy() for key, value in model.state_dict().items()}
    rng = np.random.default_rng(2)
    x = rng.standard_normal((6, 5))
    tx = torch.tensor(x, requires_grad=True)
    expected = model(tx)
    head = Projector(state, depth, activation)
    z, tape = head.forward(x, True)
    weights = rng.standard_normal(z.shape)
    expected.backward(torch.tensor(weights))
    dx, gradients = head.backward(weights, tape)
    assert relative_error(z, expected.detach().numpy()) < 1e-12
    assert relative_error(dx, tx.grad.numpy()) < 1e-10
    for key, parameter in model.named_parameters():
        # A bias before a batch norm has no gradient but rounding.
        np.testing.assert_allclose(
            gradients["projector." + key], parameter.grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=key
        )
    for key, value in model.named_buffers():
        if "running" in key:
            assert relative_error(state["projector." + key], value.numpy()) < 1e-12, key


@pytest.mark.parametrize("views", [2, 3])
def test_whole_step_gradient(views):
    settings = Settings(projector=[12, 6], stop_gradient=False, temperature=0.5, learning_rate=0.0)
    state = initial_state(settings, width=1 / 16, in_channels=1, prototypes=5)
    batch = images_of(views, 8, 10, 1)

    trainer = Trainer(state, settings)
    parameters = {key: value for key, value in trainer.student.items() if "running" not in key}
    trainer.step(batch)
    gradients = trainer.gradients
    values = {key: np.array(state[key], np.float64) for key in parameters}

    def loss():
        return Trainer({**state, **values}, settings).step(batch).loss

    numeric, direction = directional(loss, values, step=1e-8)
    analytic = sum((gradients[key] * direction[key]).sum() for key in parameters)
    assert abs(analytic - numeric) < 1e-4 * abs(numeric)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_optimizers_agree_with_torch(name):
    torch = pytest.importorskip("torch")
    from reference.optim import OPTIMIZERS

    rng = np.random.default_rng(3)
    start = {"w": rng.standard_normal((3, 4)), "b": rng.standard_normal(3)}
    tensors = {key: torch.nn.Parameter(torch.tensor(value)) for key, value in start.items()}
    theirs = (
        torch.optim.SGD(tensors.values(), lr=0.1, momentum=0.9, weight_decay=0.01)
        if name == "sgd"
        else torch.optim.AdamW(tensors.values(), lr=0.1, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    )
    ours = OPTIMIZERS[name](0.9, 0.01)
    parameters = {key: value.copy() for key, value in start.items()}
    for _ in range(5):
        gradients = {key: rng.standard_normal(value.shape) for key, value in start.items()}
        for key, gradient in gradients.items():
            tensors[key].grad = torch.tensor(gradient)
        theirs.step()
        ours.step(parameters, gradients, 0.1)
    for key in start:
        assert relative_error(parameters[key], tensors[key].detach().numpy()) < 1e-12


def test_lars_gives_weights_a_direction_of_fixed_relative_length():
    from reference.optim import LARS

    rng = np.random.default_rng(4)
    weight, gradient, bias = rng.standard_normal((3, 4)), rng.standard_normal((3, 4)), np.ones(3)
    parameters = {"w": weight.copy(), "b": bias.copy(), "zero": np.zeros((2, 2))}
    LARS(0.9, 0.5).step(parameters, {"w": gradient, "b": bias, "zero": np.ones((2, 2))}, 1.0)
    assert np.linalg.norm(parameters["w"] - weight) == pytest.approx(0.001 * np.linalg.norm(weight))
    np.testing.assert_allclose(parameters["b"], 0)
    np.testing.assert_allclose(parameters["zero"], -1)
