from __future__ import annotations

import argparse
from typing import Any

from .common import MODEL_HELP, add_command, add_json, positive, print_json


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "export",
        "write a model for other programs: safetensors, ONNX, torch",
        "Writes the encoder, or all of the model, into one file, which appears when it is complete. Tensors have "
        "torchvision's names and layouts, those of vision transformers timm's, so that their network of the same shape "
        "loads them strictly. An ONNX file takes any number of images (N, C, H, W) and gives features; with --part "
        "model, the projection, logits and probabilities too.",
        """
        carl export runs/photos --out encoder.safetensors
        carl export runs/photos --out model.safetensors --part model    # with projection head and prototypes
        carl export runs/photos --out teacher.safetensors --teacher
        carl export runs/photos --out encoder.onnx --pixels bytes       # uint8 images in, normalised inside
        carl export runs/photos --out encoder.pt                        # for torch.load
        carl export classifier.carl --out classifier.onnx --part model  # classes' logits and probabilities
        carl export resnet50.safetensors --out resnet50.onnx
        """,
    )
    parser.add_argument("model", metavar="MODEL", help=f"{MODEL_HELP}; the file of a classifier; a weights file")
    parser.add_argument("--out", required=True, metavar="FILE", help="the file to write")
    parser.add_argument(
        "--format",
        choices=["safetensors", "onnx", "torch"],
        help="onnx needs the onnx package, torch needs torch (default: by the ending of FILE, .safetensors, .onnx, .pt "
        "or .pth)",
    )
    parser.add_argument(
        "--part",
        default="encoder",
        choices=["encoder", "model"],
        help="the encoder alone, or all of the model, under the names of Trainer.state_dict; of a classifier, with its "
        "linear layer as fc or head (default: %(default)s)",
    )
    parser.add_argument("--teacher", action="store_true", help="the teacher instead, if the model has one")
    parser.add_argument(
        "--pixels",
        default="normalized",
        choices=["normalized", "unit", "bytes"],
        help="onnx: what images are: normalised, or float32 from 0 to 1, or uint8, which the file normalises "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--size",
        type=positive,
        metavar="PIXELS",
        help="onnx: of a side of the images (default: any of a ResNet, of a vision transformer the model's)",
    )
    parser.add_argument("--no-fold", action="store_true", help="onnx: BatchNorm and LayerScale stay nodes of their own")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from .._checkpoint import read_header
    from ..errors import InvalidArgumentError
    from ..export import export_model, format_of
    from ._outputs import check_not_read, check_output

    check_not_read(arguments.out, model=arguments.model)
    try:
        format_of(arguments.out, arguments.format)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"--out: {str(error).replace('a format, one of', '--format with one of')}") from None
    check_output(arguments.out, model=arguments.model)
    file = export_model(
        arguments.model,
        arguments.out,
        arguments.format,
        arguments.part,
        teacher=arguments.teacher,
        fold=not arguments.no_fold,
        pixels=arguments.pixels,
        size=arguments.size,
    )
    kind, size = format_of(arguments.out, arguments.format), file.stat().st_size
    found: dict[str, Any] = {"file": str(file), "format": kind, "bytes": size}
    text = f"{size / 1e6:.1f} MB"
    if kind == "safetensors":
        found["tensors"] = [name for name in read_header(file) if name != "__metadata__"]
        text = f"{len(found['tensors'])} tensors, {found['tensors'][0]} to {found['tensors'][-1]}"
    if arguments.json:
        print_json(found)
    else:
        print(f"{file}: {text}")
    return 0
