#include "models/sam2/memory_plain.h"

#include <ATen/ATen.h>

#include "models/sam2/memory_attention_plain.h"
#include "models/sam2/memory_encoder_plain.h"
#include "models/sam2/sam2.h"

namespace segrid::sam2 {
namespace {

using plain::Linear, plain::Weights;

// Sines, then cosines, of ages in 0..1: [ages, channels] in fp32 on the CPU.
at::Tensor sine_ages(const std::vector<RememberedPointer>& pointers, int64_t channels) {
    at::Tensor ages = at::empty({static_cast<int64_t>(pointers.size()), 1});
    for (std::size_t i = 0; i < pointers.size(); ++i)
        ages[static_cast<int64_t>(i)] = pointers[i].age;
    const at::Tensor angle = ages / plain::wave_periods(channels / 2);
    return at::cat({angle.sin(), angle.cos()}, 1);
}

// Where the tokens of a remembered frame are: [kept tokens, memory channels] in fp32 on the CPU.
at::Tensor positions_of(const MemoryConfig& c) {
    return at::cat({at::zeros({c.unplaced, c.encoder.channels}),
                    plain::sine_positions(c.memory_grid, c.encoder.channels)});
}

class PlainMemory final : public MemoryModel {
public:
    PlainMemory(const MemoryConfig& c, const Weights& root, Keeping keeping)
        : config_(c),
          placement_(root.placement()),
          attention_(root / "memory_attention", c),
          encoder_(root / "memory_encoder", c),
          keeping_(std::move(keeping)),
          positions_(root.place(positions_of(c))),
          ages_(root.tensor("memory_temporal_positional_encoding",
                            {c.frames, 1, 1, c.encoder.channels})
                    .view({c.frames, c.encoder.channels})),
          pointer_(root / "object_pointer_proj", c.dim, c.dim, c.dim, 3),
          no_pointer_(root.tensor("no_object_pointer", {1, c.dim}).view({c.dim})),
          hint_weight_(root.tensor("mask_downsample.weight", {1, 1, 4, 4})),
          hint_bias_(root.tensor("mask_downsample.bias", {1})) {
        // Published files hold it, and no model uses it.
        root.tensor("no_memory_positional_encoding", {1, 1, c.dim});
        if (c.pointer_times)
            pointer_ages_ = Linear(root / "temporal_positional_encoding_projection_layer", c.dim,
                                   c.encoder.channels);
        if (c.occlusion)
            occluded_ =
                root.tensor("occlusion_spatial_embedding_parameter", {1, c.encoder.channels});
    }

    int64_t frames() const override { return config_.frames; }

    at::Tensor attend(const at::Tensor& image, const std::vector<RememberedFrame>& frames,
                      const std::vector<RememberedPointer>& pointers,
                      const Schedule& schedule) const override {
        at::Tensor result;
        run(schedule, [&] {
            std::vector<at::Tensor> memory, positions;
            for (const RememberedFrame& f : frames) {
                memory.push_back(f.features.to(placement_.device, placement_.type));
                // The last encoding is that of frames that the user prompted.
                positions.push_back(positions_ +
                                    ages_[f.age == 0 ? config_.frames - 1 : f.age - 1]);
            }
            int64_t tokens = 0;
            if (!pointers.empty()) {
                const auto [values, where] = pointer_tokens(pointers);
                memory.push_back(values);
                positions.push_back(where);
                tokens = values.size(0);
            }
            result = attention_(image, at::cat(memory), at::cat(positions), tokens);
        });
        return result;
    }

    at::Tensor encode(const at::Tensor& image, const at::Tensor& mask, const MaskNature& nature,
                      const Schedule& schedule) const override {
        at::Tensor result;
        run(schedule, [&] {
            const at::Tensor logits = mask.to(placement_.device);
            const at::Tensor share =
                nature.from_prompt ? (logits > 0).to(at::kFloat) : at::sigmoid(logits);
            result = encoder_(
                image, (share * config_.encoder.scale + config_.encoder.bias).to(placement_.type));
            if (config_.occlusion && !nature.appears) result = result + occluded_;
            result = keeping_.condense(result).to(keeping_.type);
        });
        return result;
    }

    at::Tensor pointer(const at::Tensor& token, bool appears,
                       const Schedule& schedule) const override {
        if (!appears) return no_pointer_;
        at::Tensor result;
        run(schedule, [&] {
            result = pointer_(token.to(placement_.device, placement_.type).unsqueeze(0)).squeeze(0);
        });
        return result;
    }

    at::Tensor hint_of(const at::Tensor& mask, const Schedule& schedule) const override {
        at::Tensor result;
        run(schedule, [&] {
            const at::Tensor square =
                mask.to(placement_.device, placement_.type).unsqueeze(0).unsqueeze(0);
            result = plain::convolution(square, hint_weight_, hint_bias_, 4, 0)
                         .squeeze(0)
                         .squeeze(0)
                         .to(at::kFloat);
        });
        return result;
    }

private:
    template <class Body>
    void run(const Schedule& schedule, const Body& body) const {
        if (placement_.device.is_cpu()) run_in_worker(schedule, body);
        else run_on_devices(schedule, body);
    }

    // A pointer has more channels than memory: it is cut into several tokens of the same age.
    // Returns values and positions, [tokens, memory channels] each.
    std::pair<at::Tensor, at::Tensor> pointer_tokens(
        const std::vector<RememberedPointer>& pointers) const {
        const int64_t channels = config_.encoder.channels, parts = config_.dim / channels;
        std::vector<at::Tensor> all;
        for (const RememberedPointer& p : pointers)
            all.push_back(p.pointer.to(placement_.device, placement_.type));
        const at::Tensor values = at::stack(all).view({-1, channels});
        if (!config_.pointer_times) return {values, at::zeros_like(values)};
        const at::Tensor ages =
            sine_ages(pointers, config_.dim).to(placement_.device, placement_.type);
        return {values, pointer_ages_(ages).repeat_interleave(parts, 0)};
    }

    MemoryConfig config_;
    Placement placement_;
    plain::MemoryAttention attention_;
    plain::MemoryEncoder encoder_;
    Keeping keeping_;
    at::Tensor positions_;  // [kept tokens, memory channels]
    at::Tensor ages_;       // [frames, memory channels]
    plain::FeedForward pointer_;
    Linear pointer_ages_;
    at::Tensor no_pointer_, occluded_, hint_weight_, hint_bias_;
};

}  // namespace

std::unique_ptr<MemoryModel> load_memory_plain(const MemoryConfig& config, const Weights& root,
                                               Keeping keeping) {
    return std::make_unique<PlainMemory>(config, root, std::move(keeping));
}

std::unique_ptr<MemoryModel> load_memory_plain(const Config& config, const ImageConfig& image,
                                               const Weights& root) {
    if (!has_memory(config)) return nullptr;
    const MemoryConfig c(config, image);
    return load_memory_plain(
        c, root,
        {.condense = [](const at::Tensor& memory) { return memory; }, .type = at::kBFloat16});
}

}  // namespace segrid::sam2
