"""Damage to files: bytes and words changed, numbers replaced by odd ones, parts inserted, removed or cut off."""

import copy
import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
ODD_VALUES = [b"0", b"-1", b"1", b"7", b"65536", b"99999999999999999999", b"1e999", b"null", b'"x"', b"[]", b"{}"]


def mutate(content: bytes, generator: np.random.Generator) -> bytes:
    """Return content with one to four of the changes below."""
    for _ in range(generator.integers(1, 5)):
        change = CHANGES[generator.integers(len(CHANGES))]
        content = change(content, generator) or b"\0"
    return content


def replace_bytes(content: bytes, generator: np.random.Generator) -> bytes:
    """Overwrite up to eight bytes, near the front half of the time: that is where headers are."""
    spoiled = bytearray(content)
    end = min(len(content), 512) if generator.random() < 0.5 else len(content)
    for place in generator.integers(0, end, generator.integers(1, 9)):
        spoiled[place] = generator.integers(256)
    return bytes(spoiled)


def overwrite_word(content: bytes, generator: np.random.Generator) -> bytes:
    """Overwrite a 64-bit word with an extreme one: sizes and offsets are words."""
    place = int(generator.integers(0, max(1, min(len(content), 512) - 8)))
    word = int(generator.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62])).to_bytes(8, "little")
    return content[:place] + word + content[place + 8 :]


def replace_number(content: bytes, generator: np.random.Generator) -> bytes:
    """Replace a number written in digits by an odd value: that is what JSON headers consist of."""
    numbers = list(NUMBER.finditer(content[:4096]))
    if not numbers:
        return content
    found = numbers[generator.integers(len(numbers))]
    return content[: found.start()] + ODD_VALUES[generator.integers(len(ODD_VALUES))] + content[found.end() :]


def insert_bytes(content: bytes, generator: np.random.Generator) -> bytes:
    """Insert up to sixteen bytes."""
    place = int(generator.integers(0, len(content) + 1))
    return content[:place] + generator.bytes(int(generator.integers(1, 17))) + content[place:]


def remove_slice(content: bytes, generator: np.random.Generator) -> bytes:
    """Remove a stretch."""
    first, last = sorted(generator.integers(0, len(content) + 1, 2).tolist())
    return content[:first] + content[last:]


def repeat_slice(content: bytes, generator: np.random.Generator) -> bytes:
    """Repeat a short stretch."""
    first = int(generator.integers(0, len(content)))
    return content[: first + 32] + content[first:]


def cut(content: bytes, generator: np.random.Generator) -> bytes:
    """Keep only a beginning."""
    return content[: int(generator.integers(0, len(content) + 1))]


CHANGES = (replace_bytes, replace_bytes, overwrite_word, replace_number, insert_bytes, remove_slice, repeat_slice, cut)


ODD_JSON: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1.0,
    0.5,
    1e308,
    2**70,
    "",
    "x",
    "3",
    [],
    {},
    [None],
    {"a": 1},
    "\ud800",
]


def mutate_json(content: bytes, generator: np.random.Generator) -> bytes:
    """Change bytes of a JSON file, or replace, remove or repeat up to three of its values."""
    if generator.random() < 0.3:
        return mutate(content, generator)
    whole = json.loads(content)
    for _ in range(generator.integers(1, 4)):
        places = [(holder, key) for holder in _holders(whole) for key in _keys(holder)]
        if not places:
            break
        holder, key = places[generator.integers(len(places))]
        change = generator.integers(4)
        if change == 0:
            del holder[key]
        elif change == 1 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        elif change == 1:
            holder[f"{key}x"] = holder.pop(key)
        else:
            holder[key] = copy.deepcopy(ODD_JSON[generator.integers(len(ODD_JSON))])
    return json.dumps(whole).encode()


def _holders(value: Any) -> list[Any]:
    """Return all lists and mappings in a value, itself included."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = [value] if isinstance(value, dict | list) else []
    return own + [holder for part in parts for holder in _holders(part)]


def _keys(holder: Any) -> list[Any]:
    return list(holder) if isinstance(holder, dict) else list(range(len(holder)))


class Reader(NamedTuple):
    """Something that reads files, undamaged files for it, and how they are damaged."""

    name: str
    originals: list[bytes]
    spoil: Callable[[bytes, np.random.Generator], bytes]
    read: Callable[[bytes], object]
