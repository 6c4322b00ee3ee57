"""Training step and embedding against PyTorch on the same CPU, in turn, same shapes and same work.

    python Benchmarks/train_step.py [--quick] [--json] [--compile]

Rows: a whole training step of ResNet-18 on 128 views of 32x32 (two views of 64 images, 3x3 stem, head 512-512-128,
300 prototypes, SGD), against PyTorch, channels_last; embedding of batches of 128; a step on views of 20x20, the small
views that a run on such images begins with; steps of ResNet-18 with a quarter of the channels, on 32x32 and, with the
stem for photos, on 160x160; and a step of ResNet-50 on 32 views of 224x224. Where the processor has bfloat16
instructions, both run in bfloat16 too (PyTorch by autocast), and are compared with one another. With --compile
PyTorch's encoder also runs by torch.compile. Ratios are of medians.

GFLOP/s are operations of the direct method, the same for both, over the time of each; "of peak" is their share of what
this machine's processors do when they only multiply and add in float32, measured here. A fast method or bfloat16 may
exceed 100%.

Memory is what a process of its own holds at its peak in two steps, beyond what it held with everything imported and
the views made: model, optimizer and steps. Something tiny has run before, so that the start of the libraries does not
count.

PyTorch must be installed; it is not needed for anything else in this project.
"""

import argparse
import json
import subprocess
import sys

import numpy as np

import carl
from carl.speed import peak_rate
from support.interleaved import is_own, like, medians
from support.memory import peak_beside

try:
    import torch
    import torch.nn.functional as F
    from torch import nn
except ImportError:
    raise SystemExit("this comparison needs PyTorch: pip install torch") from None
from support.processor import has_bfloat16
from support.torch_resnet import Block, resnet


def torch_model(name, stem, prototypes, width=1.0):
    encoder = resnet(name, stem, width)
    head = nn.Sequential(
        nn.Linear(encoder.features, 512), nn.BatchNorm1d(512), nn.ReLU(inplace=True), nn.Linear(512, 128)
    )
    model = nn.ModuleDict({"encoder": encoder, "head": head, "prototypes": nn.Linear(128, prototypes, bias=False)})
    return model.to(memory_format=torch.channels_last)


def torch_step(model, optimizer, views, bfloat16):
    def run():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            z = [model["head"](model["encoder"](v)) for v in views]
        c = F.normalize(model["prototypes"].weight, dim=1)
        logs = [F.log_softmax(F.normalize(a.float(), dim=1) @ c.T / 0.1, dim=1) for a in z]
        consistency = -sum(torch.logsumexp(logs[a] + logs[1 - a].detach(), 1).mean() for a in (0, 1)) / 2
        mean = torch.cat(logs).exp().mean(0)
        loss = consistency + 2 * ((mean * mean.log()).sum() + np.log(len(mean)))
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


def measure(runs, rounds):
    """Median seconds of each, in turn, after one to warm up."""
    for run in runs.values():
        run()
    return medians(runs, rounds)


def random_views(size, images):
    random = np.random.default_rng(0)
    return [random.standard_normal((images, size, size, 3), dtype=np.float32) for _ in range(2)]


def carl_trainer(name, stem, size, width, precision="float32"):
    return carl.Trainer(
        encoder=name,
        stem=stem,
        width=width,
        projector=[512, 128],
        prototypes=300,
        views=[{"size": size, "count": 2}],
        precision=precision,
    )


def torch_run(name, stem, width, views, bfloat16=False, compiled=False):
    tensors = [torch.from_numpy(v).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last) for v in views]
    model = torch_model(name, stem, 300, width).train()
    if compiled:
        model["encoder"].compile()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.06, momentum=0.9, weight_decay=5e-4)
    return torch_step(model, optimizer, tensors, bfloat16)


def step_row(name, stem, size, images, width, rounds, compiled):
    """The row of a step, and the operations of the encoder's forward pass in it."""
    views = random_views(size, images)
    trainer = carl_trainer(name, stem, size, width)
    runs = {"carl": lambda: trainer.step_views(views)}
    if has_bfloat16():
        rounding = carl_trainer(name, stem, size, width, "bf16")
        runs["carl bfloat16"] = lambda: rounding.step_views(views)
    for bfloat16 in (False, True) if has_bfloat16() else (False,):
        kind = "bfloat16" if bfloat16 else "float32"
        runs[f"torch {kind}"] = torch_run(name, stem, width, views, bfloat16)
        if compiled:
            runs[f"torch {kind} compiled"] = torch_run(name, stem, width, views, bfloat16, compiled)
    seconds = measure(runs, rounds)
    trainer.start_profile()
    trainer.step_views(views)
    profile = trainer.profile()
    forward = sum(r["operations"] for r in profile if r["layer"].startswith("encoder.") and r["work"] == "forward")
    return row(2 * images, sum(r["operations"] for r in profile), seconds), forward


def embed_row(operations, rounds):
    images = np.random.default_rng(0).standard_normal((128, 32, 32, 3), dtype=np.float32)
    trainer = carl.Trainer(encoder="resnet18", stem="small")
    encoder = carl.Encoder.from_trainer(trainer)
    model = torch_model("resnet18", "small", 128).eval()
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    def run():
        with torch.no_grad():
            model["encoder"](tensor)

    return row(len(images), operations, measure({"carl": lambda: encoder.embed(images), "torch float32": run}, rounds))


def row(items, operations, seconds):
    return {
        "items": items,
        "seconds": seconds,
        "operations": operations,
        "operations_per_second": {name: operations / time for name, time in seconds.items()},
    }


# ---- Memory


def peak_memory(peer, name, stem, size, images, width):
    """Bytes at the peak of two steps, in a process of its own; None where the system does not tell."""
    command = [sys.executable, __file__, "--peak", peer, name, stem, *map(str, (size, images, width))]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def print_peak(peer, name, stem, size, images, width):
    views = random_views(size, images)
    if is_own(peer):
        with carl.Trainer(encoder="resnet18", stem="small", width=0.125, views=[{"size": 8, "count": 2}]) as tiny:
            tiny.step_views(random_views(8, 2))
    else:
        block = Block(8, 8, 1, bottleneck=False).to(memory_format=torch.channels_last)
        block(torch.randn(2, 8, 8, 8)).sum().backward()
        torch.optim.SGD(block.parameters(), lr=0.06, momentum=0.9).step()
        del block

    def steps():
        if is_own(peer):
            trainer = carl_trainer(name, stem, size, width, "bf16" if "bfloat16" in peer else "float32")
            run = lambda: trainer.step_views(views)  # noqa: E731
        else:
            run = torch_run(name, stem, width, views, "bfloat16" in peer, "compiled" in peer)
        run()
        run()

    print(json.dumps(peak_beside(steps)[1]))


#: Name of a row: encoder, stem, size of a view, images (of two views each), share of the channels.
STEPS = {
    "step resnet18 32x32, 128 views": ("resnet18", "small", 32, 64, 1.0),
    "step resnet18 20x20, 128 views": ("resnet18", "small", 20, 64, 1.0),
    "step resnet18/4 32x32, 128 views": ("resnet18", "small", 32, 64, 0.25),
    "step resnet18/4 160x160, 32 views": ("resnet18", "imagenet", 160, 16, 0.25),
    "step resnet50 224x224, 32 views": ("resnet50", "imagenet", 224, 16, 1.0),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, no further steps")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--compile", action="store_true", help="torch.compile, too")
    parser.add_argument("--peak", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(carl.default_threads())
    if options.peak:
        print_peak(*options.peak[:3], *map(int, options.peak[3:5]), float(options.peak[5]))
        return
    first, *others = STEPS
    rounds = 3 if options.quick else 9
    # What else runs on the machine only takes from the peak: the larger of one before and one after.
    peak = peak_rate()
    rows = {}
    rows[first], forward = step_row(*STEPS[first], rounds, options.compile)
    rows["embed resnet18 32x32, 128 images"] = embed_row(forward, rounds)
    for name in [] if options.quick else others:
        rows[name], _ = step_row(*STEPS[name], 5, options.compile)
    peak = max(peak, peak_rate())
    for found in rows.values():
        found["share_of_peak"] = {name: rate / peak for name, rate in found["operations_per_second"].items()}
    memory = {
        name: {program: peak_memory(program, *STEPS[name]) for program in rows[name]["seconds"]}
        for name in rows
        if name in STEPS
    }
    if options.json:
        print(json.dumps({"peak_operations_per_second": peak, "rows": rows, "memory_bytes": memory}))
    else:
        table(peak, rows, memory)


def table(peak, rows, memory):
    print(f"{'work':<34}{'program':<26}{'items/s':>9}{'GFLOP/s':>9}{'of peak':>9}{'carl is':>9}")
    for name, found in rows.items():
        for program, seconds in found["seconds"].items():
            rate = found["operations_per_second"][program]
            line = f"{name:<34}{program:<26}{found['items'] / seconds:>9.1f}{rate / 1e9:>9.1f}"
            line += f"{found['share_of_peak'][program]:>9.0%}"
            own = found["seconds"][like(program, found["seconds"])]
            print(line if is_own(program) else f"{line}{seconds / own:>8.2f}x")
    print(f"peak: {peak / 1e9:.0f} GFLOP/s of float32, {carl.default_threads()} threads")
    print(f"\n{'memory of two steps':<34}{'program':<26}{'MB':>9}{'carl is':>9}")
    for name, held in memory.items():
        for program, size in held.items():
            if size is None:
                print(f"{name:<34}{program:<26}  not told by this system")
                continue
            line = f"{name:<34}{program:<26}{size / 1e6:>9.0f}"
            print(line if is_own(program) else f"{line}{size / held[like(program, held)]:>8.2f}x")


if __name__ == "__main__":
    main()
