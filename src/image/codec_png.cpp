// PNG through libpng. Its messages are kept instead of printed.
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <vector>

#include <png.h>

#include "image/codecs.h"

namespace segrid {
namespace {

using Message = char[256];

[[noreturn]] void stop(png_structp png, png_const_charp message) {
    std::snprintf(*static_cast<Message*>(png_get_error_ptr(png)), sizeof(Message), "%s", message);
    png_longjmp(png, 1);
}

// Warnings concern chunks that no pixel depends on.
void ignore(png_structp, png_const_charp) {}

struct Source {
    const uint8_t* data;
    std::size_t size, at = 0;
};

void give(png_structp png, png_bytep out, png_size_t count) {
    auto* source = static_cast<Source*>(png_get_io_ptr(png));
    if (count > source->size - source->at) png_error(png, "the data end too early");
    std::memcpy(out, source->data + source->at, count);
    source->at += count;
}

// Only trivial objects live here: libpng leaves by longjmp.
void read(png_structp png, png_infop info, const Encoded& from, uint8_t* const* rows) {
    // Checksums and the size have been checked already (find_damage, inspect_bytes).
    png_set_crc_action(png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_read_info(png, info);
    if (png_get_image_height(png, info) != from.image.height ||
        png_get_image_width(png, info) != from.image.width) {
        png_error(png, "it decodes to another size than its header says");
    }
    png_set_palette_to_rgb(png);
    png_set_expand_gray_1_2_4_to_8(png);
    png_set_scale_16(png);  // rounds to nearest
    png_set_strip_alpha(png);
    png_set_gray_to_rgb(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    if (png_get_rowbytes(png, info) != static_cast<png_size_t>(from.image.width) * 3)
        png_error(png, "its samples are of an unknown kind");
    png_read_image(png, const_cast<png_bytepp>(rows));
    png_read_end(png, nullptr);
}

}  // namespace

Decoded decode_png(const Encoded& from, uint8_t* rgb) {
    Message error = "no memory";
    std::vector<uint8_t*> rows(static_cast<std::size_t>(from.image.height));
    for (std::size_t y = 0; y < rows.size(); ++y)
        rows[y] = rgb + y * static_cast<std::size_t>(from.image.width) * 3;
    Source source{from.data, from.size};
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &error, stop, ignore);
    png_infop info = png == nullptr ? nullptr : png_create_info_struct(png);
    if (info != nullptr && setjmp(png_jmpbuf(png)) == 0) {  // NOLINT: libpng reports errors so
        png_set_read_fn(png, &source, give);
        read(png, info, from, rows.data());
        *error = '\0';
    }
    png_destroy_read_struct(&png, &info, nullptr);
    return {.error = error, .damaged = ""};
}

}  // namespace segrid
