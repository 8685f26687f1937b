#include "models/scripted/scripted.h"

#include <torch/script.h>

#include <cmath>
#include <filesystem>
#include <unordered_map>

#include <nlohmann/json.hpp>

#include "core/error.h"

namespace segrid {

struct ScriptedModel::Module {
    torch::jit::Module script;
};

namespace {

constexpr float kMaxClass = 100'000;

// The first line of a message, or the last line of an interpreter's trace.
std::string reason(const std::exception& error) {
    std::string text = error.what();
    text.erase(text.find_last_not_of(" \n") + 1);
    if (text.starts_with("The following operation failed"))
        text = text.substr(text.rfind('\n') + 1);
    return text.substr(0, std::min<std::size_t>(text.find('\n'), 300));
}

}  // namespace

ScriptedModel::ScriptedModel(const std::string& path) : path_(path) {
    if (!std::filesystem::exists(path)) fail(ErrorKind::NotFound, path + ": no such file");
    std::unordered_map<std::string, std::string> extra{{"config.txt", ""}};
    try {
        module_ = std::make_unique<Module>(Module{torch::jit::load(path, at::kCPU, extra)});
        module_->script.eval();
    } catch (const std::exception& error) {
        fail(ErrorKind::Corrupt,
             path + ": cannot be loaded as TorchScript (" + reason(error) + ")");
    }
    const auto about = nlohmann::json::parse(extra["config.txt"], nullptr, false);
    if (!about.is_object()) return;
    if (about.contains("imgsz") && about["imgsz"].is_array() && !about["imgsz"].empty() &&
        about["imgsz"][0].is_number_integer())
        side_ = about["imgsz"][0].get<int64_t>();
    if (about.contains("names") && about["names"].is_object()) {
        for (const auto& [number, name] : about["names"].items()) {
            const auto index = static_cast<std::size_t>(std::strtoul(number.c_str(), nullptr, 10));
            if (index > static_cast<std::size_t>(kMaxClass) || !name.is_string()) continue;
            if (names_.size() <= index) names_.resize(index + 1);
            names_[index] = name.get<std::string>();
        }
    }
}

ScriptedModel::~ScriptedModel() = default;
ScriptedModel::ScriptedModel(ScriptedModel&&) noexcept = default;

std::vector<ScriptedBox> ScriptedModel::forward(const float* input, int64_t side, float threshold,
                                                YoloLayout layout) const {
    const c10::InferenceMode inference;
    at::Tensor output;
    try {
        torch::jit::IValue value = module_->script.forward(
            {at::from_blob(const_cast<float*>(input), {1, 3, side, side}, at::kFloat)});
        while (value.isTuple() && !value.toTupleRef().elements().empty())
            value = value.toTupleRef().elements()[0];
        while (value.isList() && value.toListRef().size() > 0)
            value = torch::jit::IValue(value.toListRef()[0]);
        if (!value.isTensor())
            fail(ErrorKind::Unsupported,
                 path_ + ": its output must be a tensor, got " + value.tagKind());
        output = value.toTensor().to(at::kCPU, at::kFloat).contiguous();
    } catch (const Error&) {
        throw;
    } catch (const std::exception& error) {
        fail(ErrorKind::Corrupt, path_ + ": fails on an input of 1 x 3 x " + std::to_string(side) +
                                     " x " + std::to_string(side) + " (" + reason(error) + ")");
    }
    if (output.dim() == 2) output = output.unsqueeze(0);
    const auto wrong = [&](const std::string& rule) {
        fail(ErrorKind::Unsupported, path_ + ": an output of " + c10::str(output.sizes()) +
                                         " has none of the known layouts (" + rule + ")");
    };
    if (output.dim() != 3 || output.size(0) != 1)
        wrong("[1, 4 + classes, n], [1, n, 5 + classes], [1, n, 6]");
    int64_t a = output.size(1), b = output.size(2);
    if (layout == YoloLayout::Auto) {
        layout = b == 6 && a <= 1000 ? YoloLayout::Finished
                 : a < b             ? YoloLayout::Channels
                                     : YoloLayout::Objectness;
    }
    if (layout == YoloLayout::Channels) {
        output = output.transpose(1, 2).contiguous();
        std::swap(a, b);
    }
    const int64_t first = layout == YoloLayout::Channels ? 4 : 5;
    if (layout == YoloLayout::Finished ? b != 6 : b <= first)
        wrong("rows of " + std::to_string(b) +
              " numbers are too short, or too long for finished boxes");
    std::vector<ScriptedBox> found;
    for (int64_t i = 0; i < a; ++i) {
        const float* row = output.const_data_ptr<float>() + i * b;
        for (int64_t k = 0; k < b; ++k) {
            if (!std::isfinite(row[k]))
                fail(ErrorKind::Corrupt, path_ + ": its output holds NaN or Inf");
        }
        ScriptedBox box;
        if (layout == YoloLayout::Finished) {
            if (!(row[5] > -0.5F && row[5] <= kMaxClass))
                fail(ErrorKind::Corrupt,
                     path_ + ": its output names class " + std::to_string(row[5]));
            box = {row[0], row[1], row[2],
                   row[3], row[4], static_cast<int64_t>(std::lround(row[5]))};
        } else {
            const float* best = std::max_element(row + first, row + b);
            const float score = *best * (layout == YoloLayout::Objectness ? row[4] : 1.0F);
            box = {row[0] - row[2] / 2,
                   row[1] - row[3] / 2,
                   row[0] + row[2] / 2,
                   row[1] + row[3] / 2,
                   score,
                   best - (row + first)};
        }
        if (box.score > threshold) found.push_back(box);
    }
    return found;
}

}  // namespace segrid
