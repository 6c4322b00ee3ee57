"""Timing of several programs in turn, so that a busy moment of the machine falls on all of them."""

import statistics
import time


def take_turns(measures, rounds):
    """Median of what each of `measures`, a dict of functions that return a number, returns in `rounds` rounds."""
    found = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            found[name].append(measure())
    return {name: statistics.median(numbers) for name, numbers in found.items()}


def medians(runs, rounds, clock=time.perf_counter):
    """Median seconds of each of `runs`, a dict of functions. They should have run once before, to warm up. `clock` may
    be `time.process_time` for work on one core: what other programs do then counts less."""

    def timed(run):
        start = clock()
        run()
        return clock() - start

    return take_turns({name: lambda run=run: timed(run) for name, run in runs.items()}, rounds)


def like(peer, found):
    """The program of this library in `found`, by program, that a peer is compared with: of the same precision where
    there is one."""
    return "carl bfloat16" if "bfloat16" in peer and "carl bfloat16" in found else "carl"


def is_own(program):
    return program.split()[0] == "carl"
