#include "models/segmentation.h"

#include "core/error.h"

namespace segrid {

DecodedBatch SegmentationModel::decode_batch(const DecoderContext&, const std::vector<ModelPrompt>&,
                                             const DecodeRequest&, const at::Tensor&) const {
    internal("decode_batch: a " + family() + " model on this device decodes prompt by prompt");
}

std::vector<Features> SegmentationModel::encode_batch(const std::vector<ModelInput>& inputs,
                                                      const Schedule& schedule) const {
    std::vector<Features> all;
    for (const ModelInput& input : inputs) all.push_back(encode(input, schedule));
    return all;
}

}  // namespace segrid
