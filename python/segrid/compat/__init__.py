"""Drop-ins for the libraries people use, built on segrid's public classes. Change the import line
and keep the rest: packages and modules have the same names as in those libraries.

`from segrid.compat.segment_anything import sam_model_registry, SamPredictor`
`from segrid.compat.mobile_sam import sam_model_registry, SamPredictor`
`from segrid.compat.sam2.build_sam import build_sam2`
`from segrid.compat.sam2.sam2_image_predictor import SAM2ImagePredictor`
`from segrid.compat.transformers import pipeline`
"""
