"""Writes the stub of the extension module, from the signatures that pybind11 states in docstrings.

Arrays that go in are ArrayLike, because pybind11 converts them. Arrays that come out are NDArray
with their dtype. Shapes are in the docstrings of the classes that pass them on.
"""

import inspect
import re
import sys
from pathlib import Path

HEADER = """# Made by scripts/make_stubs.py; do not edit.
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
"""
# What pybind11 writes, as a pattern, and the type for users of the stub; in this order.
TYPES = (
    (r"typing\.SupportsInt \| typing\.SupportsIndex", "int"),
    (r"typing\.SupportsFloat \| typing\.SupportsIndex", "float"),
    (r"collections\.abc\.", ""),
    (r"typing\.Annotated\[numpy\.typing\.ArrayLike, [\w.]+\]", "ArrayLike"),
    (r"typing\.Annotated\[([^\"]+), \"FixedSize\(\d+\)\"\]", r"\1"),
    (r"numpy\.typing\.", ""),
    (r"numpy\.ndarray", "NDArray[Any]"),
    (r"numpy\.bool\b", "np.bool_"),
    (r"numpy\.", "np."),
    (r"segrid\._core\.", ""),
    (r"\bdict\b(?!\[)", "dict[str, Any]"),
    (r"\blist\b(?!\[)", "list[Any]"),
    (r"\btuple\b(?!\[)", "tuple[Any, ...]"),
    (r"self: \w+", "self"),
    (r": (?!object\b)([^,=|]+) = None", r": \1 | None = None"),
)


def translated(text):
    for pattern, replacement in TYPES:
        text = re.sub(pattern, replacement, text)
    return text


def returned(text):
    """The type of a result: one that pybind11 knows only as an object may be anything."""
    return "Any" if text == "object" else translated(text)


def signature(name, function):
    first = (function.__doc__ or "").strip().split("\n")[0]
    found = re.fullmatch(r"\w+\((.*)\) -> (.*)", first)
    if not found:
        raise ValueError(f"{name}: states no signature: {first!r}")
    return f"def {name}({translated(found[1])}) -> {returned(found[2])}: ..."


def member_lines(owner, name, member):
    if isinstance(member, property):
        found = re.search(r" -> (.*)$", (member.fget.__doc__ or "").strip().split("\n")[0])
        return ["@property", f"def {name}(self) -> {returned(found[1])}: ..."]
    if isinstance(member, staticmethod):
        return ["@staticmethod", signature(name, member.__func__)]
    if name == "__enter__":
        return [f"def __enter__(self) -> {owner}: ..."]
    if name == "__exit__":
        return ["def __exit__(self, *error: object) -> None: ..."]
    stated = f"{name}(" in (member.__doc__ or "")  # those that Python provides state nothing
    if stated and (name in ("__init__", "__len__") or not name.startswith("_")):
        return [signature(name, member)]
    return []


def class_lines(name, value):
    base = next((b.__name__ for b in value.__mro__[1:] if issubclass(b, BaseException)), None)
    if base is not None:
        return [f"class {name}({base}): ..."]
    lines = [
        f"    {line}"
        for member, attribute in sorted(vars(value).items())
        for line in member_lines(name, member, attribute)
    ]
    return [f"class {name}:", *lines]


def describe(module):
    lines = [HEADER]
    for name, value in sorted(vars(module).items()):
        if name.startswith("_"):
            continue
        if inspect.isclass(value):
            lines += [*class_lines(name, value), ""]
        elif callable(value):
            lines.append(signature(name, value))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    from segrid import _core

    target = (
        Path(sys.argv[1])
        if len(sys.argv) > 1
        else Path(__file__).parents[1] / "python/segrid/_core.pyi"
    )
    target.write_text(describe(_core))
