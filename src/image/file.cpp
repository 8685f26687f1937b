// Whole files in and out, with errors that name the path.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>

#include "core/error.h"
#include "image/encode.h"
#include "image/image.h"

namespace segrid {
namespace {

[[noreturn]] void fail_for(const std::string& path, int code) {
    const std::string message = path + ": " + std::strerror(code);
    switch (code) {
        case ENOENT:
        case ENOTDIR: fail(ErrorKind::NotFound, message);
        case EISDIR: fail(ErrorKind::IsADirectory, message);
        case EACCES:
        case EPERM:
        case EROFS: fail(ErrorKind::PermissionDenied, message);
        case ENAMETOOLONG: fail(ErrorKind::InvalidInput, message);
        default: fail(ErrorKind::Internal, message);
    }
}

class Descriptor {
public:
    explicit Descriptor(int value) : value_(value) {}
    ~Descriptor() {
        if (value_ >= 0) ::close(value_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    int get() const { return value_; }

private:
    int value_;
};

}  // namespace

void write_file(const std::string& path, const void* data, std::size_t bytes) {
    static std::atomic<unsigned> serial{0};
    const std::string temporary =
        path + "." + std::to_string(::getpid()) + "-" + std::to_string(serial++) + ".part";
    struct stat info {};
    if (::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) fail_for(path, EISDIR);
    int code = 0;
    {
        const Descriptor file(
            ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
        if (file.get() < 0) fail_for(path, errno);
        const auto* p = static_cast<const char*>(data);
        while (bytes > 0 && code == 0) {
            const ssize_t put = ::write(file.get(), p, bytes);
            if (put < 0 && errno == EINTR) continue;
            if (put < 0) {
                code = errno;
                break;
            }
            p += put;
            bytes -= static_cast<std::size_t>(put);
        }
    }
    if (code == 0 && std::rename(temporary.c_str(), path.c_str()) != 0) code = errno;
    if (code != 0) {
        ::unlink(temporary.c_str());
        fail_for(path, code);
    }
}

void write_png_rgb(const std::string& path, ImageView image) {
    const auto bytes = encode_png_rgb(image);
    write_file(path, bytes.data(), bytes.size());
}

void write_png_gray16(const std::string& path, const uint16_t* pixels, Size size) {
    const auto bytes = encode_png_gray16(pixels, size);
    write_file(path, bytes.data(), bytes.size());
}

}  // namespace segrid
