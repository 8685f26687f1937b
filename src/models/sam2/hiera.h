// SAM 2's image encoder: Hiera (Ryali et al. 2023, "Hiera: a hierarchical vision transformer
// without the bells-and-whistles"), which has four stages, each with half the grid of the one
// before, and a neck that brings three of them to the decoder's width ("SAM 2", section C.1).
//   patches -> + positions -> blocks of four stages -> neck
#pragma once

#include <array>
#include <vector>

#include "models/sam2/config.h"
#include "models/segmentation.h"
#include "nn/transformer.h"

namespace segrid::sam2 {

// Overlapping patches to tokens, with one product per grid row. Positions are the sum of a coarse
// table, enlarged, and the table of a window, repeated.
class PatchEmbed {
public:
    PatchEmbed(const WeightScope& scope, const HieraConfig& config);
    // Writes the tokens of grid row y to out[grid, hidden]. The input must be packed RGB floats in
    // 0..255.
    void operator()(int64_t y, const ModelInput& input, float* out, Arena& arena) const;

private:
    int64_t image_, kernel_, stride_, padding_, grid_, hidden_;
    Linear projection_;
    at::Tensor positions_;  // [grid * grid, hidden]
};

// Windows next to each other in a row of windows.
struct WindowRow {
    int64_t y = 0, x = 0, count = 0;  // of the first one, in windows
};

// x = shortcut + attention(norm(x)); x += mlp(norm(x)). The first block of every later stage also
// widens: its shortcut is a projection, and queries and shortcut are max-pooled to the next grid.
class Block {
public:
    // first: whether the block is the first of its stage. layer: its index over all stages.
    Block(const WeightScope& scope, const HieraConfig& config, int64_t stage, bool first,
          int64_t layer);
    at::Tensor operator()(const at::Tensor& tokens, TokenBuffers& buffers,
                          const Schedule& schedule) const;

private:
    // All at once for a few windows, whose tokens stay in the caches meanwhile.
    bool fits_windows() const;
    at::Tensor by_windows(const at::Tensor& tokens, const Schedule& schedule) const;
    void in_windows(const WindowRow& windows, const float* x, float* out, Arena& arena) const;
    // Pools rows of `out_` channels, which are the tokens of windows.
    Rows<float> pooled(int64_t windows, Rows<float> x, Arena& arena) const;
    // One step after the other for all tokens.
    at::Tensor by_steps(const at::Tensor& tokens, TokenBuffers& buffers,
                        const Schedule& schedule) const;

    int64_t side_, in_, out_, pool_, window_;
    LayerNorm norm_;
    Linear qkv_, shortcut_, projection_;
    GridSelfAttention attention_;
    ResidualMlp mlp_;
};

// A 1x1 convolution of each stage. The image tokens also take the coarsest stage, enlarged. The
// decoder's own 1x1 convolutions of the two finer levels are multiplied into those of the neck.
class Neck {
public:
    Neck(const WeightScope& vision, const WeightScope& decoder, const ImageConfig& config);
    // The convolution of a stage's tokens; undefined for the coarsest stage if the image tokens do
    // not take it.
    at::Tensor lateral(std::size_t stage, const at::Tensor& tokens, const Schedule& schedule) const;
    // laterals: of all stages. Returns the image tokens [., fpn], then features at twice
    // [., fpn / 4] and at four times [., fpn / 8] their resolution.
    Features operator()(std::array<at::Tensor, kStages> laterals, const Schedule& schedule) const;

private:
    int64_t fpn_;
    bool top_down_;
    std::array<int64_t, kStages> sides_{};
    std::array<Linear, kStages> lateral_;  // by stage
};

class Hiera {
public:
    Hiera(const WeightScope& vision, const WeightScope& decoder, const Sam2Config& config);
    // Returns the features of the neck. tap may be null.
    Features operator()(const ModelInput& input, const Schedule& schedule, const Tap* tap) const;

private:
    HieraConfig config_;
    PatchEmbed patches_;
    std::vector<std::vector<Block>> stages_;
    Neck neck_;
};

}  // namespace segrid::sam2
