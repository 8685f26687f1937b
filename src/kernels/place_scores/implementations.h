#pragma once

#include "kernels/place_scores/op.h"

namespace segrid::places {

using Scores = void(const PlaceKeys& of, const PlaceQueries& queries, const float* packed,
                    Rows<float> scores, std::span<const ReadNext> next);

Scores plain;
Scores avx2;  // only call these on a CPU that has them
Scores avx512;

}  // namespace segrid::places
