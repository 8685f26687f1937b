// Image -> embedding -> masks of prompts.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/embedding.h"
#include "engine/image_batches.h"
#include "engine/loading.h"
#include "engine/progress.h"
#include "image/image.h"
#include "masks/mask_set.h"
#include "models/segmentation.h"
#include "prompts/prompts.h"

namespace segrid {

struct PredictOptions {
    bool multimask = false;
    double mask_threshold = 0;  // pixels whose logit is above it belong to the mask
    // In pixels of the low-res logits, see fill_small_regions. The returned logits are not changed.
    int64_t max_hole_area = 0, max_sprinkle_area = 0;
    // The most prompts decoded at once; each then gets a part of the workers. 0: as many prompts as
    // workers, or as a device's memory allows.
    int64_t batch_size = 0;
};

struct Predicted {
    MaskSet masks;
    // Logits [masks, h, w]; undefined if they would exceed kMaxLowResBytes.
    at::Tensor low_res;
    Stats stats;
};

// The most bytes of logits that are returned with predicted masks (as hints for the next call).
inline constexpr std::size_t kMaxLowResBytes = std::size_t{256} << 20;
// The most prompts in one predict() call.
inline constexpr std::size_t kMaxPrompts = 100'000;

// Features of an image in fp32 on the CPU, as files and other programs store them.
struct KeptFeatures {
    Features features;
    // Whether the image tokens include SegmentationModel::no_memory().
    bool no_memory_added = false;
    std::string model_id;  // of the weights that made them
};

// Immutable after construction; any number of threads may share it.
class Segmenter : public Loaded<SegmentationModel> {
public:
    explicit Segmenter(const ModelSettings& settings);

    // Recommended thresholds by option name: segrid.json's, or else the family's.
    const std::map<std::string, double>& defaults() const { return defaults_; }
    // The longest side, in pixels, of images or crops in which the model finds objects best. Empty
    // if segrid.json does not state it.
    std::optional<double> working_scale() const { return working_scale_; }

    Embedding encode(ImageView image, const Schedule& schedule, Stats* stats = nullptr) const;
    // Without the context for decoding the image alone: for the frames of a video, most of which
    // are decoded with memory.
    Embedding encode_frame(ImageView image, const Schedule& schedule) const;
    // The same for several images. On a device they are encoded together, as many as its memory
    // takes; the results are those of single images but for rounding.
    std::vector<Embedding> encode_batch(const std::vector<ImageView>& images,
                                        const Schedule& schedule, Stats* stats = nullptr) const;
    std::vector<Embedding> encode_crops(ImageView image, const std::vector<ImageBox>& crops,
                                        const Schedule& schedule, Stats* stats = nullptr) const;
    // Encodes an image that is already resized for the model: packed RGB floats in 0..255. Throws
    // InvalidInput unless `resized` is the size that the model gives to `image`.
    Embedding encode_resized(const float* pixels, Size resized, Size image,
                             const Schedule& schedule) const;
    // An embedding from stored features. Throws InvalidInput if they are not this model's.
    Embedding restore(Size image, const KeptFeatures& kept, const Schedule& schedule) const;
    // Masks in prompt order, with multimask several per prompt. Prompts must have been validated
    // against the image.
    Predicted predict(const Embedding& embedding, const std::vector<Prompt>& prompts,
                      const PredictOptions& options, const Schedule& schedule) const;

    // The same model, shared, with another limit on workers.
    Segmenter with_threads(int n) const;
    // Throws InvalidInput if the embedding was made by other weights.
    void check_embedding(const Embedding& embedding) const;
    // The embedding with features that this model reads. If the same weights made it on another
    // device, the result has a copy of them, and no context.
    Embedding readable(const Embedding& embedding) const;
    // The same with a context of this model.
    Embedding prepared(const Embedding& embedding, const Schedule& schedule) const;

private:
    std::vector<Embedding> encode_all(const std::vector<ImageCrop>& crops, const Schedule& schedule,
                                      Stats* stats) const;
    // Embeddings without a context.
    std::vector<Embedding> encode_features(const std::vector<ImageCrop>& crops,
                                           const Schedule& schedule, Stats& stats) const;
    Embedding embedding_of(const FrameMap& frame, Features features) const;

    std::map<std::string, double> defaults_;
    std::optional<double> working_scale_;
};

}  // namespace segrid
