#include "models/edgetam/edgetam.h"
#include "models/edgetam/memory_plain.h"
#include "models/edgetam/repvit_plain.h"
#include "models/sam2/sam2.h"

namespace segrid::edgetam {

std::unique_ptr<SegmentationModel> load_plain(const Config& config, WeightStore& store,
                                              Placement placement) {
    const EdgeTamConfig c(config);
    const plain::Weights root(WeightScope(store), placement);
    auto encoder =
        std::make_shared<const plain::RepVit>(root / "vision_encoder", root / "mask_decoder", c);
    auto model = sam2::assemble_plain(
        root, {.family = "edgetam",
               .config = c,
               .encoder = [encoder](const at::Tensor& images,
                                    const Tap* tap) { return (*encoder)(images, tap); },
               .values_per_image = encoder->values_per_image(),
               .memory = load_memory_plain(config, c, root)});
    finish(config, store);
    return model;
}

}  // namespace segrid::edgetam
