#include "weights/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "weights/header.h"

namespace segrid {
namespace {

struct Kind {
    const char* name;
    std::size_t bytes;
};
constexpr Kind kKinds[] = {{"F64", 8},     {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F8_E4M3", 1},
                           {"F8_E5M2", 1}, {"I64", 8}, {"I32", 4}, {"I16", 2},  {"I8", 1},
                           {"U64", 8},     {"U32", 4}, {"U16", 2}, {"U8", 1},   {"BOOL", 1}};

class File {
public:
    explicit File(const std::string& path)
        : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
        if (descriptor_ < 0) {
            if (errno == EACCES || errno == EPERM)
                fail(ErrorKind::PermissionDenied, path + ": no permission to read");
            fail(ErrorKind::NotFound, path + ": " + std::strerror(errno));
        }
        struct stat info {};
        if (::fstat(descriptor_, &info) != 0)
            fail(ErrorKind::NotFound, path + ": " + std::strerror(errno));
        if (S_ISDIR(info.st_mode)) {
            ::close(descriptor_);
            fail(ErrorKind::IsADirectory, path + ": is a directory");
        }
        size = static_cast<uint64_t>(info.st_size);
    }
    ~File() { ::close(descriptor_); }
    File(const File&) = delete;
    File& operator=(const File&) = delete;

    void read(void* to, uint64_t count) {
        auto* p = static_cast<char*>(to);
        while (count > 0) {
            const ssize_t got =
                ::read(descriptor_, p,
                       static_cast<std::size_t>(std::min<uint64_t>(count, uint64_t{1} << 30)));
            if (got < 0 && errno == EINTR) continue;
            if (got <= 0) fail(ErrorKind::Corrupt, path_ + ": became shorter while it was read");
            p += got;
            count -= static_cast<uint64_t>(got);
        }
    }
    uint64_t size = 0;

private:
    std::string path_;
    int descriptor_;
};

}  // namespace

std::size_t scalar_bytes(ScalarKind kind) { return kKinds[static_cast<std::size_t>(kind)].bytes; }
const char* scalar_name(ScalarKind kind) { return kKinds[static_cast<std::size_t>(kind)].name; }

SafeTensors SafeTensors::read(const std::string& path) {
    File file(path);
    if (file.size == 0) fail(ErrorKind::Corrupt, "empty file: " + path);
    unsigned char prefix[8];
    if (file.size < sizeof prefix)
        fail(ErrorKind::Corrupt, path + ": too short for a safetensors file");
    file.read(prefix, sizeof prefix);
    uint64_t length = 0;
    for (int i = 7; i >= 0; --i) length = length << 8 | prefix[i];
    if (length > kMaxHeaderBytes || length > file.size - sizeof prefix) {
        fail(ErrorKind::Corrupt, path + ": not a safetensors file (its header would have " +
                                     std::to_string(length) + " bytes, the file has " +
                                     std::to_string(file.size) + ")");
    }
    std::string json(static_cast<std::size_t>(length), '\0');
    file.read(json.data(), length);
    TensorHeader header =
        parse_header(json.data(), json.size(), file.size - sizeof prefix - length, path);
    SafeTensors out;
    out.path_ = path;
    out.metadata_ = std::move(header.metadata);
    for (TensorEntry& e : header.tensors) {
        const std::size_t bytes = static_cast<std::size_t>(e.end - e.begin);
        std::shared_ptr<std::byte> memory(
            static_cast<std::byte*>(std::aligned_alloc(64, (bytes / 64 + 1) * 64)), std::free);
        if (memory == nullptr) out_of_memory(path + ": tensor '" + e.name + "'", bytes);
        file.read(memory.get(), bytes);
        out.tensors_[e.name] = {{e.dtype, std::move(e.shape), memory.get(), bytes}, memory};
    }
    return out;
}

std::vector<std::string> SafeTensors::names() const {
    std::vector<std::string> names;
    for (const auto& [name, tensor] : tensors_) names.push_back(name);
    return names;
}

TensorView SafeTensors::view(const std::string& name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) fail(ErrorKind::UnknownKey, path_ + ": no tensor '" + name + "'");
    return found->second.view;
}

std::shared_ptr<const std::byte> SafeTensors::memory(const std::string& name) const {
    view(name);
    return tensors_.at(name).memory;
}

std::size_t SafeTensors::bytes() const {
    std::size_t total = 0;
    for (const auto& [name, tensor] : tensors_) total += tensor.view.bytes;
    return total;
}

}  // namespace segrid
