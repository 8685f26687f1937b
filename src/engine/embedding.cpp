#include "engine/embedding.h"

#include <ATen/TensorOperators.h>

#include <cstring>
#include <map>

namespace segrid {

uint64_t hash_bytes(const void* data, std::size_t size, uint64_t seed) {
    constexpr uint64_t kPrime = 0x9E3779B97F4A7C15ULL;
    // Four lanes, so that the multiplications overlap.
    uint64_t lanes[4] = {seed ^ kPrime, seed + 1, seed + 2, seed + 3};
    const auto* bytes = static_cast<const unsigned char*>(data);
    std::size_t i = 0;
    for (; i + 32 <= size; i += 32) {
        for (std::size_t lane = 0; lane < 4; ++lane) {
            uint64_t word;
            std::memcpy(&word, bytes + i + 8 * lane, 8);
            lanes[lane] = (lanes[lane] ^ word) * kPrime;
            lanes[lane] ^= lanes[lane] >> 29;
        }
    }
    uint64_t hash = size * kPrime;
    for (const uint64_t lane : lanes) hash = (hash ^ lane) * kPrime ^ (hash >> 31);
    for (; i < size; ++i) hash = (hash ^ bytes[i]) * kPrime;
    return hash ^ (hash >> 32);
}

namespace {

Features on_host(const Features& features) {
    if (features.front().is_cpu() && features.front().scalar_type() == at::kFloat) return features;
    Features host;
    run_on_devices({}, [&] {
        for (const at::Tensor& f : features)
            host.push_back(f.to(at::kCPU, at::kFloat).contiguous());
    });
    return host;
}

}  // namespace

Features Embedding::alone() const {
    Features result = features;
    if (!no_memory.defined()) return result;
    // Kept features may lie on the CPU in fp32: the sum is made as the model makes it.
    const auto add = [&] { result.front() = features.front().to(no_memory.options()) + no_memory; };
    if (no_memory.is_cpu()) run_in_worker({}, add);
    else run_on_devices({}, add);
    return result;
}

Features Embedding::host_alone() const { return on_host(alone()); }
Features Embedding::host_features() const { return on_host(features); }
at::Tensor Embedding::host_no_memory() const { return on_host({no_memory}).front(); }

int64_t Embedding::bytes() const {
    std::vector<at::Tensor> all = features;
    all.push_back(no_memory);
    if (context != nullptr) {
        const std::vector<at::Tensor> derived = context->tensors();
        all.insert(all.end(), derived.begin(), derived.end());
    }
    std::map<const void*, std::size_t> storages;
    for (const at::Tensor& t : all) {
        if (t.defined()) storages[t.storage().data()] = t.storage().nbytes();
    }
    int64_t sum = 0;
    for (const auto& [place, size] : storages) sum += static_cast<int64_t>(size);
    return sum;
}

uint64_t Embedding::content_hash() const {
    const int64_t sizes[2] = {image().height, image().width};
    uint64_t hash = hash_bytes(model_id.data(), model_id.size(), hash_bytes(sizes, sizeof sizes));
    for (const at::Tensor& f : host_alone())
        hash = hash_bytes(f.const_data_ptr(), f.nbytes(), hash);
    return hash;
}

}  // namespace segrid
