"""Six methods of self-supervised learning with lightly's heads and losses, each with its published setting.

| method | optimizer, rate at a batch of 128, decay, schedule | heads (F: the encoder's features) | source |
|---|---|---|---|
| SimCLR | SGD 0.9, 0.06, 5e-4, cosine | F-512-128, temperature 0.5 | 1 |
| SwAV | Adam, 0.001, 1e-6, cosine | F-512-128, 512 prototypes, temperature 0.1, Sinkhorn 3 x 0.05 | 1 |
| BYOL | SGD 0.9, 0.06, 5e-4, cosine | F-1024-256, prediction 256-1024-256, teacher 0.99 | 1 |
| DINO | SGD 0.9, 0.06, 5e-4, cosine | F-2048-256, 2048 prototypes, teacher 0.99, temperatures 0.1 and 0.04 | 1 |
| Barlow Twins | LARS 0.9, 0.15, 1e-4 but biases and norms, trust 0.02, a tenth warm-up, cosine | F-2048-2048-2048 | 2 |
| VICReg | as Barlow Twins | F-2048-2048-2048, weights 25, 25, 1 | 2 |

Barlow Twins' lambda is 0.005, its loss times 0.1.

1: lightly, docs/source/getting_started/benchmarks/cifar10_benchmark.py, ResNet-18 at a batch of 128, whose features are
judged as here: the trained encoder's, not the teacher's (`judged` = "teacher" judges that). 2: solo-learn,
scripts/pretrain/cifar/barlow.yaml and vicreg.yaml (0.3 at a batch of 256; lightly's LARS has not its limit of the local
rate); the warm-up is that of lightly's imagenette_benchmark.py, 20 of 200 epochs. Barlow Twins with the SGD of 1 is not
finite after its first step here: the loss is a sum over 2048 x 2048 correlations. No head is narrower than published,
also at a small width of the encoder. All take two views of one size; SwAV and DINO have no small crops, as in 1. Rates
grow in proportion to the batch size.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

try:
    import peer_torchvision  # noqa: F401  some installations need it before torchvision, which lightly imports
except ImportError:
    pass
try:
    from lightly import loss as losses
    from lightly.models.modules import heads
    from lightly.models.utils import deactivate_requires_grad, update_momentum
    from lightly.utils.lars import LARS
except ImportError:
    raise SystemExit("the peers need lightly: pip install lightly") from None

#: Batch size that the rates of the settings are of.
BATCH = 128


class Method(nn.Module):
    """An encoder and what trains it. `forward` takes two views, each (B, C, H, W), and returns the loss."""

    title = ""
    rate = 0.06
    options: dict[str, Any] = {}
    common: dict[str, Any] = {
        "optimizer": "sgd",
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "trust": 0.02,
        "warmup": 0.0,
        "schedule": "cosine",
    }

    def __init__(self, encoder: nn.Module, options: dict[str, Any]) -> None:
        super().__init__()
        self.encoder, self.chosen = encoder, options
        self.build(encoder.features, options)

    def build(self, features: int, options: dict[str, Any]) -> None:
        raise NotImplementedError

    def before_step(self) -> None:
        """What comes before each step."""

    def judged(self) -> nn.Module:
        """The encoder whose features are judged."""
        return self.encoder

    def scores(self, features: Tensor) -> Tensor | None:
        """Scores of the prototypes, (B, K), from the judged encoder's features; None if the method has no
        prototypes."""
        return None

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        return {**cls.common, **cls.options}


class SimCLR(Method):
    title = "SimCLR"
    options = {"hidden": 512, "dim": 128, "temperature": 0.5}

    def build(self, features, options):
        self.head = heads.SimCLRProjectionHead(features, options["hidden"], options["dim"])
        self.loss = losses.NTXentLoss(temperature=options["temperature"])

    def forward(self, views):
        return self.loss(*(self.head(self.encoder(view)).float() for view in views))


class SwAV(Method):
    title = "SwAV"
    rate = 0.001
    options = {
        "optimizer": "adam",
        "weight_decay": 1e-6,
        "hidden": 512,
        "dim": 128,
        "prototypes": 512,
        "temperature": 0.1,
        "epsilon": 0.05,
    }

    def build(self, features, options):
        self.head = heads.SwaVProjectionHead(features, options["hidden"], options["dim"])
        self.prototypes = heads.SwaVPrototypes(options["dim"], options["prototypes"])
        self.loss = losses.SwaVLoss(temperature=options["temperature"], sinkhorn_epsilon=options["epsilon"])

    def before_step(self):
        self.prototypes.normalize()

    def scores(self, features):
        return self.prototypes(F.normalize(self.head(features), dim=1))

    def forward(self, views):
        return self.loss([self.scores(self.encoder(view)).float() for view in views], []).sum()


class WithTeacher(Method):
    """A method with a moving average of the encoder and its head."""

    def average(self, student: nn.Module, teacher: nn.Module) -> nn.Module:
        teacher.load_state_dict(student.state_dict())
        deactivate_requires_grad(teacher)
        return teacher

    def build(self, features, options):
        self.head = self.new_head(features, options)
        self.teacher = self.average(self.encoder, type(self.encoder)(*self.encoder.arguments))
        self.teacher_head = self.average(self.head, self.new_head(features, options))

    def new_head(self, features: int, options: dict[str, Any]) -> nn.Module:
        raise NotImplementedError

    def before_step(self):
        update_momentum(self.encoder, self.teacher, m=self.chosen["teacher_momentum"])
        update_momentum(self.head, self.teacher_head, m=self.chosen["teacher_momentum"])

    def judged(self):
        return {"student": self.encoder, "teacher": self.teacher}[self.chosen["judged"]]

    def targets(self, views):
        with torch.no_grad():
            return [self.teacher_head(self.teacher(view)).float() for view in views]


class BYOL(WithTeacher):
    title = "BYOL"
    options = {"hidden": 1024, "dim": 256, "teacher_momentum": 0.99, "judged": "student"}

    def new_head(self, features, options):
        return heads.BYOLProjectionHead(features, options["hidden"], options["dim"])

    def build(self, features, options):
        super().build(features, options)
        self.prediction = heads.BYOLPredictionHead(options["dim"], options["hidden"], options["dim"])
        self.loss = losses.NegativeCosineSimilarity()

    def forward(self, views):
        targets = self.targets(views)
        found = [self.prediction(self.head(self.encoder(view))).float() for view in views]
        return (self.loss(found[0], targets[1]) + self.loss(found[1], targets[0])) / 2


class DINO(WithTeacher):
    title = "DINO"
    options = {
        "hidden": 2048,
        "dim": 256,
        "prototypes": 2048,
        "temperature": 0.1,
        "teacher_temperature": 0.04,
        "teacher_momentum": 0.99,
        "judged": "student",
    }

    def new_head(self, features, options):
        head = heads.DINOProjectionHead(
            features, options["hidden"], options["dim"], options["prototypes"], batch_norm=True
        )
        # Two layers before the prototypes, as published for CIFAR-10.
        head.layers = heads.ProjectionHead(
            [
                (features, options["hidden"], nn.BatchNorm1d(options["hidden"]), nn.GELU()),
                (options["hidden"], options["dim"], None, None),
            ]
        ).layers
        return head

    def build(self, features, options):
        super().build(features, options)
        self.loss = losses.DINOLoss(
            options["prototypes"], teacher_temp=options["teacher_temperature"], student_temp=options["temperature"]
        )

    def scores(self, features):
        return (self.head if self.judged() is self.encoder else self.teacher_head)(features)

    def forward(self, views):
        return self.loss(self.targets(views), [self.head(self.encoder(view)).float() for view in views])


#: The optimizer of the two methods that decorrelate.
LARS_SETTING = {"optimizer": "lars", "weight_decay": 1e-4, "warmup": 0.1}


class BarlowTwins(Method):
    title = "Barlow Twins"
    rate = 0.15
    options = {**LARS_SETTING, "hidden": 2048, "dim": 2048, "lambda": 0.005, "scale": 0.1}

    def build(self, features, options):
        self.head = heads.BarlowTwinsProjectionHead(features, options["hidden"], options["dim"])
        self.loss = losses.BarlowTwinsLoss(lambda_param=options["lambda"])

    def forward(self, views):
        return self.chosen["scale"] * self.loss(*(self.head(self.encoder(view)).float() for view in views))


class VICReg(Method):
    title = "VICReg"
    rate = 0.15
    options = {**LARS_SETTING, "hidden": 2048, "dim": 2048, "invariance": 25.0, "variance": 25.0, "covariance": 1.0}

    def build(self, features, options):
        self.head = heads.VICRegProjectionHead(features, options["hidden"], options["dim"])
        self.loss = losses.VICRegLoss(options["invariance"], options["variance"], options["covariance"])

    def forward(self, views):
        return self.loss(*(self.head(self.encoder(view)).float() for view in views))


METHODS: dict[str, type[Method]] = {
    "simclr": SimCLR,
    "swav": SwAV,
    "byol": BYOL,
    "dino": DINO,
    "barlow_twins": BarlowTwins,
    "vicreg": VICReg,
}


def optimizer_of(method: Method, rate: float) -> torch.optim.Optimizer:
    options = method.chosen
    parameters = [parameter for parameter in method.parameters() if parameter.requires_grad]
    kind, decay = options["optimizer"], options["weight_decay"]
    if kind == "adam":
        return torch.optim.Adam(parameters, lr=rate, weight_decay=decay)
    if kind == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
    if kind == "lars":
        groups = [
            {"params": [parameter for parameter in parameters if parameter.ndim > 1]},
            {"params": [parameter for parameter in parameters if parameter.ndim == 1], "weight_decay": 0.0},
        ]
        return LARS(
            groups, lr=rate, momentum=options["momentum"], weight_decay=decay, trust_coefficient=options["trust"]
        )
    if kind == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=options["momentum"], weight_decay=decay)
    raise SystemExit(f"optimizer: got {kind!r}, want sgd, adam, adamw or lars")
