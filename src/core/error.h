// The five kinds of error, and those that Python has its own names for. bindings/errors.cpp maps
// them to Python exceptions.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

namespace segrid {

enum class ErrorKind {
    InvalidInput,      // ValueError: the caller's argument breaks a stated rule
    NotFound,          // FileNotFoundError
    Unsupported,       // NotImplementedError: valid, but this build or model cannot do it
    Corrupt,           // segrid.CorruptFileError: a file is not what it claims to be
    Internal,          // RuntimeError: our own fault
    PermissionDenied,  // PermissionError
    IsADirectory,      // IsADirectoryError
    UnknownKey,        // KeyError
    OutOfMemory,       // MemoryError; the message gives the size that was requested
};

// A message says where the error is, which rule was broken, what was got, and how to fix it.
class Error : public std::runtime_error {
public:
    Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
    ErrorKind kind() const noexcept { return kind_; }

private:
    ErrorKind kind_;
};

// A call was cancelled by a token, Ctrl-C or shutdown. Never caught inside the engine.
class Cancelled : public std::runtime_error {
public:
    explicit Cancelled(const std::string& message = "cancelled") : std::runtime_error(message) {}
};

[[noreturn]] void fail(ErrorKind kind, const std::string& message);
[[noreturn]] void invalid(const std::string& message);   // ErrorKind::InvalidInput
[[noreturn]] void internal(const std::string& message);  // ErrorKind::Internal
[[noreturn]] void out_of_memory(const std::string& what, std::size_t bytes);

// For example "1.5 GB", "312 MB", "80 kB".
std::string human_bytes(std::size_t bytes);

}  // namespace segrid
