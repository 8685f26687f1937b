// Packs weights into the layout that the products read.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/cpu.h"
#include "core/error.h"
#include "kernels/gemm/narrow.h"
#include "kernels/gemm/op.h"
#include "kernels/gemm/torch_int8.h"

namespace segrid {
namespace {

int64_t rounded_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// The largest of the sums that Int8Panel::narrow limits, in a row of a weight.
template <class T>
float widest(int64_t k, const T* row) {
    float found = 0;
    for (int64_t begin = 0; begin < k; begin += 8) {
        for (int64_t first : {begin, begin + 2}) {
            float positive = 0, negative = 0;
            for (int64_t i : {first, first + 1, first + 4, first + 5}) {
                const float value = i < k ? static_cast<float>(row[i]) : 0.0F;
                (value > 0 ? positive : negative) += value;
            }
            found = std::max({found, positive, -negative});
        }
    }
    return found;
}

}  // namespace

bool narrow_is_faster() {
    const CpuFeatures& cpu = cpu_features();
    return cpu.avx2 && !cpu.avx_vnni && !cpu.avx512_vnni && !cpu.amx;
}

QuantisedWeight quantise(const at::Tensor& weight, bool narrow) {
    // Works row by row, because ATen's temporaries for the whole matrix would leave holes in the
    // heap as large as a tenth of the model.
    const at::Tensor from = weight.contiguous();
    const int64_t n = from.size(0), k = from.size(1);
    QuantisedWeight to{at::empty({n, k}, at::kChar), at::empty({n})};
    for (int64_t r = 0; r < n; ++r) {
        const float* row = from.const_data_ptr<float>() + r * k;
        int8_t* values = to.values.mutable_data_ptr<int8_t>() + r * k;
        float largest = 0;
        for (int64_t i = 0; i < k; ++i) largest = std::max(largest, std::abs(row[i]));
        const float sum = narrow ? widest(k, row) : 0.0F;
        // Rounding adds at most a half to each of the four values of a sum, so that 2 less than
        // kNarrow is always enough.
        for (int limit = kNarrow; limit >= kNarrow - 2; --limit) {
            const float room = sum / static_cast<float>(limit);
            const float scale = largest > 0 ? std::max(largest / 127, room) : 1.0F;
            to.scales.mutable_data_ptr<float>()[r] = scale;
            for (int64_t i = 0; i < k; ++i)
                values[i] = static_cast<int8_t>(
                    std::clamp(std::nearbyint(row[i] / scale), -127.0F, 127.0F));
            if (!narrow || widest(k, values) <= kNarrow) break;
        }
    }
    return to;
}

at::Tensor dequantise(const QuantisedWeight& w) {
    return w.values.to(at::kFloat) * w.scales.unsqueeze(1);
}

PackedMatrix::PackedMatrix(const at::Tensor& weight, Precision precision, std::string name) {
    if (precision == Precision::Int8) {
        *this = PackedMatrix(quantise(weight, narrow_is_faster()), std::move(name));
        return;
    }
    precision_ = precision;
    k_ = weight.size(1);
    n_ = weight.size(0);
    name_ = std::move(name);
    if (precision == Precision::Int8Torch) {
        torch_ = std::make_shared<TorchInt8>(weight);
        return;
    }
    const bool bf16 = precision == Precision::Bf16;
    const int64_t width = rounded_up(n_, kPanel), k = bf16 ? rounded_up(k_, 2) : k_;
    at::Tensor padded = at::zeros({width, k}, weight.options());
    padded.narrow(0, 0, n_).narrow(1, 0, k_).copy_(weight);
    if (bf16) {
        data_ = padded.to(at::kBFloat16).view({-1, kPanel, k / 2, 2}).transpose(1, 2).contiguous();
    } else {
        strip_ = strip_width() > 0 ? strip_width() : kPanel;
        data_ = padded.view({-1, strip_, k}).transpose(1, 2).contiguous();
    }
}

PackedMatrix::PackedMatrix(const QuantisedWeight& w, std::string name)
    : precision_(Precision::Int8),
      k_(w.values.size(1)),
      n_(w.values.size(0)),
      name_(std::move(name)) {
    const int64_t width = rounded_up(n_, kPanel), k = rounded_up(k_, 4);
    at::Tensor padded = at::zeros({width, k}, at::kChar);
    padded.narrow(0, 0, n_).narrow(1, 0, k_).copy_(w.values);
    data_ = padded.view({-1, kPanel, k / 4, 4}).transpose(1, 2).contiguous();
    scales_ = at::zeros({width});
    scales_.narrow(0, 0, n_).copy_(w.scales);
    for (int64_t first = 0; first < width; first += kPanel) {
        const int8_t* rows = padded.const_data_ptr<int8_t>() + first * k;
        bool narrow = true;
        for (int64_t r = 0; narrow && r < kPanel; ++r) narrow = widest(k, rows + r * k) <= kNarrow;
        narrow_.push_back(narrow);
    }
    const int64_t groups = (k + kGroup - 1) / kGroup;
    sums_ = at::zeros({groups + 1, width}, at::kInt);
    for (int64_t g = 0; g < groups; ++g) {
        const at::Tensor part =
            padded.narrow(1, g * kGroup, std::min(kGroup, k - g * kGroup)).sum(1, false, at::kInt);
        sums_[g + 1].copy_(sums_[g] + part);
    }
}

Factor PackedMatrix::panel(int64_t index) const {
    if (precision_ == Precision::Fp32) {
        return {data_.const_data_ptr<float>() + index * k_ * kPanel, nullptr, strip_,
                strip_ < kPanel ? k_ * strip_ : 0};
    }
    return {
        nullptr,
        static_cast<const uint16_t*>(data_.const_data_ptr()) + index * rounded_up(k_, 2) * kPanel,
        kPanel};
}

Int8Panel PackedMatrix::panel_int8(int64_t index, int64_t k0) const {
    return {data_.const_data_ptr<int8_t>() + (index * rounded_up(k_, 4) + k0) * kPanel,
            narrow_[static_cast<std::size_t>(index)]};
}

const float* PackedMatrix::scales(int64_t index) const {
    return scales_.const_data_ptr<float>() + index * kPanel;
}

void PackedMatrix::sums(int64_t index, int64_t k0, int64_t k1, int32_t out[kPanel]) const {
    if (k0 % kGroup != 0 || (k1 % kGroup != 0 && k1 != k_))
        internal("int8: parts of the inner dimension begin and end at multiples of kGroup");
    const int64_t width = scales_.size(0);
    const int32_t* first = sums_.const_data_ptr<int32_t>() + k0 / kGroup * width + index * kPanel;
    const int32_t* last =
        sums_.const_data_ptr<int32_t>() + (k1 + kGroup - 1) / kGroup * width + index * kPanel;
    for (int64_t i = 0; i < kPanel; ++i) out[i] = last[i] - first[i];
}

}  // namespace segrid
