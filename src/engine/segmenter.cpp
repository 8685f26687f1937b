#include "engine/segmenter.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/trace.h"
#include "models/factory.h"
#include "weights/config.h"

namespace segrid {
namespace {

std::map<std::string, double> recommended(const std::string& settings_path,
                                          const std::string& family) {
    // The originals'. EdgeTAM has SAM 2's generator of masks.
    const bool as_sam2 = family == "sam2" || family == "edgetam";
    std::map<std::string, double> values{{"pred_iou_thresh", as_sam2 ? 0.8 : 0.88},
                                         {"stability_score_thresh", 0.95},
                                         {"containment_thresh", 1.0},
                                         {"crop_containment_thresh", 1.0}};
    if (settings_path.empty()) return values;
    const Config config = Config::read(settings_path);
    for (auto& [key, value] : values)
        value = config.number("recommended." + key, value, {.low = 0.0, .high = 1.0});
    return values;
}

std::optional<double> recommended_scale(const std::string& settings_path) {
    if (settings_path.empty()) return {};
    const double pixels = Config::read(settings_path)
                              .number("recommended.working_scale", 0.0, {.low = 0.0, .high = 1e6});
    if (pixels == 0) return {};
    return std::max(16.0, pixels);
}

}  // namespace

Segmenter::Segmenter(const ModelSettings& s)
    : Loaded(s, load_segmentation_model),
      defaults_(recommended(s.settings_path, model().family())),
      working_scale_(recommended_scale(s.settings_path)) {}

Segmenter Segmenter::with_threads(int n) const {
    Segmenter other = *this;
    other.cap(n);
    return other;
}

void Segmenter::check_embedding(const Embedding& e) const {
    if (e.model_id != model_id()) {
        invalid("embedding: made by other weights (" + e.model_id + ", this model is " +
                model_id() + "); encode the image again");
    }
}

Embedding Segmenter::readable(const Embedding& e) const {
    Embedding own = e;
    if (e.context == nullptr || model().takes(*e.context)) return own;
    own.features = e.host_features();
    if (e.no_memory.defined()) own.no_memory = model().no_memory();
    own.context.reset();
    return own;
}

Embedding Segmenter::prepared(const Embedding& e, const Schedule& schedule) const {
    Embedding own = readable(e);
    if (own.context == nullptr) own.context = model().prepare(own.alone(), capped(schedule));
    return own;
}

Embedding Segmenter::encode(ImageView image, const Schedule& schedule, Stats* stats) const {
    return encode_batch({image}, schedule, stats).front();
}

Embedding Segmenter::encode_frame(ImageView image, const Schedule& schedule) const {
    const Span span("encode");
    Stats unread;
    return encode_features({whole(image, model().preprocess())}, capped(schedule), unread).front();
}

std::vector<Embedding> Segmenter::encode_batch(const std::vector<ImageView>& images,
                                               const Schedule& schedule, Stats* stats) const {
    std::vector<ImageCrop> crops;
    for (const ImageView& image : images) crops.push_back(whole(image, model().preprocess()));
    return encode_all(crops, schedule, stats);
}

std::vector<Embedding> Segmenter::encode_crops(ImageView image, const std::vector<ImageBox>& boxes,
                                               const Schedule& schedule, Stats* stats) const {
    std::vector<ImageCrop> crops;
    for (const ImageBox& box : boxes) crops.push_back(crop_of(image, box, model().preprocess()));
    return encode_all(crops, schedule, stats);
}

std::vector<Embedding> Segmenter::encode_all(const std::vector<ImageCrop>& crops,
                                             const Schedule& asked, Stats* stats) const {
    const Schedule schedule = capped(asked);
    const Span span("encode");
    Stats unread;
    std::vector<Embedding> all =
        encode_features(crops, schedule, stats != nullptr ? *stats : unread);
    for (Embedding& e : all) e = prepared(e, schedule);
    return all;
}

std::vector<Embedding> Segmenter::encode_features(const std::vector<ImageCrop>& crops,
                                                  const Schedule& schedule, Stats& stats) const {
    std::optional<DeviceBudget> budget;
    if (model().batched())
        budget = DeviceBudget::of_images(model().device(), model().bytes_per_image());
    std::vector<Embedding> all(crops.size());
    segrid::encode_crops(
        crops, model().preprocess(), budget, schedule, stats,
        [&](const std::vector<ModelInput>& inputs, std::size_t first) {
            std::vector<Features> features = model().encode_batch(inputs, schedule);
            for (std::size_t i = 0; i < inputs.size(); ++i)
                all[first + i] = embedding_of(crops[first + i].frame, std::move(features[i]));
        });
    return all;
}

Embedding Segmenter::embedding_of(const FrameMap& frame, Features features) const {
    Embedding e;
    e.frame = frame;
    e.shapes = model().feature_shapes();
    e.model_id = model_id();
    e.features = std::move(features);
    e.no_memory = model().no_memory();
    return e;
}

Embedding Segmenter::encode_resized(const float* pixels, Size resized, Size image,
                                    const Schedule& asked) const {
    check_size("encode_resized: the image", image);
    const Schedule schedule = capped(asked);
    const FrameMap frame(
        image, {0, 0, static_cast<double>(image.width), static_cast<double>(image.height)},
        model().preprocess());
    const Size wanted = frame.resized();
    if (resized.width != wanted.width || resized.height != wanted.height) {
        const auto text = [](Size s) {
            return std::to_string(s.height) + " x " + std::to_string(s.width);
        };
        invalid("encode_resized: an image of " + text(image) + " (height x width) becomes " +
                text(wanted) + " for this model, got " + text(resized));
    }
    Features features =
        model().encode({.size = resized, .bytes = nullptr, .floats = pixels}, schedule);
    return prepared(embedding_of(frame, std::move(features)), schedule);
}

Embedding Segmenter::restore(Size image, const KeptFeatures& kept, const Schedule& schedule) const {
    const Features& features = kept.features;
    Embedding e;
    e.model_id = kept.model_id;
    check_embedding(e);
    check_size("embedding: the image", image);
    e.shapes = model().feature_shapes();
    bool fits = features.size() == e.shapes.size();
    for (std::size_t i = 0; fits && i < features.size(); ++i) {
        fits =
            features[i].sizes() == at::IntArrayRef({e.shapes[i].grid.area(), e.shapes[i].channels});
    }
    if (!fits) invalid("embedding: the features have another shape than this model's");
    e.frame =
        FrameMap(image, {0, 0, static_cast<double>(image.width), static_cast<double>(image.height)},
                 model().preprocess());
    e.features = features;
    if (!kept.no_memory_added) e.no_memory = model().no_memory();
    e.context = model().prepare(e.alone(), capped(schedule));
    return e;
}

}  // namespace segrid
