// Replaces the codecs in a build with SEGRID_OPENCV=OFF.
#include "core/error.h"
#include "image/codecs.h"
#include "image/encode.h"

namespace segrid {
namespace {

[[noreturn]] void no_codecs() {
    fail(ErrorKind::Unsupported,
         "image files: this build has no codecs; pass arrays or PIL images");
}

}  // namespace

Decoded decode_jpeg(const Encoded&, uint8_t*) { no_codecs(); }
Decoded decode_png(const Encoded&, uint8_t*) { no_codecs(); }
std::vector<uint8_t> encode_png_rgb(ImageView) { no_codecs(); }
std::vector<uint8_t> encode_png_gray16(const uint16_t*, Size) { no_codecs(); }

}  // namespace segrid
