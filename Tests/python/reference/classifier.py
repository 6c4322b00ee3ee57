"""A linear layer on an encoder, trained with labels: cross-entropy with label smoothing, its gradient, SGD with two
learning rates."""

from dataclasses import dataclass

import numpy as np

from . import layers, optim
from .resnet import ResNet
from .vit import VisionTransformer

STATISTICS = (".running_mean", ".running_var", ".feature_mean", ".feature_deviation")


def cross_entropy(logits, labels, smoothing=0.0):
    """Mean over rows of -sum_c q_c log softmax(s)_c with q = (1 - smoothing) [c = label] + smoothing / C, and the
    gradient of s."""
    rows, classes = logits.shape
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    target = np.full_like(logits, smoothing / classes)
    target[np.arange(rows), labels] += 1 - smoothing
    return float(-(target * log_p).sum() / rows), (np.exp(log_p) - target) / logits.dtype.type(rows)


@dataclass
class Settings:
    """By the names of the library's configuration keys."""

    freeze_encoder: bool = False
    label_smoothing: float = 0.0
    learning_rate: float = 0.01
    head_learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_steps: int = 0
    total_steps: object = None


class Classifier:
    """Starts from a state dict with the library's keys and follows its steps in the given dtype. `kinks` as in the
    trainer's reference."""

    def __init__(
        self,
        state,
        settings,
        dtype=np.float64,
        encoder="resnet18",
        stem="small",
        kink_margin=None,
        drop_path=0.0,
        seed=0,
    ):
        self.settings, self.dtype, self.kink_margin, self.network = settings, dtype, kink_margin, (encoder, stem)
        self.drop_path, self.seed = drop_path, seed
        self.load(state)
        self.optimizer = optim.SGD(settings.momentum, settings.weight_decay)
        self.steps = 0

    def load(self, state):
        """Takes parameters and running statistics over; moments stay."""
        self.state = {key: np.array(value, self.dtype) for key, value in state.items()}

    def _encoder(self):
        if not self.network[0].startswith("vit"):
            return ResNet(self.state, *self.network)
        encoder = VisionTransformer(self.state, drop_path=self.drop_path, seed=self.seed)
        encoder.step = self.steps
        return encoder

    def forward_backward(self, images, labels):
        """(loss, accuracy); gradients are left in `gradients`."""
        state, frozen = self.state, self.settings.freeze_encoder
        encoder = self._encoder()
        features, tape = encoder.forward(np.asarray(images, self.dtype), not frozen)
        deviation = state["classifier.feature_deviation"]
        x = (features - state["classifier.feature_mean"]) / deviation
        logits, linear = layers.linear(x, state["classifier.weight"], state["classifier.bias"])
        loss, dlogits = cross_entropy(logits, labels, self.settings.label_smoothing)
        dx, dweight, dbias = layers.linear_backward(dlogits, linear)
        head = {"classifier.weight": dweight, "classifier.bias": dbias}
        self.gradients, self.kinks = dict(head), dict.fromkeys(head, 0.0)
        if not frozen:
            self.gradients.update(encoder.backward(dx / deviation, tape))
            if self.kink_margin is not None:
                above, below = (
                    encoder.backward(dx / deviation, tape, kink) for kink in (self.kink_margin, -self.kink_margin)
                )
                self.kinks.update({key: float(np.linalg.norm(above[key] - below[key])) for key in above})
        return loss, float((logits.argmax(1) == labels).mean())

    def update(self, gradients):
        """The optimizer's part of the step, from gradients of any origin."""
        s = self.settings
        factor = optim.learning_rate(self.steps, 1.0, 0.0, s.warmup_steps, s.total_steps)
        for prefix, rate in (("encoder.", s.learning_rate), ("classifier.", s.head_learning_rate)):
            part = {key: self.state[key] for key in gradients if key.startswith(prefix)}
            self.optimizer.step(part, {key: np.asarray(gradients[key], self.dtype) for key in part}, factor * rate)
            self.state.update(part)
        self.steps += 1

    def step(self, images, labels):
        done = self.forward_backward(images, labels)
        self.update(self.gradients)
        return done
