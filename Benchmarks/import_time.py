"""How long `import carl` takes beside `import torch`, each in interpreters of their own, in turn, with warm files.

    python Benchmarks/import_time.py [--quick] [--json]

Medians of the seconds of the import statement alone, NumPy's included; the interpreter's own start is not counted. One
start of each comes before, so that files and compiled modules are in place. Without PyTorch CARL is timed alone.
"""

import argparse
import importlib.util
import json
import subprocess
import sys

from support.interleaved import take_turns

TIMED = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def seconds_to_import(module):
    done = subprocess.run([sys.executable, "-c", TIMED.format(module)], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer starts")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    modules = ["carl"]
    if importlib.util.find_spec("torch"):
        modules.append("torch")
    else:
        print("without torch: not installed", file=sys.stderr)
    for module in modules:
        seconds_to_import(module)
    seconds = take_turns(
        {module: lambda module=module: seconds_to_import(module) for module in modules}, 5 if options.quick else 15
    )
    if options.json:
        print(json.dumps({"seconds": seconds}))
        return
    for module, time_taken in seconds.items():
        line = f"import {module:<8}{time_taken:>8.3f} s"
        if module != "carl":
            line += f"   {time_taken / seconds['carl']:.1f} times that of carl"
        print(line)


if __name__ == "__main__":
    main()
