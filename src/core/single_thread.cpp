#include "core/single_thread.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <omp.h>

namespace segrid {

SingleThreadLibraries::SingleThreadLibraries() {
    at::init_num_threads();  // ATen's own first-use initialisation would otherwise undo the next
                             // line
    omp_set_num_threads(
        1);  // per-thread setting: ATen and MKL (its GNU threading layer) ask OpenMP
    at::GradMode::set_enabled(false);
}

}  // namespace segrid
