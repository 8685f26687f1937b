# Finds LibTorch inside the interpreter's site-packages and makes the target `segrid_torch`. Only libtorch_cpu and libc10 are linked:
# the engine never loads torch's Python package.
find_package(Python 3.10 COMPONENTS Interpreter Development.Module REQUIRED)

if(NOT SEGRID_TORCH_ROOT)
  # Without importing torch: a build environment may only have it in a parent environment's site-packages.
  execute_process(
    COMMAND ${Python_EXECUTABLE} ${CMAKE_CURRENT_LIST_DIR}/find_torch.py
    OUTPUT_VARIABLE SEGRID_TORCH_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE
    ERROR_VARIABLE torch_error RESULT_VARIABLE torch_result)
  if(NOT torch_result EQUAL 0)
    message(FATAL_ERROR "${torch_error}")
  endif()
endif()
file(STRINGS ${SEGRID_TORCH_ROOT}/version.py version_line REGEX "^__version__")
string(REGEX MATCH "[0-9][^'\"]*" SEGRID_TORCH_VERSION "${version_line}")
message(STATUS "LibTorch ${SEGRID_TORCH_VERSION}: ${SEGRID_TORCH_ROOT}")

add_library(segrid_torch INTERFACE)
target_include_directories(segrid_torch SYSTEM INTERFACE
  ${SEGRID_TORCH_ROOT}/include ${SEGRID_TORCH_ROOT}/include/torch/csrc/api/include)
target_link_directories(segrid_torch INTERFACE ${SEGRID_TORCH_ROOT}/lib)
target_link_libraries(segrid_torch INTERFACE
  ${SEGRID_TORCH_ROOT}/lib/libtorch_cpu.so ${SEGRID_TORCH_ROOT}/lib/libc10.so)
