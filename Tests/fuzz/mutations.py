"""Damaged safetensors files: as bytes, in the header's claims, in the JSON inside it, in the numbers of tensors."""

from __future__ import annotations

import json
import random
import struct
from typing import Any

import numpy as np

from . import values

_DTYPES = ["F32", "F64", "F16", "BF16", "I64", "I32", "U8", "BOOL", "F8_E4M3", "", "f32", "X" * 100]


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and data section of a valid file."""
    length = struct.unpack_from("<Q", data)[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join(header: dict[str, Any] | bytes, body: bytes, claimed: int | None = None) -> bytes:
    text = (
        header
        if isinstance(header, bytes)
        else json.dumps(header, separators=(",", ":")).encode("utf-8", "surrogatepass")
    )
    return struct.pack("<Q", (len(text) if claimed is None else claimed) & (2**64 - 1)) + text + body


def mutated(random: random.Random, data: bytes) -> bytes:
    """The file with something wrong, or something merely different."""
    return random.choice(
        [
            _bytes,
            _cut,
            _length,
            _tensor,
            _tensor,
            _names,
            _metadata,
            _metadata,
            _metadata,
            _numbers,
            _numbers,
            _numbers,
            _text,
        ]
    )(random, data)


def _bytes(random: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    values.damage(random, changed)
    return bytes(changed)


def _cut(random: random.Random, data: bytes) -> bytes:
    header = 8 + struct.unpack_from("<Q", data)[0]
    place = random.choice(
        [0, 1, 7, 8, 9, header - 1, header, header + 1, len(data) - 1, len(data) - 4, random.randrange(len(data))]
    )
    return data[:place] if random.random() < 0.8 else data + random.randbytes(random.choice([1, 4, 4096]))


def _length(random: random.Random, data: bytes) -> bytes:
    header, body = split(data)
    right = struct.unpack_from("<Q", data)[0]
    return join(header, body, random.choice([*values.SIZES, right - 1, right + 1, right * 2, 100_000_000, 100_000_001]))


def _tensor(random: random.Random, data: bytes) -> bytes:
    """Another dtype, shape or place of a tensor."""
    header, body = split(data)
    name = random.choice([name for name in header if name != "__metadata__"])
    entry = header[name]
    key = random.choice(["dtype", "shape", "data_offsets", "data_offsets", "whole"])
    if key == "whole":
        header[name] = values.altered(random, entry)
    elif key == "dtype":
        entry["dtype"] = random.choice(_DTYPES)
    else:
        numbers = list(entry[key])
        if numbers and random.random() < 0.8:
            place = random.randrange(len(numbers))
            numbers[place] = random.choice([values.size(random, numbers[place]), 2**64, 1e308, 0.5, -0.0, None, "1"])
        else:
            numbers = random.choice(
                [[], numbers + [1], numbers[::-1], [1] * 100, [2**32, 2**32], numbers[:-1], [0, 2**62, 4]]
            )
        entry[key] = numbers
    return join(header, body)


def _names(random: random.Random, data: bytes) -> bytes:
    """Tensors renamed, left out, exchanged, there twice, or hundreds of thousands of empty ones."""
    header, body = split(data)
    tensors = [name for name in header if name != "__metadata__"]
    name, other = random.choice(tensors), random.choice(tensors)
    action = random.randrange(5)
    if action == 0:
        header[random.choice([name + "x", "", "\ud800", "a\u0000b", "__metadata__"])] = header.pop(name)
    elif action == 1:
        del header[name]
    elif action == 2:
        header[name], header[other] = header[other], header[name]
    elif action == 3:
        text = json.dumps(header, separators=(",", ":"))
        return join((text[:-1] + f",{json.dumps(random.choice([name, '__metadata__']))}:{{}}}}").encode(), body)
    else:
        end = len(body)
        count = random.choice([1000, 1000, 20_000]) if random.random() < 0.9 else 300_000
        extra = ",".join(f'"e{i}":{{"dtype":"F32","shape":[0],"data_offsets":[{end},{end}]}}' for i in range(count))
        return join((json.dumps(header, separators=(",", ":"))[:-1] + "," + extra + "}").encode(), body)
    return join(header, body)


def _metadata(random: random.Random, data: bytes) -> bytes:
    """Other configurations, counters, versions, notes."""
    header, body = split(data)
    metadata = header["__metadata__"]
    key = random.choice(sorted(metadata))
    action = random.random()
    if action < 0.15:
        metadata[key] = random.choice(
            ["", "{}", "x", "null", "9" * 30, "-1", "0", "2", "1e5", "\u0000", "{" * 200, 7, None, {}]
        )
    elif action < 0.2:
        del metadata[key]
    elif action < 0.3:
        metadata[key] = values.noise(random).decode("latin-1")
    elif key in ("config", "encoder_config", "counters", "notes"):
        value = json.loads(metadata[key])
        if key == "counters":
            value[random.choice(sorted(value))] = random.choice(
                [-1, 0, 1, 2**31, 2**53, 2**53 + 2, 2**62, 2**63 - 1, 2**63, 1e300, 0.5, None, "1"]
            )
        else:
            for _ in range(random.choice([1, 1, 2])):
                value = values.altered(random, value)
        metadata[key] = json.dumps(value, ensure_ascii=random.random() < 0.5)
    else:
        metadata[key] = str(values.altered(random, metadata[key]))
    return join(header, body)


def _numbers(random: random.Random, data: bytes) -> bytes:
    """NaN, infinities, extremes and negative variances in the tensors; counters beyond their range in those of
    integers."""
    header, body = split(data)
    changed = bytearray(body)
    tensors = [entry for name, entry in header.items() if name != "__metadata__"]
    special = [
        entry for name, entry in header.items() if "running_var" in name or "last_used" in name or "deviation" in name
    ]
    for _ in range(random.choice([1, 1, 3, 30])):
        entry = random.choice(special if special and random.random() < 0.4 else tensors)
        begin, end = entry["data_offsets"]
        if entry["dtype"] == "I64":
            new = np.full((end - begin) // 8, random.choice([-1, 2**62, -(2**63), 2**63 - 1, 2**40]), np.int64)
        elif random.random() < 0.3:
            new = np.full(
                (end - begin) // 4, random.choice([-1, 0, np.nan, np.inf, -np.inf, 3e38, 1e-45, -1e-3]), np.float32
            )
        else:
            new = values.floats(random, (end - begin) // 4, True)
        changed[begin:end] = new.tobytes()
    return join(header, bytes(changed))


def _text(random: random.Random, data: bytes) -> bytes:
    """The header's text damaged, its length right."""
    header, body = split(data)
    text = bytearray(json.dumps(header, separators=(",", ":")).encode())
    values.damage(random, text)
    return join(bytes(text), body)
