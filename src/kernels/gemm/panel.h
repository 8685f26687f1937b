// The width of panels, for files that are compiled for an instruction set and include nothing of ATen.
#pragma once

#include <cstdint>

namespace segrid {

inline constexpr int64_t kPanel = 64;  // columns of a panel, where matrices are kept in panels

}  // namespace segrid
