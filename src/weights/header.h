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
    uint64_t begin = 0, end = 0;  // byte range in the data section, exclusive end
};

struct TensorHeader {
    std::vector<TensorEntry> tensors;  // in the order of their data
    std::map<std::string, std::string> metadata;
};

// data_bytes: the size of the file's data section. Guarantees that names are unique, that every
// range lies inside the data and has the length that dtype and shape imply, and that the ranges
// cover the data without gap or overlap. Throws Corrupt.
TensorHeader parse_header(const char* json, std::size_t length, uint64_t data_bytes,
                          const std::string& path);

}  // namespace segrid
