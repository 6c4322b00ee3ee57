"""Transfer: what an encoder trained on other images is worth on a labelled data set."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from inspect import signature
from typing import Any, ClassVar

from ..errors import InvalidArgumentError
from .finetune import finetune
from .linear import linear_probe
from .supervised import ClassificationResult

MODES = ("frozen", "finetuned")


@dataclass(frozen=True, repr=False, eq=False)
class TransferResult(ClassificationResult):
    """mode: "frozen" (linear probe) or "finetuned". from_scratch: whether the encoder's weights were drawn anew, for
    comparison."""

    protocol: ClassVar[str] = "transfer"

    mode: str
    from_scratch: bool


def transfer(
    model: Any,
    train_images: Any,
    train_labels: Any,
    test_images: Any,
    test_labels: Any,
    *,
    mode: str = "frozen",
    **options: Any,
) -> TransferResult:
    """Evaluates an encoder on a labelled data set that it was not trained on.

    mode: "frozen", the encoder stays as it is and a linear layer is trained (``linear_probe``); or "finetuned", both
        are trained (``finetune``), on all labels unless label_fraction or labels_per_class is given.
    options: those of the protocol. Images are resized to the size the encoder was trained with unless view={"size":
        ...} says otherwise; they need its number of channels.
    """
    if mode not in MODES:
        raise InvalidArgumentError(f"mode: got {mode!r}, want one of {', '.join(map(repr, MODES))}")
    data = (train_images, train_labels, test_images, test_labels)
    protocol, other = (linear_probe, finetune) if mode == "frozen" else (finetune, linear_probe)
    for key in options.keys() - signature(protocol).parameters.keys() & signature(other).parameters.keys():
        raise InvalidArgumentError(f"{key}: is no option of mode={mode!r}, but of the other")
    if mode == "frozen":
        result: ClassificationResult = linear_probe(model, *data, **options)
    else:
        if options.get("label_fraction") is None and options.get("labels_per_class") is None:
            options["label_fraction"] = 1.0
        result = finetune(model, *data, **options)
    common = {field.name: getattr(result, field.name) for field in dataclasses.fields(ClassificationResult)}
    return TransferResult(**common, mode=mode, from_scratch=bool(options.get("from_scratch", False)))
