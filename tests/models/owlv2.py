"""OWLv2 and OWL-ViT models with a tokenizer and seeded random weights, whose scores spread over
0..1 and whose boxes spread over the image."""

import torch

from tests.models import seeded_weights

PRESETS = {
    # family, image, patch, hidden, layers, heads, mlp; text: hidden, layers, heads, mlp
    "small": dict(
        family="owlv2",
        image=128,
        patch=16,
        hidden=48,
        layers=3,
        heads=4,
        mlp=96,
        text=32,
        text_layers=2,
        text_heads=4,
        text_mlp=64,
    ),
    "tester": dict(
        family="owlv2",
        image=32,
        patch=2,
        hidden=32,
        layers=2,
        heads=4,
        mlp=37,
        text=32,
        text_layers=2,
        text_heads=4,
        text_mlp=37,
    ),
    "owlvit": dict(
        family="owlvit",
        image=96,
        patch=32,
        hidden=64,
        layers=2,
        heads=2,
        mlp=128,
        text=48,
        text_layers=2,
        text_heads=3,
        text_mlp=96,
    ),
    # Attention takes most of the time of this model.
    "slow": dict(
        family="owlv2",
        image=1024,
        patch=8,
        hidden=96,
        layers=8,
        heads=3,
        mlp=192,
        text=32,
        text_layers=1,
        text_heads=2,
        text_mlp=32,
    ),
    "base": dict(
        family="owlv2",
        image=960,
        patch=16,
        hidden=768,
        layers=12,
        heads=12,
        mlp=3072,
        text=512,
        text_layers=12,
        text_heads=8,
        text_mlp=2048,
    ),
}


def make(preset, folder, seed=0):
    """Writes config.json, model.safetensors and a tokenizer into `folder` in transformers' format,
    and returns the folder."""
    import transformers

    from training.detector import tokens

    c = PRESETS[preset]
    tokenizer = tokens.build(folder)
    torch.manual_seed(seed)
    # A small model has no rows that are never looked up.
    vocabulary = 49408 if preset == "base" else len(tokenizer)
    kind = {"owlv2": "Owlv2", "owlvit": "OwlViT"}[c["family"]]
    config = getattr(transformers, f"{kind}Config")(
        text_config=dict(
            vocab_size=vocabulary,
            hidden_size=c["text"],
            intermediate_size=c["text_mlp"],
            num_hidden_layers=c["text_layers"],
            num_attention_heads=c["text_heads"],
            max_position_embeddings=16,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
        ),
        vision_config=dict(
            hidden_size=c["hidden"],
            intermediate_size=c["mlp"],
            num_hidden_layers=c["layers"],
            num_attention_heads=c["heads"],
            image_size=c["image"],
            patch_size=c["patch"],
        ),
        projection_dim=c["text"],
    )
    processor = getattr(transformers, f"{kind}ImageProcessorPil")(
        size={"height": c["image"], "width": c["image"]}
    )
    processor.save_pretrained(folder)
    model = getattr(transformers, f"{kind}ForObjectDetection")(config)
    # Only the time of "slow" counts, and calibration would run it twice.
    return seeded_weights.save(model, _calibrate if preset != "slow" else lambda _: None, folder)


def _calibrate(model):
    """Scales the logits to mean -1 and deviation 2, and boxes to about 5 to 50 % of the image."""
    side, vocabulary = model.config.vision_config.image_size, model.config.text_config.vocab_size
    head = model.class_head
    head.logit_scale.weight.mul_(0.3)
    head.logit_scale.bias.fill_(4.0)
    head.logit_shift.weight.mul_(0.1)
    model.box_head.dense2.weight.mul_(2.0)
    image = torch.nn.functional.interpolate(
        torch.randn(1, 3, 16, 16), size=(side, side), mode="bilinear"
    )
    ids = torch.randint(1, vocabulary - 2, (4, 6))
    ids[:, 0], ids[:, -1] = vocabulary - 2, vocabulary - 1
    logits = model(input_ids=ids, pixel_values=image).logits
    grow = float(2 / logits.std())
    head.logit_scale.bias.fill_(4.0 * grow + grow - 1)  # elu(x) + 1 is x + 1 here.
    head.logit_scale.weight.mul_(grow)
    logits = model(input_ids=ids, pixel_values=image).logits
    head.logit_shift.bias.sub_(float((logits.mean() + 1) / (5 * grow)))
