"""The objective with both gradients against PyTorch eager on the same CPU, in turn, same inputs and same result.

    python Benchmarks/assignment.py [--quick] [--json]

Rows: CARP's setting (two views of 256 images, D = 256, K = 65,536 prototypes in random blocks of 512, each a teacher's
view as target or the other view), the same K in one softmax (CARL), and K from 4,096 to 262,144 in blocks of 512, whose
time is to grow with K. "memory" is what the process holds at the peak of one call beside its inputs and the gradients
it returns, measured in a process of its own. PyTorch must be installed; it is not needed for anything else in this
project.
"""

import argparse
import json
import os
import subprocess
import sys

import numpy as np

import carl
from support.interleaved import medians

BATCH, DIMENSION, BLOCK = 256, 256, 512


def problem(prototypes):
    random = np.random.default_rng(0)
    base = random.standard_normal((BATCH, DIMENSION), dtype=np.float32)
    views = [base + 0.5 * random.standard_normal((BATCH, DIMENSION), dtype=np.float32) for _ in range(2)]
    return views, random.standard_normal((prototypes, DIMENSION), dtype=np.float32)


def carl_call(prototypes, block):
    views, anchors = problem(prototypes)
    options = dict(normalize_embedding=block is None, temperature=0.1 if block is None else 1.0, partition_size=block)
    seeds = iter(range(1 << 30))
    return lambda: carl.assignment_loss(views, anchors, seed=next(seeds), **options).loss


def torch_call(prototypes, block):
    """The plain way: normalise, one product, log-softmax, log-sum-exp of the sum, mean assignment, autograd."""
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(carl.default_threads())
    views, anchors = problem(prototypes)
    views = [torch.from_numpy(view).requires_grad_() for view in views]
    anchors = torch.from_numpy(anchors).requires_grad_()

    def run():
        for tensor in [*views, anchors]:
            tensor.grad = None
        c = F.normalize(anchors, dim=1)
        if block is None:
            logs = [F.log_softmax(F.normalize(z, dim=1) @ c.T / 0.1, 1)[:, None] for z in views]
        else:
            order = torch.randperm(prototypes)[: prototypes // block * block]
            logs = [F.log_softmax((z @ c[order].T).view(BATCH, -1, block), 2) for z in views]
        consistency = -sum(torch.logsumexp(logs[a] + logs[1 - a].detach(), 2).mean() for a in (0, 1)) / 2
        mean = torch.cat(logs).exp().mean(0)
        prior = (mean * mean.log()).sum(1).mean() + np.log(mean.shape[1])
        loss = consistency + prior
        loss.backward()
        return loss.item()

    return run


CALLS = {"carl": carl_call, "torch": torch_call}


def measure(prototypes, block, rounds, peers=("carl", "torch")):
    """Median seconds of each, in turn; the first round only warms up and checks that both compute the same."""
    runs = {name: CALLS[name](prototypes, block) for name in peers}
    losses = [run() for run in runs.values()]
    if max(losses) - min(losses) > 1e-3 * abs(losses[0]):
        raise SystemExit(f"the results differ: {dict(zip(runs, losses))}")
    return medians(runs, rounds)


def status(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def peak_memory(name, prototypes, block):
    """Bytes beside inputs and returned gradients at the peak of the first call, in a process of its own."""
    code = subprocess.run(
        [sys.executable, __file__, "--peak", name, str(prototypes), str(block or 0)],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(code.stdout.split()[-1])


def print_peak(name, prototypes, block):
    # Libraries' own start-up, thread pools included, is not the call's.
    CALLS[name](BLOCK, BLOCK)()
    run = CALLS[name](prototypes, block or None)
    before = status("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    run()
    returned = 4 * DIMENSION * (prototypes + 2 * BATCH)
    print(status("VmHWM") - before - returned)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print_peak(options.peak[0], int(options.peak[1]), int(options.peak[2]))
        return
    try:
        import torch  # noqa: F401
    except ImportError:
        raise SystemExit("this comparison needs PyTorch: pip install torch") from None
    rounds = 3 if options.quick else 9
    linux = os.path.exists("/proc/self/clear_refs")
    rows = {}
    for label, prototypes, block in [
        ("CARP, K = 65,536, blocks of 512", 65_536, 512),
        ("CARL, K = 65,536", 65_536, None),
        ("CARL, K = 4,096", 4_096, None),
    ]:
        rows[label] = {"seconds": measure(prototypes, block, rounds)}
        if linux:
            rows[label]["bytes"] = {name: peak_memory(name, prototypes, block) for name in CALLS}
    growth = {k: measure(k, BLOCK, rounds, ["carl"])["carl"] for k in (4_096, 16_384, 65_536, 262_144)}
    if options.json:
        print(json.dumps({"rows": rows, "seconds_by_prototypes": growth}))
        return
    print(f"{'work':<36}{'carl ms':>9}{'torch ms':>10}{'ratio':>8}{'carl MB':>9}{'torch MB':>10}{'ratio':>8}")
    for label, row in rows.items():
        seconds, held = row["seconds"], row.get("bytes")
        ours, theirs = seconds["carl"], seconds["torch"]
        line = f"{label:<36}{ours * 1e3:>9.1f}{theirs * 1e3:>10.1f}{theirs / ours:>7.2f}x"
        if held:
            line += (
                f"{held['carl'] / 1e6:>9.1f}{held['torch'] / 1e6:>10.1f}{held['torch'] / max(held['carl'], 1):>7.1f}x"
            )
        print(line)
    print(
        "time by K, blocks of 512: "
        + ", ".join(f"{k:,}: {s * 1e3:.1f} ms ({s / k * 1e6:.2f} us a prototype)" for k, s in growth.items())
    )


if __name__ == "__main__":
    main()
