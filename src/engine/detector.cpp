#include "engine/detector.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cmath>
#include <mutex>

#include "core/error.h"
#include "core/trace.h"
#include "engine/image_batches.h"
#include "kernels/nms/op.h"
#include "models/factory.h"

namespace segrid {
namespace {

constexpr std::size_t kMaxCachedTexts = 50'000;
constexpr int64_t kPatches = 64;  // per task

float sigmoid(float x) { return 1.0F / (1.0F + std::exp(-x)); }

// The size of the model's square in image pixels.
ImagePoint reach(const PreprocessSpec& spec, Size image) {
    const auto longest = static_cast<double>(std::max(image.height, image.width));
    if (spec.resize == Resize::PadThenSquash) return {longest, longest};
    return {static_cast<double>(image.width), static_cast<double>(image.height)};
}

}  // namespace

// The cache of text vectors, by the texts' tokens.
struct Detector::TextCache {
    std::mutex mutex;
    std::map<TokenIds, std::vector<float>> vectors;
};

Detector::Detector(const ModelSettings& s)
    : Loaded(s, load_detection_model), cached_texts_(std::make_shared<TextCache>()) {}

Detector Detector::with_threads(int n) const {
    Detector other = *this;
    other.cap(n);
    return other;
}

void Detector::check(const Scene& scene, const DetectOptions& o) const {
    if (scene.model_id != model_id())
        invalid("detect: the image was encoded by another model; encode it again");
    if (!(o.threshold >= 0 && o.threshold <= 1))
        invalid("threshold: must be from 0 to 1, got " + std::to_string(o.threshold));
    if (o.nms && !(*o.nms >= 0 && *o.nms <= 1))
        invalid("nms: must be an IoU from 0 to 1, got " + std::to_string(*o.nms));
}

Scene Detector::encode(ImageView image, const Schedule& schedule) const {
    return encode_batch({image}, schedule).front();
}

std::vector<Scene> Detector::encode_batch(const std::vector<ImageView>& images,
                                          const Schedule& asked, Stats* stats) const {
    const Span span("detector encode");
    const Schedule schedule = capped(asked);
    std::vector<ImageCrop> crops;
    for (const ImageView& image : images) {
        check_size("detect: the image", image.size);
        crops.push_back(whole(image, model().preprocess()));
    }
    std::optional<DeviceBudget> budget;
    if (const auto memory = model().image_memory())
        budget = DeviceBudget::of_images(memory->device, memory->bytes_per_image);
    Stats unread;
    std::vector<Scene> all(images.size());
    encode_crops(crops, model().preprocess(), budget, schedule, stats != nullptr ? *stats : unread,
                 [&](const std::vector<ModelInput>& inputs, std::size_t first) {
                     std::vector<DetectionFeatures> some = model().encode_batch(inputs, schedule);
                     for (std::size_t i = 0; i < some.size(); ++i)
                         all[first + i] = {images[first + i].size, std::move(some[i]), model_id()};
                 });
    return all;
}

at::Tensor Detector::embed(const std::vector<TokenIds>& texts,
                           const Schedule& asked_schedule) const {
    if (texts.empty()) invalid("detect: no prompts");
    if (texts.size() > kMaxQueries)
        invalid("detect: at most " + std::to_string(kMaxQueries) + " prompts a call, got " +
                std::to_string(texts.size()));
    const auto width = static_cast<std::size_t>(model().dim());
    at::Tensor out = at::empty({static_cast<int64_t>(texts.size()), model().dim()});
    float* rows = out.mutable_data_ptr<float>();
    std::map<TokenIds, std::vector<std::size_t>> fresh;  // texts to encode -> their rows in `out`
    {
        const std::lock_guard lock(cached_texts_->mutex);
        for (std::size_t i = 0; i < texts.size(); ++i) {
            const auto known = cached_texts_->vectors.find(texts[i]);
            if (known == cached_texts_->vectors.end()) fresh[texts[i]].push_back(i);
            else std::copy(known->second.begin(), known->second.end(), rows + i * width);
        }
    }
    if (fresh.empty()) return out;
    const Span span("texts");
    std::vector<TokenIds> asked;
    for (const auto& [ids, places] : fresh) asked.push_back(ids);
    const at::Tensor vectors = model().embed_texts(asked, capped(asked_schedule));
    const std::lock_guard lock(cached_texts_->mutex);
    if (cached_texts_->vectors.size() + asked.size() > kMaxCachedTexts)
        cached_texts_->vectors.clear();
    for (std::size_t i = 0; i < asked.size(); ++i) {
        const float* row = vectors.const_data_ptr<float>() + i * width;
        for (const std::size_t place : fresh[asked[i]])
            std::copy(row, row + width, rows + place * width);
        cached_texts_->vectors.try_emplace(asked[i], row, row + width);
    }
    return out;
}

at::Tensor Detector::embed_example(const Scene& example, const std::optional<ImageBox>& box,
                                   const Schedule& asked) const {
    check(example, {});
    const Schedule schedule = capped(asked);
    std::optional<UnitBox> unit;
    if (box) {
        const ImagePoint far = reach(model().preprocess(), example.image);
        unit = UnitBox{static_cast<float>(box->x0 / far.x), static_cast<float>(box->y0 / far.y),
                       static_cast<float>(box->x1 / far.x), static_cast<float>(box->y1 / far.y)};
    }
    const int64_t patch = model().example_patch(example.features, unit, schedule),
                  width = model().dim();
    at::Tensor out = at::empty({1, width});
    const float* row = example.features.classes.const_data_ptr<float>() + patch * width;
    const float scale = example.features.scoring.const_data_ptr<float>()[3 * patch];
    std::transform(row, row + width, out.mutable_data_ptr<float>(),
                   [&](float v) { return v * scale; });
    return out;
}

std::vector<Detection> Detector::finish(const Scene& scene, std::vector<Candidate> found,
                                        const Suppression& suppression,
                                        const Schedule& schedule) const {
    std::stable_sort(found.begin(), found.end(),
                     [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
    std::vector<int64_t> patches;  // without duplicates: a patch may have several labels
    for (const Candidate& c : found) patches.push_back(c.patch);
    std::sort(patches.begin(), patches.end());
    patches.erase(std::unique(patches.begin(), patches.end()), patches.end());
    const std::vector<UnitBox> of_patches = model().boxes(scene.features, patches, schedule);
    std::vector<UnitBox> boxes;
    for (const Candidate& c : found) {
        boxes.push_back(of_patches[static_cast<std::size_t>(
            std::lower_bound(patches.begin(), patches.end(), c.patch) - patches.begin())]);
    }
    std::vector<float> flat, scores;
    std::vector<int64_t> labels, kept(found.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
        flat.insert(flat.end(), {boxes[i].x0, boxes[i].y0, boxes[i].x1, boxes[i].y1});
        scores.push_back(found[i].score);
        labels.push_back(suppression.across_labels ? 0 : found[i].label);
        kept[i] = static_cast<int64_t>(i);
    }
    if (suppression.iou) {
        kept = box_nms_by_label(flat.data(), scores.data(), labels.data(),
                                static_cast<int64_t>(found.size()), *suppression.iou,
                                [&] { schedule.cancel.check(); });
    }
    const ImagePoint far = reach(model().preprocess(), scene.image);
    std::vector<Detection> out;
    for (const int64_t number : kept) {
        const auto i = static_cast<std::size_t>(number);
        const UnitBox& b = boxes[i];
        // In fp32, the type in which boxes are returned, so that the segmenter gets the same box.
        const auto x = static_cast<float>(far.x), y = static_cast<float>(far.y);
        out.push_back({{b.x0 * x, b.y0 * y, b.x1 * x, b.y1 * y},
                       found[i].score,
                       found[i].label,
                       found[i].patch});
    }
    return out;
}

std::vector<Detection> Detector::detect(const Scene& scene, const Queries& queries,
                                        const DetectOptions& options, const Schedule& asked) const {
    check(scene, options);
    const Schedule schedule = capped(asked);
    const auto above = static_cast<float>(options.threshold);
    if (!options.every_label)
        return finish(scene, best_labels(scene, queries, above, schedule), {.iou = options.nms},
                      schedule);
    std::vector<Candidate> found;
    PackedMatrix packed;
    run_in_worker(schedule, [&] { packed = PackedMatrix(queries.vectors, Precision::Fp32); });
    const int64_t patches = scene.features.patches.size(0), n = packed.n();
    std::mutex mutex;
    parallel_for((patches + kPatches - 1) / kPatches, schedule, [&](int64_t tile, Worker& worker) {
        const Span span("score", tile);
        const int64_t first = tile * kPatches, rows = std::min(kPatches, patches - first);
        float* logits = worker.arena.take<float>(rows * n);
        float* best = worker.arena.take<float>(queries.labels);
        model().logits(scene.features, packed, first, rows, logits);
        for (int64_t r = 0; r < rows; ++r) {
            std::fill_n(best, queries.labels, -std::numeric_limits<float>::infinity());
            for (int64_t q = 0; q < n; ++q) {
                float& own = best[queries.label_of[static_cast<std::size_t>(q)]];
                own = std::max(own, logits[r * n + q]);
            }
            for (int64_t label = 0; label < queries.labels; ++label) {
                const float score = sigmoid(best[label]);
                if (!(score > above)) continue;
                const std::lock_guard lock(mutex);
                found.push_back({first + r, score, label});
            }
        }
    });
    std::sort(found.begin(), found.end(), [](const Candidate& a, const Candidate& b) {
        return std::pair{a.label, a.patch} < std::pair{b.label, b.patch};
    });
    return finish(scene, std::move(found), {.iou = options.nms}, schedule);
}

std::vector<Detector::Candidate> Detector::best_labels(const Scene& scene, const Queries& queries,
                                                       float above,
                                                       const Schedule& schedule) const {
    PackedMatrix packed;
    run_in_worker(schedule, [&] { packed = PackedMatrix(queries.vectors, Precision::Fp32); });
    const int64_t patches = scene.features.patches.size(0), n = packed.n();
    std::vector<Candidate> best(static_cast<std::size_t>(patches));
    parallel_for((patches + kPatches - 1) / kPatches, schedule, [&](int64_t tile, Worker& worker) {
        const Span span("score", tile);
        const int64_t first = tile * kPatches, rows = std::min(kPatches, patches - first);
        float* logits = worker.arena.take<float>(rows * n);
        model().logits(scene.features, packed, first, rows, logits);
        for (int64_t r = 0; r < rows; ++r) {
            const int64_t query =
                std::max_element(logits + r * n, logits + (r + 1) * n) - (logits + r * n);
            best[static_cast<std::size_t>(first + r)] = {
                first + r, sigmoid(logits[r * n + query]),
                queries.label_of[static_cast<std::size_t>(query)]};
        }
    });
    best.erase(std::remove_if(best.begin(), best.end(),
                              [&](const Candidate& c) { return !(c.score > above); }),
               best.end());
    return best;
}

std::vector<Detection> Detector::detect_like(const Scene& scene, const Queries& queries,
                                             const DetectOptions& options,
                                             const Schedule& asked) const {
    check(scene, options);
    const Schedule schedule = capped(asked);
    std::vector<Candidate> all = best_labels(scene, queries, -1.0F, schedule);
    std::optional<double> nms = options.nms.value_or(0.3);
    if (*nms >= 1) nms.reset();
    std::vector<Detection> kept = finish(scene, std::move(all), {.iou = nms, .across_labels = true},
                                         schedule),
                           out;
    if (kept.empty()) return out;
    const float best =
        (kept.front().score < static_cast<float>(options.threshold) ? 0.0F : kept.front().score) +
        1e-6F;
    for (Detection& d : kept) {
        const float own = d.score < static_cast<float>(options.threshold) ? 0.0F : d.score;
        d.score = std::clamp((own - best * 0.1F) / (best * 0.9F), 0.0F, 1.0F);
        if (d.score > 0) out.push_back(d);
    }
    return out;
}

std::vector<Detection> Detector::propose(const Scene& scene, const DetectOptions& options,
                                         const Schedule& asked) const {
    check(scene, options);
    const Schedule schedule = capped(asked);
    const std::vector<float> logits = model().objectness(scene.features, schedule);
    std::vector<Candidate> found;
    for (std::size_t p = 0; p < logits.size(); ++p) {
        if (const float score = sigmoid(logits[p]); score > static_cast<float>(options.threshold))
            found.push_back({static_cast<int64_t>(p), score, 0});
    }
    return finish(scene, std::move(found), {.iou = options.nms}, schedule);
}

}  // namespace segrid
