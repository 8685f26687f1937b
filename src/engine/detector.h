// Image and texts -> boxes. An image is encoded once for any number of texts.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/loading.h"
#include "engine/progress.h"
#include "image/image.h"
#include "models/detection.h"

namespace segrid {

// An encoded image: an immutable value that any number of threads may use.
struct Scene {
    Size image;
    DetectionFeatures features;
    std::string model_id;
};

// The objects to look for: unit vectors, each with its label in [0, labels). Synonyms share a
// label.
struct Queries {
    at::Tensor vectors;  // [n, dim]
    std::vector<int64_t> label_of;
    int64_t labels = 0;
};

struct Detection {
    ImageBox box;  // XYXY in image pixels; a Detector does not clip it to the image
    float score = 0;
    int64_t label = 0;
    // Index of the image's patch, row-major: the order in which the originals list boxes.
    int64_t patch = 0;
};

struct DetectOptions {
    double threshold = 0.1;     // boxes with a score above it are kept
    std::optional<double> nms;  // IoU above which the worse of two boxes of one label is dropped
    bool every_label = false;   // a patch may give a box for each label, not for its best one only
};

// The most texts and examples in one call.
inline constexpr std::size_t kMaxQueries = 10'000;

// Immutable after construction except for a cache of text vectors, which a lock protects. Any
// number of threads may share a Detector.
class Detector : public Loaded<DetectionModel> {
public:
    explicit Detector(const ModelSettings& settings);

    Detector with_threads(int n) const;

    Scene encode(ImageView image, const Schedule& schedule) const;
    // The same for several images. On a device they are encoded together, as many as its memory
    // takes; the results are those of single images but for rounding.
    std::vector<Scene> encode_batch(const std::vector<ImageView>& images, const Schedule& schedule,
                                    Stats* stats = nullptr) const;
    // The vectors of texts, [texts, dim]. Those of earlier calls come from the cache.
    at::Tensor embed(const std::vector<TokenIds>& texts, const Schedule& schedule) const;
    // The vector [1, dim] of the object that an example image shows, inside `box` if it is given.
    at::Tensor embed_example(const Scene& example, const std::optional<ImageBox>& box,
                             const Schedule& schedule) const;

    // Sorted by score. Equal scores are ordered by patch; with every_label by label, then by patch.
    // Follows transformers' post_process_grounded_object_detection, or its zero-shot pipeline with
    // every_label.
    std::vector<Detection> detect(const Scene& scene, const Queries& queries,
                                  const DetectOptions& options, const Schedule& schedule) const;
    // Follows transformers' post_process_image_guided_detection: non-maximum suppression over all
    // labels at IoU options.nms (0.3 if empty), then scores are rescaled so that a tenth of the
    // best becomes 0 and the best 1. Boxes with score 0 are dropped.
    std::vector<Detection> detect_like(const Scene& scene, const Queries& queries,
                                       const DetectOptions& options,
                                       const Schedule& schedule) const;
    // Boxes of objects of any kind, scored by objectness. Their label is 0.
    std::vector<Detection> propose(const Scene& scene, const DetectOptions& options,
                                   const Schedule& schedule) const;

private:
    void check(const Scene& scene, const DetectOptions& options) const;
    struct Candidate {
        int64_t patch;
        float score;
        int64_t label;
    };
    // Which boxes are suppressed: none without `iou`; else those that overlap a better one of their
    // label, or of any label, by more than it.
    struct Suppression {
        std::optional<double> iou;
        bool across_labels = false;
    };
    // Sorts the candidates by score, computes the boxes of their patches and suppresses boxes.
    std::vector<Detection> finish(const Scene& scene, std::vector<Candidate> found,
                                  const Suppression& suppression, const Schedule& schedule) const;
    // The best label of each patch whose score is above `above`, in the order of the patches.
    std::vector<Candidate> best_labels(const Scene& scene, const Queries& queries, float above,
                                       const Schedule& schedule) const;

    struct TextCache;
    std::shared_ptr<TextCache> cached_texts_;
};

}  // namespace segrid
