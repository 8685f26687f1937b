#include "kernels/place_scores/op.h"

#include "core/cpu.h"
#include "core/error.h"
#include "core/trace.h"
#include "kernels/place_scores/implementations.h"

namespace segrid {
namespace {

struct Table {
    places::Scores* scores;
};
const Table plain{places::plain}, avx2{places::avx2}, avx512{places::avx512};

const Table& table() {
    static const KernelTables<Table> kernel("place_scores",
                                            {{"avx512", cpu_features().avx512 ? &avx512 : nullptr},
                                             {"avx2", cpu_features().avx2 ? &avx2 : nullptr},
                                             {"plain", &plain}});
    return *kernel;
}

[[maybe_unused]] const bool registered = (table(), true);

}  // namespace

int64_t place_group() { return cpu_features().avx512 ? 16 : 8; }

void place_scores(const PlaceKeys& of, const PlaceQueries& queries, const float* packed,
                  Rows<float> scores, std::span<const ReadNext> next) {
    trace::count_product(Precision::Fp32, queries.count * of.keys() * of.width);
    if (of.group != 16 && (of.group != 8 || table().scores == places::avx512))
        internal("place_scores: no implementation for groups of " + std::to_string(of.group) +
                 " places: avx512 reads 16, the others 8 and 16");
    table().scores(of, queries, packed, scores, next);
}

}  // namespace segrid
