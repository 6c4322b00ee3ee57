"""A whole training step on given views: forward of every view, the objective, backward, update, teacher."""

from dataclasses import dataclass, field

import numpy as np

from . import optim, resnet, vit
from .assignment import assignment_loss
from .contrast import contrast_loss
from .partition import permutation
from .projector import Projector
from .resnet import ResNet
from .vit import VisionTransformer

STATISTICS = (".running_mean", ".running_var")


@dataclass
class Settings:
    """What a step depends on, by the names of the library's configuration keys."""

    objective: str = "carl"
    encoder: str = "resnet18"
    stem: str = "small"
    patch_size: int = 16
    position_grid: int = 14
    registers: int = 0
    layer_scale: object = None
    pool: str = "class"
    drop_path: float = 0.0
    projector: list = field(default_factory=lambda: [512, 128])
    projector_activation: str = "relu"
    temperature: object = 0.1
    normalize_embedding: bool = True
    normalize_prototypes: bool = True
    stop_gradient: bool = True
    symmetric: bool = True
    prior_over_targets: bool = False
    prior_weight: object = 2.0
    contrast_weight: object = 0.0
    contrast_temperature: float = 0.1
    partition_size: object = None
    freeze_prototypes: int = 0
    recompute: bool = False
    seed: int = 0
    teacher_momentum: float = 0.0
    optimizer: str = "sgd"
    learning_rate: float = 0.06
    momentum: float = 0.9
    weight_decay: float = 5e-4
    trust_coefficient: float = 0.001
    warmup_steps: int = 0
    total_steps: object = None
    min_learning_rate: float = 0.0
    clip_norm: object = None
    accumulate: int = 1
    train_encoder: object = "all"
    layer_decay: float = 1.0

    @property
    def blocks(self):
        return sum(resnet.BLOCKS[self.encoder]) if self.encoder in resnet.BLOCKS else 12

    @property
    def train_from(self):
        """The least depth of the encoder that learns."""
        if self.train_encoder == "all":
            return 0
        return self.blocks + 2 if self.train_encoder == "none" else self.blocks - self.train_encoder + 1

    def rate_factor(self, key):
        """Of the learning rate of a parameter; 0 for one that is frozen."""
        of_resnet = self.encoder in resnet.BLOCKS
        place = resnet.depth(key, self.encoder) if of_resnet else vit.depth(key, self.blocks)
        if place is None:
            return 1.0
        return 0.0 if place < self.train_from else self.layer_decay ** (self.blocks + 1 - place)


@dataclass
class Step:
    loss: float
    consistency: float
    prior: float
    learning_rate: float
    gradient_norm: float


class Trainer:
    """Starts from a state dict with the library's keys and follows its steps in the given dtype.

    `state` holds everything, `gradients` the last step's loss gradient before weight decay, accumulation and clipping.
    `kinks`, when `kink_margin` is given, holds for each gradient how much it depends on the side that ReLU's inputs
    within that margin of 0 are on: a difference of that size between two correct programs is rounding.
    """

    def __init__(self, state, settings, dtype=np.float64, kink_margin=None):
        self.settings, self.kink_margin = settings, kink_margin
        self.dtype = dtype
        self.load(state)
        self.optimizer = optim.OPTIMIZERS[settings.optimizer](settings.momentum, settings.weight_decay)
        if settings.optimizer == "lars":
            self.optimizer.trust_coefficient = settings.trust_coefficient
        self.steps = 0
        self.gradients, self.kinks, self.accumulated = {}, {}, {}

    def load(self, state):
        """Takes parameters and running statistics over; moments and accumulated gradients stay."""
        own = {key: np.array(value, self.dtype) for key, value in state.items()}
        self.teacher = {key.removeprefix("teacher."): value for key, value in own.items() if key.startswith("teacher.")}
        self.student = {key: value for key, value in own.items() if not key.startswith("teacher.")}

    @property
    def state(self):
        return {**self.student, **{"teacher." + key: value for key, value in self.teacher.items()}}

    def _networks(self, state):
        s = self.settings
        if "encoder.cls_token" in state:
            encoder = VisionTransformer(state, s.pool, drop_path=s.drop_path, seed=s.seed, train_from=s.train_from)
            encoder.step = self.steps
        else:
            encoder = ResNet(state, s.encoder, s.stem, train_from=s.train_from)
        return encoder, Projector(state, len(s.projector), s.projector_activation)

    def step(self, views):
        """A pass and the update by its gradients."""
        done = self.forward_backward(views)
        self.update(self.gradients)
        return done

    def forward_backward(self, views):
        """views: list of (B, H, W, C). Those as large as the first, at the front, may be targets."""
        s, step = self.settings, self.steps
        views = [np.asarray(view, self.dtype) for view in views]
        sizes = [view.shape == views[0].shape for view in views]
        targets_count = sizes.index(False) if False in sizes else len(views)
        targets = None
        if self.teacher:
            encoder, head = self._networks(self.teacher)
            # Stochastic depth is the student's alone: a transformer's teacher passes as in evaluation.
            train = not isinstance(encoder, VisionTransformer)
            targets = [head.forward(encoder.forward(view, train)[0], True)[0] for view in views[:targets_count]]
        encoder, head = self._networks(self.student)
        embeddings, tapes = [], []
        for number, view in enumerate(views):
            encoder.first = number * len(view)
            features, encoder_tape = encoder.forward(view, True)
            z, head_tape = head.forward(features, True)
            embeddings.append(z)
            tapes.append((encoder_tape, head_tape))
        prototypes = self.student["prototypes.weight"]
        order = permutation(len(prototypes), s.seed, step) if s.partition_size else None
        result = assignment_loss(
            embeddings,
            prototypes,
            targets=targets,
            target_prototypes=self.teacher.get("prototypes.weight"),
            temperature=optim.ramp(step, s.temperature),
            permutation=order,
            block_size=s.partition_size,
            normalize_embedding=s.normalize_embedding,
            normalize_prototypes=s.normalize_prototypes,
            stop_gradient=s.stop_gradient,
            symmetric=s.symmetric,
            prior_weight=optim.ramp(step, s.prior_weight),
            prior_over_targets=s.prior_over_targets,
            target_views=targets_count,
        )

        loss, grad_views, weight = result.loss, result.grad_views, optim.ramp(step, s.contrast_weight)
        if weight > 0:
            contrast, grad_contrast = contrast_loss(embeddings, s.contrast_temperature)
            loss = loss + self.dtype(weight) * contrast
            grad_views = [a + self.dtype(weight) * b for a, b in zip(grad_views, grad_contrast)]

        def backward(kink):
            total = {"prototypes.weight": result.grad_prototypes}
            for dz, (encoder_tape, head_tape) in zip(grad_views, tapes):
                dfeatures, gradients = head.backward(dz, head_tape, kink)
                gradients.update(encoder.backward(dfeatures, encoder_tape, kink))
                for key, value in gradients.items():
                    total[key] = total.get(key, 0) + value
            return total

        self.gradients = backward(0.0)
        if self.kink_margin is not None:
            above, below = backward(self.kink_margin), backward(-self.kink_margin)
            self.kinks = {key: float(np.linalg.norm(above[key] - below[key])) for key in above}
        rate = optim.learning_rate(step, s.learning_rate, s.min_learning_rate, s.warmup_steps, s.total_steps)
        norm = optim.gradient_norm(self.gradients)
        return Step(float(loss), float(result.consistency), float(result.prior), rate, norm)

    def update(self, gradients):
        """Ends the step: accumulation, clipping, optimizer and teacher, from gradients of any origin."""
        s, step = self.settings, self.steps
        self.steps += 1
        rate = optim.learning_rate(step, s.learning_rate, s.min_learning_rate, s.warmup_steps, s.total_steps)
        for key, value in gradients.items():
            self.accumulated[key] = self.accumulated.get(key, 0) + np.asarray(value, self.dtype) / self.dtype(
                s.accumulate
            )
        if (step + 1) % s.accumulate:
            return
        frozen = self.steps <= s.freeze_prototypes
        if frozen:
            del self.accumulated["prototypes.weight"]
        factor = optim.clip_factor(optim.gradient_norm(self.accumulated), s.clip_norm)
        gradients = {key: value * self.dtype(factor) for key, value in self.accumulated.items()}
        parameters = {key: value for key, value in self.student.items() if not key.endswith(STATISTICS)}
        trained = {key: value for key, value in parameters.items() if key in gradients}
        self.optimizer.step(trained, gradients, {key: rate * s.rate_factor(key) for key in trained})
        parameters.update(trained)
        self.student.update(parameters)
        if self.teacher:
            followed = {key: value for key, value in parameters.items() if s.rate_factor(key) > 0}
            optim.moving_average(
                self.teacher, followed, optim.teacher_momentum(step, s.teacher_momentum, s.total_steps)
            )
        self.accumulated = {}
