#include "core/error.h"
#include "image/encode.h"
#include "image/image.h"

namespace segrid {
namespace {

[[noreturn]] void no_codecs() {
    fail(ErrorKind::Unsupported, "image files: this build has no OpenCV; pass arrays or PIL images");
}

}  // namespace

Image decode_bytes(const uint8_t* data, std::size_t size, const DecodeOptions& options, const std::string& name) {
    inspect_bytes(data, size, options, name);  // what is wrong with the file comes first
    no_codecs();
}
std::vector<uint8_t> encode_png_rgb(ImageView) { no_codecs(); }
std::vector<uint8_t> encode_png_gray16(const uint16_t*, Size) { no_codecs(); }

}  // namespace segrid
