#include "image/image.h"

#include <algorithm>
#include <cstdlib>

#include "core/error.h"

namespace segrid {

Image Image::copy_of(ImageView view) {
    const int64_t row = view.size.width * 3;
    const auto bytes = static_cast<std::size_t>(view.size.height * row);
    std::shared_ptr<uint8_t> pixels(static_cast<uint8_t*>(std::malloc(bytes)), std::free);
    if (pixels == nullptr) out_of_memory("image", bytes);
    for (int64_t y = 0; y < view.size.height; ++y) std::copy_n(view.row(y), row, pixels.get() + y * row);
    return {std::move(pixels), view.size, row};
}

}  // namespace segrid
