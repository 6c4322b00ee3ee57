"""Hostile numbers, float data and text."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np

#: Sizes at which arithmetic goes wrong.
SIZES = [
    0,
    -1,
    1,
    2**15,
    2**16,
    2**24,
    2**31 - 1,
    2**31,
    2**31 + 1,
    2**32,
    2**33 + 1,
    2**40,
    2**48,
    2**61,
    2**62,
    2**63 - 1,
    -(2**31),
    -(2**63),
]

NUMBERS = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    1e-300,
    5e-324,
    1e-45,
    1e-8,
    0.5,
    2.0,
    1e6,
    3e38,
    -3e38,
    1e39,
    1e308,
    -1e308,
    float("inf"),
    float("-inf"),
    float("nan"),
]

_EXTREMES = np.array([3e38, -3e38, 3.4028235e38, 1e-45, -1e-45, 1e-38, 0.0, -0.0, 1.0, 1e19, -1e19, 1e30], np.float32)
_WRONG = np.array([np.nan, np.inf, -np.inf], np.float32)


def size(random: random.Random, near: int) -> int:
    """A size that is probably wrong where `near` would be right."""
    return random.choice([random.choice(SIZES), near - 1, near + 1, near * 2, random.randrange(0, 3 * abs(near) + 2)])


def wrapped(value: int, bits: int, signed: bool) -> int:
    """The value that C would see."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if signed and value >> (bits - 1) else value


def floats(random: random.Random, count: int, wild: bool) -> np.ndarray:
    """Float32 data: ordinary numbers, or when `wild` extremes, NaN, infinities, denormal numbers, equal rows."""
    numbers = np.random.default_rng(random.getrandbits(32))
    values = numbers.standard_normal(count).astype(np.float32)
    if not wild or count == 0:
        return values
    kind = random.randrange(9)
    if kind == 0:
        return np.zeros(count, np.float32)
    if kind == 1:
        return numbers.choice(_EXTREMES, count)
    if kind == 2:
        values[numbers.integers(count)] = random.choice(_WRONG)
    elif kind == 3:
        return np.full(count, random.choice([*_EXTREMES, *_WRONG]), np.float32)
    elif kind == 4:
        return (values * np.float32(1e-42)).astype(np.float32)
    elif kind == 5:
        with np.errstate(over="ignore"):
            return (values * np.float32(1e38)).astype(np.float32)
    elif kind == 6:
        return np.sign(values) * np.float32(3e38)
    elif kind == 7:
        mixed = numbers.choice(np.concatenate([_EXTREMES, _WRONG]), count)
        return np.where(numbers.random(count) < 0.5, values, mixed)
    else:
        return np.round(values)
    return values


_NOISE = [
    b"",
    b"{",
    b"[",
    b"null",
    b"{}",
    b"[]",
    b'"',
    b'"simclr"',
    b"nan",
    b"-",
    b"1e999",
    b"\xff\xfe",
    b"\xc3",
    b"\xed\xa0\x80",
    b'{"a":1,"a":2}',
    b"{} x",
    b'"\\ud800"',
    b'"\\u0000"',
    b"\xef\xbb\xbf{}",
    b"\xf4\x90\x80\x80",
    b"[" * 99,
    b"0" * 400,
    b"1" * 400,
    b"{" + b" " * 5000 + b"}",
]


def noise(random: random.Random) -> bytes:
    """Text that is no good as JSON, names or paths."""
    kind = random.randrange(6)
    if kind == 0:
        depth = random.choice([100, 101, 1000, 100_000])
        return random.choice([b"[", b'{"a":']) * depth
    if kind == 1:
        return random.randbytes(random.randrange(1, 64)).replace(b"\0", b"\1")
    if kind == 2 and random.random() < 0.1:
        unit = random.choice([b"[],", b" ", b'"a",', b"1,", b"{},"])
        return b"[" + unit * (random.choice([1 << 20, 4 << 20]) // len(unit)) + b"1]"
    return random.choice(_NOISE)


_JSON_VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    3,
    7,
    8,
    9,
    64,
    255,
    1023,
    1024,
    1025,
    4096,
    65536,
    2**24,
    2**24 + 1,
    2**31 - 1,
    2**31,
    2**53,
    2**53 + 1,
    2**63,
    -(2**63),
    2**64,
    0.5,
    1e-300,
    1e-6,
    1e6,
    1e7,
    1e300,
    -1e300,
    0.015625,
    1.5,
    "",
    "sgd",
    "x",
    "auto",
    "é\u0000",
    "a" * 3000,
    [],
    {},
    [1],
    [0, 0],
    [1, 0],
    [[1]],
    [2**62, 2**62],
    {"start": 1, "end": 0, "steps": 1},
    {"start": 0, "end": 1e300, "steps": 2**31},
    {"size": 4096, "count": 64},
    [{"size": 1}],
    [{}] * 65,
]


def altered(random: random.Random, value: Any) -> Any:
    """A JSON value with some part of it exchanged."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        copy = dict(value)
        key = random.choice(sorted(copy))
        action = random.random()
        if action < 0.75:
            copy[key] = altered(random, copy[key])
        elif action < 0.85:
            copy[key + random.choice(["x", "", "\u0000", "_"])] = copy.pop(key)
        else:
            del copy[key]
        return copy
    if isinstance(value, list) and value and random.random() < 0.7:
        copy = list(value)
        place = random.randrange(len(copy))
        copy[place] = altered(random, copy[place])
        return random.choice([copy, copy, copy + copy, copy[:-1]])
    if isinstance(value, (int, float)) and not isinstance(value, bool) and random.random() < 0.5:
        return random.choice([value + 1, value - 1, -value, value * 2, value * 1000, value / 3])
    return random.choice(_JSON_VALUES)


def json_text(random: random.Random, value: Any, odd: bool) -> bytes:
    """The value as JSON; when `odd`, altered first, or damaged as text."""
    if not odd:
        return json.dumps(value).encode()
    if random.random() < 0.12:
        return noise(random)
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        value = altered(random, value)
    text = bytearray(json.dumps(value, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass"))
    if random.random() < 0.3 and text:
        damage(random, text)
    return bytes(text).replace(b"\0", b" ")


def damage(random: random.Random, data: bytearray) -> None:
    """Changes some bytes in place: flips, exchanges, insertions, deletions, a cut."""
    for _ in range(random.choice([1, 1, 2, 5])):
        if not data:
            return
        place = random.randrange(len(data))
        action = random.randrange(6)
        if action == 0:
            data[place] ^= 1 << random.randrange(8)
        elif action == 1:
            data[place] = random.choice(b'\x00\xff\x7f\x80{}[]",:0-eE.9 ')
        elif action == 2:
            data[place:place] = random.randbytes(random.choice([1, 1, 4, 16]))
        elif action == 3:
            del data[place : place + random.choice([1, 1, 4, 64])]
        elif action == 4:
            end = min(len(data), place + random.randrange(1, 32))
            data[place:place] = data[place:end]
        elif random.random() < 0.3:
            del data[place:]
