#include "models/sam2/memory_plain.h"

#include <ATen/ATen.h>

#include "models/sam2/memory_attention_plain.h"
#include "models/sam2/memory_encoder_plain.h"
#include "models/sam2/memory_parts.h"
#include "models/sam2/sam2.h"

namespace segrid::sam2 {
namespace {

struct PlainFrame : FrameContext {
    at::Tensor tokens;  // [1, image tokens, dim]
};

class PlainMemory final : public MemoryModel {
public:
    PlainMemory(const MemoryConfig& c, const plain::Weights& root, Keeping keeping)
        : rules_(c.rules),
          placement_(root.placement()),
          attention_(root / "memory_attention", c),
          encoder_(root / "memory_encoder", c),
          parts_(root, c),
          keeping_(std::move(keeping)) {
        rules_.tokens = c.kept_tokens();
        rules_.type = keeping_.type;
    }

    const MemoryRules& rules() const override { return rules_; }

    std::shared_ptr<const FrameContext> look(const at::Tensor& image,
                                             const Schedule& schedule) const override {
        auto frame = std::make_shared<PlainFrame>();
        run(schedule, [&] { frame->tokens = attention_.look(image); });
        return frame;
    }

    at::Tensor attend(const FrameContext& image, const std::vector<RememberedFrame>& frames,
                      const std::vector<RememberedPointer>& pointers,
                      const Schedule& schedule) const override {
        at::Tensor result;
        run(schedule, [&] {
            std::vector<at::Tensor> memory, positions;
            for (const RememberedFrame& f : frames) {
                memory.push_back(f.features.to(placement_.device, placement_.type));
                positions.push_back(parts_.places() + parts_.age(f.age));
            }
            int64_t tokens = 0;
            if (!pointers.empty()) {
                const auto [values, ages] = parts_.pointer_tokens(pointers);
                memory.push_back(values);
                positions.push_back(ages);
                tokens = values.size(0);
            }
            result = attention_(static_cast<const PlainFrame&>(image).tokens, at::cat(memory),
                                at::cat(positions), tokens);
        });
        return result;
    }

    at::Tensor encode(const at::Tensor& image, const at::Tensor& mask, const MaskNature& nature,
                      const Schedule& schedule) const override {
        at::Tensor result;
        run(schedule, [&] {
            result = encoder_(image, parts_.encoder_input(mask, nature.from_prompt));
            if (parts_.occluded().defined() && !nature.appears) result = result + parts_.occluded();
            result = parts_.pooled(keeping_.condense(result)).to(keeping_.type);
        });
        return result;
    }

    at::Tensor pointer(const at::Tensor& token, bool appears,
                       const Schedule& schedule) const override {
        at::Tensor result;
        run(schedule, [&] { result = parts_.pointer(token, appears); });
        return result;
    }

    at::Tensor hint_of(const at::Tensor& mask, const Schedule& schedule) const override {
        at::Tensor result;
        run(schedule, [&] { result = parts_.hint_of(mask); });
        return result;
    }

private:
    template <class Body>
    void run(const Schedule& schedule, const Body& body) const {
        if (placement_.device.is_cpu()) run_in_worker(schedule, body);
        else run_on_devices(schedule, body);
    }

    MemoryRules rules_;
    Placement placement_;
    plain::MemoryAttention attention_;
    plain::MemoryEncoder encoder_;
    MemoryParts parts_;
    Keeping keeping_;
};

}  // namespace

std::unique_ptr<MemoryModel> load_memory_plain(const MemoryConfig& config,
                                               const plain::Weights& root, Keeping keeping) {
    return std::make_unique<PlainMemory>(config, root, std::move(keeping));
}

std::unique_ptr<MemoryModel> load_memory_plain(const Config& config, const ImageConfig& image,
                                               const plain::Weights& root) {
    if (!has_memory(config)) return nullptr;
    const MemoryConfig c(config, image);
    return load_memory_plain(
        c, root,
        {.condense = [](const at::Tensor& memory) { return memory; }, .type = at::kBFloat16});
}

}  // namespace segrid::sam2
