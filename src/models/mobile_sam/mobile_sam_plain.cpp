#include "core/error.h"
#include "models/mask_decoder/segmentation_plain.h"
#include "models/mobile_sam/mobile_sam.h"
#include "models/mobile_sam/tiny_vit_plain.h"

namespace segrid::mobile_sam {

std::unique_ptr<SegmentationModel> load_plain(const Config& config, WeightStore& store,
                                              Placement placement) {
    if (placement.type == at::kHalf) {
        fail(ErrorKind::Unsupported,
             config.name() +
                 ": precision='fp16': MobileSAM's encoder overflows in it; use 'bf16' or 'fp32'");
    }
    const TinyVitConfig c(config);
    const plain::Weights root(WeightScope(store), placement);
    auto encoder = std::make_shared<const plain::TinyVit>(root / "vision_encoder", c);
    const mask_decoder::PromptShape prompt =
        mask_decoder::read_prompt(config, c.image, c.grid(kStages - 1), c.output);
    auto model = plain::assemble(
        root, {.family = "mobile_sam",
               .preprocess = {.side = c.image},
               .features = {{{prompt.grid, prompt.grid}, c.output}},
               .encoder = [encoder](const at::Tensor& images,
                                    const Tap* tap) { return Features{(*encoder)(images, tap)}; },
               .values_per_image = encoder->values_per_image(),
               .prompt = prompt,
               .decoder = mask_decoder::read_decoder(config)});
    store.finish();
    return model;
}

}  // namespace segrid::mobile_sam
