// Inside a worker, ATen, MKL and OpenMP run single-threaded; the user's own torch keeps its settings.
#pragma once

namespace segrid {

// For the thread that constructs it, from then on.
class SingleThreadLibraries {
public:
    SingleThreadLibraries();
};

}  // namespace segrid
