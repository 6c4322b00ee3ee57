"""Whether training stands still for want of images, and what a very large set costs before and while it is read.

1. Trains a ResNet-18 of half width for one epoch on a folder of 2,000 JPEG files of about 400 x 300 pixels, made here
   from random smooth images: the share of the time spent waiting for images (want: below 5%), with views of 224 pixels,
   as the images suggest; with views of 32 pixels, where a step is short and decoding counts for more; and of 32 pixels
   from a cache of reduced images. Beside it the time that decoding takes by itself, in one thread.
2. The same network on JPEG files of 12 megapixels, as telephones write them, and views of 64 pixels, for three epochs:
   seconds of each, with and without `keep_images`.
3. Views of an .npy file of a million images of 32 x 32 x 3, mapped into memory: the time from its path to the first
   batch of views (want: below a second), and the memory of the process's own, RssAnon, that is held beyond what it was
   before, beside the bytes of the batches in flight. Pages of the file itself, RssFile, are the system's to drop.

    python Benchmarks/data_wait.py              # some minutes
    python Benchmarks/data_wait.py --quick      # 256 and 32 JPEG files, 100,000 mapped images
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

from support.arguments import positive

BATCH = 64
MAPPED_BATCH = 256
MAPPED_BATCHES = 60
LARGE, LARGE_VIEW, LARGE_BATCH, EPOCHS = (4000, 3000), 64, 16, 3


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=positive, help="JPEG files (default: 2,000)")
    parser.add_argument("--large", type=positive, help="JPEG files of 12 megapixels (default: 160)")
    parser.add_argument("--mapped", type=positive, help="images of the mapped file (default: 1,000,000)")
    parser.add_argument("--quick", action="store_true", help="fewer images")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--measure-mapped", metavar="FILE", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.images = given.images or (256 if given.quick else 2000)
    given.large = given.large or (32 if given.quick else 160)
    given.mapped = given.mapped or (100_000 if given.quick else 1_000_000)
    for name, batch in (("images", BATCH), ("large", LARGE_BATCH), ("mapped", MAPPED_BATCH)):
        if getattr(given, name) < batch:
            parser.error(f"--{name}: got {getattr(given, name)}, want at least a batch, {batch}")
    return given


# ---- A folder of JPEG files


def write_photos(folder, count, size=None):
    """Random smooth images with some grain, as photos have it: about 35 kB each, of 360 x 270 to 440 x 330 pixels, or
    of `size`."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    for number in range(count):
        width, height = size or (int(random.integers(360, 441)), int(random.integers(270, 331)))
        coarse = random.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
        grain = random.integers(-8, 9, smooth.shape, dtype=np.int16)
        picture = Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8))
        picture.save(os.path.join(folder, f"{number:05d}.jpg"), quality=85)


def train(folder, view_size, cache=None):
    import carl

    started = time.perf_counter()
    model = carl.CARL(
        encoder="resnet18",
        width=0.5,
        view_size=view_size,
        epochs=1,
        batch_size=BATCH,
        progress=False,
        cache=cache,
        seed=0,
    )
    model.fit(folder)
    seconds = time.perf_counter() - started
    waits = [metrics.data_wait for metrics in model.history_]
    return {
        "view_size": view_size,
        "cache": cache is not None,
        "data_wait": model.data_wait_,
        "first_step_data_wait": waits[0],
        "largest_later_data_wait": max(waits[1:]),
        "steps": len(waits),
        "seconds": seconds,
        "images_per_second": len(waits) * BATCH / sum(m.seconds / (1 - m.data_wait) for m in model.history_),
    }


def epochs_of(folder, keep):
    """Seconds of each epoch on large photos."""
    import carl

    ends = [time.perf_counter()]

    class Watch(carl.Callback):
        def on_start(self, model):
            ends[0] = time.perf_counter()

        def on_epoch(self, model, epoch):
            ends.append(time.perf_counter())

    carl.CARL(
        width=0.5,
        view_size=LARGE_VIEW,
        epochs=EPOCHS,
        batch_size=LARGE_BATCH,
        early_steps=0,
        progress=False,
        keep_images=keep,
        prototypes=16,
        callbacks=[Watch()],
        seed=0,
    ).fit(folder)
    return [after - before for before, after in zip(ends, ends[1:])]


def decoding(folder, view_size):
    """Milliseconds of one thread an image."""
    import numpy as np

    import carl
    from carl.view_specs import expand_views, least_side

    source = carl.sources.FileSource(
        [os.path.join(folder, name) for name in sorted(os.listdir(folder))[:128]], workers=1
    )
    least = least_side(expand_views("auto", 3, view_size))
    best = min(_timed(lambda: source.read_each(np.arange(len(source)), least)) for _ in range(3))
    source.close()
    return 1000 * best / len(source)


def _timed(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


# ---- A file mapped into memory


def write_mapped(path, count):
    """A file that is as large as it says, of which the disk holds next to nothing until it is written."""
    import numpy as np

    images = np.lib.format.open_memmap(path, "w+", np.uint8, (count, 32, 32, 3))
    images[:: max(1, count // 1000)] = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    images.flush()


def measure_mapped(path):
    """In a process of its own, so that nothing else is in its memory."""
    import numpy as np

    import carl
    from carl.sources.loader import AHEAD, BatchReader

    spec = carl.expand_views("auto", 3, 32)
    carl.make_views(
        np.zeros((MAPPED_BATCH, 32, 32, 3), np.uint8), spec
    )  # the library's own threads and tables are there
    before = memory()
    start = time.perf_counter()
    source = carl.as_source(path)
    first, most, views = None, before["RssAnon"], None
    with BatchReader(source, MAPPED_BATCH, seed=0) as reader:
        for number, batch in enumerate(reader.epoch()):
            views = None  # those of the batch before are done with
            views = carl.make_views(batch.images, spec, 0, indices=batch.indices)
            if first is None:
                first = time.perf_counter() - start
                after_first = memory()["RssAnon"]
            most = max(most, memory()["RssAnon"]) if number else most
            if number == MAPPED_BATCHES:
                break
    after = memory()
    one = MAPPED_BATCH * 32 * 32 * 3
    # Batches read ahead, the one being read and the one in use, as bytes; and the views of one batch, as floats.
    flight = (AHEAD + 2) * one + sum(view.nbytes for view in views)
    return {
        "images": len(source),
        "file_bytes": os.path.getsize(path),
        "seconds_to_first_views": first,
        "held_bytes": most - before["RssAnon"],
        "held_after_first_bytes": after_first - before["RssAnon"],
        "in_flight_bytes": flight,
        "file_pages_bytes": after["RssFile"] - before["RssFile"],
        "peak_rss_bytes": after["VmHWM"],
    }


def memory():
    """Bytes by the names of /proc/self/status."""
    with open("/proc/self/status") as file:
        rows = (line.split() for line in file)
        return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if row[0].startswith(("Rss", "VmHWM"))}


# ---- Both


def run(given):
    import carl

    results = {
        "library": carl.build_info()["library"],
        "threads": carl.default_threads(),
        "photos": given.images,
        "training": [],
    }
    with tempfile.TemporaryDirectory(prefix="carl-data-") as folder:
        photos = os.path.join(folder, "photos")
        os.mkdir(photos)
        write_photos(photos, given.images)
        results["photo_bytes"] = sum(entry.stat().st_size for entry in os.scandir(photos)) // given.images
        for view_size, cache in ((224, None), (32, None), (32, os.path.join(folder, "cache"))):
            row = train(photos, view_size, cache)
            row["decoding_ms"] = None if cache else decoding(photos, view_size)
            results["training"].append(row)
        large = os.path.join(folder, "large")
        os.mkdir(large)
        write_photos(large, given.large, LARGE)
        results["large"] = {
            "images": given.large,
            "decoding_ms": decoding(large, LARGE_VIEW),
            "kept": epochs_of(large, True),
            "not_kept": epochs_of(large, False),
        }
        mapped = os.path.join(folder, "million.npy")
        write_mapped(mapped, given.mapped)
        done = subprocess.run(
            [sys.executable, __file__, "--measure-mapped", mapped], check=True, capture_output=True, text=True
        )
        results["mapped"] = json.loads(done.stdout)
    return results


def table(results):
    print(f"{results['library']}, {results['threads']} threads")
    print(
        f"\nResNet-18 of half width, {results['photos']} JPEG files of about 400 x 300 "
        f"({results['photo_bytes'] / 1000:.0f} kB each)"
    )
    print(
        "  "
        f"{'views':<16}{'waiting':>9}{'first step':>12}{'later, most':>13}{'images/s':>10}{'decoding, one thread':>22}"
    )
    for row in results["training"]:
        name = f"{row['view_size']}{', cached' if row['cache'] else ''}"
        alone = "" if row["decoding_ms"] is None else f"{row['decoding_ms']:.1f} ms"
        print(
            "  "
            f"{name:<16}{row['data_wait']:>9.2%}{row['first_step_data_wait']:>12.1%}"
            f"{row['largest_later_data_wait']:>13.1%}{row['images_per_second']:>10.1f}{alone:>22}"
        )
    worst = max(row["data_wait"] for row in results["training"])
    print(f"  below 5%: {'yes' if worst < 0.05 else 'NO'}")
    row = results["large"]
    print(
        f"\n{row['images']} JPEG files of {LARGE[0]} x {LARGE[1]}, views of {LARGE_VIEW}; decoding, one thread: "
        f"{row['decoding_ms']:.1f} ms"
    )
    for name, text in (("kept", "kept in memory"), ("not_kept", "decoded in each epoch")):
        print(f"  {text:<24}" + "".join(f"{seconds:>8.1f} s" for seconds in row[name]) + "   of the epochs")
    row = results["mapped"]
    mega = 1e6
    print(
        f"\n{row['images']:,} images of 32 x 32 x 3 in an .npy file of {row['file_bytes'] / 1e9:.2f} GB, batches of "
        f"{MAPPED_BATCH}, two views"
    )
    print(
        f"  from its path to the first views     {row['seconds_to_first_views']:.3f} s   below 1 s: "
        f"{'yes' if row['seconds_to_first_views'] < 1 else 'NO'}"
    )
    print(f"  memory held beyond the start, most   {row['held_bytes'] / mega:.1f} MB over {MAPPED_BATCHES} batches")
    beyond = row["held_bytes"] - row["in_flight_bytes"]
    print(
        f"  batches in flight                    {row['in_flight_bytes'] / mega:.1f} MB; beyond them: "
        f"{beyond / mega:.1f} MB (stacks of threads, a stretch of the order)"
    )
    print(f"  pages of the file, the system's      {row['file_pages_bytes'] / mega:.1f} MB")


def main():
    given = arguments()
    if given.measure_mapped:
        print(json.dumps(measure_mapped(given.measure_mapped)))
        return
    results = run(given)
    if given.json:
        print(json.dumps(results, indent=2))
    else:
        table(results)


if __name__ == "__main__":
    main()
