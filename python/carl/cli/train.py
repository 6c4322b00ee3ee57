from __future__ import annotations

import argparse
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _keys
from .common import (
    DATA_HELP,
    LABELS_HELP,
    add_command,
    add_json,
    parse_overrides,
    print_json,
    refuse_options,
    value_range,
)

if TYPE_CHECKING:
    from .._given import Given
    from ..estimator import CARL

#: Parameters that may change when a run goes on.
_FREE = {"epochs", "budget", "total_steps", "threads", "checkpoint_every", "eval_every", "on_error", "max_broken"}
_DEFAULT_RUN = "runs/train"


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "train",
        "train on images without labels, or go on with a run",
        "Trains and writes a run folder: config.json, metrics.jsonl, usage.jsonl, eval.jsonl, train.log, "
        "checkpoints/last.carl, exported/encoder.safetensors. Ctrl-C and SIGTERM write a checkpoint; a run that goes "
        "on ends bit by bit where it would have ended without the pause. A key that does not exist is an error that "
        "names the nearest.",
        """
        carl train photos/ prototypes=128 epochs=50 --out runs/photos
        carl train photos/ --prototypes 128 --epochs 50                 # the same
        carl train photos/ --budget 20m --memory 4G                     # chooses sizes and epochs for this machine
        carl train photos/ --config photos.json learning_rate=0.03      # the file first, key=value on top
        carl train photos/ views='[{"size": 64, "count": 2}]' prior_weight='{"start": 4, "end": 1, "steps": 1000}'
        carl train runs/photos --resume                                 # goes on where it stopped
        carl train runs/photos --resume epochs=100                      # and further than planned at first
        carl train photos/ --out runs/photos --resume                   # starts, or goes on if something is there
        carl train photos/ cache=photos-cache                           # decode once, for sets larger than memory
        carl train photos/ on_error=raise                               # or max_broken=0.2; default: skip, 5% at most
        carl train photos/ weights=resnet50.safetensors epochs=5        # begins with weights of another program
        carl train photos/ weights=vit_small.safetensors train_encoder=none      # of which the encoder stays as it is
        carl train photos/ --eval labelled/ eval_every="500 steps"      # judged meanwhile, by k-NN and a linear probe
        carl train photos/ --logger tensorboard --logger mlflow
        """,
        _keys.text(),
    )
    parser.add_argument("data", metavar="DATA", nargs="?", help=f"{DATA_HELP}; or, with --resume, a run folder")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="parameters of carl.CARL, listed below, values as in JSON; or more DATA, such as the files of *.jpg",
    )
    parser.add_argument(
        "--out",
        "--run",
        dest="out",
        metavar="FOLDER",
        help=f"the run folder (default: {_DEFAULT_RUN}); without DATA, the run to go on with",
    )
    parser.add_argument(
        "--config", metavar="FILE", help="parameters as a JSON object, such as another run's config.json"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in the run folder, if there is one"
    )
    parser.add_argument(
        "--eval",
        dest="eval_data",
        action="append",
        default=[],
        metavar="DATA",
        help="labelled images to judge the features by while training, by k-NN and a linear probe, without any "
        "influence on it. Given once, one image in five is classified by the others; given twice, the second set by "
        "the first. When: eval_every=500 (steps) or eval_every='2 epochs' (default: every epoch)",
    )
    parser.add_argument(
        "--eval-labels",
        action="append",
        default=[],
        metavar="FILE",
        help=f"of each --eval, where they do not come with the images: {LABELS_HELP}",
    )
    parser.add_argument(
        "--image-key",
        metavar="KEY",
        help="which array of an .npz file, or which file of a .tar archive's samples (seg.png of K.seg.png), is the "
        "image",
    )
    parser.add_argument(
        "--logger",
        dest="loggers",
        action="append",
        default=[],
        choices=["tensorboard", "wandb", "mlflow"],
        help="log there too; needs the package of that name. May be given several times",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_json(parser)
    _keys.add_options(parser)
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    from .._checkpoint import steps_taken
    from .._given import given_of
    from .._run_place import check_place
    from .._signals import say_on_stderr
    from .._values import checked_range
    from ..errors import InvalidArgumentError, Terminated
    from ..estimator import CARL
    from ..loggers import make
    from ..runs import RunFolder, refuse_if_in_use
    from ..sources import as_source

    image_key = arguments.image_key
    data, out, resume = _places(arguments)
    params: dict[str, Any] = {}
    if arguments.config:
        params.update(_config_file(arguments.config))
    given = _given_keys(arguments)
    params.update(given)
    refuse_options(params)
    if isinstance(params.get("value_range"), str):  # 0,1 as other commands take it
        with suppress(argparse.ArgumentTypeError):  # told as of any other value
            params["value_range"] = list(value_range(params["value_range"]))  # as it is stored
    CARL().set_params(**params)  # unknown keys first, whatever else is wrong
    _refuse_without_effect(given, params)
    check_place(out, given_of(data, image_key), "--out")
    refuse_if_in_use(out)
    checkpoint = RunFolder(out).checkpoint
    if checkpoint.exists():
        if not resume:
            raise InvalidArgumentError(f"{checkpoint} exists already: add --resume to go on, or choose another --out")
        model, known = _stored(out, params)
        if data is None:
            known.check(out)
            data, image_key = known.images, image_key or known.image_key
    elif data is None:
        raise InvalidArgumentError(
            f"{out}: has no checkpoint yet, so there is nothing to go on from: name the images to start anew"
        )
    else:
        model = CARL().set_params(**params)
    images: Any = data
    if image_key is not None and data is not None:
        channels = model.in_channels if model.in_channels in (1, 3) else None
        images = as_source(data, channels, value_range=checked_range(model.value_range), image_key=image_key)
    eval_set = _eval_set(arguments) or model._eval_paths
    if eval_set is None and "eval_every" in params:
        raise InvalidArgumentError("eval_every: wants labelled images to judge by: add --eval DATA")
    if eval_set is None:
        model.set_params(eval_every=None)
    model.set_params(run_dir=out, progress=not arguments.quiet, callbacks=[make(name) for name in arguments.loggers])
    before = steps_taken(str(checkpoint)) if checkpoint.exists() else 0
    try:
        model.fit(images, eval_set=eval_set, resume=resume)
    except (KeyboardInterrupt, Terminated):
        if checkpoint.exists():
            say_on_stderr(f"to go on: carl train {out} --resume")
        raise
    _tell(arguments, model, out, str(checkpoint), before)
    return 0


def _given_keys(arguments: argparse.Namespace) -> dict[str, Any]:
    """The parameters of key=value and of options; ConfigurationError for one that these give different values."""
    from ..errors import ConfigurationError

    keys, options = parse_overrides(arguments.overrides), parse_overrides(arguments.options)
    for key, value in options.items():
        if key in keys and keys[key] != value:
            raise ConfigurationError(
                f"{key}: is given twice, as {key}={keys[key]} and as --{key.replace('_', '-')} {value}: leave one of "
                "them out"
            )
    return {**keys, **options}


def _refuse_without_effect(given: dict[str, Any], params: dict[str, Any]) -> None:
    """ConfigurationError for a parameter of the command line that another one leaves without any effect. A file of
    parameters may have all of them."""
    from ..errors import ConfigurationError

    if given.get("cache_size") is not None and params.get("cache") is None:
        raise ConfigurationError("cache_size: has no effect without cache: add cache=FOLDER, or leave it out")
    if given.get("max_broken") is not None and params.get("on_error") == "raise":
        raise ConfigurationError(
            'max_broken: has no effect with on_error "raise", which tolerates no broken image: leave one of them out'
        )


def _eval_set(arguments: argparse.Namespace) -> list[str | None] | None:
    """--eval and --eval-labels as fit() takes them."""
    from ..errors import InvalidArgumentError

    data, labels = arguments.eval_data, arguments.eval_labels
    if len(data) > 2:
        raise InvalidArgumentError(f"--eval: got {len(data)} sets, want one, or references and a set to classify")
    if labels and len(labels) != len(data):
        raise InvalidArgumentError(f"--eval-labels: got {len(labels)}, want one for each --eval ({len(data)})")
    return [part for pair in zip(data, labels or [None] * len(data)) for part in pair] or None


def _places(arguments: argparse.Namespace) -> tuple[str | list[str] | None, str, bool]:
    """The images, the run folder, and whether to go on, from what was given."""
    from .._given import is_place
    from ..errors import InvalidArgumentError
    from ..runs import is_run_folder

    words = [word for word in (arguments.data, *arguments.overrides) if word is not None]
    places = [word for word in words if is_place(word)]
    if words and words[0] not in places and "=" not in words[0]:
        places.insert(0, words[0])  # which is told to be missing
    arguments.overrides = [word for word in words if word not in places]
    if len(places) > 1:  # carl train *.jpg
        return places, arguments.out or _DEFAULT_RUN, arguments.resume
    data = places[0] if places else None
    if data is not None and os.path.isdir(data) and is_run_folder(data):
        if arguments.out is not None and os.path.realpath(arguments.out) != os.path.realpath(data):
            raise InvalidArgumentError(
                f"{data} is a run folder: it goes on in place, so --out is not needed. If it holds images too, to "
                "train on: move what the run has written (config.json, checkpoints, *.jsonl, ...) to a folder of its "
                "own"
            )
        if not arguments.resume:
            raise InvalidArgumentError(f"{data} is the folder of a run: add --resume to go on with it")
        return None, data, True
    if data is None:
        if arguments.out is None:
            arguments.parser.error("want DATA, the images to train on, or --run FOLDER, a run to go on with")
        if not os.path.exists(os.path.expanduser(arguments.out)):
            arguments.parser.error(f"want DATA, the images to train on: {arguments.out} is no run to go on with")
        from ..runs import run_folder

        run_folder(arguments.out)
        return None, arguments.out, True
    return data, arguments.out or _DEFAULT_RUN, arguments.resume


def _config_file(path: str) -> dict[str, Any]:
    from .._reading import read_text
    from ..config import parse_object
    from ..errors import FileError

    try:
        text = read_text(Path(path).expanduser())
    except FileError as error:
        raise FileError(f"--config: {error}") from None
    return parse_object(text, path)


def _stored(run: str, params: dict[str, Any]) -> tuple[CARL, Given]:
    """The parameters a run was started with, changed as far as they may be, and where its images were."""
    from .._notes import is_change
    from ..errors import ConfigurationError
    from ..estimator import load

    model = load(run)
    stored, config = model.get_params(), vars(model.config_)
    for key, value in params.items():
        if key not in _FREE and is_change(value, key, stored[key], config.get(key)):
            now = config.get(key, stored[key])
            raise ConfigurationError(
                f"{key}: got {value!r}, but {run} was started with {now!r}, which stays: start a new run"
            )
    model.set_params(**{key: value for key, value in params.items() if key in _FREE})
    model.trainer_.close()
    return model, model._given


def _tell(arguments: argparse.Namespace, model: CARL, out: str, checkpoint: str, before: int) -> None:
    """before: steps that were taken already."""
    from ..progress import describe, describe_evaluation

    last = model.history_[-1] if model.history_ else None
    facts = {
        "run": out,
        "checkpoint": checkpoint,
        "step": model.trainer_.step_count,
        "epochs": model.epoch_,
        "data_wait": model.data_wait_,
        "broken_images": len(model.broken_images_),
    }
    if arguments.json:
        evaluation = model.evaluations_[-1] if model.evaluations_ else None
        print_json({**facts, "metrics": None if last is None else last.to_dict(), "evaluation": evaluation})
        return
    if last is None or model.trainer_.step_count == before:
        if model.budget is not None:
            print(
                f"nothing to do: the run is over after {model.trainer_.step_count} steps, and its learning rate has "
                "come down"
            )
        elif model.total_steps is not None and model.trainer_.step_count >= model.total_steps:
            print(
                f"nothing to do: {model.trainer_.step_count} steps are taken, and total_steps is {model.total_steps}; "
                f"total_steps={model.trainer_.step_count * 2} would go further"
            )
        else:
            print(
                f"nothing to do: {model.epoch_} of {model.config_.epochs} epochs are done; epochs={model.epoch_ * 2} "
                "would go further"
            )
    else:
        print(describe(last, model.data_wait_))
    if model.evaluations_:
        print(describe_evaluation(model.evaluations_[-1]))
    if model.broken_images_:
        print(
            f"images that could not be read: {len(model.broken_images_)}, listed in "
            f"{os.path.join(out, 'broken_images.jsonl')}"
        )
    print(f"checkpoint: {checkpoint}")
