// How fast this machine multiplies matrices that lie in its caches: what the products of a model
// are compared with.
#pragma once

#include "core/precision.h"
#include "core/thread_pool.h"

namespace segrid {

// GFLOP/s (two a multiply-add) of all workers together, each of which multiplies 64 prepared rows
// by small weights for about so many seconds. Not for Int8Torch.
double product_rate(Precision precision, double seconds, const Schedule& schedule);

}  // namespace segrid
