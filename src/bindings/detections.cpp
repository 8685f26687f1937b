#include "bindings/detections.h"

#include "bindings/arrays.h"
#include "core/error.h"

namespace segrid::bindings {

py::tuple columns(const std::vector<Detection>& found) {
    const auto boxes = column<float>(found, 4, [](const Detection& d, float* out) {
        for (const double v : {d.box.x0, d.box.y0, d.box.x1, d.box.y1})
            *out++ = static_cast<float>(v);
        return out;
    });
    const auto scores = column<float>(found, 0, [](const Detection& d, float* out) {
        *out = d.score;
        return out + 1;
    });
    const auto labels = column<int64_t>(found, 0, [](const Detection& d, int64_t* out) {
        *out = d.label;
        return out + 1;
    });
    const auto patches = column<int64_t>(found, 0, [](const Detection& d, int64_t* out) {
        *out = d.patch;
        return out + 1;
    });
    return py::make_tuple(boxes, scores, labels, patches);
}

void check_labels(std::size_t texts, const std::vector<int64_t>& label_of) {
    if (label_of.size() != texts) internal("detect: a label for each text");
    for (const int64_t label : label_of) {
        if (label < 0 || label >= static_cast<int64_t>(texts))
            internal("detect: labels are numbered from 0");
    }
}

}  // namespace segrid::bindings
