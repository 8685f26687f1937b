"""Scripts in the manner of each library's example notebooks, run as they are and with only their import lines changed."""

from pathlib import Path

import pytest
import segrid
from PIL import Image

from benchmarks import random_sam

SEGMENT_ANYTHING = '''
import numpy as np
import torch
from PIL import Image
from segment_anything import SamAutomaticMaskGenerator, SamPredictor, sam_model_registry

image = np.array(Image.open(image_file).convert("RGB"))
sam = build(checkpoint)
sam.to(device="cpu")
predictor = SamPredictor(sam)
predictor.set_image(image)
input_point, input_label = np.array([[100, 75]]), np.array([1])
masks, scores, logits = predictor.predict(point_coords=input_point, point_labels=input_label, multimask_output=True)
mask_input = logits[np.argmax(scores), :, :]
input_point, input_label = np.array([[100, 75], [150, 40]]), np.array([1, 0])
again, _, _ = predictor.predict(point_coords=input_point, point_labels=input_label, mask_input=mask_input[None, :, :], multimask_output=False)
input_box = np.array([30, 20, 180, 120])
boxed, _, _ = predictor.predict(point_coords=None, point_labels=None, box=input_box[None, :], multimask_output=False)
input_boxes = torch.tensor([[30, 20, 180, 120], [5, 5, 90, 70]], device=predictor.device)
transformed_boxes = predictor.transform.apply_boxes_torch(input_boxes, image.shape[:2])
batch, _, _ = predictor.predict_torch(point_coords=None, point_labels=None, boxes=transformed_boxes, multimask_output=False)
generated = SamAutomaticMaskGenerator(model=sam, points_per_side=4, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0).generate(image)
generated = sorted(generated, key=lambda x: x["predicted_iou"], reverse=True)
results = [masks, again, boxed, batch.cpu().numpy(), np.stack([g["segmentation"] for g in generated])]
'''

SAM2 = '''
import numpy as np
from PIL import Image
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.sam2_image_predictor import SAM2ImagePredictor

image = np.array(Image.open(image_file).convert("RGB"))
sam2_model = build(checkpoint)
predictor = SAM2ImagePredictor(sam2_model)
predictor.set_image(image)
input_point, input_label = np.array([[100, 75]]), np.array([1])
masks, scores, logits = predictor.predict(point_coords=input_point, point_labels=input_label, multimask_output=True)
sorted_ind = np.argsort(scores)[::-1]
masks, scores, logits = masks[sorted_ind], scores[sorted_ind], logits[sorted_ind]
mask_input = logits[np.argmax(scores), :, :]
input_point, input_label = np.array([[100, 75], [150, 40]]), np.array([1, 0])
again, _, _ = predictor.predict(point_coords=input_point, point_labels=input_label, mask_input=mask_input[None, :, :], multimask_output=False)
input_boxes = np.array([[30, 20, 180, 120], [5, 5, 90, 70]])
boxed, _, _ = predictor.predict(point_coords=None, point_labels=None, box=input_boxes, multimask_output=False)
predictor.set_image_batch([image, image[20:, 10:]])
batch, _, _ = predictor.predict_batch([np.array([[100, 75]])] * 2, [np.array([1])] * 2, box_batch=None, multimask_output=True)
generated = SAM2AutomaticMaskGenerator(sam2_model, points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0).generate(image)
generated = sorted(generated, key=lambda x: x["predicted_iou"], reverse=True)
results = [masks, again, boxed, *batch, np.stack([g["segmentation"] for g in generated])]
'''


@pytest.mark.parametrize("library", ["segment_anything", "sam2"])
def test_the_same_script_with_other_imports(library, request, image, tmp_path):
    from segrid.compat.sam2 import build_sam2
    from segrid.compat.segment_anything import sam_model_registry

    script = {"segment_anything": SEGMENT_ANYTHING, "sam2": SAM2}[library]
    if library == "segment_anything":  # the packaged model: trained weights
        file = Path(segrid.__file__).parent / "models/tiny"
        theirs = random_sam.to_segment_anything(file)
    else:
        theirs, file = request.getfixturevalue("sam2_checkpoint")
    Image.fromarray(image).save(tmp_path / "photo.png")
    drop_in = {"segment_anything": lambda c: sam_model_registry["vit_b"](checkpoint=c), "sam2": lambda c: build_sam2("sam2.1_hiera_t.yaml", c)}[library]
    outcomes = []
    for text, build in ((script, lambda _: theirs), (script.replace(f"from {library}", f"from segrid.compat.{library}"), drop_in)):
        names = {"image_file": tmp_path / "photo.png", "checkpoint": file, "build": build}
        exec(compile(text, library, "exec"), names)
        outcomes.append(names["results"])
    for original, ours in zip(*outcomes, strict=True):
        assert original.dtype == ours.dtype and original.shape == ours.shape
        assert 0.05 < original.astype(bool).mean() < 0.95, "vacuous"
        assert (original.astype(bool) == ours.astype(bool)).mean() > 0.99999
