#include "models/sam2/memory.h"

#include <ATen/ATen.h>

#include "models/sam2/memory_attention.h"
#include "models/sam2/memory_encoder.h"
#include "models/sam2/memory_parts.h"

namespace segrid::sam2 {
namespace {

struct LookedAt : FrameContext {
    at::Tensor tokens;  // [image tokens, dim]
};

class FastMemory final : public MemoryModel {
public:
    FastMemory(const MemoryConfig& c, const WeightScope& root)
        : config_(c),
          precision_(root.precision()),
          attention_(root / "memory_attention", c),
          encoder_(root / "memory_encoder", c),
          parts_(plain::Weights(root, Placement{}), c) {}

    const MemoryRules& rules() const override { return config_.rules; }

    std::shared_ptr<const FrameContext> look(const at::Tensor& image,
                                             const Schedule& schedule) const override {
        auto looked = std::make_shared<LookedAt>();
        looked->tokens = attention_.look(image, schedule);
        return looked;
    }

    at::Tensor attend(const FrameContext& image, const std::vector<RememberedFrame>& frames,
                      const std::vector<RememberedPointer>& pointers,
                      const Schedule& schedule) const override {
        return attention_(static_cast<const LookedAt&>(image).tokens,
                          tokens_of(frames, pointers, schedule), schedule);
    }

    at::Tensor encode(const at::Tensor& image, const at::Tensor& mask, const MaskNature& nature,
                      const Schedule& schedule) const override {
        at::Tensor result;
        run_in_worker(schedule, [&] { result = parts_.encoder_input(mask, nature.from_prompt); });
        result = encoder_(image, result.contiguous(), schedule);
        run_in_worker(schedule, [&] {
            if (parts_.occluded().defined() && !nature.appears) result = result + parts_.occluded();
            result = result.to(at::kBFloat16);
        });
        return result;
    }

    at::Tensor pointer(const at::Tensor& token, bool appears,
                       const Schedule& schedule) const override {
        at::Tensor result;
        run_in_worker(schedule, [&] { result = parts_.pointer(token, appears); });
        return result;
    }

    at::Tensor hint_of(const at::Tensor& mask, const Schedule& schedule) const override {
        at::Tensor result;
        run_in_worker(schedule, [&] { result = parts_.hint_of(mask); });
        return result;
    }

private:
    // The memory of an object, in the order of frames and pointers.
    MemoryTokens tokens_of(const std::vector<RememberedFrame>& frames,
                           const std::vector<RememberedPointer>& pointers,
                           const Schedule& schedule) const {
        const int64_t area = config_.grid * config_.grid, channels = config_.encoder.channels;
        const int64_t on_grids = static_cast<int64_t>(frames.size()) * area;
        MemoryTokens memory;
        MemoryParts::PointerTokens known;
        std::vector<at::Tensor> ages;
        run_in_worker(schedule, [&] {
            if (!pointers.empty()) known = parts_.pointer_tokens(pointers);
            for (const RememberedFrame& f : frames) ages.push_back(parts_.age(f.age).contiguous());
        });
        memory.pointers = pointers.empty() ? 0 : known.values.size(0);
        memory.tokens = on_grids + memory.pointers;
        memory.rows = at::empty({memory.tokens, channels});
        memory.values = PackedValues(precision_, memory.tokens, channels);
        float* rows_out = memory.rows.mutable_data_ptr<float>();
        over_rows(memory.tokens, schedule, [&](int64_t first, int64_t rows, Arena& arena) {
            float* values = arena.take<float>(rows * channels);
            for (int64_t r = 0; r < rows; ++r) {
                const int64_t t = first + r;
                float *value = values + r * channels, *row = rows_out + t * channels;
                if (t >= on_grids) {
                    const int64_t at = (t - on_grids) * channels;
                    std::copy_n(known.values.const_data_ptr<float>() + at, channels, value);
                    add(channels, value, known.ages.const_data_ptr<float>() + at, row);
                    continue;
                }
                const auto frame = static_cast<std::size_t>(t / area);
                const int64_t at = t % area * channels;
                std::copy_n(frames[frame].features.const_data_ptr<at::BFloat16>() + at, channels,
                            value);
                add(channels, value, parts_.places().const_data_ptr<float>() + at, row);
                add(channels, row, ages[frame].const_data_ptr<float>(), row);
            }
            memory.values.pack(first, rows, {values, channels});
        });
        return memory;
    }

    MemoryConfig config_;
    Precision precision_;
    MemoryAttention attention_;
    MemoryEncoder encoder_;
    MemoryParts parts_;
};

}  // namespace

std::unique_ptr<MemoryModel> load_memory(const Config& config, const Sam2Config& image,
                                         const WeightScope& root) {
    return std::make_unique<FastMemory>(MemoryConfig(config, image), root);
}

}  // namespace segrid::sam2
