"""What sam2's YAML files say that the weights do not: the side of the model's square."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

from segrid.compat.sam2.modeling.sam2_base import PUBLISHED_SIDE

# The names of sam2's and EdgeTAM's own configurations, of which the weights tell all.
OWN = re.compile(
    r"(?:(?:.*/)?(?:configs|sam2_configs|sam2|sam2\.1)/|\./)?"
    r"(?:sam2(?:\.1)?_hiera_(?:t|s|b\+|l)|edgetam)(?:\.yaml)?"
)
SIDE = re.compile(r"^\s*image_size:\s*(\d+)\s*(?:#.*)?$", re.MULTILINE)


def image_size_in(config_file: str | os.PathLike[str] | None) -> int | None:
    """Returns the image_size that a YAML file sets, or None where it is the published one. Warns of
    a name that is neither a file nor one of sam2's own configurations: nothing is read from it."""
    name = "" if config_file is None else os.fspath(config_file)
    if os.path.isfile(name):
        found = SIDE.search(Path(name).read_text(encoding="utf-8"))
        return None if found is None or int(found[1]) == PUBLISHED_SIDE else int(found[1])
    if name and not OWN.fullmatch(name):
        warnings.warn(
            f"config_file: {name!r} is neither a file nor one of sam2's own configurations, so it "
            "sets nothing; give its settings by hydra_overrides_extra, for instance "
            '["++model.image_size=512"]',
            stacklevel=3,
        )
    return None
