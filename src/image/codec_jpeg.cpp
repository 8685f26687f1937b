// JPEG through libjpeg. Its messages are kept instead of printed.
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <vector>

#include <jpeglib.h>

#include <jerror.h>

#include "image/codecs.h"

namespace segrid {
namespace {

// Each scan of a progressive image costs a pass over all its pixels. Cameras and programs write
// about ten scans; a file with more than these limits only serves to keep a reader busy.
constexpr int64_t kMaxScans = 500, kMaxPixelsOfAllScans = 4'000'000'000;

// All state that exists while libjpeg works. It lives outside the function that libjpeg may leave
// by longjmp.
struct Reader {
    jpeg_error_mgr messages;  // first: libjpeg hands out a pointer to it
    std::jmp_buf stop;
    char error[JMSG_LENGTH_MAX] = "", damaged[JMSG_LENGTH_MAX] = "";
    jpeg_progress_mgr progress;
    jpeg_decompress_struct decoder;
    std::vector<uint8_t> inks;  // one row of CMYK

    static Reader& of(j_common_ptr c) { return *reinterpret_cast<Reader*>(c->err); }
};

[[noreturn]] void stop(Reader& reader, const char* why) {
    std::snprintf(reader.error, sizeof reader.error, "%s", why);
    std::longjmp(reader.stop, 1);
}

[[noreturn]] void stop_for_error(j_common_ptr c) {
    char text[JMSG_LENGTH_MAX];
    c->err->format_message(c, text);
    stop(Reader::of(c), text);
}

bool tells_of_damage(int code) {
    return code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE || code == JWRN_JPEG_EOF ||
           code == JWRN_MUST_RESYNC || code == JWRN_ARITH_BAD_CODE;
}

void note(j_common_ptr c, int level) {
    Reader& reader = Reader::of(c);
    if (level < 0 && *reader.damaged == '\0' && tells_of_damage(c->err->msg_code)) {
        c->err->format_message(c, reader.damaged);
    }
}

void count_scans(j_common_ptr c) {
    const auto* d = reinterpret_cast<j_decompress_ptr>(c);
    const int64_t scans = d->input_scan_number;
    const int64_t pixels = int64_t{d->image_width} * d->image_height;
    if (scans > kMaxScans || scans * pixels > kMaxPixelsOfAllScans) {
        stop(Reader::of(c), "it has more scans than any picture needs");
    }
}

// Converts the inks of an Adobe file, which are stored inverted, to RGB. No colour profile is
// applied.
void from_inks(const uint8_t* cmyk, JDIMENSION width, uint8_t* rgb) {
    for (JDIMENSION x = 0; x < width; ++x, cmyk += 4) {
        const int white = cmyk[3];
        for (int i = 0; i < 3; ++i) {
            const int product = (255 - cmyk[i]) * white + 128;
            *rgb++ = static_cast<uint8_t>(white - (((product >> 8) + product) >> 8));
        }
    }
}

// Only trivial objects live here: libjpeg leaves by longjmp.
void read(Reader& reader, const Encoded& from, uint8_t* rgb) {
    jpeg_decompress_struct& c = reader.decoder;
    jpeg_mem_src(&c, from.data, static_cast<unsigned long>(from.size));
    jpeg_read_header(&c, TRUE);
    const bool inked = c.jpeg_color_space == JCS_CMYK || c.jpeg_color_space == JCS_YCCK;
    c.out_color_space = inked ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(&c);
    if (c.output_height != from.image.height || c.output_width != from.image.width) {
        stop(reader, "it decodes to another size than its header says");
    }
    while (c.output_scanline < c.output_height) {
        uint8_t* row = rgb + std::size_t{c.output_scanline} * c.output_width * 3;
        uint8_t* line = inked ? reader.inks.data() : row;
        if (jpeg_read_scanlines(&c, &line, 1) != 1) stop(reader, "it ends too early");
        if (inked) from_inks(line, c.output_width, row);
    }
    jpeg_finish_decompress(&c);
}

// False if libjpeg gave up.
bool decoded(Reader& reader, const Encoded& from, uint8_t* rgb) {
    if (setjmp(reader.stop) != 0) return false;  // NOLINT: libjpeg's way to report an error
    jpeg_create_decompress(&reader.decoder);
    reader.decoder.progress = &reader.progress;
    read(reader, from, rgb);
    return true;
}

}  // namespace

Decoded decode_jpeg(const Encoded& from, uint8_t* rgb) {
    Reader reader{};
    reader.inks.resize(static_cast<std::size_t>(from.image.width) * 4);
    reader.decoder.err = jpeg_std_error(&reader.messages);
    reader.messages.error_exit = stop_for_error;
    reader.messages.emit_message = note;
    reader.progress.progress_monitor = count_scans;
    decoded(reader, from, rgb);
    jpeg_destroy_decompress(&reader.decoder);
    return {.error = reader.error, .damaged = reader.damaged};
}

}  // namespace segrid
