"""Training step and embedding against PyTorch on the same CPU, in turn, same shapes and same work.

    python Benchmarks/train_step.py [--quick] [--json]

Rows: a whole training step of ResNet-18 on 128 views of 32x32 (two views of 64 images, 3x3 stem, head 512-512-128, 300 prototypes, SGD),
against PyTorch in float32 and, where the processor has bfloat16 instructions, in bfloat16 autocast, both channels_last; embedding of batches of 128; and a step of ResNet-50 on 32 views of
224x224. Ratios are of medians. PyTorch and torchvision must be installed; they are not needed for anything else in this project.
"""

import argparse
import json

import numpy as np

import carl
from support.interleaved import medians

try:
    import torch
    import torch.nn.functional as F
    from torch import nn
except ImportError:
    raise SystemExit("this comparison needs PyTorch: pip install torch") from None


class Block(nn.Module):
    def __init__(self, inputs, channels, stride, bottleneck):
        super().__init__()
        outputs = channels * 4 if bottleneck else channels
        widths = [(inputs, channels, 1, 1), (channels, channels, 3, stride), (channels, outputs, 1, 1)] if bottleneck else [
            (inputs, channels, 3, stride), (channels, channels, 3, 1)]
        layers = []
        for i, (a, b, kernel, step) in enumerate(widths):
            layers += [nn.Conv2d(a, b, kernel, step, kernel // 2, bias=False), nn.BatchNorm2d(b)]
            if i < len(widths) - 1:
                layers.append(nn.ReLU(inplace=True))
        self.path = nn.Sequential(*layers)
        self.skip = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            if stride != 1 or inputs != outputs else nn.Identity())

    def forward(self, x):
        return F.relu(self.path(x) + self.skip(x), inplace=True)


def torch_model(name, stem, prototypes):
    bottleneck, blocks = (True, [3, 4, 6, 3]) if name == "resnet50" else (False, [2, 2, 2, 2])
    layers = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    if stem == "small":
        layers = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    channels = 64
    for stage, count in enumerate(blocks):
        for i in range(count):
            width = 64 << stage
            layers.append(Block(channels, width, 2 if stage and not i else 1, bottleneck))
            channels = width * 4 if bottleneck else width
    encoder = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    head = nn.Sequential(nn.Linear(channels, 512), nn.BatchNorm1d(512), nn.ReLU(inplace=True), nn.Linear(512, 128))
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


def has_bfloat16():
    """Whether the processor multiplies bfloat16 itself; without, PyTorch emulates it some thirty times slower, which compares nothing."""
    try:
        with open("/proc/cpuinfo") as lines:
            return any(name in lines.read() for name in ("avx512_bf16", "amx_bf16", "bf16"))
    except OSError:
        return False


def step_row(name, stem, size, images, rounds):
    random = np.random.default_rng(0)
    views = [random.standard_normal((images, size, size, 3), dtype=np.float32) for _ in range(2)]
    trainer = carl.Trainer(encoder=name, stem=stem, projector=[512, 128], prototypes=300, views=[{"size": size, "count": 2}])
    tensors = [torch.from_numpy(v).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last) for v in views]
    runs = {"carl": lambda: trainer.step_views(views)}
    for label, bfloat16 in (("torch float32", False), ("torch bfloat16", True)):
        if bfloat16 and not has_bfloat16():
            continue
        model = torch_model(name, stem, 300).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.06, momentum=0.9, weight_decay=5e-4)
        runs[label] = torch_step(model, optimizer, tensors, bfloat16)
    return measure(runs, rounds)


def embed_row(rounds):
    images = np.random.default_rng(0).standard_normal((128, 32, 32, 3), dtype=np.float32)
    trainer = carl.Trainer(encoder="resnet18", stem="small")
    encoder = carl.Encoder.from_trainer(trainer)
    model = torch_model("resnet18", "small", 128).eval()
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    def run():
        with torch.no_grad():
            model["encoder"](tensor)

    return measure({"carl": lambda: encoder.embed(images), "torch float32": run}, rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, no ResNet-50")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    torch.set_num_threads(carl.default_threads())
    rounds = 3 if options.quick else 9
    rows = {"step resnet18 32x32, 128 views": (128, step_row("resnet18", "small", 32, 64, rounds))}
    rows["embed resnet18 32x32, 128 images"] = (128, embed_row(rounds))
    if not options.quick:
        rows["step resnet50 224x224, 32 views"] = (32, step_row("resnet50", "imagenet", 224, 16, 3))
    if options.json:
        print(json.dumps({name: {"items": n, "seconds": times} for name, (n, times) in rows.items()}))
        return
    print(f"{'work':<36}{'peer':<16}{'carl/s':>9}{'peer/s':>9}{'ratio':>8}")
    for name, (items, times) in rows.items():
        for peer, seconds in times.items():
            if peer != "carl":
                print(f"{name:<36}{peer:<16}{items / times['carl']:>9.1f}{items / seconds:>9.1f}{seconds / times['carl']:>7.2f}x")


if __name__ == "__main__":
    main()
