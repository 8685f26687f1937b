"""As sowlv2.models."""

from segrid.compat.sowlv2.models.owl import OWLV2Wrapper
from segrid.compat.sowlv2.models.sam2_wrapper import SAM2Wrapper

__all__ = ["OWLV2Wrapper", "SAM2Wrapper"]
