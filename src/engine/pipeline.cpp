#include "engine/pipeline.h"

#include <algorithm>
#include <future>

namespace segrid {

DetectedMasks detect_and_segment(const Detector& detector, const Segmenter& segmenter,
                                 ImageView image, const std::vector<TokenIds>& texts,
                                 const std::vector<int64_t>& label_of, const DetectOptions& options,
                                 const PredictOptions& masks, const Schedule& schedule) {
    Schedule beside;  // without poll, which must run on the calling thread
    beside.max_workers = schedule.max_workers;
    beside.fair_share = schedule.fair_share;
    std::future<Embedding> embedding = std::async(std::launch::async, [&segmenter, image, beside] {
        return segmenter.encode(image, beside);
    });
    DetectedMasks out;
    try {
        const Queries queries{detector.embed(texts, schedule), label_of,
                              *std::max_element(label_of.begin(), label_of.end()) + 1};
        out.detections =
            detector.detect(detector.encode(image, schedule), queries, options, schedule);
        while (embedding.wait_for(std::chrono::milliseconds(20)) != std::future_status::ready) {
            schedule.cancel.check();
            if (schedule.poll) schedule.poll();
        }
    } catch (...) {
        beside.cancel.cancel();
        embedding.wait();
        throw;
    }
    const Embedding encoded = embedding.get();
    out.masks.masks = MaskSet(image.size);
    if (out.detections.empty()) return out;
    std::vector<Prompt> prompts(out.detections.size());
    std::transform(out.detections.begin(), out.detections.end(), prompts.begin(),
                   [](const Detection& d) {
                       Prompt prompt;
                       prompt.box = d.box;
                       return prompt;
                   });
    out.masks = segmenter.predict(encoded, prompts, masks, schedule);
    return out;
}

}  // namespace segrid
