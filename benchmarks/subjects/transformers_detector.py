"""transformers' Owlv2ForObjectDetection with its Pillow processor, which needs no torchvision; bf16
and fp16 are autocast."""


class Subject:
    def __init__(self, model, threads, precision="fp32", device="cpu"):
        import torch
        from transformers import (
            CLIPTokenizer,
            Owlv2ForObjectDetection,
            Owlv2ImageProcessorPil,
            Owlv2Processor,
        )

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.model = Owlv2ForObjectDetection.from_pretrained(model).float().eval()
        self.device = "cpu" if device == "cpu-plain" else device
        self.model.to(self.device)
        self.words = CLIPTokenizer.from_pretrained(model)
        self.images = Owlv2ImageProcessorPil.from_pretrained(model)
        self.processor = Owlv2Processor(self.images, self.words)
        self.low = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)

    def detect(self, image, prompts, threshold):
        import torch
        from PIL import Image

        inputs = self.processor(text=[prompts], images=Image.fromarray(image), return_tensors="pt")
        kind = torch.device(self.device).type
        with torch.autocast(kind, self.low, enabled=self.low is not None):
            outputs = self.model(**inputs.to(self.device))
        for name in ("logits", "pred_boxes"):
            outputs[name] = outputs[name].float().cpu()
        found = self.processor.post_process_grounded_object_detection(
            outputs=outputs, target_sizes=[image.shape[:2]], threshold=threshold
        )[0]
        order = found["scores"].argsort(descending=True, stable=True)
        return found["scores"][order].numpy(), found["boxes"][order].numpy()

    def zero_shot(self, image, prompts, threshold):
        from PIL import Image
        from transformers import pipeline

        pipe = pipeline(
            "zero-shot-object-detection",
            model=self.model,
            tokenizer=self.words,
            image_processor=self.images,
        )
        return pipe(Image.fromarray(image), candidate_labels=prompts, threshold=threshold)
