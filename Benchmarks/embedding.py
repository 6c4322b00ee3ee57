"""Embedding with ResNets and a vision transformer beside the programs that users would deploy: ONNX Runtime, OpenVINO
and PyTorch, in turn, each in a process of its own.

    python Benchmarks/embedding.py [--quick] [--json] [--batches 1 16 128] [--networks ...] [--compile] [--pause 30]

All have the same weights, by `carl export`: an ONNX file with BatchNorm folded, a torch file. OpenVINO has its latency
hint, so that one call uses all cores. Where the processor has instructions for it, CARL, OpenVINO and PyTorch run in
bfloat16 too, and are compared with one another. Images are normalised beforehand. Ratios are of medians; "difference"
is how far a program's features are from those of CARL in float32, relative to the largest. Peers that are not installed
are left out and named.
"""

import argparse
import importlib
import importlib.util
import json
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

import carl
from support.arguments import positive
from support.interleaved import is_own, like
from support.processor import has_bfloat16
from support.workers import Worker, in_turn, serve

#: Name: encoder, stem, pixels of a side.
NETWORKS = {
    "resnet18-32": ("resnet18", "small", 32),
    "resnet18-224": ("resnet18", "imagenet", 224),
    "resnet50-224": ("resnet50", "imagenet", 224),
    "vit_small-224": ("vit_small", None, 224),
}
#: Program: the packages it needs.
PROGRAMS = {
    "carl": (),
    "carl bfloat16": (),
    "onnxruntime": ("onnxruntime", "onnx"),
    "openvino": ("openvino", "onnx"),
    "openvino bfloat16": ("openvino", "onnx"),
    "torch": ("torch",),
    "torch bfloat16": ("torch",),
    "torch compiled": ("torch",),
}


#: What PyTorch needs besides for transformers.
TIMM = "timm"


def images_of(size, batch):
    return np.random.default_rng(0).standard_normal((batch, size, size, 3), dtype=np.float32)


def channels_first(images):
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


# ---- The programs, each in its process


def with_carl(folder, network, images, precision="float32"):
    encoder = carl.Encoder.from_weights(folder / f"{network}.safetensors", precision=precision)
    return lambda: encoder.embed(images)


def with_onnxruntime(folder, network, images):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = carl.default_threads()
    session = onnxruntime.InferenceSession(str(folder / f"{network}.onnx"), options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: channels_first(images)}
    return lambda: session.run(None, given)[0]


def with_openvino(folder, network, images, precision):
    import openvino

    core = openvino.Core()
    model = core.read_model(folder / f"{network}.onnx")
    given = channels_first(images)
    model.reshape(given.shape)
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": carl.default_threads(),
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return lambda: request.infer({0: given})[0]


def with_torch(folder, network, images, bfloat16=False, compiled=False):
    import torch

    torch.set_num_threads(carl.default_threads())
    encoder, stem, size = NETWORKS[network]
    if stem is None:
        with suppress(ImportError):
            importlib.import_module(
                "peer_torchvision"
            )  # lets torchvision be imported beside a torch without its operators
        import timm

        model = timm.create_model(f"{encoder}_patch16_224", num_classes=0, img_size=size)
    else:
        from support.torch_resnet import resnet

        model = resnet(encoder, stem)
    state = torch.load(folder / f"{network}.pt", weights_only=True)
    model.load_state_dict(state, strict=False)  # without num_batches_tracked
    model = model.eval().to(memory_format=torch.channels_last)
    if compiled:
        model = torch.compile(model)
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)

    def run():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            return model(tensor).float().numpy()

    return run


def work(program, folder, network, batch, pause):
    """The process of a program."""
    images = images_of(NETWORKS[network][2], batch)
    make = {
        "carl": with_carl,
        "carl bfloat16": lambda *given: with_carl(*given, precision="bf16"),
        "onnxruntime": with_onnxruntime,
        "openvino": lambda *given: with_openvino(*given, "f32"),
        "openvino bfloat16": lambda *given: with_openvino(*given, "bf16"),
        "torch": with_torch,
        "torch bfloat16": lambda *given: with_torch(*given, bfloat16=True),
        "torch compiled": lambda *given: with_torch(*given, compiled=True),
    }[program]
    run = make(Path(folder), network, images)
    np.save(Path(folder) / f"{network}-{batch}-{program}.npy", np.asarray(run()).reshape(batch, -1))
    serve(run, time.perf_counter, pause=pause)


# ---- The comparison


def programs_here(compiled):
    """Those that can run, and what is missing for the others."""
    found, missing = [], []
    for name, packages in PROGRAMS.items():
        lacking = [package for package in packages if importlib.util.find_spec(package) is None]
        missing += [f"without {name}: {' and '.join(lacking)} not installed"] if lacking else []
        wanted = (compiled or not name.endswith("compiled")) and ("bfloat16" not in name or has_bfloat16())
        found += [name] if wanted and not lacking else []
    return found, missing


def write_network(network, folder, programs):
    from carl.export import export_model

    encoder, stem, size = NETWORKS[network]
    given = {"stem": stem} if stem else {}
    with carl.Trainer(encoder=encoder, **given, view_size=size, prototypes=2, projector=[2]) as trainer:
        # Running statistics other than those of initialisation: two steps that change nothing else.
        images = np.random.default_rng(1).integers(0, 256, (8, size, size, 3), dtype=np.uint8)
        for _ in range(2):
            trainer.step(images)
        export_model(trainer, folder / f"{network}.safetensors")
        if any("onnx" in name or "openvino" in name for name in programs):
            export_model(trainer, folder / f"{network}.onnx")
        if any("torch" in name for name in programs):
            export_model(trainer, folder / f"{network}.pt")


def row(network, batch, folder, programs, rounds, seconds_a_turn, pause):
    with ExitStack() as stack:
        workers = {}
        for name in programs:
            try:
                workers[name] = Worker([__file__, "--work", name, str(folder), network, str(batch), str(pause)])
            except ChildProcessError as error:
                print(f"without {name} for {network}: {error}", file=sys.stderr)
                continue
            stack.callback(workers[name].close)
        once = min(workers["carl"].run(3))
        seconds = in_turn(workers, rounds, max(1, round(seconds_a_turn / once)) if pause == 0 else 20)
    features = {name: np.load(folder / f"{network}-{batch}-{name}.npy") for name in seconds}
    own = features.pop("carl")
    largest = np.abs(own).max()
    return {
        "items": batch,
        "seconds": seconds,
        "difference": {name: float(np.abs(own - other).max() / largest) for name, other in features.items()},
    }


HEADING = f"{'work':<36}{'program':<20}{'ms':>10}{'images/s':>10}{'carl is':>9}{'difference':>12}"


def lines_of(name, found):
    for program, seconds in found["seconds"].items():
        line = f"{name:<36}{program:<20}{seconds * 1e3:>10.2f}{found['items'] / seconds:>10.1f}"
        own = found["seconds"][like(program, found["seconds"])]
        line += f"{'' if is_own(program) else f'{seconds / own:.2f}x':>9}"
        if program in found["difference"]:
            line += f"{found['difference'][program]:>12.1e}"
        yield line


def main():
    if sys.argv[1:2] == ["--work"]:
        program, folder, network, batch, pause = sys.argv[2:]
        work(program, folder, network, int(batch), float(pause))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NAME")
    parser.add_argument(
        "--batches", nargs="+", type=positive, default=[1, 16, 128], metavar="N", help="(default: 1 16 128)"
    )
    parser.add_argument("--rounds", type=positive, default=7, metavar="N", help="turns of each program (default: 7)")
    parser.add_argument(
        "--pause", type=float, default=0, metavar="MS", help="sleep before each run, as a service with few requests"
    )
    parser.add_argument("--compile", action="store_true", help="torch.compile, too")
    parser.add_argument("--quick", action="store_true", help="batches of 1 and 16, 3 rounds")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if "--quick" in sys.argv:
        parser.set_defaults(batches=[1, 16], rounds=3)
    options = parser.parse_args()
    programs, missing = programs_here(options.compile)
    for remark in missing:
        print(remark, file=sys.stderr)
    rows = {}
    if not options.json:
        print(f"{carl.default_threads()} threads\n{HEADING}")
    with tempfile.TemporaryDirectory() as folder:
        for network in options.networks:
            here = programs
            if NETWORKS[network][1] is None and importlib.util.find_spec(TIMM) is None:
                print(f"without torch for {network}: {TIMM} not installed", file=sys.stderr)
                here = [name for name in programs if "torch" not in name]
            write_network(network, Path(folder), here)
            # Of large images fewer fill the processors.
            most = 32 if NETWORKS[network][2] > 64 else max(options.batches)
            for batch in sorted({min(batch, most) for batch in options.batches}):
                name = f"embed {network}, batch {batch}"
                rows[name] = row(network, batch, Path(folder), here, options.rounds, 0.5, options.pause / 1000)
                if not options.json:
                    print("\n".join(lines_of(name, rows[name])), flush=True)
    if options.json:
        print(json.dumps({"rows": rows, "threads": carl.default_threads()}))


if __name__ == "__main__":
    main()
