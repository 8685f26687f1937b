#include "models/mask_decoder/two_way_transformer.h"

#include <algorithm>
#include <array>
#include <string>

#include "core/trace.h"

namespace segrid::mask_decoder {
namespace {

// The image tokens are always swept in this many ranges, so that one click can use all workers with
// the same bits as one worker.
constexpr int64_t kRanges = 8;
constexpr int64_t kTile = 64;

// rows + position
float* placed(int64_t count, int64_t dim, const float* rows, const float* position, Arena& arena) {
    float* sum = arena.take<float>(count * dim);
    add(count * dim, rows, position, sum);
    return sum;
}

// Copies the rows of the given tokens.
float* gather(const std::vector<int64_t>& tokens, int64_t dim, const float* rows, Arena& arena) {
    float* own = arena.take<float>(static_cast<int64_t>(tokens.size()) * dim);
    for (std::size_t i = 0; i < tokens.size(); ++i)
        std::copy_n(rows + tokens[i] * dim, dim, own + static_cast<int64_t>(i) * dim);
    return own;
}

}  // namespace

// Two parts run in fp32 in every precision: the tokens, because they are few, and the update of the
// keys, because every later layer would read its rounding errors.
TwoWayLayer::TwoWayLayer(const WeightScope& s, const Shape& c, bool first)
    : TwoWayLayer(s, s.in(Precision::Fp32), c, first) {}

TwoWayLayer::TwoWayLayer(const WeightScope& s, const WeightScope& exact, const Shape& c, bool first)
    : dim_(c.dim),
      mlp_(c.mlp),
      first_(first),
      self_(exact / "self_attn", c.dim, c.heads, c.sam2_names),
      norm1_(s / "layer_norm1", c.dim, c.eps),
      norm2_(s / "layer_norm2", c.dim, c.eps),
      norm3_(s / "layer_norm3", c.dim, c.eps),
      norm4_(s / "layer_norm4", c.dim, c.eps),
      mlp1_(exact / "mlp" / (c.sam2_names ? "proj_in" : "lin1"), c.dim, c.mlp),
      mlp2_(exact / "mlp" / (c.sam2_names ? "proj_out" : "lin2"), c.mlp, c.dim),
      read_(s / "cross_attn_token_to_image", c.dim, c.downsample, c.sam2_names),
      update_(exact / "cross_attn_image_to_token", c.dim, c.downsample, c.sam2_names) {}

void TwoWayLayer::begin(int64_t tokens, float* q, const float* position, Arena& arena) const {
    const Arena::Lifetime scope(arena);
    float* attended = arena.take<float>(tokens * dim_);
    if (first_) {  // the first layer adds no position and has no residual
        self_(tokens, q, q, attended, arena);
        std::copy_n(attended, tokens * dim_, q);
    } else {
        self_(tokens, placed(tokens, dim_, q, position, arena), q, attended, arena);
        add(tokens * dim_, q, attended, q);
    }
    norm1_(tokens, q, q);
}

void TwoWayLayer::end(int64_t tokens, float* q, Arena& arena) const {
    const Arena::Lifetime scope(arena);
    norm2_(tokens, q, q);
    float* inner = arena.take<float>(tokens * mlp_);
    mlp1_(tokens, q, dim_, inner, mlp_, Activation::Relu);
    mlp2_.add_to(tokens, inner, mlp_, q, dim_);
    norm3_(tokens, q, q);
}

TwoWayTransformer::TwoWayTransformer(const WeightScope& s, const Shape& c,
                                     const at::Tensor& position)
    : shape_(c),
      precision_(s.precision()),
      position_(position),
      final_read_(s / "final_attn_token_to_image", c.dim, c.downsample, c.sam2_names),
      final_norm_(s / "layer_norm_final_attn", c.dim, 1e-5F) {
    for (int64_t i = 0; i < c.layers; ++i)
        layers_.emplace_back(s / "layers" / std::to_string(i), c, i == 0);
    std::vector<at::Tensor> maps;  // of the updates so far: see KeyDeviation
    at::Tensor beta = at::zeros({c.dim});
    fixed_reads_.emplace_back();  // layer 1's keys have not been updated
    fixed_updates_.emplace_back();
    for (std::size_t i = 0; i < layers_.size(); ++i) {
        const LayerNorm& norm = layers_[i].update_norm();
        const ImageToToken& update = layers_[i].update();
        maps.push_back(at::cat({update.output(), (update.output_bias() + beta).view({1, c.dim})}));
        for (at::Tensor& map : maps) map = map - map.mean(1, /*keepdim=*/true);
        deviations_.emplace_back(maps);
        for (at::Tensor& map : maps) map = map * norm.gamma_tensor();
        beta = norm.beta_tensor();
        const at::Tensor placed = position + beta;
        const bool last = i + 1 == layers_.size();
        fixed_reads_.push_back((last ? final_read_ : layers_[i + 1].read()).fix(placed, beta, {}));
        if (!last) fixed_updates_.push_back(layers_[i + 1].update().fix(placed, {}));
    }
}

at::Tensor TwoWayTransformer::share(const at::Tensor& keys, const Schedule& schedule,
                                    SharedImage& shared) const {
    KeysOfImage image{.keys = keys, .placed = {}};
    run_in_worker(schedule, [&] { image.placed = keys + position_; });
    for (std::size_t i = 0; i < layers_.size(); ++i) {
        const TwoWayLayer& layer = layers_[i];
        shared.reads.push_back(layer.read().share(image, fixed_reads_[i], schedule));
        shared.updates.push_back(layer.update().share(image, fixed_updates_[i], schedule));
        shared.updates.back().deviation = deviations_[i].share(image.keys, schedule);
        run_in_worker(schedule, [&] {
            const LayerNorm& norm = layer.update_norm();
            image.keys = (image.keys - image.keys.mean(1, /*keepdim=*/true)) * norm.gamma_tensor();
        });
        image.placed.reset();
    }
    shared.reads.push_back(final_read_.share(image, fixed_reads_.back(), schedule));
    return image.keys;
}

FinalKeys TwoWayTransformer::final_keys(const ImageTokens& image, int64_t count,
                                        Arena& arena) const {
    FinalKeys final{.updated = {}, .basis = {}};
    const int64_t all = static_cast<int64_t>(layers_.size()) * sweep_shape(count).columns();
    // With more tokens, products with the weights are no smaller than those with the keys.
    if (image.shared == nullptr || 2 * all > shape_.dim) {
        final.keys = arena.take<float>(image.count * shape_.dim);
        return final;
    }
    final.shared = image.shared;
    final.updated = {arena.take<float>(image.count), {arena.take<float>(image.count * all), all}};
    final.basis.rows = arena.take<float>(all * shape_.dim);
    return final;
}

void TwoWayTransformer::operator()(const ImageTokens& image, int64_t count, float* q,
                                   const std::vector<int64_t>& wanted, FinalKeys& final,
                                   const Schedule& schedule, Arena& arena) const {
    const Arena::Lifetime scope(arena);
    const int64_t dim = shape_.dim, size = count * dim, kept = static_cast<int64_t>(wanted.size());
    const TwoWayShape shape = sweep_shape(count);
    // The image side of attention i of its kind, if prompts share it. Layer 1's keys are those of
    // the image; later ones are shared if what updates have made of them is kept.
    const auto side_of = [&](std::vector<SharedSide> SharedImage::*sides, std::size_t i) {
        const SharedImage* shared = i == 0 ? image.shared : final.shared;
        return shared != nullptr ? &(shared->*sides)[i] : nullptr;
    };
    float* position = arena.take<float>(size);  // the prompt tokens are their own positions
    std::copy_n(q, size, position);
    const int64_t range = ((image.count + kRanges - 1) / kRanges + kTile - 1) / kTile * kTile;
    const int64_t ranges = (image.count + range - 1) / range;

    const float* keys = image.keys;
    ImageUpdate update;  // of the previous layer
    for (std::size_t i = 0; i <= layers_.size(); ++i) {
        const bool last = i == layers_.size();
        const TokenToImage& reader = last ? final_read_ : layers_[i].read();
        const SharedSide* side = side_of(&SharedImage::reads, i);

        // Tokens: attend to each other, then prepare the queries to the image. Only the wanted
        // tokens take part in the last read.
        TokenRead read;
        std::array<TokenPartial, kRanges> partials;
        run_in_worker(schedule, [&] {
            const Span span("tokens");
            if (!last) layers_[i].begin(count, q, position, arena);
            const float* asking = placed(count, dim, q, position, arena);
            TwoWayShape askers = shape;
            if (last) {
                askers.tokens = kept;
                asking = gather(wanted, dim, asking, arena);
            }
            read = reader.fold(askers, asking, side, final.basis, arena);
            for (int64_t r = 0; r < ranges; ++r)
                partials[static_cast<std::size_t>(r)] = TokenPartial(read, arena);
        });

        // Image: one sweep applies the update of the previous layer and reads the keys for this
        // one.
        const TwoWaySweep sweep{.precision = precision_,
                                .keys_in = keys,
                                .keys_out = final.keys,
                                .position = image.position,
                                .update = i > 0 ? &update : nullptr,
                                .read = &read,
                                .updated = final.shared != nullptr ? &final.updated : nullptr};
        parallel_for(ranges, schedule, [&](int64_t r, Worker& worker) {
            const Span span("sweep", r);
            two_way_sweep(sweep, r * range, std::min(image.count, (r + 1) * range),
                          partials[static_cast<std::size_t>(r)], worker.arena);
        });
        if (i > 0) keys = final.keys;

        // Tokens: take the values that were read, then prepare the update of the image.
        run_in_worker(schedule, [&] {
            const Span span("tokens");
            for (int64_t r = 1; r < ranges; ++r) {
                merge(read, partials[0], partials[static_cast<std::size_t>(r)]);
            }
            if (last) {
                float* answers = gather(wanted, dim, q, arena);
                reader.finish(read, partials[0], side, final.basis, answers, arena);
                final_norm_(kept, answers, answers);
                for (int64_t t = 0; t < kept; ++t)
                    std::copy_n(answers + t * dim, dim,
                                q + wanted[static_cast<std::size_t>(t)] * dim);
                return;
            }
            reader.finish(read, partials[0], side, final.basis, q, arena);
            layers_[i].end(count, q, arena);
            update = layers_[i].update().fold(shape, placed(count, dim, q, position, arena), q,
                                              side_of(&SharedImage::updates, i),
                                              layers_[i].update_norm(), final.basis, arena);
        });
    }
}

}  // namespace segrid::mask_decoder
