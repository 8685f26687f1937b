// Scratch memory that a worker keeps between tasks, because fresh large allocations cost page
// faults.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace segrid {

// A stack of 64-byte aligned blocks. take() grows the arena when needed; memory is given back when
// a Lifetime closes (see Lifetime). Not thread-safe: each worker owns one.
class Arena {
public:
    Arena() = default;
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    // Uninitialised; valid until the enclosing Lifetime ends. T must be trivial.
    template <class T>
    T* take(int64_t count) {
        static_assert(std::is_trivially_copyable_v<T>);
        return static_cast<T*>(take_bytes(static_cast<std::size_t>(count) * sizeof(T)));
    }

    // When it closes, it gives back everything that was taken after it was opened.
    class Lifetime {
    public:
        explicit Lifetime(Arena& arena) : arena_(arena), block_(arena.block_), used_(arena.used_) {}
        ~Lifetime() {
            arena_.block_ = block_;
            arena_.used_ = used_;
        }
        Lifetime(const Lifetime&) = delete;
        Lifetime& operator=(const Lifetime&) = delete;

    private:
        Arena& arena_;
        std::size_t block_, used_;
    };

    // Bytes held.
    std::size_t capacity() const;
    // Gives all memory back. To be called only while nothing is taken.
    void trim();

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
