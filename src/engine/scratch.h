// Scratch memory for a calling thread: borrowed from a small stock for the time of a call, so that calls reuse pages.
#pragma once

#include <memory>

#include "core/arena.h"

namespace segrid {

class Scratch {
public:
    Scratch();
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    Arena& arena() const { return *arena_; }

private:
    std::unique_ptr<Arena> arena_;
};

}  // namespace segrid
