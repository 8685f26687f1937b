#include <ATen/Config.h>
#include <gtest/gtest.h>

#include <exception>
#include <new>
#include <stdexcept>

#if AT_MKLDNN_ENABLED()
#include <oneapi/dnnl/dnnl_common.hpp>
#endif

#include "engine/device.h"

namespace segrid {
namespace {

template <typename E>
bool is_memory(E error) {
    return is_out_of_memory(std::make_exception_ptr(error));
}

TEST(OutOfMemory, IsToldFromOtherErrors) {
    EXPECT_TRUE(is_memory(std::bad_alloc()));
    EXPECT_FALSE(is_memory(std::runtime_error("could not create a primitive")));
}

#if AT_MKLDNN_ENABLED()
TEST(OutOfMemory, OneDnnSaysItByItsStatus) {
    EXPECT_TRUE(is_memory(dnnl::error(dnnl_out_of_memory, "could not create a primitive")));
    EXPECT_FALSE(is_memory(dnnl::error(dnnl_unimplemented, "could not create a primitive")));
}
#endif

}  // namespace
}  // namespace segrid
