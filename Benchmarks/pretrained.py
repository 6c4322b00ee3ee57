"""Pretrained networks beside PyTorch and ONNX Runtime on the same CPU, in turn, from one weights file each.

    python Benchmarks/pretrained.py [--quick] [--json] [--networks vit_small resnet50] [--batches 1 64] [--compile]

Rows: embedding of normalised images of 224 pixels by ViT-S/16 and ResNet-50, for each batch size, and a training step
on two views of --images images each (head 512-128, 300 prototypes, SGD). Peers: PyTorch eager in float32, with
--compile also its encoder by torch.compile, and, where the processor has instructions for it, in bfloat16, beside CARL
in bfloat16; ONNX Runtime in float32 for embedding. Ratios are of medians. The weights are random, the same for all:
beside the times stands how far the features of each program are from the library's in float32, relative to their
largest value.

Needs torch, torchvision, timm and safetensors; ONNX Runtime is left out where onnx or onnxruntime are missing.
"""

import argparse
import importlib
import json
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np

import carl
from support.arguments import positive
from support.interleaved import is_own, like, medians

try:
    import torch
    from torch import nn

    with suppress(ImportError):
        importlib.import_module("peer_torchvision")  # lets torchvision be imported beside a torch without its operators
    import timm
    import torchvision
    from safetensors.torch import save_file
except ImportError as error:
    raise SystemExit(f"this comparison needs {error.name}: pip install torch torchvision timm safetensors") from None
from support.processor import has_bfloat16
from train_step import torch_step

SIZE, HEAD, PROTOTYPES = 224, [512, 128], 300
#: Name in the library: how the peer makes it without its classifier.
NETWORKS = {
    "vit_tiny": lambda: timm.create_model("vit_tiny_patch16_224", num_classes=0),
    "vit_small": lambda: timm.create_model("vit_small_patch16_224", num_classes=0),
    "vit_base": lambda: timm.create_model("vit_base_patch16_224", num_classes=0),
    "resnet18": lambda: without_classifier(torchvision.models.resnet18(weights=None)),
    "resnet50": lambda: without_classifier(torchvision.models.resnet50(weights=None)),
}


def without_classifier(model):
    model.fc = nn.Identity()
    return model


def random_images(count):
    return np.random.default_rng(0).standard_normal((count, SIZE, SIZE, 3), dtype=np.float32)


def tensor_of(images):
    """(B, H, W, C) as a tensor on the same memory, which is channels_last."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


class Network:
    """The peer's network and the file of its weights."""

    def __init__(self, name, folder):
        torch.manual_seed(0)
        self.name, self.folder = name, Path(folder)
        self.model = NETWORKS[name]().eval().to(memory_format=torch.channels_last)
        self.path = self.folder / f"{name}.safetensors"
        save_file({key: value.contiguous() for key, value in self.model.state_dict().items()}, self.path)

    def embedders(self, compiled):
        """Functions from images to features, by program."""
        found = {"carl": carl.Encoder.from_weights(self.path).embed, "torch float32": self._torch(self.model)}
        if has_bfloat16():
            found["carl bfloat16"] = carl.Encoder.from_weights(self.path, precision="bf16").embed
            found["torch bfloat16"] = self._torch(self.model, bfloat16=True)
        if compiled:
            found["torch float32 compiled"] = self._torch(torch.compile(self.model))
            if has_bfloat16():
                found["torch bfloat16 compiled"] = self._torch(torch.compile(self.model), bfloat16=True)
        session = self._onnx()
        if session is not None:
            found["onnxruntime"] = session
        return found

    @staticmethod
    def _torch(model, bfloat16=False):
        def run(images):
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                return model(tensor_of(images)).float().numpy()

        return run

    def _onnx(self):
        try:
            import onnx  # noqa: F401
            import onnxruntime
        except ImportError as error:
            print(f"without {error.name}", file=sys.stderr)
            return None
        path = self.folder / f"{self.name}.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing: only the batch differs from what is traced
            torch.onnx.export(
                self.model,
                (torch.zeros(2, 3, SIZE, SIZE),),
                str(path),
                input_names=["x"],
                output_names=["y"],
                dynamic_axes={"x": {0: "n"}, "y": {0: "n"}},
                dynamo=False,
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = carl.default_threads()
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda images: session.run(None, {"x": images})[0]

    def steps(self, images, compiled):
        """Functions that take a training step, by program."""
        views = [random_images(images), random_images(images)[::-1].copy()]
        info = carl.weights_info(self.path)
        given = {"projector": HEAD, "prototypes": PROTOTYPES, "optimizer": "sgd", "learning_rate": 1e-3}
        found = {}
        kinds = [(bfloat16, False) for bfloat16 in ((False, True) if has_bfloat16() else (False,))]
        for bfloat16, by_compiler in [*kinds, *((bfloat16, True) for bfloat16, _ in kinds if compiled)]:
            precision = "bf16" if bfloat16 else "float32"
            if not by_compiler:
                trainer = carl.Trainer(info.config, **given, batch_size=images, precision=precision)
                trainer.load_weights(self.path)
                width = trainer.output_width("features")
                found["carl bfloat16" if bfloat16 else "carl"] = lambda own=trainer: own.step_views(views)
            encoder = NETWORKS[self.name]().to(memory_format=torch.channels_last)
            if by_compiler:
                encoder.compile()
            head = nn.Sequential(nn.Linear(width, HEAD[0]), nn.BatchNorm1d(HEAD[0]), nn.ReLU(), nn.Linear(*HEAD))
            model = nn.ModuleDict(
                {"encoder": encoder, "head": head, "prototypes": nn.Linear(HEAD[1], PROTOTYPES, bias=False)}
            ).train()
            optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)
            name = f"torch {'bfloat16' if bfloat16 else 'float32'}{' compiled' if by_compiler else ''}"
            found[name] = torch_step(model, optimizer, [tensor_of(view) for view in views], bfloat16)
        return found


def embed_rows(network, batches, rounds, compiled):
    programs = network.embedders(compiled)
    rows = {}
    for batch in batches:
        images = random_images(batch)
        # ONNX Runtime's are (B, C, H, W), made beforehand as those of the others are.
        given = {"onnxruntime": np.ascontiguousarray(images.transpose(0, 3, 1, 2))}
        runs = {name: lambda run=run, own=given.get(name, images): run(own) for name, run in programs.items()}
        features = {name: run() for name, run in runs.items()}  # this warms up, too
        own = features.pop("carl")
        largest = np.abs(own).max()
        seconds = medians(runs, rounds)
        rows[f"embed {network.name} {SIZE}x{SIZE}, batch {batch}"] = {
            "items": batch,
            "seconds": seconds,
            "difference": {name: float(np.abs(own - found).max() / largest) for name, found in features.items()},
        }
    return rows


def step_row(network, images, rounds, compiled):
    runs = network.steps(images, compiled)
    for run in runs.values():
        run()
    return {
        f"step {network.name} {SIZE}x{SIZE}, {2 * images} views": {
            "items": 2 * images,
            "seconds": medians(runs, rounds),
        }
    }


def table(rows):
    print(f"{'work':<44}{'program':<26}{'items/s':>9}{'carl is':>9}{'difference':>12}")
    for name, found in rows.items():
        for program, seconds in found["seconds"].items():
            line = f"{name:<44}{program:<26}{found['items'] / seconds:>9.1f}"
            own = found["seconds"][like(program, found["seconds"])]
            line += f"{'' if is_own(program) else f'{seconds / own:.2f}x':>9}"
            apart = found.get("difference", {}).get(program)
            print(line if apart is None else f"{line}{apart:>12.1e}")
    print(f"{carl.default_threads()} threads")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["vit_small", "resnet50"], metavar="NAME")
    parser.add_argument("--batches", nargs="+", type=positive, default=[1, 64], metavar="N", help="(default: 1 64)")
    parser.add_argument(
        "--images", type=positive, default=16, metavar="N", help="of a step, two views each (default: 16)"
    )
    parser.add_argument("--rounds", type=positive, default=7, metavar="N", help="of each measurement (default: 7)")
    parser.add_argument("--compile", action="store_true", help="torch.compile, too")
    parser.add_argument("--quick", action="store_true", help="batches of 1 and 16, steps of 4 images, 2 rounds")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if "--quick" in sys.argv:
        parser.set_defaults(batches=[1, 16], images=4, rounds=2)
    options = parser.parse_args()
    torch.set_num_threads(carl.default_threads())
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.networks:
            network = Network(name, folder)
            rows.update(embed_rows(network, options.batches, options.rounds, options.compile))
            rows.update(step_row(network, options.images, options.rounds, options.compile))
    if options.json:
        print(json.dumps({"threads": carl.default_threads(), "rows": rows}))
    else:
        table(rows)


if __name__ == "__main__":
    main()
