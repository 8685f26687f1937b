#include "models/sam2/memory_tokens.h"

#include <ATen/Functions.h>

#include <algorithm>

#include "core/fresh_tensor.h"
#include "nn/transformer.h"

namespace segrid::sam2 {
namespace {

// The place on the grid, and the frame, of a token.
struct TokenPlace {
    int64_t place, frame;
};

TokenPlace place_of(int64_t token, int64_t grid, const MemoryTokens& memory) {
    if (!memory.by_place) return {token % (grid * grid), token / (grid * grid)};
    const PlaceKeys row{.places = grid, .frames = memory.frames, .width = 0};
    const int64_t key = token % row.keys();
    return {token / row.keys() * grid + row.place(key), row.frame(key)};
}

}  // namespace

MemoryTokens memory_tokens(const MemoryParts& parts, int64_t grid, const TokenOrder& order,
                           const std::vector<RememberedFrame>& frames,
                           const std::vector<RememberedPointer>& pointers,
                           const Schedule& schedule) {
    const int64_t channels = parts.places().size(1);
    MemoryTokens memory;
    memory.frames = static_cast<int64_t>(frames.size());
    memory.by_place = order.by_place;
    MemoryParts::PointerTokens known;
    std::vector<at::Tensor> features, ages;
    run_in_worker(schedule, [&] {
        if (!pointers.empty()) known = parts.pointer_tokens(pointers);
        for (const RememberedFrame& f : frames) {
            features.push_back(f.features.contiguous());
            ages.push_back(parts.age(f.age).contiguous());
        }
    });
    const int64_t on_grids = memory.frames * grid * grid;
    memory.pointers = pointers.empty() ? 0 : known.values.size(0);
    memory.tokens = on_grids + memory.pointers;
    memory.keys = fresh_tensor({memory.tokens, channels});
    memory.values = PackedValues(order.precision, memory.tokens, channels, channels);
    float* keys = memory.keys.mutable_data_ptr<float>();
    const float* places = parts.places().const_data_ptr<float>();
    const int64_t tile = order.by_place ? place_group() * memory.frames : kRowTile;
    const auto frame_tokens = [&](int64_t first, int64_t rows, Arena& arena) {
        float *values = arena.take<float>(rows * channels), *own = keys + first * channels;
        float* sums = order.by_place ? arena.take<float>(rows * channels) : own;
        for (int64_t r = 0; r < rows; ++r) {
            const TokenPlace at = place_of(first + r, grid, memory);
            const auto frame = static_cast<std::size_t>(at.frame);
            float *value = values + r * channels, *sum = sums + r * channels;
            std::copy_n(features[frame].const_data_ptr<at::BFloat16>() + at.place * channels,
                        channels, value);
            add(channels, value, places + at.place * channels, sum);
            add(channels, sum, ages[frame].const_data_ptr<float>(), sum);
        }
        if (order.by_place) transpose(rows, channels, sums, channels, own, rows);
        memory.values.pack(first, rows, {values, channels});
    };
    over_rows(on_grids, schedule, frame_tokens, tile);
    if (memory.pointers == 0) return memory;
    memory.pointer_bias = parts.pointer_bias();
    run_in_worker(schedule, [&] {
        if (memory.pointer_bias != 0 && !memory.by_place) {
            memory.biases = at::zeros({memory.tokens});
            memory.biases.narrow(0, on_grids, memory.pointers).fill_(memory.pointer_bias);
        }
        const float* values = known.values.const_data_ptr<float>();
        add(memory.pointers * channels, values, known.ages.const_data_ptr<float>(),
            keys + on_grids * channels);
        memory.values.pack(on_grids, memory.pointers, {values, channels});
    });
    return memory;
}

}  // namespace segrid::sam2
