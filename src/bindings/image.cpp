#include "image/image.h"

#include <pybind11/stl.h>

#include <cstring>

#include "bindings/arrays.h"
#include "bindings/module.h"
#include "bindings/text.h"
#include "bindings/waiting.h"
#include "core/error.h"
#include "image/encode.h"

namespace segrid::bindings {
namespace {

py::tuple with_warnings(Image image, const std::vector<std::string>& warnings) {
    return py::make_tuple(std::move(image), texts_of(warnings));
}

// Copies under the GIL, for any strides, so that later changes of the array have no effect.
Image from_array(const py::array_t<uint8_t>& array) {
    if (array.ndim() != 3 || array.shape(2) != 3) invalid("image: must be (H, W, 3) uint8");
    if (array.shape(0) < 1 || array.shape(1) < 1) invalid("image: is empty");
    const Size size{array.shape(0), array.shape(1)};
    check_size("image", size);
    const std::size_t bytes = static_cast<std::size_t>(size.area()) * 3;
    std::shared_ptr<uint8_t> pixels(static_cast<uint8_t*>(std::malloc(bytes)), std::free);
    if (pixels == nullptr) out_of_memory("image", bytes);
    uint8_t* out = pixels.get();
    const auto* base = static_cast<const uint8_t*>(array.data());
    const bool packed = array.strides(1) == 3 && array.strides(2) == 1;
    for (int64_t y = 0; y < size.height; ++y) {
        const uint8_t* row = base + y * array.strides(0);
        if (packed) {
            out = std::copy_n(row, size.width * 3, out);
            continue;
        }
        for (int64_t x = 0; x < size.width; ++x) {
            for (int64_t c = 0; c < 3; ++c)
                *out++ = row[x * array.strides(1) + c * array.strides(2)];
        }
    }
    return Image(std::move(pixels), size, size.width * 3);
}

py::array_t<uint8_t> view_of(const Image& image) {
    auto* held = new std::shared_ptr<const uint8_t>(image.pixels());
    py::capsule owner(held,
                      [](void* p) { delete static_cast<std::shared_ptr<const uint8_t>*>(p); });
    const ImageView v = image.view();
    py::array_t<uint8_t> array({static_cast<py::ssize_t>(v.size.height),
                                static_cast<py::ssize_t>(v.size.width), py::ssize_t{3}},
                               {static_cast<py::ssize_t>(v.stride), py::ssize_t{3}, py::ssize_t{1}},
                               v.data, owner);
    py::detail::array_proxy(array.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
    return array;
}

bool equal(const Image& a, const Image& b) {
    const ImageView x = a.view(), y = b.view();
    if (x.size.height != y.size.height || x.size.width != y.size.width) return false;
    for (int64_t row = 0; row < x.size.height; ++row) {
        if (std::memcmp(x.data + row * x.stride, y.data + row * y.stride,
                        static_cast<std::size_t>(x.size.width) * 3) != 0)
            return false;
    }
    return true;
}

// Reads a pickled image: (version, (H, W, 3) uint8).
Image image_from_state(const py::tuple& state) {
    if (state.size() != 2 || !py::isinstance<py::int_>(state[0]) || state[0].cast<int64_t>() != 1 ||
        !py::isinstance<py::array_t<uint8_t>>(state[1])) {
        invalid("image: the pickled state is damaged");
    }
    return from_array(state[1].cast<py::array_t<uint8_t>>());
}

}  // namespace

void bind_image(py::module_ m) {
    py::class_<Image>(m, "Image")
        .def_property_readonly(
            "shape",
            [](const Image& i) { return py::make_tuple(i.size().height, i.size().width, 3); })
        .def_property_readonly("array", &view_of)
        .def("__eq__",
             [](const Image& a, const py::object& other) -> py::object {
                 if (!py::isinstance<Image>(other))
                     return py::reinterpret_borrow<py::object>(Py_NotImplemented);
                 const Image& b = other.cast<const Image&>();
                 return py::bool_(without_gil([&] { return equal(a, b); }));
             })
        .def(py::pickle([](const Image& i) { return py::make_tuple(1, view_of(i).attr("copy")()); },
                        &image_from_state));
    m.def(
        "decode_bytes",
        [](const py::bytes& data, const std::string& name, int64_t max_pixels, bool lenient) {
            const std::string_view view = data;
            std::vector<std::string> warnings;
            Image image = without_gil([&] {
                return decode_bytes(
                    reinterpret_cast<const uint8_t*>(view.data()), view.size(),
                    {.max_pixels = max_pixels, .lenient = lenient, .warnings = &warnings}, name);
            });
            return with_warnings(std::move(image), warnings);
        },
        py::arg("data"), py::arg("name") = "bytes",
        py::arg("max_pixels") = DecodeOptions{}.max_pixels, py::arg("lenient") = false);
    m.def(
        "inspect_bytes",
        [](const py::bytes& data, const py::bytes& encoded_name, int64_t max_pixels, bool lenient) {
            const std::string_view view = data;
            const std::string name = encoded_name;  // encoded by os.fsencode
            std::vector<std::string> warnings;
            const ImageHeader header = without_gil([&] {
                return inspect_bytes(
                    reinterpret_cast<const uint8_t*>(view.data()), view.size(),
                    {.max_pixels = max_pixels, .lenient = lenient, .warnings = &warnings}, name);
            });
            return py::make_tuple(header.orientation, texts_of(warnings));
        },
        py::arg("data"), py::arg("name"), py::arg("max_pixels"), py::arg("lenient"),
        "Returns (EXIF orientation, warnings) without decoding. Raises the errors that "
        "decode_bytes would raise before it decodes.");
    m.def("image_from_array", &from_array, py::arg("array"),
          "Returns an Image that owns a copy of an (H, W, 3) uint8 RGB array.");
    m.def(
        "write_png",
        [](const py::bytes& encoded_path, const py::array& array) {
            const std::string path = encoded_path;
            if (array.ndim() == 3 && array.shape(2) == 3 &&
                py::isinstance<py::array_t<uint8_t>>(array)) {
                const auto rgb = py::array_t<uint8_t, py::array::c_style>::ensure(array);
                const ImageView view{rgb.data(), {rgb.shape(0), rgb.shape(1)}, rgb.shape(1) * 3};
                without_gil([&] { write_png_rgb(path, view); });
            } else if (array.ndim() == 2 && py::isinstance<py::array_t<uint16_t>>(array)) {
                const auto gray = py::array_t<uint16_t, py::array::c_style>::ensure(array);
                const uint16_t* data = gray.data();
                const Size size{gray.shape(0), gray.shape(1)};
                without_gil([&] { write_png_gray16(path, data, size); });
            } else {
                invalid("write_png: the array must be (H, W, 3) uint8 or (H, W) uint16");
            }
        },
        py::arg("path"), py::arg("array"));
}

}  // namespace segrid::bindings
