"""Timing of several programs in turn, so that a busy moment of the machine falls on all of them."""

import statistics
import time


def medians(runs, rounds):
    """Median seconds of each of `runs`, a dict of functions. They should have run once before, to warm up."""
    times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}
