"""Writes the stub of the extension module from the signatures that pybind11 writes into its
docstrings."""

import inspect
import re
import sys
from pathlib import Path

TYPES = {
    "collections.abc.Sequence": "Sequence",
    "collections.abc.Callable": "Callable",
    "typing.": "",
    "segrid._core.": "",
}


def clean(text):
    for a, b in TYPES.items():
        text = text.replace(a, b)
    text = re.sub(r"Annotated\[([^,\]]+),[^\]]*\]", r"\1", text)
    text = re.sub(r"numpy\.typing\.(?:ArrayLike|NDArray)(?:\[[^\]]*\])?", "Any", text)
    text = re.sub(r"numpy\.ndarray(?:\[[^\]]*\])?", "Any", text)
    text = re.sub(r": (\w+) = None", r": \1 | None = None", text)
    return re.sub(r"<[^>]*>", "...", text)


def signature(name, function, method):
    first = (function.__doc__ or "").strip().split("\n")[0]
    found = re.match(r"\w+(\(.*\)) -> (.*)$", first)
    if not found:
        return f"def {name}(*args: Any, **kwargs: Any) -> Any: ..."
    arguments = found.group(1)
    if re.search(r"[<>]|arg\d|Annotated|\[", arguments + found.group(2)):
        names = re.findall(r"[(,] ?(\w+)(?=: )", arguments)
        if any(n.startswith("arg") for n in names) or not names:
            return f"def {name}({'self, ' if method else ''}*args: Any) -> Any: ..."
        optional = set(re.findall(r"(\w+): [^=,]*(?:\[[^=]*\])?[^=,]* = ", arguments))
        parts = [
            n if n == "self" else f"{n}: Any" + (" = ..." if n in optional else "") for n in names
        ]
        return f"def {name}({', '.join(parts)}) -> Any: ..."
    return f"def {name}{clean(arguments)} -> {clean(found.group(2))}: ..."


def describe(module):
    lines = [
        "# Made by scripts/make_stubs.py; do not edit.",
        "from typing import Any, SupportsFloat, SupportsIndex, SupportsInt",
        "",
    ]
    for name, value in sorted(vars(module).items()):
        if name.startswith("_"):
            continue
        if inspect.isclass(value):
            base = next((b.__name__ for b in value.__mro__[1:] if issubclass(b, BaseException)), "")
            lines.append(f"class {name}{f'({base})' if base else ''}:")
            body = []
            for member, attribute in sorted(vars(value).items()):
                if isinstance(attribute, property):
                    body += ["    @property", f"    def {member}(self) -> Any: ..."]
                elif isinstance(attribute, staticmethod):
                    body += [
                        "    @staticmethod",
                        "    " + signature(member, attribute.__func__, False),
                    ]
                elif member == "__enter__":
                    body.append(f"    def __enter__(self) -> {name}: ...")
                elif member == "__exit__":
                    body.append("    def __exit__(self, *args: Any) -> None: ...")
                elif callable(attribute) and not member.startswith("_") and not base:
                    body.append("    " + signature(member, attribute, True))
            if "__init__" in vars(value) and not base:
                body.append("    def __init__(self, *args: Any, **kwargs: Any) -> None: ...")
            lines += body or ["    ..."]
        elif callable(value):
            lines.append(signature(name, value, False))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    from segrid import _core

    target = (
        Path(sys.argv[1])
        if len(sys.argv) > 1
        else Path(__file__).parents[1] / "python/segrid/_core.pyi"
    )
    target.write_text(describe(_core))
