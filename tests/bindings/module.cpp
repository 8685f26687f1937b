// The module _kernels lies in the same shared object as segrid._core, so that both see one engine:
// one thread budget, one choice of kernels. tests/building_blocks.py loads it.
#include "kernels.h"

PYBIND11_MODULE(_kernels, m, pybind11::mod_gil_not_used()) {
    m.doc() = "Building blocks of segrid's engine, for its tests and benchmarks.";
    bind_rows(m);
    bind_gemm(m);
    bind_fused(m);
    bind_masks(m);
    bind_prompts(m);
    bind_images(m);
    bind_weights(m);
    bind_taps(m);
    bind_memory(m);
    bind_speed(m);
}
