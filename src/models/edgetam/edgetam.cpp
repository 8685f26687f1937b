#include "models/edgetam/edgetam.h"

#include "models/edgetam/memory_plain.h"
#include "models/edgetam/repvit.h"
#include "models/sam2/sam2.h"

namespace segrid::edgetam {

std::unique_ptr<SegmentationModel> load(const Config& config, WeightStore& store,
                                        Precisions precisions) {
    const EdgeTamConfig c(config);
    const WeightScope root(store, precisions);
    auto encoder =
        std::make_shared<const RepVit>(root / "vision_encoder", root / "mask_decoder", c);
    auto model = sam2::assemble(
        root, {.family = "edgetam",
               .config = c,
               .encoder = [encoder](const ModelInput& input, const Schedule& schedule,
                                    const Tap* tap) { return (*encoder)(input, schedule, tap); },
               .memory = load_memory_plain(config, c, plain::Weights(root, Placement{}))});
    finish(config, store);
    return model;
}

}  // namespace segrid::edgetam
