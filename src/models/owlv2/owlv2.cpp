#include "models/owlv2/owlv2.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "core/error.h"
#include "core/trace.h"
#include "models/owlv2/heads.h"
#include "models/owlv2/text_plain.h"
#include "models/owlv2/towers.h"
#include "models/owlv2/vision_plain.h"

namespace segrid::owlv2 {
namespace {

PreprocessSpec preprocess_of(const Owlv2Config& c) {
    const bool padded = c.family == "owlv2";
    return {.resize = padded ? Resize::PadThenSquash : Resize::Squash,
            .resample = padded ? Resample::BlurredBilinear : Resample::Bicubic,
            .side = c.image,
            .mean = {0.48145466F * 255, 0.4578275F * 255, 0.40821073F * 255},  // CLIP's
            .std = {0.26862954F * 255, 0.26130258F * 255, 0.27577711F * 255}};
}

float overlap(const UnitBox& a, const UnitBox& b) {
    const float w = std::max(0.0F, std::min(a.x1, b.x1) - std::max(a.x0, b.x0)),
                h = std::max(0.0F, std::min(a.y1, b.y1) - std::max(a.y0, b.y0));
    const auto area = [](const UnitBox& box) { return (box.x1 - box.x0) * (box.y1 - box.y0); };
    return w * h / (area(a) + area(b) - w * h);
}

// The generalised IoU of boxes that do not overlap. It is larger if they are closer.
float generalised_overlap(const UnitBox& a, const UnitBox& b) {
    const float hull = (std::max(a.x1, b.x1) - std::min(a.x0, b.x0)) *
                       (std::max(a.y1, b.y1) - std::min(a.y0, b.y0));
    const float both = (a.x1 - a.x0) * (a.y1 - a.y0) + (b.x1 - b.x0) * (b.y1 - b.y0);
    return -(hull - both) / hull;
}

// The features of each of several images.
using ImageEncoder = std::function<std::vector<DetectionFeatures>(
    const std::vector<ModelInput>& inputs, const Schedule& schedule, const Tap* tap)>;

// The unit vectors of texts, [texts, dim].
using TextEncoder = std::function<at::Tensor(const std::vector<TokenIds>& texts,
                                             const Schedule& schedule, const Tap* tap)>;

ImageEncoder with_kernels(const WeightScope& root, const Owlv2Config& config,
                          const PreprocessSpec& preprocess) {
    auto vision = std::make_shared<const VisionTower>(root, config, preprocess);
    auto classes = std::make_shared<const ClassHead>(root / "class_head", config);
    return [vision, classes](const std::vector<ModelInput>& inputs, const Schedule& schedule,
                             const Tap* tap) {
        std::vector<DetectionFeatures> all;
        for (const ModelInput& input : inputs) {
            DetectionFeatures& features = all.emplace_back();
            features.patches = (*vision)(input, schedule, tap);
            const Span span("class head");
            (*classes)(features.patches, features, schedule);
        }
        return all;
    };
}

class Owlv2 final : public DetectionModel {
public:
    Owlv2(const WeightScope& root, const Owlv2Config& config,
          const std::optional<Placement>& placed)
        : config_(config), preprocess_(preprocess_of(config)), boxes_(root / "box_head", config) {
        if (placed) {
            auto vision = std::make_shared<const plain::Owlv2Vision>(plain::Weights(root, *placed),
                                                                     config, preprocess_);
            memory_ = {vision->device(), vision->bytes_per_image()};
            text_ = [text = std::make_shared<const plain::Owlv2Text>(plain::Weights(root, *placed),
                                                                     config)](
                        const std::vector<TokenIds>& texts, const Schedule& schedule,
                        const Tap* tap) { return (*text)(texts, schedule, tap); };
            image_ = [vision](const std::vector<ModelInput>& inputs, const Schedule& schedule,
                              const Tap* tap) { return (*vision)(inputs, schedule, tap); };
        } else {
            image_ = with_kernels(root, config, preprocess_);
            text_ = [text = std::make_shared<const TextTower>(root, config)](
                        const std::vector<TokenIds>& texts, const Schedule& schedule,
                        const Tap* tap) { return (*text)(texts, schedule, tap); };
        }
        if (config.family == "owlv2")
            objectness_ = PatchMlp(root / "objectness_head", config.vision.hidden, 1);
    }

    std::string family() const override { return config_.family; }
    const PreprocessSpec& preprocess() const override { return preprocess_; }
    int64_t text_length() const override { return config_.length; }
    int64_t vocabulary() const override { return config_.vocabulary; }
    int64_t dim() const override { return config_.text.hidden; }

    DetectionFeatures encode(const ModelInput& input, const Schedule& schedule,
                             const Tap* tap) const override {
        return image_({input}, schedule, tap).front();
    }

    std::vector<DetectionFeatures> encode_batch(const std::vector<ModelInput>& inputs,
                                                const Schedule& schedule) const override {
        return image_(inputs, schedule, nullptr);
    }
    std::optional<ImageMemory> image_memory() const override { return memory_; }

    at::Tensor embed_texts(const std::vector<TokenIds>& texts, const Schedule& schedule,
                           const Tap* tap) const override {
        check_texts(texts, config_);
        return text_(texts, schedule, tap);
    }

    void logits(const DetectionFeatures& f, const PackedMatrix& queries, int64_t first,
                int64_t rows, float* out) const override {
        linear(rows, {f.classes.const_data_ptr<float>() + first * dim(), dim()}, queries,
               {out, queries.n()});
        for (int64_t r = 0; r < rows; ++r) {
            const float* scoring = f.scoring.const_data_ptr<float>() + 3 * (first + r);
            for (float* v = out + r * queries.n(); v != out + (r + 1) * queries.n(); ++v)
                *v = (*v * scoring[0] + scoring[1]) * scoring[2];
        }
    }

    std::vector<UnitBox> boxes(const DetectionFeatures& f, const std::vector<int64_t>& which,
                               const Schedule& schedule) const override {
        return boxes_(f.patches, which, schedule);
    }

    std::vector<float> objectness(const DetectionFeatures& f,
                                  const Schedule& schedule) const override {
        if (config_.family != "owlv2")
            fail(ErrorKind::Unsupported,
                 "objectness: an " + config_.family + " model has none; an owlv2 model has");
        const int64_t hidden = config_.vision.hidden;
        std::vector<float> out(static_cast<std::size_t>(f.patches.size(0)));
        over_rows(f.patches.size(0), schedule, [&](int64_t first, int64_t rows, Arena& arena) {
            objectness_(rows, f.patches.const_data_ptr<float>() + first * hidden,
                        out.data() + first, arena);
        });
        return out;
    }

    int64_t example_patch(const DetectionFeatures& f, const std::optional<UnitBox>& box,
                          const Schedule& schedule) const override {
        if (!box && config_.family == "owlv2") {
            const std::vector<float> found = objectness(f, schedule);
            return std::max_element(found.begin(), found.end()) - found.begin();
        }
        return least_typical_in(f, box.value_or(UnitBox{0, 0, 1, 1}), schedule);
    }

private:
    // OWL-ViT's rule: among the patches whose boxes fit the example at least 0.8 times as well as
    // the best one, take the patch that is least like the average patch.
    int64_t least_typical_in(const DetectionFeatures& f, const UnitBox& example,
                             const Schedule& schedule) const {
        std::vector<int64_t> all(static_cast<std::size_t>(f.patches.size(0)));
        std::iota(all.begin(), all.end(), 0);
        const std::vector<UnitBox> predicted = boxes(f, all, schedule);
        std::vector<float> fit(all.size());
        std::transform(predicted.begin(), predicted.end(), fit.begin(),
                       [&](const UnitBox& b) { return overlap(example, b); });
        if (std::all_of(fit.begin(), fit.end(), [](float v) { return v == 0; })) {
            std::transform(predicted.begin(), predicted.end(), fit.begin(),
                           [&](const UnitBox& b) { return generalised_overlap(example, b); });
        }
        const float least = *std::max_element(fit.begin(), fit.end()) * 0.8F;
        const float* classes = f.classes.const_data_ptr<float>();
        const auto width = static_cast<std::size_t>(dim());
        std::vector<double> mean(width, 0.0);
        for (const int64_t p : all) {
            for (std::size_t d = 0; d < width; ++d)
                mean[d] += classes[static_cast<std::size_t>(p) * width + d];
        }
        int64_t best = -1;
        double lowest = 0;
        for (const int64_t p : all) {
            if (fit[static_cast<std::size_t>(p)] < least) continue;
            const float* row = classes + p * dim();
            const double likeness = std::inner_product(mean.begin(), mean.end(), row, 0.0);
            if (best < 0 || likeness < lowest) {
                best = p;
                lowest = likeness;
            }
        }
        return best >= 0 ? best : std::max_element(fit.begin(), fit.end()) - fit.begin();
    }

    Owlv2Config config_;
    PreprocessSpec preprocess_;
    ImageEncoder image_;
    std::optional<ImageMemory> memory_;
    TextEncoder text_;
    BoxHead boxes_;
    PatchMlp objectness_;
};

}  // namespace

std::unique_ptr<DetectionModel> load(const Config& config, WeightStore& store,
                                     const Execution& execution) {
    const Owlv2Config c(config);
    auto model =
        std::make_unique<Owlv2>(WeightScope(store, execution.precisions), c, execution.plain);
    // Detection does not use CLIP's own head; the others are buffers in old files.
    store.finish({c.family + ".visual_projection", c.family + ".logit_scale",
                  c.family + ".vision_model.embeddings.position_ids",
                  c.family + ".text_model.embeddings.position_ids", "box_bias"});
    return model;
}

}  // namespace segrid::owlv2
