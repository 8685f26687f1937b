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

// The parts that tokens are sums of.
struct Sources {
    std::vector<at::Tensor> features, ages;  // of every frame: [places, channels] bf16, [channels]
    MemoryParts::PointerTokens pointers;     // undefined without pointers
};

Sources sources_of(const MemoryParts& parts, const std::vector<RememberedFrame>& frames,
                   const std::vector<RememberedPointer>& pointers, const Schedule& schedule) {
    Sources from;
    run_in_worker(schedule, [&] {
        if (!pointers.empty()) from.pointers = parts.pointer_tokens(pointers);
        for (const RememberedFrame& f : frames) {
            from.features.push_back(f.features.contiguous());
            from.ages.push_back(parts.age(f.age).contiguous());
        }
    });
    return from;
}

void write_frames(const MemoryParts& parts, const Sources& from, int64_t grid, MemoryTokens& memory,
                  const Schedule& schedule) {
    const int64_t channels = memory.keys.size(1);
    float* keys = memory.keys.mutable_data_ptr<float>();
    const float* places = parts.places().const_data_ptr<float>();
    const auto write = [&](int64_t first, int64_t rows, Arena& arena) {
        float *values = arena.take<float>(rows * channels), *own = keys + first * channels;
        float* sums = memory.by_place ? arena.take<float>(rows * channels) : own;
        for (int64_t r = 0; r < rows; ++r) {
            const TokenPlace at = place_of(first + r, grid, memory);
            const auto frame = static_cast<std::size_t>(at.frame);
            float *value = values + r * channels, *sum = sums + r * channels;
            std::copy_n(from.features[frame].const_data_ptr<at::BFloat16>() + at.place * channels,
                        channels, value);
            add(channels, value, places + at.place * channels, sum);
            add(channels, sum, from.ages[frame].const_data_ptr<float>(), sum);
        }
        if (memory.by_place) transpose(rows, channels, sums, channels, own, rows);
        memory.values.pack(first, rows, {values, channels});
    };
    over_rows(memory.on_grids(), schedule, write,
              memory.by_place ? place_group() * memory.frames : kRowTile);
}

void write_pointers(const MemoryParts& parts, const Sources& from, MemoryTokens& memory,
                    const Schedule& schedule) {
    const int64_t channels = memory.keys.size(1), first = memory.on_grids();
    memory.pointer_bias = parts.pointer_bias();
    run_in_worker(schedule, [&] {
        if (memory.pointer_bias != 0 && !memory.by_place) {
            memory.biases = at::zeros({memory.tokens});
            memory.biases.narrow(0, first, memory.pointers).fill_(memory.pointer_bias);
        }
        const float* values = from.pointers.values.const_data_ptr<float>();
        add(memory.pointers * channels, values, from.pointers.ages.const_data_ptr<float>(),
            memory.keys.mutable_data_ptr<float>() + first * channels);
        memory.values.pack(first, memory.pointers, {values, channels});
    });
}

}  // namespace

MemoryTokens memory_tokens(const MemoryParts& parts, int64_t grid, const TokenOrder& order,
                           const std::vector<RememberedFrame>& frames,
                           const std::vector<RememberedPointer>& pointers,
                           const Schedule& schedule) {
    const Sources from = sources_of(parts, frames, pointers, schedule);
    const int64_t channels = parts.places().size(1);
    MemoryTokens memory;
    memory.frames = static_cast<int64_t>(frames.size());
    memory.pointers = pointers.empty() ? 0 : from.pointers.values.size(0);
    memory.tokens = memory.frames * grid * grid + memory.pointers;
    memory.by_place = order.by_place;
    memory.keys = fresh_tensor({memory.tokens, channels});
    memory.values = PackedValues(order.precision, memory.tokens, channels, channels);
    write_frames(parts, from, grid, memory, schedule);
    if (memory.pointers > 0) write_pointers(parts, from, memory, schedule);
    return memory;
}

}  // namespace segrid::sam2
