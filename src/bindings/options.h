// Options that Python gives by name: a dict is read into a struct of the engine by one table, which
// says what member each name stands for.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/geometry.h"
#include "masks/regions.h"

namespace segrid::bindings {

namespace py = pybind11;

using PointGrids = std::vector<std::vector<ImagePoint>>;

// A member that is empty for "auto".
template <class Options>
struct OrAuto {
    std::optional<int64_t> Options::*member;
};

template <class Options>
struct Option {
    const char* name;
    std::variant<bool Options::*, int64_t Options::*, double Options::*,
                 std::optional<int64_t> Options::*, std::optional<double> Options::*,
                 OrAuto<Options>, Connectivity Options::*, PointGrids Options::*>
        member;
};

struct GivenOption {
    std::string name;
    py::handle value;

    // Each throws InvalidInput that names the option, the rule and the value.
    void read(bool& into) const;
    void read(int64_t& into) const;
    void read(double& into) const;
    void read(Connectivity& into) const;
    void read(PointGrids& into) const;
    template <class T>
    void read(std::optional<T>& into) const {
        read(into.emplace());
    }
    void read_or_auto(std::optional<int64_t>& into) const;
};

// As Python would give it.
py::object to_python(Connectivity value);
py::object to_python(const PointGrids& grids);
template <class T>
py::object to_python(const T& value) {
    return py::cast(value);
}

// None leaves a member as it is. Throws KeyError for a name that the table lacks.
template <class Options, std::size_t N>
Options read_options(const Option<Options> (&table)[N], const char* call, const py::dict& given) {
    Options options;
    for (const auto& [key, value] : given) {
        const GivenOption one{key.template cast<std::string>(), value};
        const auto row = std::find_if(std::begin(table), std::end(table),
                                      [&](const auto& option) { return one.name == option.name; });
        if (row == std::end(table))
            throw py::key_error(std::string(call) + ": unknown option '" + one.name + "'");
        if (value.is_none()) continue;
        std::visit(
            [&](auto member) {
                if constexpr (std::is_same_v<decltype(member), OrAuto<Options>>)
                    one.read_or_auto(options.*member.member);
                else one.read(options.*member);
            },
            row->member);
    }
    return options;
}

// {name: what holds where the option is not given}.
template <class Options, std::size_t N>
py::dict defaults_of(const Option<Options> (&table)[N]) {
    const Options options;
    py::dict defaults;
    for (const Option<Options>& option : table) {
        defaults[option.name] = std::visit(
            [&](auto member) {
                if constexpr (std::is_same_v<decltype(member), OrAuto<Options>>)
                    return to_python(options.*member.member);
                else return to_python(options.*member);
            },
            option.member);
    }
    return defaults;
}

}  // namespace segrid::bindings
