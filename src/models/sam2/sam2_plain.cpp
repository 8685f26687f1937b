#include "models/mask_decoder/segmentation_plain.h"
#include "models/sam2/hiera_plain.h"
#include "models/sam2/memory_plain.h"
#include "models/sam2/sam2.h"

namespace segrid::sam2 {

std::unique_ptr<SegmentationModel> load_plain(const Config& config, WeightStore& store,
                                              Placement placement) {
    const Sam2Config c(config);
    const plain::Weights root(WeightScope(store), placement);
    auto encoder =
        std::make_shared<const plain::Hiera>(root / "vision_encoder", root / "mask_decoder", c);
    auto model = plain::assemble(
        root, {.family = "sam2",
               .preprocess = preprocess(c),
               .features = feature_shapes(c),
               .encoder = [encoder](const at::Tensor& image,
                                    const Tap* tap) { return (*encoder)(image, tap); },
               .no_memory = root.tensor("no_memory_embedding", {1, 1, c.fpn}).view({c.fpn}),
               .memory = has_memory(config) ? load_memory_plain(config, c, root) : nullptr,
               .prompt = c.prompt,
               .decoder = c.decoder});
    finish(config, store);
    return model;
}

}  // namespace segrid::sam2
