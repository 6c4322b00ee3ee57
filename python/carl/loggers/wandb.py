"""Weights & Biases, by its own package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import missing_package
from .base import Logger, remember, remembered, run_dir_of

if TYPE_CHECKING:
    from ..estimator import CARL


class WandB(Logger):
    """Logs to Weights & Biases. Needs the package wandb; log in, or choose offline work, as that package describes.

    project: its name. name: of the run, by default the name of the run's folder. every: steps between two points.
    options: further arguments of ``wandb.init``. A resumed run goes on in the same run there: its id is kept in
    wandb.id in the run's folder.
    """

    def __init__(self, project: str = "carl", name: str | None = None, every: int = 1, **options: Any) -> None:
        super().__init__(every)
        self.project, self.name, self.options = project, name, options
        self._run: Any = None

    def open(self, model: CARL, config: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ImportError:
            raise missing_package("the logger WandB", "wandb") from None
        folder, known = run_dir_of(model), remembered(model, "wandb")
        arguments: dict[str, Any] = {
            "project": self.project,
            "name": self.name or (folder.name if folder else None),
            "config": dict(config),
        }
        if folder is not None:
            arguments["dir"] = str(folder)
        if known:
            arguments.update(id=known, resume="allow")
        self._run = wandb.init(**{**arguments, **self.options})
        remember(model, "wandb", str(self._run.id))

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        self._run.log(dict(figures), step=step)

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))
        self._run = None
