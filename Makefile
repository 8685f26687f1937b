# make demo, make test: each sets up everything it needs (virtual environment in .venv, system packages, torch, build) and nothing else
# is typed. A second run takes seconds.
VENV := .venv
PY := $(VENV)/bin/python
export PATH := $(abspath $(VENV))/bin:$(PATH)
STAMPS := $(VENV)/stamps
JOBS ?= $(shell nproc)
# Tests of one file share models and servers, so that a file stays in one process.
PYTEST := $(PY) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
TORCH := torch==2.13.0
NATIVE := $(shell find src cmake -type f 2>/dev/null) CMakeLists.txt pyproject.toml
NATIVE_TESTS := $(shell find tests/bindings tests/cpp -type f 2>/dev/null)
PACKAGE := $(shell find python -type f -not -name '*.pyc' 2>/dev/null)

.NOTPARALLEL:  # one pip at a time works on the virtual environment
.PHONY: demo test build build-tests lint format stubs model clean

demo: $(STAMPS)/package $(STAMPS)/demo-data
	$(VENV)/bin/segrid everything $$($(PY) scripts/demo_images.py) -o out/demo
	$(VENV)/bin/segrid detect $$($(PY) scripts/demo_shapes.py out/demo/shapes.png) --prompt "a red circle" --prompt "the yellow star" --prompt "a blue square" \
	  --prompt "a cat" --nms 0.5 -o out/demo
	$(VENV)/bin/segrid track $$($(PY) scripts/demo_clip.py out/demo/clip.mp4) --prompt "a red circle" --prompt "a blue square" -o out/demo
	@echo "Pictures, label maps, COCO files, a video with its masks and its table: out/demo"

test: $(STAMPS)/package-with-tests $(STAMPS)/test-tools
	ctest --test-dir build/tests --output-on-failure
	$(PY) -m ruff check python tests benchmarks scripts training
	$(PYTEST)
	# Kernels, parity and precisions once more as on a CPU without AVX-512 (where there is none, the run above was that).
	! grep -q avx512f /proc/cpuinfo || SEGRID_CPU=avx2 $(PYTEST) tests/kernels tests/parity tests/masks --ignore tests/parity/test_video_peers.py

build: $(STAMPS)/package

# What pytest and the benchmarks need: the test bindings, the C++ tests, the peers.
build-tests: $(STAMPS)/package-with-tests $(STAMPS)/test-tools

lint: $(STAMPS)/package $(STAMPS)/test-tools
	$(PY) -m ruff check python tests benchmarks scripts training
	$(PY) -m pytest tests/test_codebase.py -k "formatted or types"

# Formats everything: 100 columns (.clang-format, pyproject.toml).
format: $(STAMPS)/test-tools
	$(PY) -m ruff format python tests benchmarks scripts training
	$(VENV)/bin/clang-format -i $$(git ls-files '*.cpp' '*.h')

stubs: $(STAMPS)/package $(STAMPS)/test-tools
	$(PY) scripts/make_stubs.py

# The packaged model's recipe, end to end (training/README.md): hours. Cut off, it goes on where it was. INIT=folder starts from earlier weights.
DATA ?= ../shared/data
RUN ?= out/model
MINUTES ?= 360
model: $(STAMPS)/package $(STAMPS)/test-tools
	sh training/make_model.sh $(DATA) $(RUN) $(MINUTES) $(INIT)

$(STAMPS)/system: scripts/system_packages.sh
	sh scripts/system_packages.sh
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/venv: $(STAMPS)/system
	test -x $(PY) || python3 -m venv $(VENV)
	$(PY) -m pip install --quiet $(TORCH)
	$(PY) -m pip install --quiet numpy "pybind11>=2.13" "scikit-build-core>=0.10"
	# where the system's CMake is older than 3.24 (Ubuntu 22.04)
	cmake --version | head -1 | awk '{split($$3, v, "."); exit !(v[1] > 3 || v[2] >= 24)}' || $(PY) -m pip install --quiet "cmake>=3.24,<4"
	@mkdir -p $(STAMPS) && touch $@

INSTALL := CMAKE_BUILD_PARALLEL_LEVEL=$(JOBS) $(PY) -m pip install --quiet --no-build-isolation --no-deps
DEPENDENCIES := $(PY) -m pip install --quiet $(TORCH) numpy typer rich pillow safetensors huggingface_hub tokenizers pyyaml tifffile

# The package as a wheel has it.
$(STAMPS)/package: $(STAMPS)/venv $(NATIVE) $(PACKAGE)
	$(INSTALL) .
	$(DEPENDENCIES)
	@rm -f $(STAMPS)/package-with-tests  # which it has replaced
	@touch $@

# The package with the test bindings, the C++ tests and the fake device, from one build in build/tests. It serves as the package, too.
$(STAMPS)/package-with-tests: $(STAMPS)/venv $(NATIVE) $(NATIVE_TESTS) $(PACKAGE)
	$(INSTALL) -C build-dir=build/tests -C cmake.define.SEGRID_TESTS=ON -C cmake.define.SEGRID_DEV=ON .
	$(DEPENDENCIES)
	@touch $(STAMPS)/package $@

$(STAMPS)/demo-data: $(STAMPS)/venv
	$(PY) -m pip install --quiet scikit-image "av>=17"
	@touch $@

$(STAMPS)/test-tools: $(STAMPS)/venv
	sh scripts/system_packages.sh chromium chromium-driver
	$(PY) -m pip install --quiet $(TORCH) "transformers>=5" safetensors pytest pytest-xdist hypothesis pycocotools scikit-image opencv-python-headless \
	  matplotlib nbclient nbformat ipykernel psutil ruff==0.17.6 clang-format==18.1.8 mypy supervision scipy imagecodecs shapely pyarrow "ray[data,serve]" "av>=18" \
	  fastapi uvicorn websockets python-multipart prometheus-client httpx2 schemathesis selenium axe-core-python
	$(PY) -m pip install --quiet hydra-core iopath setuptools
	$(PY) -m pip install --quiet --no-deps segment-anything timm
	SAM2_BUILD_CUDA=0 $(PY) -m pip install --quiet --no-deps --no-build-isolation sam2
	@touch $@

clean:
	rm -rf build out
