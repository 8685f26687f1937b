// A matrix in memory that the caller owns. (It includes nothing else, since files that are compiled
// for an instruction set use it.)
#pragma once

#include <cstdint>
#include <type_traits>

namespace segrid {

// Rows of a row-major matrix, `stride` elements from one to the next.
template <class T>
struct Rows {
    T* data = nullptr;
    int64_t stride = 0;

    T* operator[](int64_t row) const { return data + row * stride; }
    Rows from_row(int64_t row) const { return {data + row * stride, stride}; }
    Rows from_column(int64_t column) const { return {data + column, stride}; }
    operator Rows<const T>() const
        requires(!std::is_const_v<T>)
    {
        return {data, stride};
    }
};
template <class T>
Rows(T*, int64_t) -> Rows<T>;

}  // namespace segrid
