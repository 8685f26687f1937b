"""transformers' Owlv2ForObjectDetection with its Pillow processor, which needs no torchvision; bf16
is autocast."""


class Subject:
    def __init__(self, model, threads, precision="fp32"):
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
        self.words = CLIPTokenizer.from_pretrained(model)
        self.images = Owlv2ImageProcessorPil.from_pretrained(model)
        self.processor = Owlv2Processor(self.images, self.words)
        self.low = precision == "bf16"

    def detect(self, image, prompts, threshold):
        import torch
        from PIL import Image

        inputs = self.processor(text=[prompts], images=Image.fromarray(image), return_tensors="pt")
        with torch.autocast("cpu", torch.bfloat16, enabled=self.low):
            outputs = self.model(**inputs)
        for name in ("logits", "pred_boxes"):
            outputs[name] = outputs[name].float()
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
