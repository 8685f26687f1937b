// Text that the engine makes of names of files, which need not be UTF-8.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/typing.h>

#include <string>
#include <vector>

namespace segrid::bindings {

// A str with the bytes that are not UTF-8 as os.fsdecode has them.
inline pybind11::str text_of(const std::string& bytes) {
    PyObject* text = PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()),
                                          "surrogateescape");
    if (text == nullptr) throw pybind11::error_already_set();
    return pybind11::reinterpret_steal<pybind11::str>(text);
}

inline pybind11::typing::List<pybind11::str> texts_of(const std::vector<std::string>& all) {
    pybind11::typing::List<pybind11::str> texts;
    for (const std::string& one : all) texts.append(text_of(one));
    return texts;
}

}  // namespace segrid::bindings
