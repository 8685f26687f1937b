#include "models/mobile_sam/mobile_sam.h"

#include "models/mask_decoder/config.h"
#include "models/mobile_sam/tiny_vit.h"
#include "models/sam/sam.h"

namespace segrid::mobile_sam {

std::unique_ptr<SegmentationModel> load(const Config& config, WeightStore& store,
                                        Precisions precisions) {
    const TinyVitConfig c(config);
    const auto decoder = mask_decoder::read_decoder(config);
    const WeightScope root(store, precisions);
    auto encoder = std::make_shared<const TinyVit>(root / "vision_encoder", c);
    auto model = sam::assemble(
        root, {.family = "mobile_sam",
               .prompt = mask_decoder::read_prompt(config, c.image, c.grid(kStages - 1), c.output),
               .decoder = decoder,
               .encoder = [encoder](const ModelInput& input, const Schedule& schedule,
                                    const Tap* tap) { return (*encoder)(input, schedule, tap); }});
    store.finish();
    return model;
}

}  // namespace segrid::mobile_sam
