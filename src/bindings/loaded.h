// The bindings that every loaded model has.
#pragma once

#include <pybind11/stl.h>

#include "bindings/module.h"
#include "bindings/waiting.h"
#include "engine/loading.h"

namespace segrid::bindings {

// Binds the constructor from files, the model's properties, and copies with a cap on threads.
template <class Class>
void bind_loaded(py::class_<Class, std::shared_ptr<Class>>& c) {
    c.def(
         py::init([](std::string config, std::string weights, std::optional<std::string> settings,
                     std::string device, std::string precision, std::optional<int> thread_cap) {
             if (thread_cap) check_threads(*thread_cap);
             const ModelSettings s{std::move(config), std::move(weights),   settings.value_or(""),
                                   std::move(device), std::move(precision), thread_cap.value_or(0)};
             return without_gil([&] { return std::make_shared<Class>(s); });
         }),
         py::arg("config_path"), py::arg("weights_path"), py::arg("settings_path") = py::none(),
         py::arg("device") = "auto", py::arg("precision") = "auto", py::arg("threads") = py::none())
        .def_property_readonly("family", [](const Class& c) { return c.model().family(); })
        .def_property_readonly("side", [](const Class& c) { return c.model().preprocess().side; })
        .def_property_readonly("precision", [](const Class& c) { return c.precision(); })
        .def_property_readonly("quantised", [](const Class& c) { return c.quantised(); })
        .def_property_readonly("device", [](const Class& c) { return c.device(); })
        .def_property_readonly("model_id", [](const Class& c) { return c.model_id(); })
        .def(
            "with_threads",
            [](const Class& c, int n) { return std::make_shared<Class>(c.with_threads(n)); },
            py::arg("n"));
}

// What the model makes of several images, in their order.
template <class Class>
auto encode_batch(const Class& c, const std::vector<Image>& images) {
    const Schedule schedule = schedule_for(nullptr);
    Stats stats;
    auto encoded = without_gil([&] {
        std::vector<ImageView> views;
        for (const Image& image : images) views.push_back(image.view());
        auto values = c.encode_batch(views, schedule, &stats);
        std::vector<std::shared_ptr<typename decltype(values)::value_type>> all;
        for (auto& value : values)
            all.push_back(
                std::make_shared<typename decltype(values)::value_type>(std::move(value)));
        return all;
    });
    warn_of_halving(stats);
    return encoded;
}

}  // namespace segrid::bindings
