"""Timing of several programs in turn, so that a busy moment of the machine falls on all of them."""

import statistics
import time


def medians(runs, rounds, clock=time.perf_counter):
    """Median seconds of each of `runs`, a dict of functions. They should have run once before, to warm up. `clock` may be `time.process_time` for
    work on one core: what other programs do then counts less."""
    times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = clock()
            run()
            times[name].append(clock() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}
