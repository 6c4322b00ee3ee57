"""What models show in a notebook: what they are, how far they are trained, and how large."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._shown import count_text, line, shown, table
from .errors import CARLError

if TYPE_CHECKING:
    from ._sklearn import EstimatorRules
    from ._state import StateHandle
    from .classifier import Classifier
    from .config import TrainerConfig
    from .encoder import Encoder
    from .trainer import Trainer

Rows = list[tuple[str, object]]
#: How tensors end that are statistics of what was seen.
_NO_PARAMETERS = (".running_mean", ".running_var", ".feature_mean", ".feature_deviation")


def estimator_card(model: EstimatorRules) -> str:
    """Of carl.CARL: its parameters before ``fit``, the network and how it was trained after it."""
    given = [(name, shown(value, None)) for name, value in model._given_parameters().items()]
    trainer: Trainer | None = getattr(model, "trainer_", None)
    if trainer is None:
        rows: Rows = [*given] or [("parameters", "all as by default")]
        return table(type(model).__name__, "not fitted", rows)
    if trainer.closed:
        return table(type(model).__name__, "closed", given)
    rows = _rows_or_error(trainer)
    for name, value in (
        ("epochs", getattr(model, "epoch_", None)),
        ("weights", (getattr(model, "weights_", None) or {}).get("file")),
        ("run folder", getattr(model, "run_dir_", None)),
        ("broken images", len(getattr(model, "broken_images_", ())) or None),
        ("given", ", ".join(f"{name}={value}" for name, value in given)),
    ):
        if value not in (None, ""):
            rows.append((name, value))
    return table(type(model).__name__, _steps(trainer), rows)


def trainer_card(trainer: Trainer) -> str:
    if trainer.closed:
        return table("Trainer", "closed", [])
    return table("Trainer", _steps(trainer), _rows_or_error(trainer))


def classifier_card(classifier: Classifier) -> str:
    if classifier.closed:
        return table("Classifier", "closed", [])
    try:
        config, names = classifier.config, classifier.classes_
        rows: Rows = [
            ("classes", f"{len(names)}: {shown(names.tolist())}"),
            ("trains", "the linear layer" if config["freeze_encoder"] else "encoder and linear layer"),
            ("images", f"{config['view']['size']} pixels, {_channels(classifier.in_channels_)}"),
            ("features", classifier.output_width()),
            ("parameters", _parameters(classifier)),
            ("rates", f"{shown(config['learning_rate'])}, linear layer {shown(config['head_learning_rate'])}"),
        ]
    except CARLError as error:
        rows = [("state", error)]
    return table("Classifier", "", rows)


def encoder_card(encoder: Encoder) -> str:
    if encoder.closed:
        return table("Encoder", "closed", [])
    rows: Rows = [("images", _channels(encoder.in_channels_)), ("features", encoder.output_width())]
    return table("Encoder", "embeds only", rows)


def trainer_line(trainer: Trainer) -> str:
    """What a console shows of a trainer, be it closed or in use by another thread."""
    if trainer.closed:
        return "Trainer(closed)"
    try:
        config = trainer.config
    except CARLError:  # another thread trains
        return line("Trainer", {"step_count": trainer.step_count})
    names = ("encoder", "patch_size", "prototypes") if _is_vit(config) else ("encoder", "stem", "width", "prototypes")
    return line("Trainer", {**{name: getattr(config, name) for name in names}, "step_count": trainer.step_count})


def _steps(trainer: Trainer) -> str:
    return f"{trainer.step_count:,} steps" if trainer.step_count else "not trained"


def _rows_or_error(trainer: Trainer) -> Rows:
    """Another thread may be using the trainer: what is shown of it is never an error."""
    try:
        return _rows(trainer)
    except CARLError as error:
        return [("state", error)]


def _rows(trainer: Trainer) -> Rows:
    config = trainer.config
    size: object = config.view_size
    if size is None and isinstance(config.views, list):
        size = ", ".join(map(str, sorted({view["size"] for view in config.views}, reverse=True)))
    rows: Rows = [
        ("encoder", _encoder(config)),
        ("images", f"{size} pixels, {_channels(config.in_channels)}"),
        ("objective", f"{config.objective}, {config.prototypes} prototypes"),
        ("optimizer", f"{config.optimizer}, rate {shown(config.learning_rate)}"),
        ("features", trainer.output_width()),
        ("parameters", _parameters(trainer)),
    ]
    last = trainer.last_metrics
    if trainer.step_count and last.loss:  # all figures are 0 after a resume
        rows.append(("last step", f"loss {last.loss:.4g}, {last.effective_prototypes:.4g} effective prototypes"))
    return rows


def _is_vit(config: TrainerConfig) -> bool:
    return str(config.encoder).startswith("vit")


def _encoder(config: TrainerConfig) -> str:
    if _is_vit(config):
        return f"{config.encoder}, patches of {config.patch_size} pixels, pool {config.pool}"
    return f"{config.encoder}, stem {config.stem}, width {shown(config.width)}"


def _channels(count: Any) -> str:
    return "1 channel" if count == 1 else f"{count} channels"


def _parameters(model: StateHandle) -> str:
    """How many there are, the teacher's left out, and how many of them train."""
    counts = [
        (info.count, info.trained)
        for name, info in model._tensors().items()
        if not name.startswith("teacher.") and not name.endswith(_NO_PARAMETERS)
    ]
    total = sum(count for count, _ in counts)
    trained = sum(count for count, trains in counts if trains)
    return count_text(total) + ("" if trained == total else f", {count_text(trained)} of them trained")
