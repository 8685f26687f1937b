#include "bindings/module.h"

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
    m.doc() =
        "segrid's engine. Use the classes of the package segrid; this module is not a public "
        "interface.";
    segrid::bindings::bind_errors(m);
    segrid::bindings::bind_runtime(m);
    segrid::bindings::bind_image(m);
    segrid::bindings::bind_mask_set(m);
    segrid::bindings::bind_embedding(m);
    segrid::bindings::bind_engine(m);
    segrid::bindings::bind_session(m);
    segrid::bindings::bind_detector(m);
    segrid::bindings::bind_scripted_detector(m);
    segrid::bindings::bind_pipeline(m);
    segrid::bindings::bind_graphs(m);
}
