#include "models/sam2/hiera_plain.h"
#include "models/sam2/memory_plain.h"
#include "models/sam2/sam2.h"

namespace segrid::sam2 {

std::unique_ptr<SegmentationModel> assemble_plain(const plain::Weights& root, PlainParts parts) {
    const ImageConfig& c = parts.config;
    return plain::assemble(
        root, {.family = std::move(parts.family),
               .preprocess = preprocess(c),
               .features = feature_shapes(c),
               .encoder = std::move(parts.encoder),
               .values_per_image = parts.values_per_image,
               .no_memory = root.tensor("no_memory_embedding", {1, 1, c.fpn}).view({c.fpn}),
               .memory = std::move(parts.memory),
               .prompt = c.prompt,
               .decoder = c.decoder});
}

std::unique_ptr<SegmentationModel> load_plain(const Config& config, WeightStore& store,
                                              Placement placement) {
    const Sam2Config c(config);
    const plain::Weights root(WeightScope(store), placement);
    auto encoder =
        std::make_shared<const plain::Hiera>(root / "vision_encoder", root / "mask_decoder", c);
    auto model = assemble_plain(
        root, {.family = "sam2",
               .config = c,
               .encoder = [encoder](const at::Tensor& images,
                                    const Tap* tap) { return (*encoder)(images, tap); },
               .values_per_image = encoder->values_per_image(),
               .memory = load_memory_plain(config, c, root)});
    finish(config, store);
    return model;
}

}  // namespace segrid::sam2
