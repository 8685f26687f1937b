// Image -> embedding -> masks of prompts.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/embedding.h"
#include "engine/loading.h"
#include "engine/progress.h"
#include "image/image.h"
#include "masks/mask_set.h"
#include "models/segmentation.h"
#include "prompts/prompts.h"

namespace segrid {

struct PredictOptions {
    bool multimask = false;
    double mask_threshold = 0;  // of logits: pixels above it are the mask's
    int64_t max_hole_area = 0,
            max_sprinkle_area =
                0;  // see fill_small_regions; the logits returned stay as they were decoded
    int64_t batch_size = 0;  // most prompts decoded at once, each by a part of the workers; 0: as
                             // many as there are workers, or as a device's memory allows
};

struct Predicted {
    MaskSet masks;
    at::Tensor low_res;  // [masks, h, w] logits; undefined when they would exceed kMaxLowResBytes
    Stats stats;
};

// Logits are kept beside predicted masks (as hints for the next call) up to this size.
inline constexpr std::size_t kMaxLowResBytes = std::size_t{256} << 20;
// Prompts of one predict() call.
inline constexpr std::size_t kMaxPrompts = 100'000;

// Features of an image in fp32 on the CPU, as files and other programs keep them.
struct KeptFeatures {
    Features features;
    bool no_memory_added = false;  // whether the image tokens hold SegmentationModel::no_memory()
    std::string model_id;          // of the weights that made them
};

// Immutable after construction and shared by any number of threads.
class Segmenter : public Loaded<SegmentationModel> {
public:
    explicit Segmenter(const ModelSettings& settings);

    // Recommended thresholds: segrid.json's, else the family's.
    const std::map<std::string, double>& defaults() const { return defaults_; }
    // Long side in pixels of the images (or crops) in which the model finds objects best:
    // segrid.json's, where it says so.
    std::optional<double> working_scale() const { return working_scale_; }

    Embedding encode(ImageView image, const Schedule& schedule, Stats* stats = nullptr) const;
    Embedding encode_crop(ImageView image, ImageBox crop, const Schedule& schedule,
                          Stats* stats = nullptr) const;
    // Encodes an image that is already resized for the model: packed RGB floats in 0..255.
    // `resized` must be the size that the model gives to `image`, else InvalidInput.
    Embedding encode_resized(const float* pixels, Size resized, Size image,
                             const Schedule& schedule) const;
    // An embedding from features that were kept elsewhere; throws InvalidInput when they are not
    // this model's.
    Embedding restore(Size image, const KeptFeatures& kept, const Schedule& schedule) const;
    // Masks in prompt order (three per prompt with multimask). Prompts must have been validated
    // against the image.
    Predicted predict(const Embedding& embedding, const std::vector<Prompt>& prompts,
                      const PredictOptions& options, const Schedule& schedule) const;

    // The same model, shared, with another cap on workers.
    Segmenter with_threads(int n) const;
    // Throws InvalidInput when the embedding was made by other weights.
    void check_embedding(const Embedding& embedding) const;
    // The embedding as this model decodes it: itself, or, where the same weights made it on another
    // device, with what is prepared here.
    Embedding prepared(const Embedding& embedding, const Schedule& schedule) const;

private:
    std::map<std::string, double> defaults_;
    std::optional<double> working_scale_;
};

}  // namespace segrid
