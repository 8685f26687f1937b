// Prompts: grids of points, crops, and what is refused.
#include <pybind11/stl.h>

#include "bindings/arrays.h"
#include "kernels.h"
#include "prompts/crops.h"
#include "prompts/grid.h"
#include "prompts/prompts.h"

namespace py = pybind11;
using Pair = std::pair<int64_t, int64_t>;

namespace {

using Grid = py::array_t<double, py::array::c_style | py::array::forcecast>;

Grid grid_array(const std::vector<segrid::ImagePoint>& points) {
    return segrid::bindings::column<double>(points, 2,
                                            [](const segrid::ImagePoint& p, double* out) {
                                                out[0] = p.x;
                                                out[1] = p.y;
                                                return out + 2;
                                            });
}

}  // namespace

void bind_prompts(py::module_ m) {
    m.def("generate_crop_boxes", [](Pair image, int64_t layers, double ratio) {
        const auto plan = segrid::generate_crop_boxes({image.first, image.second}, layers, ratio);
        std::vector<std::array<double, 4>> boxes;
        for (const auto& b : plan.boxes) boxes.push_back({b.x0, b.y0, b.x1, b.y1});
        return py::make_tuple(boxes, plan.layers);
    });
    m.def("crop_layers_for", [](Pair image, double scale, double ratio, int64_t most) {
        return segrid::crop_layers_for({image.first, image.second}, scale, ratio, most);
    });
    m.def("build_point_grid", [](int64_t n) { return grid_array(segrid::build_point_grid(n)); });
    m.def("build_all_layer_point_grids", [](int64_t n, int64_t layers, int64_t factor) {
        py::list out;
        for (const auto& g : segrid::build_all_layer_point_grids(n, layers, factor))
            out.append(grid_array(g));
        return out;
    });
    m.def("validate_grids", [](const std::vector<std::vector<std::pair<double, double>>>& grids) {
        std::vector<std::vector<segrid::ImagePoint>> given(grids.size());
        for (std::size_t g = 0; g < grids.size(); ++g) {
            for (const auto& [x, y] : grids[g]) given[g].push_back({x, y});
        }
        segrid::validate_grids(given);
    });
    // prompts: (points, labels, box or None) each
    m.def("validate_prompts",
          [](const std::vector<std::tuple<std::vector<std::pair<double, double>>, std::vector<int>,
                                          std::optional<std::array<double, 4>>>>& given,
             Pair image) {
              std::vector<segrid::Prompt> prompts;
              for (const auto& [points, labels, box] : given) {
                  segrid::Prompt p;
                  for (const auto& [x, y] : points) p.points.push_back({x, y});
                  p.labels = labels;
                  if (box) p.box = segrid::ImageBox{(*box)[0], (*box)[1], (*box)[2], (*box)[3]};
                  prompts.push_back(std::move(p));
              }
              segrid::validate(prompts, {image.first, image.second});
          });
}
