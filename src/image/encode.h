// Pixels to PNG, and bytes to files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/views.h"

namespace segrid {

// Lossless PNG. Gray pixels are packed rows, size.height x size.width. Throws Unsupported in a
// build without OpenCV.
std::vector<uint8_t> encode_png_rgb(ImageView image);
std::vector<uint8_t> encode_png_gray16(const uint16_t* pixels, Size size);

// Writes a file next to the path and renames it, so that a reader sees the old file, none, or the
// complete new one; an existing file is replaced. Errors name the path: NotFound (folder missing),
// IsADirectory, PermissionDenied (also for a read-only file system), Internal (disk full and other
// faults, with the system's reason). After an error no partial file remains.
void write_file(const std::string& path, const void* data, std::size_t bytes);

void write_png_rgb(const std::string& path, ImageView image);
void write_png_gray16(const std::string& path, const uint16_t* pixels, Size size);

}  // namespace segrid
