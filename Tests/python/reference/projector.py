"""The projection head: linear layers with batch norm and activation between, named as a torch Sequential counts
them."""

from . import layers
from .resnet import normalise, normalise_backward

ACTIVATIONS = {"relu": (layers.relu, layers.relu_backward), "gelu": (layers.gelu, layers.gelu_backward)}


class Projector:
    """Linear 0, BatchNorm1d 1, activation 2, Linear 3, ...; `depth` linear layers, nothing after the last."""

    def __init__(self, state, depth, activation="relu", prefix="projector."):
        self.state, self.depth, self.prefix = state, depth, prefix
        self.activate, self.activate_backward = ACTIVATIONS[activation]

    def forward(self, x, train):
        """x (B, F) -> (B, D), and the tape."""
        tape = []
        for index in range(self.depth):
            key = f"{self.prefix}{3 * index}"
            x, entry = layers.linear(x, self.state[key + ".weight"], self.state[key + ".bias"])
            tape.append(entry)
            if index + 1 < self.depth:
                x, entry = normalise(self.state, f"{self.prefix}{3 * index + 1}", x, train)
                tape.append(entry)
                x, entry = self.activate(x)
                tape.append(entry)
        return x, tape

    def backward(self, dy, tape, kink=0.0):
        """The gradient of x, and {key: gradient}; `kink`: see layers.relu_backward."""
        tape, gradients = list(tape), {}
        for index in reversed(range(self.depth)):
            if index + 1 < self.depth:
                dy = self.activate_backward(dy, tape.pop(), kink)
                dy = normalise_backward(dy, f"{self.prefix}{3 * index + 1}", tape.pop(), gradients)
            key = f"{self.prefix}{3 * index}"
            dy, gradients[key + ".weight"], gradients[key + ".bias"] = layers.linear_backward(dy, tape.pop())
        return dy, gradients
