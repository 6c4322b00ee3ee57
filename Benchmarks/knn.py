"""Exact k nearest neighbours by cosine similarity: CARL against faiss-cpu's flat index and scikit-learn's brute force.

Every program starts from the same raw float32 rows and ends with the k neighbours of each query and their similarities,
so the normalisation that faiss leaves to its user is timed too. The programs take turns, and the ratios are those of
the best times. "memory" is what the process held at its peak beside the rows and the result.

    python Benchmarks/knn.py [--threads N] [--quick] [--json]
"""

import argparse
import json
import os
import sys
import time

from support.arguments import positive
from support.memory import peak_beside


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", help="path of libcarl (default: the one that `import carl` finds)")
    parser.add_argument("--references", type=positive, help="rows searched (default: 50,000)")
    parser.add_argument("--queries", type=positive, help="rows whose neighbours are wanted (default: 10,000)")
    parser.add_argument("--dimension", type=positive, default=512)
    parser.add_argument("-k", type=positive, default=200)
    parser.add_argument("--threads", type=positive, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--skip", nargs="*", default=[], choices=["faiss", "sklearn"])
    parser.add_argument("--quick", action="store_true", help="10,000 references and 2,000 queries, where not given")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    given = parser.parse_args()
    given.references = given.references or (10_000 if given.quick else 50_000)
    given.queries = given.queries or (2_000 if given.quick else 10_000)
    if given.k > given.references:
        parser.error(f"-k: got {given.k}, there are {given.references} references")
    return given


def carl_search(threads):
    from carl.evaluate import nearest_neighbours

    return lambda references, queries, k: nearest_neighbours(references, queries, k, threads=threads)


def faiss_search(threads):
    import faiss

    faiss.omp_set_num_threads(threads)

    def search(references, queries, k):
        references, queries = references.copy(), queries.copy()
        faiss.normalize_L2(references)
        faiss.normalize_L2(queries)
        index = faiss.IndexFlatIP(references.shape[1])
        index.add(references)
        similarities, neighbours = index.search(queries, k)
        return neighbours, similarities

    return search


def sklearn_search(threads):
    from sklearn.neighbors import NearestNeighbors

    def search(references, queries, k):
        index = NearestNeighbors(n_neighbors=k, algorithm="brute", metric="cosine", n_jobs=threads).fit(references)
        distances, neighbours = index.kneighbors(queries)
        return neighbours, 1 - distances

    return search


def main():
    options = arguments()
    # Libraries read these when they are loaded.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    if options.library:
        os.environ["CARL_LIBRARY"] = options.library
    import numpy as np

    random = np.random.default_rng(0)
    references = random.standard_normal((options.references, options.dimension), dtype=np.float32)
    queries = random.standard_normal((options.queries, options.dimension), dtype=np.float32)

    programs = {"carl": carl_search(options.threads)}
    for name, key, make in (
        ("faiss-cpu IndexFlatIP", "faiss", faiss_search),
        ("scikit-learn brute, cosine", "sklearn", sklearn_search),
    ):
        if key in options.skip:
            continue
        try:
            programs[name] = make(options.threads)
        except ImportError:
            print(f"without {name}: not installed", file=sys.stderr)
    for search in programs.values():
        search(references[:1000], queries[:100], 10)  # thread pools start here

    seconds = {name: [] for name in programs}
    agreement, memory = {}, {}
    for _ in range(options.rounds):
        for name, search in programs.items():
            start = time.perf_counter()
            (neighbours, similarities), peak = peak_beside(lambda: search(references, queries, options.k))
            seconds[name].append(time.perf_counter() - start)
            if peak is not None:
                # The first rounds may leave memory to the later ones, which then seem to need less.
                memory[name] = max(memory.get(name, 0), peak - neighbours.nbytes - similarities.nbytes)
            if name == "carl":
                expected = similarities
            else:
                # neighbours may swap places where similarities differ by a rounding
                agreement[name] = float(np.abs(np.sort(similarities) - np.sort(expected)).max())
            del neighbours, similarities

    best = {name: min(times) for name, times in seconds.items()}
    if options.json:
        print(
            json.dumps(
                {
                    "references": options.references,
                    "queries": options.queries,
                    "dimension": options.dimension,
                    "k": options.k,
                    "threads": options.threads,
                    "seconds": seconds,
                    "memory": memory,
                    "largest difference of similarity": agreement,
                    "speed of carl relative to": {name: best[name] / best["carl"] for name in best if name != "carl"},
                }
            )
        )
        return
    print(
        f"{options.references} references, {options.queries} queries, {options.dimension} values, k = {options.k}, "
        f"{options.threads} threads"
    )
    operations = 2 * options.references * options.queries * options.dimension
    for name, time_taken in best.items():
        line = f"{name:28} {time_taken:8.2f} s {operations / time_taken * 1e-9:8.0f} GFLOP/s"
        if name in memory:
            line += f" {memory[name] / 2**20:8.0f} MB"
        if name != "carl":
            line += f"   carl is {time_taken / best['carl']:.2f} x as fast, "
            line += f"similarities differ by at most {agreement[name]:.1e}"
        print(line)


if __name__ == "__main__":
    main()
