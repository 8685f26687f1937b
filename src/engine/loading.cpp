#include "engine/loading.h"

#include <cstdio>
#include <fstream>
#include <vector>

#include "core/error.h"
#include "engine/embedding.h"

namespace segrid {

void check_settings(const ModelSettings& s) {
    if (s.threads < 0)
        invalid("threads: must be at least 1 (or None for the whole budget), got " +
                std::to_string(s.threads));
}

void check_threads(int n) {
    if (n < 1) invalid("threads: must be at least 1, got " + std::to_string(n));
}

std::string identify(const std::string& config_path, const std::string& weights_path) {
    uint64_t hash = 0;
    for (const std::string& path : {config_path, weights_path}) {
        std::ifstream file(path, std::ios::binary);
        std::vector<char> chunk(std::size_t{1} << 20);
        while (file.read(chunk.data(), static_cast<std::streamsize>(chunk.size())),
               file.gcount() > 0) {
            hash = hash_bytes(chunk.data(), static_cast<std::size_t>(file.gcount()), hash);
        }
    }
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
    return text;
}

}  // namespace segrid
