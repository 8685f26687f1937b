// Image and texts -> boxes. The image is encoded once for any number of texts.
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

// An image as a detector sees it: an immutable value.
struct Scene {
    Size image;
    DetectionFeatures features;
    std::string model_id;
};

// What is looked for: unit vectors, each with the number of the label it stands for (synonyms share
// one), from 0 to labels - 1.
struct Queries {
    at::Tensor vectors;  // [n, dim]
    std::vector<int64_t> label_of;
    int64_t labels = 0;
};

struct Detection {
    ImageBox box;  // XYXY in image pixels, where the model put it: not clipped to the image
    float score = 0;
    int64_t label = 0;
    int64_t patch = 0;  // of the image, row by row: the order in which the originals list boxes
};

struct DetectOptions {
    double threshold = 0.1;     // scores are above it
    std::optional<double> nms;  // of two boxes of one label with a larger IoU the better stays
    bool every_label = false;   // a patch may have several labels, rather than its best alone
};

// Texts (and examples) of one call.
inline constexpr std::size_t kMaxQueries = 10'000;

// Immutable after construction, but for the texts it remembers; shared by any number of threads.
class Detector : public Loaded<DetectionModel> {
public:
    explicit Detector(const ModelSettings& settings);

    Detector with_threads(int n) const;

    Scene encode(ImageView image, const Schedule& schedule) const;
    // The vectors of texts; those of earlier calls are remembered.
    at::Tensor embed(const std::vector<TokenIds>& texts, const Schedule& schedule) const;
    // The vector of what an example image shows, in a box of it where one is given.
    at::Tensor embed_example(const Scene& example, const std::optional<ImageBox>& box,
                             const Schedule& schedule) const;

    // Sorted by score; ties by label, then by patch. transformers'
    // post_process_grounded_object_detection; with every_label its zero-shot pipeline.
    std::vector<Detection> detect(const Scene& scene, const Queries& queries,
                                  const DetectOptions& options, const Schedule& schedule) const;
    // transformers' post_process_image_guided_detection: suppression over all labels at options.nms
    // (0.3), then scores relative to the best one, from 0 at a tenth of it to 1.
    std::vector<Detection> detect_like(const Scene& scene, const Queries& queries,
                                       const DetectOptions& options,
                                       const Schedule& schedule) const;
    // Boxes of anything, by objectness; label 0.
    std::vector<Detection> propose(const Scene& scene, const DetectOptions& options,
                                   const Schedule& schedule) const;

private:
    void check(const Scene& scene, const DetectOptions& options) const;
    // With the boxes of the patches that are kept; sorted, and thinned where asked.
    struct Candidate {
        int64_t patch;
        float score;
        int64_t label;
    };
    std::vector<Detection> finish(const Scene& scene, std::vector<Candidate> found,
                                  std::optional<double> nms, bool across_labels,
                                  const Schedule& schedule) const;
    std::vector<Candidate> best_labels(const Scene& scene, const Queries& queries, float above,
                                       const Schedule& schedule) const;

    struct Remembered;
    std::shared_ptr<Remembered> remembered_;
};

}  // namespace segrid
