#include "weights/store.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/error.h"

namespace segrid {
namespace {

std::string text(const std::vector<int64_t>& shape) {
    std::string out = "(";
    for (std::size_t i = 0; i < shape.size(); ++i)
        out += (i ? ", " : "") + std::to_string(shape[i]);
    return out + ")";
}

at::ScalarType scalar_type(ScalarKind kind) {
    switch (kind) {
        case ScalarKind::F32: return at::kFloat;
        case ScalarKind::F16: return at::kHalf;
        case ScalarKind::BF16: return at::kBFloat16;
        default: return at::ScalarType::Undefined;
    }
}

}  // namespace

WeightStore::WeightStore(SafeTensors file) : file_(std::move(file)) {}

std::vector<int64_t> WeightStore::shape(const std::string& name) const {
    return file_.has(name) ? file_.view(name).shape : std::vector<int64_t>{};
}

const TensorView* WeightStore::find(const std::string& name,
                                    const std::vector<int64_t>& expected_shape, TensorView& view) {
    if (!file_.has(name)) {
        missing_.insert(name);
        return nullptr;
    }
    taken_.insert(name);
    view = file_.view(name);
    if (view.shape == expected_shape) return &view;
    wrong_[name] = "has shape " + text(view.shape) + ", expected " + text(expected_shape);
    return nullptr;
}

at::Tensor WeightStore::tensor(const std::string& name, const TensorView& view,
                               at::ScalarType type) const {
    auto memory = file_.memory(name);
    return at::from_blob(const_cast<std::byte*>(view.data), view.shape, [memory](void*) {}, type);
}

at::Tensor WeightStore::take(const std::string& name, const std::vector<int64_t>& expected_shape) {
    // A single value, expanded, so that a large expected shape costs no memory.
    const auto stand_in = [&] { return at::zeros({1}).expand(expected_shape); };
    if (is_quantised(name)) {
        const QuantisedTensor q = take_quantised(name, expected_shape);
        return q.values.to(at::kFloat) * q.scales.unsqueeze(1);
    }
    TensorView view;
    if (find(name, expected_shape, view) == nullptr) return stand_in();
    const at::ScalarType type = scalar_type(view.dtype);
    if (type == at::ScalarType::Undefined) {
        wrong_[name] =
            std::string("has dtype ") + scalar_name(view.dtype) + ", expected F32, F16 or BF16";
        return stand_in();
    }
    at::Tensor values = tensor(name, view, type).to(at::kFloat);
    const float* data = values.const_data_ptr<float>();
    int64_t bad = 0;
    for (int64_t i = 0; i < values.numel(); ++i) bad += !std::isfinite(data[i]);
    if (bad > 0) wrong_[name] = "holds " + std::to_string(bad) + " values that are NaN or Inf";
    return values;
}

bool WeightStore::is_quantised(const std::string& name) const {
    return file_.has(name) && file_.view(name).dtype == ScalarKind::I8 &&
           file_.has(name + "_scale");
}

QuantisedTensor WeightStore::take_quantised(const std::string& name,
                                            const std::vector<int64_t>& expected_shape) {
    QuantisedTensor out{at::zeros(expected_shape, at::kChar),
                        take(name + "_scale", {expected_shape.at(0)})};
    TensorView view;
    if (find(name, expected_shape, view) != nullptr) out.values = tensor(name, view, at::kChar);
    return out;
}

void WeightStore::finish(const std::vector<std::string>& ignore_prefixes) const {
    std::vector<std::string> unexpected;
    for (const std::string& name : file_.names()) {
        bool ignored = taken_.count(name) != 0;
        for (const std::string& prefix : ignore_prefixes) ignored |= name.rfind(prefix, 0) == 0;
        if (!ignored) unexpected.push_back(name);
    }
    if (missing_.empty() && unexpected.empty() && wrong_.empty()) return;
    std::string message = path() + ": the weights do not fit the model's config.json;";
    const auto list = [&](const char* what, const auto& names) {
        if (names.empty()) return;
        message += std::string(" ") + what + " (" + std::to_string(names.size()) + "):";
        for (const auto& name : names) message += " " + name;
        message += ";";
    };
    list("missing", missing_);
    list("unexpected", unexpected);
    std::vector<std::string> wrong;
    for (const auto& [name, what] : wrong_) wrong.push_back(name + " " + what + ",");
    list("wrong", wrong);
    fail(ErrorKind::Corrupt, message);
}

}  // namespace segrid
