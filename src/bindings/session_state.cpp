#include "bindings/session_state.h"

#include <ATen/ATen.h>
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstring>
#include <optional>

#include "bindings/waiting.h"
#include "core/error.h"

namespace segrid::bindings {
namespace {

using Masks = std::map<int64_t, TrackedMask> Track::*;
constexpr std::pair<const char*, Masks> kLists[] = {{"conditioning", &Track::conditioning},
                                                    {"followed", &Track::followed},
                                                    {"new_conditioning", &Track::new_conditioning},
                                                    {"new_followed", &Track::new_followed}};

// NumPy has no bf16: it gets the bits.
const char* dtype_of(at::ScalarType type) {
    if (type == at::kBFloat16) return "uint16";
    return type == at::kHalf ? "float16" : "float32";
}

// type: of the array; by default that of the tensor.
py::object array_of(const at::Tensor& tensor, std::optional<at::ScalarType> type = {}) {
    if (!tensor.defined()) return py::none();
    const at::Tensor host = without_gil([&] {
        at::Tensor result;
        const auto copy = [&] {
            result = tensor.to(at::kCPU, type.value_or(tensor.scalar_type())).contiguous();
        };
        if (tensor.is_cpu()) run_in_worker({}, copy);
        else run_on_devices({}, copy);
        return result;
    });
    const std::vector<py::ssize_t> shape(host.sizes().begin(), host.sizes().end());
    return py::array(py::dtype(dtype_of(host.scalar_type())), shape, host.const_data_ptr());
}

at::Tensor tensor_of(const py::handle& value, at::ScalarType type, at::IntArrayRef shape,
                     const char* what) {
    if (value.is_none()) return {};
    const auto array = py::array::ensure(value, py::array::c_style);
    const bool fits = array && static_cast<std::size_t>(array.ndim()) == shape.size() &&
                      array.dtype().is(py::dtype(dtype_of(type))) &&
                      std::equal(shape.begin(), shape.end(), array.shape());
    if (!fits)
        invalid(std::string("restore: ") + what + " has another shape or type than this model's");
    // Not ATen's copy: it may begin OpenMP's threads, which hang in a forked process.
    at::Tensor own = at::empty(shape, type);
    std::memcpy(own.mutable_data_ptr(), array.data(), static_cast<std::size_t>(array.nbytes()));
    return own;
}

py::dict dict_of(const char* list, int64_t frame, const TrackedMask& mask) {
    py::dict out;
    out["list"] = list;
    out["frame"] = frame;
    out["score"] = mask.score;
    out["iou"] = mask.iou;
    out["prompted"] = mask.prompted;
    out["counts"] = py::bytes(mask.counts);
    out["logits"] = array_of(mask.logits);
    out["memory"] = array_of(mask.memory);
    out["pointer"] = array_of(mask.pointer, at::kFloat);
    return out;
}

TrackedMask mask_of(const py::dict& in, const Session& session) {
    const SegmentationModel& model = session.model();
    const FeatureShape image = model.feature_shapes().front();
    const Size low = model.low_res();
    TrackedMask mask;
    mask.score = in["score"].cast<float>();
    mask.iou = in["iou"].cast<float>();
    mask.prompted = in["prompted"].cast<bool>();
    mask.counts = in["counts"].cast<std::string>();
    if (!mask.counts.empty()) from_coco_counts(decompress(mask.counts), session.video());
    const bool half = !in["logits"].is_none() && py::array(in["logits"]).itemsize() == 2;
    mask.logits = tensor_of(in["logits"], half ? at::kHalf : at::kFloat, {low.height, low.width},
                            "a mask's logits");
    if (!mask.logits.defined() && mask.counts.empty())
        invalid("restore: a mask has neither logits nor runs");
    const MemoryRules& rules = model.memory()->rules();
    mask.memory = tensor_of(in["memory"], rules.type, {rules.tokens, rules.channels}, "a memory");
    if (mask.memory.defined() && !model.device().is_cpu())
        without_gil(
            [&] { run_on_devices({}, [&] { mask.memory = mask.memory.to(model.device()); }); });
    mask.pointer = tensor_of(in["pointer"], at::kFloat, {image.channels}, "a pointer");
    if (!mask.pointer.defined()) invalid("restore: a mask has no pointer");
    return mask;
}

}  // namespace

py::list state_of(const std::vector<Track>& tracks) {
    py::list out;
    for (const Track& track : tracks) {
        py::list prompts, masks;
        for (const auto& [frame, prompt] : track.prompts) {
            std::vector<std::pair<double, double>> points;
            for (const ImagePoint& p : prompt.points) points.emplace_back(p.x, p.y);
            prompts.append(py::make_tuple(frame, points, prompt.labels));
        }
        for (const auto& [name, list] : kLists) {
            for (const auto& [frame, mask] : track.*list) masks.append(dict_of(name, frame, mask));
        }
        py::dict one;
        one["id"] = track.id;
        one["visited"] =
            std::vector<std::pair<int64_t, bool>>(track.visited.begin(), track.visited.end());
        one["prompts"] = prompts;
        one["masks"] = masks;
        out.append(one);
    }
    return out;
}

std::vector<Track> tracks_of(const py::list& state, const Session& session) {
    std::vector<Track> tracks;
    for (const py::handle& item : state) {
        const auto one = item.cast<py::dict>();
        Track& track = tracks.emplace_back();
        track.id = one["id"].cast<int64_t>();
        for (const auto& [frame, backwards] :
             one["visited"].cast<std::vector<std::pair<int64_t, bool>>>()) {
            track.visited[frame] = backwards;
        }
        for (const py::handle& row : one["prompts"].cast<py::list>()) {
            const auto [frame, points, labels] = row.cast<
                std::tuple<int64_t, std::vector<std::pair<double, double>>, std::vector<int>>>();
            if (points.size() != labels.size()) invalid("restore: a prompt lacks labels");
            if (points.size() > kMaxPointsPerPrompt)
                invalid("restore: a prompt has " + std::to_string(points.size()) + " points");
            Prompt& prompt = track.prompts[frame];
            for (const auto& [x, y] : points) prompt.points.push_back({x, y});
            prompt.labels = labels;
            prompt.points_given = true;
        }
        for (const py::handle& row : one["masks"].cast<py::list>()) {
            const auto mask = row.cast<py::dict>();
            const auto name = mask["list"].cast<std::string>();
            const auto* place = std::find_if(std::begin(kLists), std::end(kLists),
                                             [&](const auto& list) { return name == list.first; });
            if (place == std::end(kLists)) invalid("restore: unknown list of masks " + name);
            (track.*place->second)[mask["frame"].cast<int64_t>()] = mask_of(mask, session);
        }
    }
    return tracks;
}

}  // namespace segrid::bindings
