#include "core/single_thread.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <omp.h>
#include <pthread.h>

#include <mutex>

namespace segrid {
namespace {

// One thread at a time: if torch.set_num_threads() was called before a fork, the child's first
// at::init_num_threads() makes another thread pool for torch, and a second call meanwhile finds
// none and throws.
void init_num_threads() {
    static std::mutex mutex;
    static const int whole_in_children =
        pthread_atfork([] { mutex.lock(); }, [] { mutex.unlock(); }, [] { mutex.unlock(); });
    (void)whole_in_children;
    const std::lock_guard lock(mutex);
    at::init_num_threads();
}

}  // namespace

SingleThreadLibraries::SingleThreadLibraries() {
    // Called first, because ATen's own initialisation on first use would undo the next line.
    init_num_threads();
    // A setting per thread, which ATen and MKL (its GNU threading layer) read from OpenMP.
    omp_set_num_threads(1);
    at::GradMode::set_enabled(false);
}

}  // namespace segrid
