#include "core/single_thread.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <omp.h>

namespace segrid {

SingleThreadLibraries::SingleThreadLibraries() {
    // Called first, because ATen's own initialisation on first use would undo the next line.
    at::init_num_threads();
    // A setting per thread, which ATen and MKL (its GNU threading layer) read from OpenMP.
    omp_set_num_threads(1);
    at::GradMode::set_enabled(false);
}

}  // namespace segrid
