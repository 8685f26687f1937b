// Products by register tiles of 6 x 16 or 4 x 16 sums, or 12 x 8, for CPUs without AVX-512. The
// files that include this are compiled for one instruction set each, so everything here has
// internal linkage.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/rows.h"
#include "kernels/gemm/panel.h"

namespace segrid::gemm {
namespace {

// Both factors are read in words of 32 bits: one fp32 number, two 16-bit numbers or four bytes of
// consecutive k. A row of the right-hand side has one word for each column.
using Word = int32_t;

constexpr int kTileColumns = 16, kHalfTile = 8;
// Rows of words at a time. The 16 columns of a strip then take 16 KB of the first-level cache, and
// the strips of a panel 64 KB of the second-level cache.
constexpr int64_t kDepth = 256;

inline __m256i words(const Word* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
inline void set_words(Word* p, __m256i v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }

// A mask of the first `lanes` of 8 lanes.
inline __m256i lanes_of(int64_t lanes) {
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(std::clamp<int64_t>(lanes, 0, 8))),
                              index);
}

// The sums of a tile's columns in memory: all 16 columns (WholeTile), fewer (PartTile), or 8
// (HalfTile).
struct WholeTile {
    static constexpr int kHalves = 2;
    __m256i load(const Word* p, int) const { return words(p); }
    void store(Word* p, int, __m256i v) const { set_words(p, v); }
};
struct HalfTile : WholeTile {
    static constexpr int kHalves = 1;
};
struct PartTile {
    static constexpr int kHalves = 2;
    __m256i mask[2];
    explicit PartTile(int64_t columns) : mask{lanes_of(columns), lanes_of(columns - 8)} {}
    __m256i load(const Word* p, int half) const { return _mm256_maskload_epi32(p, mask[half]); }
    void store(Word* p, int half, __m256i v) const { _mm256_maskstore_epi32(p, mask[half], v); }
};

// Integer sums in registers; Fp32 in avx2.cpp is the same for numbers. kRows: of a tile. kWords: of
// a row and of a column that are multiplied together.
struct Integers {
    static constexpr int kRows = 6, kWords = 1;
    using Vector = __m256i;
    static Vector from_words(__m256i v) { return v; }
    static __m256i to_words(Vector v) { return v; }
    static Vector broadcast(const Word* p) { return _mm256_set1_epi32(*p); }
};

// Adds the products of W words of each row and of each column, from word j on. It is a part of the
// caller, so that the sums stay in registers.
template <class Form, int W, int R, int H>
[[gnu::always_inline]] inline void add_words(int64_t j, Rows<const Word> a, Rows<const Word> b,
                                             typename Form::Vector (&sums)[R][H]) {
    typename Form::Vector x[W], y[H][W];
#pragma GCC unroll 2
    for (int w = 0; w < W; ++w) {
#pragma GCC unroll 2
        for (int half = 0; half < H; ++half)
            y[half][w] = Form::from_words(words(b[j + w] + 8 * half));
    }
#pragma GCC unroll 12
    for (int i = 0; i < R; ++i) {
#pragma GCC unroll 2
        for (int w = 0; w < W; ++w) x[w] = Form::broadcast(a[i] + j + w);
#pragma GCC unroll 2
        for (int half = 0; half < H; ++half) sums[i][half] = Form::add(sums[i][half], x, y[half]);
    }
}

// Memory that is read next. Each tile asks for its share of it, a line with every step of the
// tile's loop: a core waits when it has asked for too much at once.
class Ahead {
public:
    Ahead() = default;
    Ahead(const void* begin, int64_t bytes, int64_t tiles)
        : at_(static_cast<const char*>(begin)),
          lines_(bytes / kLine),
          share_((lines_ + tiles - 1) / tiles) {}

    struct Share {
        const char* at = nullptr;
        int64_t lines = 0;
        void ask(int64_t line) const { _mm_prefetch(at + line * kLine, _MM_HINT_T1); }
    };
    Share next() {
        const Share share{at_, std::min(share_, lines_)};
        at_ += share.lines * kLine;
        lines_ -= share.lines;
        return share;
    }

private:
    static constexpr int64_t kLine = 64;
    const char* at_ = nullptr;
    int64_t lines_ = 0, share_ = 0;
};

// Form::add(sums, x, y) adds to 8 sums the products of the numbers in the words of x and y.
template <class Form, int R, class Tile>
void tile_product(const Tile& tile, int64_t depth, Rows<const Word> a, Rows<const Word> b,
                  Rows<Word> c, bool accumulate, const Ahead::Share& ahead) {
    constexpr int H = Tile::kHalves;
    typename Form::Vector sums[R][H];
#pragma GCC unroll 12
    for (int i = 0; i < R; ++i) {
#pragma GCC unroll 2
        for (int half = 0; half < H; ++half)
            sums[i][half] = Form::from_words(accumulate ? tile.load(c[i] + 8 * half, half)
                                                        : _mm256_setzero_si256());
    }
    int64_t j = 0;
    for (const int64_t stop = std::min(depth, ahead.lines); j + Form::kWords <= stop;
         j += Form::kWords) {
#pragma GCC unroll 2
        for (int w = 0; w < Form::kWords; ++w) ahead.ask(j + w);
        add_words<Form, Form::kWords>(j, a, b, sums);
    }
    for (int64_t line = j; line < ahead.lines; ++line) ahead.ask(line);
    for (; j + Form::kWords <= depth; j += Form::kWords)
        add_words<Form, Form::kWords>(j, a, b, sums);
    for (; Form::kWords > 1 && j < depth; ++j) add_words<Form, 1>(j, a, b, sums);
#pragma GCC unroll 12
    for (int i = 0; i < R; ++i) {
#pragma GCC unroll 2
        for (int half = 0; half < H; ++half)
            tile.store(c[i] + 8 * half, half, Form::to_words(sums[i][half]));
    }
}

template <class Form, class Tile>
void rows_product(const Tile& tile, int64_t m, int64_t depth, Rows<const Word> a,
                  Rows<const Word> b, Rows<Word> c, bool accumulate, Ahead& ahead) {
    constexpr int kRows = Tile::kHalves == 1 ? 2 * Form::kRows : Form::kRows;
    int64_t i = 0;
    for (; i + kRows <= m; i += kRows) {
        tile_product<Form, kRows>(tile, depth, a.from_row(i), b, c.from_row(i), accumulate,
                                  ahead.next());
    }
    for (; Tile::kHalves == 1 && i + 4 <= m; i += 4) {
        tile_product<Form, 4>(tile, depth, a.from_row(i), b, c.from_row(i), accumulate,
                              ahead.next());
    }
    if (i == m) return;
    const Ahead::Share rest = ahead.next();
    a = a.from_row(i);
    c = c.from_row(i);
    switch (m - i) {
        case 1: return tile_product<Form, 1>(tile, depth, a, b, c, accumulate, rest);
        case 2: return tile_product<Form, 2>(tile, depth, a, b, c, accumulate, rest);
        case 3: return tile_product<Form, 3>(tile, depth, a, b, c, accumulate, rest);
        case 4: return tile_product<Form, 4>(tile, depth, a, b, c, accumulate, rest);
        case 5: return tile_product<Form, 5>(tile, depth, a, b, c, accumulate, rest);
        default: return;
    }
}

// next: memory that is read after a product of m rows and so many columns; may be null.
template <class Form>
Ahead ahead_of(int64_t m, int64_t columns, const void* next, int64_t bytes) {
    if (next == nullptr || m == 0) return {};
    constexpr int64_t kHigh = 2 * Form::kRows;
    if (columns == kHalfTile) return {next, bytes, m / kHigh + (m % kHigh + 3) / 4};
    const int64_t down = (m + Form::kRows - 1) / Form::kRows,
                  across = (columns + kTileColumns - 1) / kTileColumns;
    return {next, bytes, down * across};
}

// The strips of at most kPanel columns and kDepth rows of words: those of columns [16 s, 16 s + 16)
// begin at at(s). Rows of a panel are 256 bytes apart, so that 16 of its columns would share a
// quarter of the first-level cache's sets.
class Strips {
public:
    Word* at(int64_t strip) { return words_ + strip * kDepth * kTileColumns; }

    // C[m, columns] (+)= A times the strips. next: of so many bytes, or null.
    template <class Form>
    void times(int64_t m, int64_t columns, int64_t depth, Rows<const Word> a, Rows<Word> c,
               bool accumulate, const void* next, int64_t bytes) {
        Ahead ahead = ahead_of<Form>(m, columns, next, bytes);
        for (int64_t n0 = 0; n0 < columns; n0 += kTileColumns) {
            const Rows<const Word> b{at(n0 / kTileColumns), kTileColumns};
            const Rows<Word> to = c.from_column(n0);
            if (columns - n0 >= kTileColumns)
                rows_product<Form>(WholeTile{}, m, depth, a, b, to, accumulate, ahead);
            else rows_product<Form>(PartTile(columns - n0), m, depth, a, b, to, accumulate, ahead);
        }
    }

private:
    alignas(64) Word words_[kPanel * kDepth];
};

// Copies rows of words into strips.
[[maybe_unused]] void copy_strips(int64_t columns, int64_t depth, Rows<const Word> b,
                                  Strips& strips) {
    for (int64_t n0 = 0; n0 < columns; n0 += kTileColumns) {
        Word* to = strips.at(n0 / kTileColumns);
        if (columns - n0 >= kTileColumns) {
            for (int64_t j = 0; j < depth; ++j) {
                set_words(to + 16 * j, words(b[j] + n0));
                set_words(to + 16 * j + 8, words(b[j] + n0 + 8));
            }
        } else {
            const PartTile part(columns - n0);
            for (int64_t j = 0; j < depth; ++j) {
                set_words(to + 16 * j, part.load(b[j] + n0, 0));
                set_words(to + 16 * j + 8, part.load(b[j] + n0 + 8, 1));
            }
        }
    }
}

}  // namespace
}  // namespace segrid::gemm
