#include "bindings/options.h"

#include "core/error.h"
#include "prompts/grid.h"

namespace segrid::bindings {
namespace {

[[noreturn]] void refuse(const GivenOption& given, const char* rule) {
    invalid(given.name + ": expected " + rule + ", got " +
            std::string(py::repr(given.value)).substr(0, 80));
}

bool is_number(py::handle value) {
    const PyNumberMethods* as_number = Py_TYPE(value.ptr())->tp_as_number;
    return PyIndex_Check(value.ptr()) || (as_number != nullptr && as_number->nb_float != nullptr);
}

}  // namespace

void GivenOption::read(bool& into) const { into = value.cast<bool>(); }

void GivenOption::read(int64_t& into) const {
    if (!PyIndex_Check(value.ptr())) refuse(*this, "a whole number");
    try {
        into = value.cast<int64_t>();
    } catch (const py::cast_error&) {
        refuse(*this, "a whole number of at most 64 bits");
    }
}

void GivenOption::read(double& into) const {
    if (!is_number(value)) refuse(*this, "a number");
    into = value.cast<double>();
}

void GivenOption::read(Connectivity& into) const {
    int64_t connectivity = 0;
    read(connectivity);
    if (connectivity != 4 && connectivity != 8) refuse(*this, "4 or 8");
    into = static_cast<Connectivity>(connectivity);
}

void GivenOption::read(PointGrids& into) const {
    using Points = py::array_t<double, py::array::c_style | py::array::forcecast>;
    for (const auto& grid : value) {
        const auto array = py::cast<Points>(grid);
        if (array.ndim() != 2 || array.shape(1) != 2)
            invalid(name + ": each grid must be (N, 2), x and y in 0..1");
        std::vector<ImagePoint> points;
        for (py::ssize_t i = 0; i < array.shape(0); ++i)
            points.push_back({array.at(i, 0), array.at(i, 1)});
        into.push_back(std::move(points));
    }
    validate_grids(into);
}

void GivenOption::read_or_auto(std::optional<int64_t>& into) const {
    if (py::isinstance<py::str>(value) && value.cast<std::string>() == "auto") into.reset();
    else if (PyIndex_Check(value.ptr())) read(into);
    else refuse(*this, "a whole number or 'auto'");
}

py::object to_python(Connectivity value) { return py::int_(static_cast<int>(value)); }

py::object to_python(const PointGrids& grids) {
    py::list out;
    for (const std::vector<ImagePoint>& grid : grids) {
        py::list points;
        for (const ImagePoint& point : grid) points.append(py::make_tuple(point.x, point.y));
        out.append(std::move(points));
    }
    return out;
}

}  // namespace segrid::bindings
