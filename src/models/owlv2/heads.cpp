#include "models/owlv2/heads.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "nn/transformer.h"

namespace segrid::owlv2 {
namespace {

// The inverse of the sigmoid, with the originals' epsilon.
float logit(double share) {
    const auto x = static_cast<float>(share);
    return std::log(x + 1e-4F) - std::log1p(-x + 1e-4F);
}

float sigmoid(float x) { return 1.0F / (1.0F + std::exp(-x)); }

}  // namespace

PatchMlp::PatchMlp(const WeightScope& scope, int64_t hidden, int64_t out)
    : hidden_(hidden),
      out_(out),
      first_(scope / "dense0", hidden, hidden),
      second_(scope / "dense1", hidden, hidden),
      third_(scope / "dense2", hidden, out) {}

void PatchMlp::operator()(int64_t rows, const float* x, float* out, Arena& arena) const {
    const Arena::Lifetime scope(arena);
    float* one = arena.take<float>(rows * hidden_);
    float* two = arena.take<float>(rows * hidden_);
    first_(rows, x, hidden_, one, hidden_, Activation::Gelu);
    second_(rows, one, hidden_, two, hidden_, Activation::Gelu);
    third_(rows, two, hidden_, out, out_);
}

ClassHead::ClassHead(const WeightScope& scope, const Owlv2Config& c)
    : hidden_(c.vision.hidden),
      dim_(c.text.hidden),
      classes_(scope / "dense0", hidden_, dim_),
      shift_(scope / "logit_shift", hidden_, 1),
      scale_(scope / "logit_scale", hidden_, 1) {}

void ClassHead::operator()(const at::Tensor& patches, DetectionFeatures& out,
                           const Schedule& schedule) const {
    const int64_t count = patches.size(0);
    out.classes = at::empty({count, dim_});
    out.scoring = at::empty({count, 3});
    const float* x = patches.const_data_ptr<float>();
    float* classes = out.classes.mutable_data_ptr<float>();
    float* scoring = out.scoring.mutable_data_ptr<float>();
    over_rows(count, schedule, [&](int64_t first, int64_t rows, Arena&) {
        classes_(rows, x + first * hidden_, hidden_, classes + first * dim_, dim_);
        shift_(rows, x + first * hidden_, hidden_, scoring + 3 * first + 1, 3);
        scale_(rows, x + first * hidden_, hidden_, scoring + 3 * first + 2, 3);
        for (int64_t r = first; r < first + rows; ++r) {
            const float* row = classes + r * dim_;
            scoring[3 * r] =
                1.0F / (std::sqrt(std::inner_product(row, row + dim_, row, 0.0F)) + 1e-6F);
            float& scale = scoring[3 * r + 2];
            scale = scale > 0 ? scale + 1 : std::exp(scale);  // elu + 1
        }
    });
}

BoxHead::BoxHead(const WeightScope& scope, const Owlv2Config& c)
    : grid_(c.grid()), hidden_(c.vision.hidden), mlp_(scope, hidden_, 4) {}

std::vector<UnitBox> BoxHead::operator()(const at::Tensor& patches,
                                         const std::vector<int64_t>& which,
                                         const Schedule& schedule) const {
    std::vector<UnitBox> boxes(which.size());
    const float* x = patches.const_data_ptr<float>();
    const float own_size = logit(1.0 / static_cast<double>(grid_));
    over_rows(static_cast<int64_t>(which.size()), schedule,
              [&](int64_t first, int64_t rows, Arena& arena) {
                  float* asked = arena.take<float>(rows * hidden_);
                  float* raw = arena.take<float>(rows * 4);
                  for (int64_t r = 0; r < rows; ++r)
                      std::copy_n(x + which[static_cast<std::size_t>(first + r)] * hidden_, hidden_,
                                  asked + r * hidden_);
                  mlp_(rows, asked, raw, arena);
                  for (int64_t r = 0; r < rows; ++r) {
                      const int64_t patch = which[static_cast<std::size_t>(first + r)];
                      // The originals' bias is the lower right corner of the patch.
                      const auto corner = [&](int64_t i) {
                          return logit(static_cast<double>(i + 1) / static_cast<double>(grid_));
                      };
                      const float cx = sigmoid(raw[4 * r] + corner(patch % grid_)),
                                  cy = sigmoid(raw[4 * r + 1] + corner(patch / grid_));
                      const float w = sigmoid(raw[4 * r + 2] + own_size),
                                  h = sigmoid(raw[4 * r + 3] + own_size);
                      boxes[static_cast<std::size_t>(first + r)] = {cx - 0.5F * w, cy - 0.5F * h,
                                                                    cx + 0.5F * w, cy + 0.5F * h};
                  }
              });
    return boxes;
}

}  // namespace segrid::owlv2
