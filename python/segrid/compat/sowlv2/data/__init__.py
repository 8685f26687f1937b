"""`from segrid.compat.sowlv2.data.config import PipelineBaseData`."""
