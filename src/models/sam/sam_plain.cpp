#include "models/mask_decoder/segmentation_plain.h"
#include "models/sam/sam.h"
#include "models/sam/vit_plain.h"

namespace segrid::sam {

std::unique_ptr<SegmentationModel> load_plain(const Config& config, WeightStore& store,
                                              Placement placement) {
    const SamConfig c(config);
    const plain::Weights root(WeightScope(store), placement);
    auto encoder = std::make_shared<const plain::Vit>(root / "vision_encoder", c.vision);
    const Size grid{c.vision.grid(), c.vision.grid()};
    auto model = plain::assemble(
        root, {.family = "sam",
               .preprocess = {.side = c.vision.image},
               .features = {{grid, c.vision.output}},
               .encoder = [encoder](const at::Tensor& images,
                                    const Tap* tap) { return Features{(*encoder)(images, tap)}; },
               .values_per_image = encoder->values_per_image(),
               .prompt = c.prompt,
               .decoder = c.decoder});
    store.finish();
    return model;
}

}  // namespace segrid::sam
