// The one table that maps the engine's errors to Python's.
#include <c10/util/Exception.h>
#include <pybind11/pybind11.h>

#include <exception>

#include "bindings/module.h"
#include "bindings/text.h"
#include "core/error.h"
#include "core/memory.h"
#include "core/thread_pool.h"
#include "engine/device.h"

namespace segrid::bindings {

void bind_errors(py::module_ m) {
    static py::handle corrupt =
        py::exception<Error>(m, "CorruptFileError", PyExc_ValueError).release();
    static py::handle cancelled =
        py::exception<Cancelled>(m, "Cancelled", PyExc_RuntimeError).release();
    py::register_exception_translator([](std::exception_ptr p) {
        try {
            if (p) std::rethrow_exception(p);
        } catch (const Error& e) {
            PyObject* type = PyExc_RuntimeError;
            switch (e.kind()) {
                case ErrorKind::InvalidInput: type = PyExc_ValueError; break;
                case ErrorKind::NotFound: type = PyExc_FileNotFoundError; break;
                case ErrorKind::Unsupported: type = PyExc_NotImplementedError; break;
                case ErrorKind::Corrupt: type = corrupt.ptr(); break;
                case ErrorKind::Internal: type = PyExc_RuntimeError; break;
                case ErrorKind::PermissionDenied: type = PyExc_PermissionError; break;
                case ErrorKind::IsADirectory: type = PyExc_IsADirectoryError; break;
                case ErrorKind::UnknownKey: type = PyExc_KeyError; break;
                case ErrorKind::OutOfMemory: type = PyExc_MemoryError; break;
            }
            // A message may begin with a file's name, which need not be UTF-8.
            const py::object text = text_of(e.what());
            PyErr_SetObject(type, text.ptr());
        } catch (const Cancelled& e) {
            py::set_error(cancelled, e.what());
        } catch (const c10::Error& e) {  // LibTorch names the size it asked for
            py::set_error(is_out_of_memory(p) ? PyExc_MemoryError : PyExc_RuntimeError,
                          e.what_without_backtrace());
        } catch (const std::exception&) {
            if (!is_out_of_memory(p)) throw;
            py::set_error(PyExc_MemoryError, ("out of memory; the process holds " +
                                              std::to_string(static_cast<int64_t>(resident_mb())) +
                                              " MB (see ulimit -v and the container's limit)")
                                                 .c_str());
        }
    });
}

}  // namespace segrid::bindings
