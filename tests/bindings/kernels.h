// The building blocks of the engine, which the module _kernels gives to tests and benchmarks.
#pragma once

#include <pybind11/pybind11.h>

void bind_rows(pybind11::module_ m);
void bind_gemm(pybind11::module_ m);
void bind_fused(pybind11::module_ m);  // attention, two_way, upscale
void bind_masks(pybind11::module_ m);
void bind_prompts(pybind11::module_ m);
void bind_images(pybind11::module_ m);
void bind_weights(pybind11::module_ m);
void bind_taps(pybind11::module_ m);
void bind_memory(pybind11::module_ m);
void bind_speed(pybind11::module_ m);  // timings, for benchmarks
