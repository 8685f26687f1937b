#include "models/edgetam/memory_plain.h"

#include <ATen/ATen.h>

#include "models/edgetam/perceiver_plain.h"
#include "models/sam2/memory_plain.h"
#include "models/sam2/sam2.h"

namespace segrid::edgetam {

std::unique_ptr<MemoryModel> load_memory_plain(const Config& config, const sam2::ImageConfig& image,
                                               const plain::Weights& root) {
    if (!sam2::has_memory(config)) return nullptr;
    const MemoryConfig c(config, image);
    auto perceiver = std::make_shared<const plain::SpatialPerceiver>(root / "spatial_perceiver", c);
    return sam2::load_memory_plain(
        c, root,
        {.condense = [perceiver](const at::Tensor& memory) { return (*perceiver)(memory); },
         .type = root.placement().type});
}

void finish(const Config& config, const WeightStore& store) {
    sam2::finish(config, store, {"spatial_perceiver"});
}

}  // namespace segrid::edgetam
