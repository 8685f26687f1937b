#include <ATen/Functions.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "models/owlv2/towers.h"

namespace segrid::owlv2 {

int64_t read_length(const TokenIds& ids) {
    return std::max_element(ids.begin(), ids.end()) - ids.begin() + 1;
}

void check_texts(const std::vector<TokenIds>& texts, const Owlv2Config& config) {
    for (std::size_t i = 0; i < texts.size(); ++i) {
        for (const int64_t id : texts[i]) {
            if (id < 0 || id >= config.vocabulary)
                invalid("text " + std::to_string(i) + ": token " + std::to_string(id) +
                        " is outside the vocabulary of " + std::to_string(config.vocabulary));
        }
        if (texts[i].empty() || static_cast<int64_t>(texts[i].size()) > config.length) {
            invalid("text " + std::to_string(i) + ": " + std::to_string(texts[i].size()) +
                    " tokens; from 1 to " + std::to_string(config.length) + " are possible");
        }
    }
}

TextTower::TextTower(const WeightScope& root, const Owlv2Config& c) : config_(c) {
    const WeightScope tower = root / c.family / "text_model";
    tokens_ =
        (tower / "embeddings" / "token_embedding").tensor("weight", {c.vocabulary, c.text.hidden});
    positions_ =
        (tower / "embeddings" / "position_embedding").tensor("weight", {c.length, c.text.hidden});
    norm_ = LayerNorm(tower / "final_layer_norm", c.text.hidden, c.text.eps);
    for (int64_t i = 0; i < c.text.layers; ++i)
        layers_.emplace_back(tower / "encoder" / "layers" / i, c.text);
    projection_ = Linear(root / c.family / "text_projection", c.text.hidden, c.text.hidden, false);
}

at::Tensor TextTower::operator()(const std::vector<TokenIds>& texts, const Schedule& schedule,
                                 const Tap* tap) const {
    const int64_t hidden = config_.text.hidden;
    std::vector<std::vector<std::size_t>> groups;  // texts that share a tile of rows
    int64_t rows = kRowTile;
    for (std::size_t i = 0; i < texts.size(); ++i) {
        const int64_t length = read_length(texts[i]);
        if (groups.empty() || rows + length > kRowTile) {
            groups.emplace_back();
            rows = 0;
        }
        groups.back().push_back(i);
        rows += length;
    }
    at::Tensor out = at::empty({static_cast<int64_t>(texts.size()), hidden});
    float* embedded = out.mutable_data_ptr<float>();
    parallel_for(static_cast<int64_t>(groups.size()), schedule, [&](int64_t g, Worker& worker) {
        std::vector<int64_t> lengths;
        for (const std::size_t i : groups[static_cast<std::size_t>(g)])
            lengths.push_back(read_length(texts[i]));
        float* x = worker.arena.take<float>(
            std::accumulate(lengths.begin(), lengths.end(), int64_t{0}) * hidden);
        float* to = x;
        for (std::size_t n = 0; n < lengths.size(); ++n) {
            const TokenIds& ids = texts[groups[static_cast<std::size_t>(g)][n]];
            for (int64_t t = 0; t < lengths[n]; ++t, to += hidden) {
                add(hidden,
                    tokens_.const_data_ptr<float>() + ids[static_cast<std::size_t>(t)] * hidden,
                    positions_.const_data_ptr<float>() + t * hidden, to);
            }
        }
        for (const EncoderLayer& layer : layers_) layer.causal(lengths, x, worker.arena);
        float* last = worker.arena.take<float>(hidden);
        int64_t end = 0;
        for (std::size_t n = 0; n < lengths.size(); ++n) {
            end += lengths[n];
            norm_(1, x + (end - 1) * hidden, last);
            float* row =
                embedded + static_cast<int64_t>(groups[static_cast<std::size_t>(g)][n]) * hidden;
            projection_(1, last, hidden, row, hidden);
            scale_row(hidden, 1.0F / std::sqrt(std::inner_product(row, row + hidden, row, 0.0F)),
                      row);
        }
    });
    if (tap != nullptr) (*tap)("texts", out.clone());
    return out;
}

}  // namespace segrid::owlv2
