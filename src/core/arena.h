// Scratch memory that a worker keeps between tasks: fresh large allocations cost page faults.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace segrid {

// A stack of 64-byte aligned blocks. take() grows the arena when needed; release is by scope (see
// Scope). Not thread-safe: each worker owns one.
class Arena {
public:
    Arena() = default;
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    // Uninitialised; valid until the enclosing Scope ends. T must be trivial.
    template <class T>
    T* take(int64_t count) {
        static_assert(std::is_trivially_copyable_v<T>);
        return static_cast<T*>(take_bytes(static_cast<std::size_t>(count) * sizeof(T)));
    }

    // Everything taken after the Scope was opened is given back when it closes.
    class Scope {
    public:
        explicit Scope(Arena& arena) : arena_(arena), block_(arena.block_), used_(arena.used_) {}
        ~Scope() {
            arena_.block_ = block_;
            arena_.used_ = used_;
        }
        Scope(const Scope&) = delete;
        Scope& operator=(const Scope&) = delete;

    private:
        Arena& arena_;
        std::size_t block_, used_;
    };

    std::size_t capacity() const;  // bytes held
    void trim();                   // give all memory back; only when nothing is taken

private:
    void* take_bytes(std::size_t bytes);

    struct Free {
        void operator()(std::byte* p) const;
    };
    struct Block {
        std::unique_ptr<std::byte, Free> memory;
        std::size_t size;
    };
    std::vector<Block> blocks_;
    std::size_t block_ = 0;  // index of the block in use
    std::size_t used_ = 0;   // bytes used in it
};

}  // namespace segrid
