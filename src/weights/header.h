// The JSON header of a safetensors file, parsed and checked without its data.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "weights/safetensors.h"

namespace segrid {

struct TensorEntry {
    std::string name;
    ScalarKind dtype = ScalarKind::F32;
    std::vector<int64_t> shape;
    uint64_t begin = 0, end = 0;  // bytes of the data section, exclusive end
};

struct TensorHeader {
    std::vector<TensorEntry> tensors;  // in order of their data
    std::map<std::string, std::string> metadata;
};

// data_bytes: what the file has after the header. Guarantees: names are unique, every range lies
// inside the data and is as long as dtype and shape say, and the ranges cover the data without gap
// or overlap. Throws Corrupt.
TensorHeader parse_header(const char* json, std::size_t length, uint64_t data_bytes,
                          const std::string& path);

}  // namespace segrid
