// The safetensors container: 8 bytes of header length, a JSON header, tensor data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace segrid {

// Limits on a header. The safetensors library has the same limit on its bytes.
inline constexpr uint64_t kMaxHeaderBytes = 100'000'000;
inline constexpr std::size_t kMaxTensors = 200'000;
inline constexpr std::size_t kMaxTensorDims = 16;
inline constexpr std::size_t kMaxHeaderDepth = 4;
inline constexpr std::size_t kMaxTensorNameBytes = 4096;

enum class ScalarKind {
    F64,
    F32,
    F16,
    BF16,
    F8E4M3,
    F8E5M2,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool
};

std::size_t scalar_bytes(ScalarKind kind);
const char* scalar_name(ScalarKind kind);  // as safetensors spells it: "F32", "BF16", ...

struct TensorView {
    ScalarKind dtype = ScalarKind::F32;
    std::vector<int64_t> shape;
    // Row-major, little-endian, 64-byte aligned; owned by the SafeTensors.
    const std::byte* data = nullptr;
    std::size_t bytes = 0;
};

// A file that has been read into memory and checked. Immutable; copies share the tensors.
class SafeTensors {
public:
    // Reads the file instead of mapping it, so that a file that shrinks during the read is a
    // Corrupt error and not a SIGBUS. Checks the header against the limits above and the file's
    // size before anything large is allocated. Errors: NotFound, IsADirectory, PermissionDenied,
    // Corrupt (naming the file, the tensor and the rule), OutOfMemory.
    static SafeTensors read(const std::string& path);

    const std::string& path() const { return path_; }
    std::vector<std::string> names() const;  // sorted
    bool has(const std::string& name) const { return tensors_.count(name) != 0; }
    TensorView view(const std::string& name) const;  // throws UnknownKey
    // The tensor's own memory. It lives as long as the returned pointer, even after the
    // SafeTensors.
    std::shared_ptr<const std::byte> memory(const std::string& name) const;
    const std::map<std::string, std::string>& metadata() const { return metadata_; }
    std::size_t bytes() const;  // the sum over all tensors

private:
    struct Tensor {
        TensorView view;
        std::shared_ptr<const std::byte> memory;
    };
    std::string path_;
    std::map<std::string, Tensor> tensors_;
    std::map<std::string, std::string> metadata_;
};

}  // namespace segrid
