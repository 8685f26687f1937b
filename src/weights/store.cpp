#include "weights/store.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/error.h"

namespace segrid {
namespace {

// Stand-ins of fewer values are harmless in any file.
constexpr double kStandInValues = 64e6;
// What a message shows of each list of faults.
constexpr std::size_t kMostNames = 20, kMostLetters = 400;

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

// One value, expanded. Layers may pack it to its full size.
at::Tensor WeightStore::stand_in(const std::vector<int64_t>& shape) {
    double values = 1;
    for (const int64_t n : shape) values *= static_cast<double>(n);
    stand_ins_ += values;
    if (stand_ins_ > kStandInValues && stand_ins_ > static_cast<double>(file_.bytes())) report({});
    return at::zeros({1}).expand(shape);
}

at::Tensor WeightStore::take(const std::string& name, const std::vector<int64_t>& expected_shape) {
    if (is_quantised(name)) {
        const QuantisedTensor q = take_quantised(name, expected_shape);
        return q.values.to(at::kFloat) * q.scales.unsqueeze(1);
    }
    TensorView view;
    if (find(name, expected_shape, view) == nullptr) return stand_in(expected_shape);
    const at::ScalarType type = scalar_type(view.dtype);
    if (type == at::ScalarType::Undefined) {
        wrong_[name] =
            std::string("has dtype ") + scalar_name(view.dtype) + ", expected F32, F16 or BF16";
        return stand_in(expected_shape);
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
           file_.view(name).shape.size() == 2 && file_.has(name + "_scale");
}

QuantisedTensor WeightStore::take_quantised(const std::string& name,
                                            const std::vector<int64_t>& expected_shape) {
    const at::Tensor scales = take(name + "_scale", {expected_shape.at(0)});
    TensorView view;
    if (find(name, expected_shape, view) != nullptr) return {tensor(name, view, at::kChar), scales};
    return {stand_in(expected_shape).to(at::kChar), scales};
}

void WeightStore::finish(const std::vector<std::string>& ignore_prefixes) const {
    std::vector<std::string> unexpected;
    for (const std::string& name : file_.names()) {
        bool ignored = taken_.count(name) != 0;
        for (const std::string& prefix : ignore_prefixes) ignored |= name.rfind(prefix, 0) == 0;
        if (!ignored) unexpected.push_back(name);
    }
    if (!missing_.empty() || !unexpected.empty() || !wrong_.empty()) report(unexpected);
}

void WeightStore::report(const std::vector<std::string>& unexpected) const {
    std::string message = path() + ": the weights do not fit the model's config.json;";
    const auto list = [&](const char* what, const auto& names) {
        if (names.empty()) return;
        message.append(" ").append(what).append(" (" + std::to_string(names.size()) + "):");
        std::size_t shown = 0;
        for (const std::string& name : names) {
            if (shown++ == kMostNames) break;
            message.append(" ").append(name, 0, kMostLetters);
        }
        message += names.size() > kMostNames ? " ...;" : ";";
    };
    list("missing", missing_);
    list("unexpected", unexpected);
    std::vector<std::string> wrong;
    for (const auto& [name, what] : wrong_)
        wrong.push_back(name.substr(0, kMostLetters) + " " + what + ",");
    list("wrong", wrong);
    fail(ErrorKind::Corrupt, message);
}

}  // namespace segrid
