#include "weights/header.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "core/error.h"

namespace segrid {
namespace {

std::optional<ScalarKind> kind_named(const std::string& name) {
    for (int k = 0; k <= static_cast<int>(ScalarKind::Bool); ++k) {
        if (name == scalar_name(static_cast<ScalarKind>(k))) return static_cast<ScalarKind>(k);
    }
    return {};
}

// Collects entries while the parser runs, so that duplicate keys, excessive depth and excessive
// counts are found before anything is built.
class Reader : public nlohmann::json_sax<nlohmann::json> {
public:
    explicit Reader(const std::string& path) : path_(path) {}
    TensorHeader header;

    bool start_object(std::size_t) override {
        if (++depth_ > kMaxHeaderDepth) wrong("is nested too deeply");
        if (depth_ > 2) tensor_wrong("has an object where none belongs");
        if (depth_ == 2) {
            entry_ = {};
            entry_.name = key_;
            seen_.clear();
            if (!names_.insert(key_).second) wrong("names tensor '" + key_ + "' twice");
            if (names_.size() > kMaxTensors + 1)
                wrong("has more than " + std::to_string(kMaxTensors) + " tensors");
            if (key_.size() > kMaxTensorNameBytes)
                wrong("has a tensor name of more than " + std::to_string(kMaxTensorNameBytes) +
                      " bytes");
        }
        return true;
    }
    bool end_object() override {
        if (depth_-- == 2 && entry_.name != "__metadata__") {
            for (const char* field : {"dtype", "shape", "data_offsets"}) {
                if (seen_.count(field) == 0) tensor_wrong(std::string("has no ") + field);
            }
            header.tensors.push_back(entry_);
        }
        return true;
    }
    bool key(string_t& k) override {
        if (depth_ == 1) key_ = k;
        else if (!seen_.insert(k).second) tensor_wrong("has the key '" + k + "' twice");
        field_ = k;
        return true;
    }
    bool start_array(std::size_t) override {
        if (depth_ != 2 || in_array_ || entry_.name == "__metadata__" ||
            (field_ != "shape" && field_ != "data_offsets"))
            tensor_wrong("has an array where none belongs");
        in_array_ = true;
        offsets_ = 0;
        return true;
    }
    bool end_array() override {
        in_array_ = false;
        if (field_ == "data_offsets" && offsets_ != 2) tensor_wrong("needs two data_offsets");
        return true;
    }
    bool string(string_t& v) override {
        if (depth_ != 2) wrong("holds text where an object belongs");
        if (entry_.name == "__metadata__") {
            header.metadata[field_] = v;
            return true;
        }
        if (field_ != "dtype") tensor_wrong("has text in " + field_);
        const auto kind = kind_named(v);
        if (!kind) tensor_wrong("has the unknown dtype '" + v.substr(0, 40) + "'");
        entry_.dtype = *kind;
        return true;
    }
    bool number_unsigned(number_unsigned_t v) override {
        if (!in_array_) tensor_wrong("has a number in " + field_);
        if (field_ == "shape") {
            if (entry_.shape.size() >= kMaxTensorDims)
                tensor_wrong("has more than " + std::to_string(kMaxTensorDims) + " dimensions");
            if (v > static_cast<uint64_t>(INT64_MAX))
                tensor_wrong("has a dimension that overflows");
            entry_.shape.push_back(static_cast<int64_t>(v));
        } else {
            (offsets_++ == 0 ? entry_.begin : entry_.end) = v;
        }
        return true;
    }
    bool number_integer(number_integer_t v) override {
        tensor_wrong("has the negative number " + std::to_string(v));
    }
    bool number_float(number_float_t, const string_t& s) override {
        tensor_wrong("has the number " + s + " where a whole one belongs");
    }
    bool null() override { tensor_wrong("holds null"); }
    bool boolean(bool) override { tensor_wrong("holds a boolean"); }
    bool binary(binary_t&) override { wrong("holds binary"); }
    bool parse_error(std::size_t at, const std::string&,
                     const nlohmann::detail::exception&) override {
        wrong("is not JSON (at byte " + std::to_string(at) + ")");
    }

    [[noreturn]] void wrong(const std::string& what) const {
        fail(ErrorKind::Corrupt, path_ + ": the safetensors header " + what);
    }
    [[noreturn]] void tensor_wrong(const std::string& what) const {
        fail(ErrorKind::Corrupt, path_ + ": tensor '" + key_ + "' " + what);
    }

private:
    std::string path_, key_, field_;
    TensorEntry entry_;
    std::set<std::string> names_, seen_;
    std::size_t depth_ = 0;
    int offsets_ = 0;
    bool in_array_ = false;
};

}  // namespace

TensorHeader parse_header(const char* json, std::size_t length, uint64_t data_bytes,
                          const std::string& path) {
    Reader reader(path);
    if (length == 0 || json[0] != '{') reader.wrong("does not begin with '{'");
    nlohmann::json::sax_parse(json, json + length, &reader);
    TensorHeader header = std::move(reader.header);
    const auto wrong = [&](const TensorEntry& e, const std::string& what) {
        fail(ErrorKind::Corrupt, path + ": tensor '" + e.name + "' " + what);
    };
    for (const TensorEntry& e : header.tensors) {
        uint64_t bytes = scalar_bytes(e.dtype);
        for (const int64_t d : e.shape) {
            if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(d), &bytes))
                wrong(e, "has a shape whose size overflows");
        }
        if (e.begin > e.end) wrong(e, "has reversed data_offsets");
        if (e.end > data_bytes) wrong(e, "ends after the end of the file");
        if (e.end - e.begin != bytes) {
            wrong(e, "has " + std::to_string(e.end - e.begin) +
                         " bytes of data; its dtype and shape need " + std::to_string(bytes));
        }
    }
    std::sort(header.tensors.begin(), header.tensors.end(),
              [](const TensorEntry& a, const TensorEntry& b) {
                  return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
              });
    uint64_t at = 0;
    for (const TensorEntry& e : header.tensors) {
        if (e.begin < at) wrong(e, "overlaps the tensor before it");
        if (e.begin > at)
            wrong(e, "leaves a gap of " + std::to_string(e.begin - at) + " bytes in front of it");
        at = e.end;
    }
    if (at != data_bytes)
        fail(ErrorKind::Corrupt,
             path + ": " + std::to_string(data_bytes - at) + " bytes after the last tensor");
    return header;
}

}  // namespace segrid
