"""What a run can find, by name: the numbers that stand for it in its files."""

from __future__ import annotations

from dataclasses import dataclass

from segrid._types import JsonObject

TOP = 65535  # the largest number that a 16-bit picture holds


@dataclass(frozen=True)
class Classes:
    """names : of all that can be found, each once, in the order of the prompts, or of the views and
    the classes of each. They are there whatever is found, so that numbers mean the same in all
    files.

    A detector that does not name its classes finds `class 0`, `class 1`, ...; those follow after
    the names: `class k` is len(names) + k + 1.
    """

    names: tuple[str, ...]

    def category(self, label: str, class_id: int) -> int:
        """COCO's category_id: the place of the label among the names, from 1. class_id : that of
        its detector, for a label that is not among them."""
        return (
            self.names.index(label) + 1 if label in self.names else len(self.names) + class_id + 1
        )

    def value(self, label: str, class_id: int) -> int:
        """In class pictures: the label itself where it is a whole number from 1 to 65535, as those
        of teeth; else its category, or, where a number among the names has that value, the next one
        above all values. 0 is background. Raises ValueError above 65535."""
        values = self.values()
        found = values.get(label) or max([len(self.names), *values.values()]) + class_id + 1
        if found > TOP:
            raise ValueError(
                f"class {label!r}: its value would be {found}; a 16-bit PNG holds "
                f"values up to {TOP}"
            )
        return found

    def values(self) -> dict[str, int]:
        """The values of all names."""
        values = {name: number for name in self.names if (number := _number(name)) is not None}
        taken = set(values.values())
        for place, name in enumerate(self.names, 1):
            if name not in values:
                values[name] = place if place not in taken else max(*taken, len(self.names)) + 1
                taken.add(values[name])
        return values

    def categories(self, found: dict[str, int] | None = None) -> list[JsonObject]:
        """COCO's categories: all names, then those in `found` ({label: category}) that are not
        among them, by number."""
        named = [{"id": place, "name": name} for place, name in enumerate(self.names, 1)]
        more = sorted(
            (number, label) for label, number in (found or {}).items() if label not in self.names
        )
        return named + [{"id": number, "name": label} for number, label in more]


def _number(name: str) -> int | None:
    """The whole number from 1 to TOP that a name is, as it is usually written; else None."""
    if not (name.isascii() and name.isdecimal() and len(name) <= len(str(TOP))):
        return None
    return int(name) if 1 <= int(name) <= TOP and not name.startswith("0") else None


def classes_of(names: list[str]) -> Classes:
    """The classes with these names, in their order; each name is taken once."""
    return Classes(tuple(dict.fromkeys(names)))
