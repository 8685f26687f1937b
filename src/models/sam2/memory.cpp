#include "models/sam2/memory.h"

#include <ATen/ATen.h>

#include "models/sam2/memory_attention.h"
#include "models/sam2/memory_encoder.h"

namespace segrid::sam2 {
namespace {

struct LookedAt : FrameContext {
    at::Tensor tokens;  // [image tokens, dim]
};

class FastMemory final : public MemoryModel {
public:
    FastMemory(const MemoryConfig& c, const WeightScope& root)
        : rules_(c.rules),
          memory_grid_(c.memory_grid),
          attention_(root / "memory_attention", c),
          encoder_(root / "memory_encoder", c),
          parts_(plain::Weights(root, Placement{}), c) {}

    const MemoryRules& rules() const override { return rules_; }

    std::shared_ptr<const FrameContext> look(const at::Tensor& image,
                                             const Schedule& schedule) const override {
        auto looked = std::make_shared<LookedAt>();
        looked->tokens = attention_.look(image, schedule);
        return looked;
    }

    at::Tensor attend(const FrameContext& image, const std::vector<RememberedFrame>& frames,
                      const std::vector<RememberedPointer>& pointers,
                      const Schedule& schedule) const override {
        const TokenOrder order = attention_.order(static_cast<int64_t>(frames.size()));
        return attention_(static_cast<const LookedAt&>(image).tokens,
                          memory_tokens(parts_, memory_grid_, order, frames, pointers, schedule),
                          schedule);
    }

    at::Tensor encode(const at::Tensor& image, const at::Tensor& mask, const MaskNature& nature,
                      const Schedule& schedule) const override {
        at::Tensor result;
        run_in_worker(schedule, [&] { result = parts_.encoder_input(mask, nature.from_prompt); });
        result = encoder_(image, result.contiguous(), schedule);
        run_in_worker(schedule, [&] {
            if (parts_.occluded().defined() && !nature.appears) result = result + parts_.occluded();
            result = parts_.pooled(result).to(at::kBFloat16);
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
    MemoryRules rules_;
    int64_t memory_grid_;
    MemoryAttention attention_;
    MemoryEncoder encoder_;
    MemoryParts parts_;
};

}  // namespace

std::unique_ptr<MemoryModel> load_memory(const Config& config, const ImageConfig& image,
                                         const WeightScope& root) {
    return std::make_unique<FastMemory>(MemoryConfig(config, image), root);
}

}  // namespace segrid::sam2
