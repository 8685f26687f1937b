// JPEG through libjpeg, with its messages kept instead of printed.
#include <csetjmp>
#include <cstdio>
#include <memory>
#include <vector>

#include <jpeglib.h>

#include <jerror.h>

#include "image/codecs.h"

namespace segrid {
namespace {

// More are only written to keep a reader busy: each scan of a progressive image costs a pass over
// all of it.
constexpr int kMaxScans = 500;

struct Messages {
    jpeg_error_mgr manager;  // first: libjpeg hands out a pointer to it
    std::jmp_buf stop;
    Decoded* outcome;
};

std::string text_of(j_common_ptr c) {
    char buffer[JMSG_LENGTH_MAX];
    c->err->format_message(c, buffer);
    return buffer;
}

[[noreturn]] void stop(j_common_ptr c) {
    auto* messages = reinterpret_cast<Messages*>(c->err);
    messages->outcome->error = text_of(c);
    std::longjmp(messages->stop, 1);
}

bool tells_of_damage(int code) {
    return code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE || code == JWRN_JPEG_EOF ||
           code == JWRN_MUST_RESYNC || code == JWRN_ARITH_BAD_CODE;
}

void note(j_common_ptr c, int level) {
    std::string& damaged = reinterpret_cast<Messages*>(c->err)->outcome->damaged;
    if (level < 0 && damaged.empty() && tells_of_damage(c->err->msg_code)) damaged = text_of(c);
}

void count_scans(j_common_ptr c) {
    const auto* d = reinterpret_cast<j_decompress_ptr>(c);
    if (d->input_scan_number > kMaxScans) ERREXIT1(c, JERR_NOTIMPL, 0);
}

// Inks of an Adobe file, which are stored inverted, to RGB; no colour profile is applied.
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
void read(jpeg_decompress_struct& c, const Encoded& from, uint8_t* rgb, uint8_t* inks) {
    jpeg_mem_src(&c, from.data, static_cast<unsigned long>(from.size));
    jpeg_read_header(&c, TRUE);
    const bool inked = c.jpeg_color_space == JCS_CMYK || c.jpeg_color_space == JCS_YCCK;
    c.out_color_space = inked ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(&c);
    if (c.output_height != from.image.height || c.output_width != from.image.width)
        ERREXIT(&c, JERR_BAD_CROP_SPEC);
    while (c.output_scanline < c.output_height) {
        uint8_t* row = rgb + std::size_t{c.output_scanline} * c.output_width * 3;
        uint8_t* line = inked ? inks : row;
        if (jpeg_read_scanlines(&c, &line, 1) != 1) ERREXIT(&c, JERR_INPUT_EMPTY);
        if (inked) from_inks(inks, c.output_width, row);
    }
    jpeg_finish_decompress(&c);
}

}  // namespace

Decoded decode_jpeg(const Encoded& from, uint8_t* rgb) {
    Decoded outcome;
    std::vector<uint8_t> inks(static_cast<std::size_t>(from.image.width) * 4);
    Messages messages{};
    messages.outcome = &outcome;
    jpeg_progress_mgr progress{};
    progress.progress_monitor = count_scans;
    jpeg_decompress_struct c{};
    c.err = jpeg_std_error(&messages.manager);
    c.err->error_exit = stop;
    c.err->emit_message = note;
    if (setjmp(messages.stop) == 0) {  // NOLINT: libjpeg's way to report an error
        jpeg_create_decompress(&c);
        c.progress = &progress;
        read(c, from, rgb, inks.data());
    }
    jpeg_destroy_decompress(&c);
    return outcome;
}

}  // namespace segrid
