// What the implementations share with the interface. They do not include op.h: a table that lacks a
// function would take the one of op.h, which calls the table, and never return.
#pragma once

#include <cstdint>

namespace segrid {

// How far above the running maximum a score may lie before running_power_row raises it.
inline constexpr float kPowerRoom = 32;

// The quantisation of a row to u8: x = scale * (q - zero). The value 0 is exactly q = zero.
struct RowScale {
    float scale = 1;
    int32_t zero = 0;
};

}  // namespace segrid
