#include "models/owlv2/text_plain.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "models/owlv2/towers.h"

namespace segrid::plain {
namespace {

constexpr std::size_t kTexts = 512;  // at once, so that memory is bounded

}  // namespace

Owlv2Text::Owlv2Text(const Weights& root, const owlv2::Owlv2Config& c)
    : config_(c), placement_(root.placement()) {
    const Weights tower = root / c.family / "text_model";
    const int64_t hidden = c.text.hidden;
    tokens_ = (tower / "embeddings" / "token_embedding").tensor("weight", {c.vocabulary, hidden});
    positions_ = (tower / "embeddings" / "position_embedding").tensor("weight", {c.length, hidden});
    causal_ =
        root.place(at::full({c.length, c.length}, -std::numeric_limits<float>::infinity()).triu(1));
    for (int64_t i = 0; i < c.text.layers; ++i)
        layers_.emplace_back(tower / "encoder" / "layers" / i, c.text);
    norm_ = LayerNorm(tower / "final_layer_norm", hidden, c.text.eps);
    projection_ = Linear(root / c.family / "text_projection", hidden, hidden, /*bias=*/false);
}

at::Tensor Owlv2Text::operator()(const std::vector<TokenIds>& texts, const Schedule& schedule,
                                 const Tap* tap) const {
    std::vector<at::Tensor> parts;
    for (std::size_t first = 0; first < texts.size(); first += kTexts) {
        run_on_devices(schedule, [&] {
            const std::size_t last = std::min(texts.size(), first + kTexts);
            const auto count = static_cast<int64_t>(last - first);
            // Texts end at different tokens. What comes after a text's end does not change it.
            std::vector<int64_t> ends;
            for (std::size_t i = first; i < last; ++i)
                ends.push_back(owlv2::read_length(texts[i]) - 1);
            const int64_t length = *std::max_element(ends.begin(), ends.end()) + 1;
            std::vector<int64_t> ids(static_cast<std::size_t>(count * length), 0);
            for (int64_t i = 0; i < count; ++i) {
                const TokenIds& text = texts[first + static_cast<std::size_t>(i)];
                std::copy_n(text.begin(), ends[static_cast<std::size_t>(i)] + 1,
                            ids.begin() + i * length);
                ends[static_cast<std::size_t>(i)] += i * length;
            }
            const auto placed = [&](const std::vector<int64_t>& numbers) {
                return at::tensor(numbers).to(placement_.device);
            };
            at::Tensor x = tokens_.index_select(0, placed(ids)).view({count, length, -1}) +
                           positions_.narrow(0, 0, length);
            const at::Tensor later = causal_.narrow(0, 0, length).narrow(1, 0, length).contiguous();
            for (const ClipLayer& layer : layers_) x = layer(x, later);
            const at::Tensor last_tokens = norm_(x.flatten(0, 1).index_select(0, placed(ends)));
            const at::Tensor vectors = projection_(last_tokens).to(at::kFloat);
            check_finite(vectors, config_.family + "'s text tower");
            parts.push_back(on_host(vectors / vectors.square().sum(1, true).sqrt()));
        });
    }
    at::Tensor all;
    run_on_devices(schedule, [&] {
        all = parts.size() == 1 ? parts.front() : at::cat(parts);
        tell(tap, "texts", all);
    });
    return all;
}

}  // namespace segrid::plain
