#include "models/mask_decoder/prompt_encoder.h"

#include <ATen/Functions.h>

#include <cmath>
#include <numbers>

namespace segrid::mask_decoder {

PositionEncoding::PositionEncoding(const at::Tensor& gaussian) : gaussian_(gaussian) {}

void PositionEncoding::operator()(float x, float y, float* out) const {
    const int64_t half = gaussian_.size(1);
    const float* g = gaussian_.const_data_ptr<float>();
    const float u = 2.0F * x - 1.0F, v = 2.0F * y - 1.0F;
    for (int64_t i = 0; i < half; ++i) {
        const float angle = 2.0F * std::numbers::pi_v<float> * (u * g[i] + v * g[half + i]);
        out[i] = std::sin(angle);
        out[half + i] = std::cos(angle);
    }
}

at::Tensor PositionEncoding::grid(int64_t height, int64_t width) const {
    at::Tensor out = at::empty({height * width, dim()});
    float* data = out.mutable_data_ptr<float>();
    for (int64_t y = 0; y < height; ++y) {
        for (int64_t x = 0; x < width; ++x) {
            (*this)((static_cast<float>(x) + 0.5F) / static_cast<float>(width),
                    (static_cast<float>(y) + 0.5F) / static_cast<float>(height),
                    data + (y * width + x) * dim());
        }
    }
    return out;
}

at::Tensor positional_gaussian(const WeightScope& root, int64_t dim) {
    const WeightScope shared = root / "shared_image_embedding",
                      tied = root / "prompt_encoder" / "shared_embedding";
    const std::string name = "positional_embedding";
    const std::vector<int64_t> shape{2, dim / 2};
    if (!shared.has(name)) return tied.tensor(name, shape);
    const at::Tensor values = shared.tensor(name, shape);
    // A file may hold this table twice.
    if (tied.has(name) && !at::equal(tied.tensor(name, shape), values)) {
        tied.refuse(name, "differs from " + shared.prefix() + "." + name +
                              "; it must be a copy of that tensor");
    }
    return values;
}

PromptEncoder::PromptEncoder(const WeightScope& s, const PromptShape& shape,
                             const at::Tensor& gaussian)
    : shape_(shape), position_(gaussian) {
    const int64_t dim = shape.dim;
    if (s.has("point_embed.weight")) {  // SAM 2 keeps the four in one table
        const at::Tensor table = (s / "point_embed").tensor("weight", {4, dim});
        for (int64_t i = 0; i < 4; ++i) point_.push_back(table.narrow(0, i, 1));
    } else {
        for (int64_t i = 0; i < 4; ++i)
            point_.push_back((s / "point_embed" / i).tensor("weight", {1, dim}));
    }
    not_a_point_ = (s / "not_a_point_embed").tensor("weight", {1, dim});
    no_mask_ = (s / "no_mask_embed").tensor("weight", {1, dim}).view({dim});
    const WeightScope m = s / "mask_embed";
    const int64_t wide = shape.mask_channels, narrow = wide / 4;
    conv1_ = (m / "conv1").tensor("weight", {narrow, 1, 2, 2});
    bias1_ = (m / "conv1").tensor("bias", {narrow});
    gamma1_ = (m / "layer_norm1").tensor("weight", {narrow});
    beta1_ = (m / "layer_norm1").tensor("bias", {narrow});
    conv2_ = (m / "conv2").tensor("weight", {wide, narrow, 2, 2});
    bias2_ = (m / "conv2").tensor("bias", {wide});
    gamma2_ = (m / "layer_norm2").tensor("weight", {wide});
    beta2_ = (m / "layer_norm2").tensor("bias", {wide});
    conv3_ = (m / "conv3").tensor("weight", {dim, wide, 1, 1});
    bias3_ = (m / "conv3").tensor("bias", {dim});
}

at::Tensor PromptEncoder::tokens(const ModelPrompt& prompt) const {
    const bool points = prompt.points_given, box = prompt.box.has_value();
    const bool padded = shape_.padded_boxes ? points || box : points && !box;
    const int64_t dim = shape_.dim, count = static_cast<int64_t>(prompt.points.size()) +
                                            (box ? 2 : 0) + (padded ? 1 : 0);
    at::Tensor out = at::zeros({count, dim});
    float* token = out.mutable_data_ptr<float>();
    const auto place = [&](double x, double y, int label) {
        if (label == -1) {
            add(dim, token, not_a_point_.const_data_ptr<float>(), token);
        } else {
            // Pixel centres are at half integers.
            const double side = static_cast<double>(shape_.side);
            position_(static_cast<float>((x + 0.5) / side), static_cast<float>((y + 0.5) / side),
                      token);
            if (label >= 0 && label < 4)
                add(dim, token, point_[static_cast<std::size_t>(label)].const_data_ptr<float>(),
                    token);
        }
        token += dim;
    };
    for (std::size_t i = 0; i < prompt.points.size(); ++i)
        place(prompt.points[i].x, prompt.points[i].y, prompt.labels[i]);
    if (box) {
        place(prompt.box->x0, prompt.box->y0, 2);
        place(prompt.box->x1, prompt.box->y1, 3);
    }
    if (padded) place(0, 0, -1);
    return out;
}

at::Tensor PromptEncoder::mask(const float* hint) const {
    const auto norm = [&](const at::Tensor& x, const at::Tensor& gamma,
                          const at::Tensor& beta) {  // over channels
        return at::gelu(at::layer_norm(x.permute({0, 2, 3, 1}).contiguous(), {x.size(1)}, gamma,
                                       beta, shape_.eps))
            .permute({0, 3, 1, 2});
    };
    const int64_t low_res = 4 * shape_.grid;
    at::Tensor x = at::from_blob(const_cast<float*>(hint), {1, 1, low_res, low_res}, at::kFloat);
    x = norm(at::conv2d(x, conv1_, bias1_, 2), gamma1_, beta1_);
    x = norm(at::conv2d(x.contiguous(), conv2_, bias2_, 2), gamma2_, beta2_);
    x = at::conv2d(x.contiguous(), conv3_, bias3_);
    return x.permute({0, 2, 3, 1}).reshape({-1, shape_.dim}).contiguous();
}

}  // namespace segrid::mask_decoder
