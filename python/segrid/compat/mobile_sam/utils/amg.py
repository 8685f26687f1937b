"""The functions of mobile_sam.utils.amg, the same as segment_anything's."""

from segrid.compat.segment_anything.utils.amg import *  # noqa: F403
from segrid.compat.segment_anything.utils.amg import __all__ as __all__
