#include "models/segmentation.h"

#include "core/error.h"

namespace segrid {

DecodedBatch SegmentationModel::decode_batch(const DecoderContext&, const std::vector<ModelPrompt>&,
                                             const DecodeRequest&, const at::Tensor&) const {
    internal("decode_batch: a " + family() + " model on this device decodes prompt by prompt");
}

}  // namespace segrid
