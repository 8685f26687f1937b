#pragma once

#include "kernels/two_way/op.h"

namespace segrid::two_way {

void plain(const TwoWaySweep& sweep, int64_t begin, int64_t end, TokenPartial& partial,
           Arena& arena);
void tiled(const TwoWaySweep& sweep, int64_t begin, int64_t end, TokenPartial& partial,
           Arena& arena);

}  // namespace segrid::two_way
