// Pixels to PNG, and bytes to files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/views.h"

namespace segrid {

// Lossless PNG. gray: rows packed, size.height x size.width. Unsupported in a build without OpenCV.
std::vector<uint8_t> encode_png_rgb(ImageView image);
std::vector<uint8_t> encode_png_gray16(const uint16_t* pixels, Size size);

// Writes beside the path and renames, so that a reader sees the old file, none, or the whole new
// one; an existing file is replaced. Errors name the path: NotFound (folder missing), IsADirectory,
// PermissionDenied (also a read-only file system), Internal (disk full and other faults, with the
// system's reason). Nothing is left behind on error.
void write_file(const std::string& path, const void* data, std::size_t bytes);

void write_png_rgb(const std::string& path, ImageView image);
void write_png_gray16(const std::string& path, const uint16_t* pixels, Size size);

}  // namespace segrid
