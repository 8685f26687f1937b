// GFLOP/s of one core that does nothing but fused multiply-adds in fp32, on the widest vectors the
// compiler finds (-march=native).
#include <chrono>
#include <cstdio>

#if defined(__AVX512F__)
typedef float Vector __attribute__((vector_size(64)));
#elif defined(__AVX__)
typedef float Vector __attribute__((vector_size(32)));
#else
typedef float Vector __attribute__((vector_size(16)));
#endif

int main() {
    constexpr int kSums = 12, kLanes = sizeof(Vector) / sizeof(float);
    Vector sums[kSums], a = {}, b = {};
    for (int i = 0; i < kLanes; ++i) a[i] = 0.999F, b[i] = 1e-3F;
    for (auto& s : sums) s = a;
    double best = 0;
    for (int round = 0; round < 5; ++round) {
        const long count = 20'000'000;
        const auto begin = std::chrono::steady_clock::now();
        for (long i = 0; i < count; ++i) {
            for (auto& s : sums) s = s * a + b;
        }
        const double seconds =
            std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        const double rate = 2e-9 * count * kSums * kLanes / seconds;
        if (rate > best) best = rate;
    }
    float total = 0;
    for (auto& s : sums) total += s[0];
    std::printf("%.1f\n", total > -1 ? best : 0);
}
