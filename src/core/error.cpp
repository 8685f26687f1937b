#include "core/error.h"

#include <cstdio>

namespace segrid {

void fail(ErrorKind kind, const std::string& message) { throw Error(kind, message); }

void invalid(const std::string& message) { fail(ErrorKind::InvalidInput, message); }

void internal(const std::string& message) {
    fail(ErrorKind::Internal, "internal error: " + message);
}

void out_of_memory(const std::string& what, std::size_t bytes) {
    fail(ErrorKind::OutOfMemory, what + ": could not allocate " + human_bytes(bytes));
}

std::string human_bytes(std::size_t bytes) {
    static constexpr const char* units[] = {"B", "kB", "MB", "GB", "TB"};
    double value = static_cast<double>(bytes);
    int unit = 0;
    while (value >= 1000.0 && unit < 4) {
        value /= 1000.0;
        ++unit;
    }
    char text[32];
    std::snprintf(text, sizeof text, value < 10 && unit > 0 ? "%.1f %s" : "%.0f %s", value,
                  units[unit]);
    return text;
}

}  // namespace segrid
