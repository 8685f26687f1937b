#include "kernels/gemm/op.h"

#include <algorithm>
#include <string>
#include <vector>

#include "core/cpu.h"
#include "core/error.h"
#include "core/trace.h"
#include "kernels/gemm/implementations.h"
#include "kernels/gemm/torch_int8.h"
#include "kernels/rows/op.h"

namespace segrid {

namespace {

const gemm::Fp32Implementation& fp32_implementation() {
    static const KernelTables<gemm::Fp32Implementation> kernel(
        "gemm", {{"brgemm", cpu_features().avx512 ? &gemm::fp32_brgemm() : nullptr},
                 {"avx2", cpu_features().avx2 ? &gemm::fp32_avx2() : nullptr},
                 {"plain", &gemm::fp32_plain()}});
    return *kernel;
}

const gemm::Bf16Implementation& bf16_implementation() {
    const bool amx = cpu_features().amx, instructions = cpu_features().avx512_bf16;
    using Entry = KernelTables<gemm::Bf16Implementation>::Entry;
    const Entry brgemm{"brgemm", amx || instructions ? &gemm::bf16_brgemm() : nullptr};
    const Entry own{"avx512bf16", instructions ? &gemm::bf16_avx512bf16() : nullptr};
    static const KernelTables<gemm::Bf16Implementation> kernel(
        "gemm_bf16", {amx ? brgemm : own,
                      amx ? own : brgemm,
                      {"avx2", cpu_features().avx2 ? &gemm::bf16_avx2() : nullptr},
                      {"plain", &gemm::bf16_plain()}});
    return *kernel;
}

const gemm::Int8Implementation& int8_implementation() {
    const bool amx = cpu_features().amx, vnni = cpu_features().avx512_vnni;
    using Entry = KernelTables<gemm::Int8Implementation>::Entry;
    const Entry brgemm{"brgemm", amx || vnni ? &gemm::int8_brgemm() : nullptr},
        own{"avx512vnni", vnni ? &gemm::int8_avx512vnni() : nullptr};
    static const KernelTables<gemm::Int8Implementation> kernel(
        "gemm_int8", {amx ? brgemm : own,
                      amx ? own : brgemm,
                      {"avxvnni", cpu_features().avx_vnni ? &gemm::int8_avxvnni() : nullptr},
                      {"avx2", cpu_features().avx2 ? &gemm::int8_avx2() : nullptr},
                      {"plain", &gemm::int8_plain()}});
    return *kernel;
}

[[maybe_unused]] const bool registered =
    (fp32_implementation(), bf16_implementation(), int8_implementation(), true);

// Releases, after the last of several products, the resources that an implementation holds.
class ReleaseAtEnd {
public:
    explicit ReleaseAtEnd(Precision precision)
        : leave_(precision == Precision::Int8   ? int8_implementation().leave
                 : precision == Precision::Bf16 ? bf16_implementation().leave
                                                : nullptr) {}
    ~ReleaseAtEnd() {
        if (leave_ != nullptr) leave_();
    }
    ReleaseAtEnd(const ReleaseAtEnd&) = delete;
    ReleaseAtEnd& operator=(const ReleaseAtEnd&) = delete;

private:
    void (*leave_)();
};

// Memory that grows to the largest tile. Its rows begin with a cache line, because an instruction
// of AMX that reads across two of them takes twice the time.
class Lines {
public:
    std::byte* at_least(int64_t bytes) {
        const auto lines = static_cast<std::size_t>((bytes + kBytes - 1) / kBytes);
        if (lines_.size() < lines) lines_.resize(lines);
        return lines_.front().bytes;
    }

private:
    static constexpr int64_t kBytes = 64;
    struct alignas(kBytes) Line {
        std::byte bytes[kBytes];
    };
    std::vector<Line> lines_ = std::vector<Line>(1);
};

// A strip asks for its share of `next`; by default that is the beginning of the next strip.
void times_fp32(int64_t m, int64_t n, int64_t k, Rows<const float> a, const Factor& b,
                Rows<float> c, bool accumulate, std::span<const ReadNext> next) {
    constexpr int64_t kBeginning = 256;
    const gemm::Fp32Implementation& by = fp32_implementation();
    if (b.strip == 0) {
        by.product(m, n, k, a, {b.fp32, b.ld}, c, accumulate,
                   next.empty() ? ReadNext{} : next.front());
        return;
    }
    const int64_t strips = (n + b.ld - 1) / b.ld;
    ReadAhead ahead(next, strips);
    for (int64_t s = 0; s < strips; ++s) {
        const int64_t n0 = s * b.ld;
        const float* strip = b.from_column(n0).fp32;
        by.product(m, std::min(b.ld, n - n0), k, a, {strip, b.ld}, c.from_column(n0), accumulate,
                   next.empty() ? ReadNext{strip + b.strip, std::min(k, kBeginning) * b.ld * 4}
                                : ahead.next());
    }
}

// The left-hand side of a product in the precision of the right-hand side. It is rounded once and
// used for all panels.
class LeftFactor {
public:
    LeftFactor(bool bf16, int64_t m, int64_t k, Rows<const float> a)
        : fp32_(a), k_(k), release_(bf16 ? Precision::Bf16 : Precision::Fp32) {
        if (!bf16) return;
        thread_local Lines memory;  // which is safe because a thread makes one call at a time
        k_ = even(k);
        auto* rounded = reinterpret_cast<uint16_t*>(memory.at_least(2 * m * k_));
        to_bf16_rows(m, k, a.data, a.stride, rounded);
        bf16_ = {rounded, k_};
    }
    LeftFactor(int64_t k, Rows<const uint16_t> a) : bf16_(a), k_(k), release_(Precision::Bf16) {}

    void times(int64_t m, int64_t n, const Factor& b, Rows<float> c, bool accumulate,
               std::span<const ReadNext> next = {}) const {
        trace::count_product(bf16_.data != nullptr ? Precision::Bf16 : Precision::Fp32, m * n * k_);
        if (bf16_.data != nullptr) {
            bf16_implementation().product(m, n, k_, bf16_, {b.bf16, b.ld}, c, accumulate);
        } else {
            times_fp32(m, n, k_, fp32_, b, c, accumulate, next);
        }
    }

private:
    Rows<const float> fp32_;
    Rows<const uint16_t> bf16_;
    int64_t k_;
    ReleaseAtEnd release_;
};

void over_panels(const LeftFactor& left, int64_t m, int64_t n0, int64_t n, int64_t k,
                 const Factor& panels, Rows<float> c) {
    const int64_t depth = panels.bf16 != nullptr ? even(k) : k;
    for (int64_t done = 0; done < n;) {
        const int64_t column = (n0 + done) % kPanel;
        int64_t count = std::min(kPanel - column, n - done);
        const Factor panel = panels.panel((n0 + done) / kPanel, depth);
        Factor from = panel.from_column(column - column % panel.ld);
        if (const int64_t within = column % panel.ld; within != 0) {  // the rest of a strip
            count = std::min(count, panel.ld - within);
            from = Factor{from.fp32, from.bf16, from.ld}.from_column(within);
        }
        left.times(m, count, from, c.from_column(done), /*accumulate=*/false);
        done += count;
    }
}

// Rows at a time, so that the prepared part of A stays in the second-level cache; and those that
// meet a panel in int8, whose integer sums have room for so many.
constexpr int64_t kRows = 256, kInt8Rows = 64;

// The inner dimension, including the zeros that pad it.
int64_t depth(Precision precision, int64_t k) {
    return precision == Precision::Bf16   ? even(k)
           : precision == Precision::Int8 ? (k + 3) / 4 * 4
                                          : k;
}

int64_t input_bytes(Precision precision, int64_t rows, int64_t k) {
    if (precision == Precision::Int8)
        return rows * (static_cast<int64_t>(sizeof(RowScale)) + depth(precision, k));
    return precision == Precision::Bf16 ? rows * depth(precision, k) * 2 : 0;
}

LinearInput prepare(int64_t rows, int64_t k, Rows<const float> a, const PackedMatrix& w,
                    std::byte* memory) {
    const int64_t ld = depth(w.precision(), k);
    if (w.precision() == Precision::Bf16) {
        auto* rounded = reinterpret_cast<uint16_t*>(memory);
        to_bf16_rows(rows, k, a.data, a.stride, rounded);
        return {.rows = rows, .ld = ld, .bf16 = rounded};
    }
    if (w.precision() == Precision::Int8) {
        auto* scales = reinterpret_cast<RowScale*>(memory);
        auto* quantised = reinterpret_cast<uint8_t*>(scales + rows);
        for (int64_t i = 0; i < rows; ++i) {
            uint8_t* row = quantised + i * ld;
            if (!quantise_row(k, a[i], row, scales[i])) {
                fail(ErrorKind::Corrupt,
                     "int8: the activations in front of " + w.name() +
                         " hold NaN or Inf, for which there is no scale; precision='fp32' "
                         "shows whether the weights overflow by themselves");
            }
            std::fill(row + k, row + ld, uint8_t{0});
        }
        return {.rows = rows, .ld = ld, .int8 = quantised, .scales = scales};
    }
    return {.rows = rows, .ld = a.stride, .fp32 = a.data};
}

// A part of a weight: rows [k0, k0 + k) of columns [n0, n0 + n).
struct Part {
    int64_t k0, k, n0, n;
};

void finish(int64_t rows, int64_t nc, Rows<float> out, const float* bias, Activation activation) {
    for (int64_t r = 0; bias != nullptr && r < rows; ++r) add(nc, out[r], bias, out[r]);
    if (activation == Activation::Gelu) gelu_rows(rows, nc, out.data, out.stride);
    for (int64_t r = 0; activation == Activation::QuickGelu && r < rows; ++r)
        quick_gelu(nc, out[r]);
    for (int64_t r = 0; activation == Activation::Relu && r < rows; ++r) relu(nc, out[r]);
}

// Multiplies at most kRows prepared rows, which read each panel together.
void product(const LinearInput& a, const PackedMatrix& w, const Part& part, Rows<float> out,
             bool accumulate, const Epilogue& epilogue) {
    const int64_t k = depth(w.precision(), part.k);
    const ReleaseAtEnd release(w.precision());
    trace::count_product(w.precision(), a.rows * part.n * part.k);
    for (int64_t c = 0; c < part.n; c += kPanel) {
        const int64_t n = std::min(kPanel, part.n - c), panel = (part.n0 + c) / kPanel;
        const Rows<float> to = out.from_column(c);
        const float* bias = epilogue.bias != nullptr ? epilogue.bias + part.n0 + c : nullptr;
        if (w.precision() == Precision::Int8) {
            alignas(64) int32_t offsets[kPanel];
            w.sums(panel, part.k0, part.k0 + part.k, offsets);
            for (int64_t r = 0; r < a.rows; r += kInt8Rows) {
                const LinearInput rows = a.from_row(r);
                int8_implementation().product(std::min(kInt8Rows, rows.rows), n, k,
                                              {rows.int8, rows.ld}, w.panel_int8(panel, part.k0),
                                              to.from_row(r), accumulate,
                                              {rows.scales, offsets, w.scales(panel), bias});
            }
            bias = nullptr;
        } else {
            const Factor of = w.panel(panel).from_row(part.k0);
            if (w.precision() == Precision::Bf16)
                bf16_implementation().product(a.rows, n, k, {a.bf16, a.ld}, {of.bf16, of.ld}, to,
                                              accumulate);
            else times_fp32(a.rows, n, k, {a.fp32, a.ld}, of, to, accumulate, {});
        }
        finish(a.rows, n, to, bias, epilogue.activation);
    }
}

// Multiplies rows that have not been prepared, tile by tile.
void product(int64_t rows, Rows<const float> a, const PackedMatrix& w, const Part& part,
             Rows<float> out, bool accumulate, const Epilogue& epilogue) {
    if (w.torch() != nullptr) {
        if (part.k != w.k() || part.n != w.n()) internal("linear: int8-torch has no parts");
        trace::count_product(w.precision(), rows * part.n * part.k);
        w.torch()->product(rows, a, out, accumulate);
        return finish(rows, w.n(), out, epilogue.bias, epilogue.activation);
    }
    thread_local Lines memory;  // which is safe because a thread makes one call at a time
    std::byte* prepared = memory.at_least(input_bytes(w.precision(), kRows, part.k));
    for (int64_t r0 = 0; r0 < rows; r0 += kRows) {
        const LinearInput tile =
            prepare(std::min(kRows, rows - r0), part.k, a.from_row(r0), w, prepared);
        product(tile, w, part, out.from_row(r0), accumulate, epilogue);
    }
}

// Whether out already holds the residual: then out = product + bias + out needs no extra memory.
bool in_place(const Epilogue& e, const float* out) {
    const bool there = e.residual == out && e.activation == Activation::None;
    if (e.residual != nullptr && !there)
        internal("linear: the residual is added in place, without an activation");
    return there;
}

}  // namespace

LinearInput LinearInput::from_row(int64_t r) const {
    return {rows - r,
            ld,
            fp32 != nullptr ? fp32 + r * ld : nullptr,
            bf16 != nullptr ? bf16 + r * ld : nullptr,
            int8 != nullptr ? int8 + r * ld : nullptr,
            scales != nullptr ? scales + r : nullptr};
}

int64_t strip_width() { return fp32_implementation().strip; }

int64_t narrowest(Precision precision) {
    return precision == Precision::Fp32 ? fp32_implementation().narrowest : 16;
}

void matmul(int64_t m, int64_t n, int64_t k, Rows<const float> a, const Factor& b, Rows<float> c,
            bool accumulate, std::span<const ReadNext> next) {
    if (m > 0 && n > 0) LeftFactor(b.bf16 != nullptr, m, k, a).times(m, n, b, c, accumulate, next);
}

void matmul(int64_t m, int64_t n, int64_t k, Rows<const uint16_t> a, const Factor& b, Rows<float> c,
            bool accumulate) {
    if (m > 0 && n > 0) LeftFactor(k, a).times(m, n, b, c, accumulate);
}

void matmul_panels(int64_t m, int64_t n0, int64_t n, int64_t k, Rows<const float> a,
                   const Factor& panels, Rows<float> c) {
    over_panels(LeftFactor(panels.bf16 != nullptr, m, k, a), m, n0, n, k, panels, c);
}

void matmul_panels(int64_t m, int64_t n0, int64_t n, int64_t k, Rows<const uint16_t> a,
                   const Factor& panels, Rows<float> c) {
    over_panels(LeftFactor(k, a), m, n0, n, k, panels, c);
}

bool sums_can_start() { return bf16_implementation().panel_from != nullptr; }

void matmul_panel(int64_t m, int64_t n0, int64_t k, Rows<const uint16_t> a, const Factor& panels,
                  Rows<float> c, const Start& start) {
    trace::count_product(Precision::Bf16, m * kPanel * k);
    bf16_implementation().panel_from(m, k, a, panels.from_row(n0 / kPanel * k).bf16, c, start);
}

void linear_part(int64_t rows, Rows<const float> a, const PackedMatrix& w, int64_t k0,
                 int64_t count, Rows<float> out, bool accumulate) {
    product(rows, a, w, {.k0 = k0, .k = count, .n0 = 0, .n = w.n()}, out, accumulate, {});
}

LinearInput linear_input(int64_t rows, Rows<const float> a, const PackedMatrix& w, Arena& arena) {
    if (w.torch() != nullptr) internal("linear: int8-torch takes rows as they are");
    return prepare(rows, w.k(), a, w,
                   arena.take<std::byte>(input_bytes(w.precision(), rows, w.k())));
}

void linear_columns(const LinearInput& a, const PackedMatrix& w, int64_t n0, int64_t count,
                    Rows<float> out, const Epilogue& e) {
    const bool fits = w.precision() == Precision::Int8   ? a.int8 != nullptr
                      : w.precision() == Precision::Bf16 ? a.bf16 != nullptr
                                                         : a.fp32 != nullptr;
    if (!fits || w.torch() != nullptr)
        internal("linear: rows were prepared for a weight in another precision");
    const bool accumulate = in_place(e, out.data);
    for (int64_t r0 = 0; r0 < a.rows; r0 += kRows) {
        LinearInput tile = a.from_row(r0);
        tile.rows = std::min(kRows, tile.rows);
        product(tile, w, {.k0 = 0, .k = w.k(), .n0 = n0, .n = count}, out.from_row(r0), accumulate,
                e);
    }
}

void linear(int64_t rows, Rows<const float> a, const PackedMatrix& w, Rows<float> out,
            const Epilogue& e) {
    product(rows, a, w, {.k0 = 0, .k = w.k(), .n0 = 0, .n = w.n()}, out, in_place(e, out.data), e);
}

}  // namespace segrid
