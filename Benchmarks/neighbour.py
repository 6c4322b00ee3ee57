"""How much slower a training step and the embedding of one image become beside other busy programs, and whether a
second thread is still worth having then, beside PyTorch.

    python Benchmarks/neighbour.py [--neighbours 0 1 2] [--quick] [--json]

Each program is a process of its own, with as many threads as there are processors and with one, and they take turns, so
that at any time only one of them and the neighbours run. A neighbour is a process that computes without end. With n
neighbours on p processors a program of p threads that loses nothing gets p / (n + p) of each processor, and takes
1 + n / p times as long as alone; one of one thread on a fair system takes max(1, (n + 1) / p) times.

PyTorch, where it is installed, is the peer; what is missing is left out.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time

from support.workers import Worker, serve

#: Encoder, stem, size of a view, images of a step (two views each) or 0 for the embedding of one image.
WORK = {
    "step resnet18 32x32, 128 views": ("resnet18", "small", 32, 64),
    "embed resnet18 32x32, 1 image": ("resnet18", "small", 32, 0),
}
#: Seconds that a turn takes about, with and without --quick, and turns.
TURN, ROUNDS = (6.0, 1.5), (4, 2)


def work(program, threads, name):
    """A function that does it once."""
    import numpy as np

    encoder, stem, size, images = WORK[name]
    random = np.random.default_rng(0)
    views = [random.standard_normal((images or 1, size, size, 3), dtype=np.float32) for _ in range(2)]
    if program == "carl":
        import carl

        trainer = carl.Trainer(
            encoder=encoder, stem=stem, threads=threads, prototypes=300, views=[{"size": size, "count": 2}]
        )
        if images:
            return lambda: trainer.step_views(views)
        one = carl.Encoder.from_trainer(trainer)
        return lambda: one.embed(views[0])
    import torch

    from support.torch_resnet import resnet
    from train_step import torch_run

    torch.set_num_threads(threads)
    if images:
        return torch_run(encoder, stem, 1.0, views)
    model = resnet(encoder, stem).eval().to(memory_format=torch.channels_last)
    image = torch.from_numpy(views[0]).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    def run():
        with torch.inference_mode():
            model(image)

    return run


def neighbours(count):
    return [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]


def measure(counts, quick):
    """{work: {program and threads: {number of neighbours: median seconds}}}"""
    processors = len(os.sched_getaffinity(0))
    programs = ["carl", "torch"] if importlib.util.find_spec("torch") else ["carl"]
    found = {}
    for name in WORK:
        workers = {
            (program, threads): Worker([__file__, "--serve", program, str(threads), name])
            for program in programs
            for threads in sorted({processors, 1}, reverse=True)
        }
        try:
            times = {
                key: max(1, int(TURN[quick] / statistics.median(worker.run(3)))) for key, worker in workers.items()
            }
            for count in counts:
                seconds = {key: [] for key in workers}
                for _ in range(ROUNDS[quick]):
                    for key, worker in workers.items():
                        others = neighbours(count)
                        try:
                            seconds[key].append(statistics.fmean(worker.run(times[key])))
                        finally:
                            for other in others:
                                other.kill()
                                other.wait()
                for (program, threads), each in seconds.items():
                    row = found.setdefault(name, {}).setdefault(f"{program}, {threads} threads", {})
                    row[count] = statistics.median(each)
        finally:
            for worker in workers.values():
                worker.close()
    return found


def table(found, counts):
    for name, rows in found.items():
        print(f"\n{name}, milliseconds beside busy programs, and times what it takes alone")
        print(f"  {'':<20}" + "".join(f"{count:>9} of them  " for count in counts))
        for program, row in rows.items():
            alone = row[counts[0]]
            print(
                f"  {program:<20}"
                + "".join(f"{1000 * row[count]:>10.1f}{row[count] / alone:>7.2f}x" for count in counts)
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neighbours", type=int, nargs="+", default=[0, 1, 2], help="(default: 0 1 2)")
    parser.add_argument("--quick", action="store_true", help="shorter turns, fewer of them")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--serve", nargs=3, metavar=("PROGRAM", "THREADS", "WORK"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        program, threads, name = options.serve
        serve(work(program, int(threads), name), time.perf_counter)
        return
    found = measure(options.neighbours, options.quick)
    if options.json:
        print(json.dumps(found))
    else:
        table(found, options.neighbours)


if __name__ == "__main__":
    main()
