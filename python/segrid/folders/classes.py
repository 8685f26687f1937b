"""The classes that a run can find, and the numbers that represent them in its files."""

from __future__ import annotations

from dataclasses import dataclass

from segrid._types import JsonObject

TOP = 65535  # the largest number that a 16-bit picture holds


@dataclass(frozen=True)
class Classes:
    """The names of all classes that can be found.

    names : each name once, in the order of the prompts, or of the views and the classes of each.
        They do not depend on what is found, so that numbers mean the same in all files.

    A detector that does not name its classes finds `class 0`, `class 1`, ... These follow after the
    names: `class k` has the number len(names) + k + 1."""

    names: tuple[str, ...]

    def category(self, label: str, class_id: int) -> int:
        """Returns COCO's category_id: the position of the label among the names, from 1. class_id :
        the detector's number of the class, used for a label that is not among the names."""
        return (
            self.names.index(label) + 1 if label in self.names else len(self.names) + class_id + 1
        )

    def value(self, label: str, class_id: int) -> int:
        """Returns the class's value in class pictures; 0 is background.

        It is the label itself if that is a whole number from 1 to 65535, as for teeth. Otherwise it
        is the category, or, if a number among the names has that value, the next one above all
        values. Raises ValueError above 65535."""
        values = self.values()
        found = values.get(label) or max([len(self.names), *values.values()]) + class_id + 1
        if found > TOP:
            raise ValueError(
                f"class {label!r}: its value would be {found}; a 16-bit PNG holds "
                f"values up to {TOP}"
            )
        return found

    def values(self) -> dict[str, int]:
        """Returns the values of all names."""
        values = {name: number for name in self.names if (number := _number(name)) is not None}
        taken = set(values.values())
        for place, name in enumerate(self.names, 1):
            if name not in values:
                values[name] = place if place not in taken else max(*taken, len(self.names)) + 1
                taken.add(values[name])
        return values

    def categories(self, found: dict[str, int] | None = None) -> list[JsonObject]:
        """Returns COCO's categories: all names, then those in `found` ({label: category}) that are
        not among the names, by number."""
        named = [{"id": place, "name": name} for place, name in enumerate(self.names, 1)]
        more = sorted(
            (number, label) for label, number in (found or {}).items() if label not in self.names
        )
        return named + [{"id": number, "name": label} for number, label in more]


def _number(name: str) -> int | None:
    """Returns the whole number from 1 to TOP that a name consists of, as it is usually written,
    else None."""
    if not (name.isascii() and name.isdecimal() and len(name) <= len(str(TOP))):
        return None
    return int(name) if 1 <= int(name) <= TOP and not name.startswith("0") else None


def classes_of(names: list[str]) -> Classes:
    """Returns the classes with these names, in order; each name appears once."""
    return Classes(tuple(dict.fromkeys(names)))
