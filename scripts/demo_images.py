"""Prints the paths of the two demo images that scikit-image ships in its wheel: the coins photo and
the Hubble deep field."""

from pathlib import Path

import skimage.data

folder = Path(skimage.data.__file__).parent
names = ("coins.png", "hubble_deep_field.jpg")
found = [next(iter([*folder.glob(n), *folder.parent.rglob(n)]), None) for n in names]
missing = [n for n, f in zip(names, found, strict=True) if f is None]
if missing:
    raise SystemExit(
        f"not in the installed scikit-image: {', '.join(missing)} (looked under {folder.parent})"
    )
print(*found)
