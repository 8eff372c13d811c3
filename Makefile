# The two commands of the README, and lint. Everything they need is installed into .venv and .venv-test; pluginserver,
# which the conformance suite compares with, into .venv-original, and what builds the documentation site into .venv-docs.
# PYTHON chooses the interpreter: make test PYTHON=python3.13; TESTS the files of Python tests.

PYTHON ?= python3
VENV := .venv
TEST := .venv-test
ORIGINAL := .venv-original
DOCS := .venv-docs
# Wheel and executable link Python differently; a target folder each keeps them from rebuilding one another's crates.
WHEEL_TARGET := target/wheel
EXECUTABLE_TARGET := target
WITH_PYTHON := PYO3_PYTHON=$(CURDIR)/$(TEST)/bin/python
DENY_VERSION := 0.20.2
DENY_ROOT := target/tools/cargo-deny-$(DENY_VERSION)
DENY := $(DENY_ROOT)/bin/cargo-deny
CARGO_FUZZ_VERSION := 0.13.2
CARGO_FUZZ_ROOT := target/tools/cargo-fuzz-$(CARGO_FUZZ_VERSION)
CARGO_FUZZ := $(CARGO_FUZZ_ROOT)/bin/cargo-fuzz
SOURCES := Cargo.toml Cargo.lock build.rs pyproject.toml README.md $(shell find src python -name '*.rs' -o -name '*.py' -o -name '*.pyi') $(wildcard src/edge/control/page/*.*) \
	$(wildcard src/edge/control/page/vendor/* src/edge/control/docs/*.* src/edge/control/docs/vendor/*)

.PHONY: serve test test-rust test-python built test-pythons test-core test-core-pythons programs conformance conformance-long moving
.PHONY: screenshots docs stress soak fuzz lint audit format bench bench-quick bench-guard bench-overload clean

# Serve ./plugins with plugincore.ini; the log shows the URL of each endpoint.
serve: $(VENV)/installed
	$(VENV)/bin/plugincore -i plugincore.ini

# Everything: Rust tests, then the Python tests against the installed wheel and the standalone executable, then the
# comparison with pluginserver.
test: test-rust test-python conformance

test-rust: $(TEST)/requirements
	$(WITH_PYTHON) cargo test --locked --lib --quiet

test-python: built programs
	PLUGINCORE_BINARY=$(CURDIR)/$(EXECUTABLE_TARGET)/release/plugincore $(TEST)/bin/python -m pytest $(BESIDE) $(TESTS)

# Tests run beside each other, on each core one: BESIDE= runs one after another.
BESIDE = --numprocesses=auto --dist=worksteal

# Wheel and executable. Link-time optimisation takes one core, so `make -j2 built` is quicker.
built: $(TEST)/installed $(EXECUTABLE_TARGET)/release/plugincore

# The Python tests on every interpreter from 3.11 to 3.15 that is found, as root on Debian also on those of Debian sid;
# VERSIONS names some: make test-pythons VERSIONS="3.14 3.15"
test-pythons:
	$(QUICKER) tests/pythons.sh test-python $(VERSIONS)

# The tests of what depends most on the version of Python.
test-core: $(TEST)/installed
	$(TEST)/bin/python -m pytest $(BESIDE) $(addprefix tests/python/test_,$(addsuffix .py,$(CORE)))
CORE := isolation results exceptions reload requests typed_handlers openapi limits loading lifecycle json

# The same on the oldest version and on the newest two, but for the one that `make test` runs everything on.
test-core-pythons:
	$(QUICKER) tests/pythons.sh test-core $(filter-out $(shell \
		$(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'),3.11 3.14 3.15)

# Link-time optimisation takes most of a build and is nothing that a version of Python depends on.
QUICKER := CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16

# The same requests to pluginserver and to the installed wheel. Prints how many cases are the same, differ as listed in
# docs/moving.md, and differ otherwise, which fails.
conformance: $(TEST)/installed $(ORIGINAL)/installed
	PLUGINSERVER_PYTHON=$(CURDIR)/$(ORIGINAL)/bin/python $(TEST)/bin/python -m pytest tests/conformance

# The same with more than 10,000 generated cases, others each time; SEED repeats a run.
SEED = $(shell date +%s)
conformance-long: $(TEST)/installed $(ORIGINAL)/installed
	PLUGINSERVER_PYTHON=$(CURDIR)/$(ORIGINAL)/bin/python $(TEST)/bin/python -m pytest tests/conformance \
		--hypothesis-profile=nightly --hypothesis-seed=$(SEED)

# Writes the table of intended differences into docs/moving.md.
moving: $(TEST)/installed $(ORIGINAL)/installed
	PLUGINSERVER_PYTHON=$(CURDIR)/$(ORIGINAL)/bin/python PYTHONPATH=tests $(TEST)/bin/python -m conformance.render

# All kinds of traffic at once: make stress SECONDS=60 SEED=… PYTHON=python3.13. aiohttp, for WebSockets, is built without
# its C parts where there is no wheel of it; h2 is what the client needs.
SECONDS = 600
STRESS = target/stress/$(notdir $(PYTHON))
stress: $(STRESS)/installed
	PYTHONPATH=tests $(STRESS)/bin/python -m stress --seconds $(SECONDS) --seed $(SEED)

# The same for an hour, with faults of clients and plugins, reloads, HTTP/1.1 and HTTP/2.
soak:
	$(MAKE) stress SECONDS=3600

$(STRESS)/installed: $(SOURCES)
	test -x $(STRESS)/bin/python || $(PYTHON) -m venv $(STRESS)
	CARGO_TARGET_DIR=$(WHEEL_TARGET) $(STRESS)/bin/python -m pip install --quiet --force-reinstall .
	AIOHTTP_NO_EXTENSIONS=1 FROZENLIST_NO_EXTENSIONS=1 MULTIDICT_NO_EXTENSIONS=1 PROPCACHE_NO_EXTENSIONS=1 \
		YARL_NO_EXTENSIONS=1 $(STRESS)/bin/python -m pip install --quiet 'aiohttp>=3.14,<4' 'h2>=4.2,<5'
	touch $@

# The tests of sessions start Redis servers of their own, those of the documentation give the commands that it prints and
# run the configurations of other programs, those of the page open it in Chromium.
programs:
	@for program in redis-server curl openssl chromium nginx caddy promtool:prometheus; do \
		package=$${program#*:}; program=$${program%:*}; command -v $$program >/dev/null \
		|| { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq \
		&& DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $$package; } \
		|| { echo "make test needs the program $$program; on Debian: sudo apt-get install $$package" >&2; exit 1; }; done

# Writes the pictures of docs/page.md, by the tests of the page.
screenshots: $(TEST)/installed programs
	PLUGINCORE_SCREENSHOTS=$(CURDIR)/docs $(TEST)/bin/python -m pytest tests/python/test_page_browser.py

# The documentation site, into target/site/VERSION, without a warning or a link to nothing. target/site/index.html lists
# the versions that lie beside each other there.
docs: $(DOCS)/installed
	$(DOCS)/bin/python -m sphinx --quiet --fail-on-warning --keep-going --conf-dir docs --doctree-dir target/doctrees \
		. target/site/$(shell sed -n '/^version = /{s/[^0-9.]//gp;q}' Cargo.toml)

$(DOCS)/installed: docs/requirements.txt $(SOURCES)
	test -x $(DOCS)/bin/python || $(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet -r docs/requirements.txt
	CARGO_TARGET_DIR=$(WHEEL_TARGET) $(DOCS)/bin/python -m pip install --quiet --force-reinstall .
	touch $@

# Each parser of what strangers send, or those in FUZZED, gets inputs that are made to reach all of its code, for SECONDS
# each: make fuzz SECONDS=1200 FUZZED="json range". What is found lies in fuzz/artifacts. Sanitizers need a nightly Rust.
# Python leaves memory behind at its end, which is no leak of a parser.
FUZZED = $(notdir $(basename $(wildcard fuzz/fuzz_targets/*.rs)))
FUZZ_OPTIONS := $(shell cargo +nightly --version >/dev/null 2>&1 || echo --sanitizer none)
FUZZ_TOOLCHAIN := $(if $(FUZZ_OPTIONS),,+nightly)
fuzz: $(TEST)/requirements $(CARGO_FUZZ)
	for target in $(FUZZED); do mkdir -p target/fuzz-corpus/$$target; \
		$(WITH_PYTHON) ASAN_OPTIONS=detect_leaks=0 LD_LIBRARY_PATH=$$($(TEST)/bin/python -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))') \
		PATH=$(CURDIR)/$(CARGO_FUZZ_ROOT)/bin:$$PATH cargo $(FUZZ_TOOLCHAIN) fuzz run $(FUZZ_OPTIONS) $$target \
		target/fuzz-corpus/$$target fuzz/corpus/$$target -- -max_total_time=$(SECONDS) -timeout=10 -max_len=4096 \
		-detect_leaks=0 -print_final_stats=1 || exit 1; done

$(CARGO_FUZZ):
	cargo install --quiet --locked --version $(CARGO_FUZZ_VERSION) --root $(CARGO_FUZZ_ROOT) cargo-fuzz

# Format, lints, documentation and dependencies. Warnings are errors. Without default features there is another allocator.
# Clippy's incompatible_msrv finds what is newer than `rust-version` of Cargo.toml, tests/rust_version.py the dependencies.
lint: $(TEST)/requirements $(DENY)
	cargo fmt --check
	$(WITH_PYTHON) cargo clippy --locked --all-targets --quiet -- -D warnings
	$(WITH_PYTHON) cargo clippy --locked --no-default-features --quiet -- -D warnings
	$(WITH_PYTHON) RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items --quiet
	$(DENY) --log-level error --locked check licenses bans sources
	$(TEST)/bin/python tests/rust_version.py
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .

# Known vulnerabilities, and withdrawn versions, among the dependencies. Needs the network and git, so it is not a part
# of lint: a change must not fail because of what was published since.
audit: $(DENY)
	$(DENY) --locked check advisories

# Built without optimisation: it takes 140 s of CPU time to build, and a check takes 3 s.
$(DENY):
	CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
		cargo install --quiet --locked --version $(DENY_VERSION) --root $(DENY_ROOT) cargo-deny

format:
	cargo fmt
	$(TEST)/bin/ruff check --fix .
	$(TEST)/bin/ruff format .

$(VENV)/installed: $(SOURCES)
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	CARGO_TARGET_DIR=$(WHEEL_TARGET) $(VENV)/bin/python -m pip install --quiet --force-reinstall .
	touch $@

$(TEST)/requirements: tests/requirements.txt docs/requirements.txt
	test -x $(TEST)/bin/python || $(PYTHON) -m venv $(TEST)
	$(TEST)/bin/python -m pip install --quiet -r tests/requirements.txt
	touch $@

$(TEST)/installed: $(TEST)/requirements $(SOURCES)
	CARGO_TARGET_DIR=$(WHEEL_TARGET) $(TEST)/bin/python -m pip install --quiet --force-reinstall .
	touch $@

$(ORIGINAL)/installed: tests/conformance/original-requirements.txt
	test -x $(ORIGINAL)/bin/python || $(PYTHON) -m venv $(ORIGINAL)
	$(ORIGINAL)/bin/python -m pip install --quiet -r $<
	touch $@

$(EXECUTABLE_TARGET)/release/plugincore: $(TEST)/requirements $(SOURCES)
	CARGO_TARGET_DIR=$(EXECUTABLE_TARGET) $(WITH_PYTHON) cargo build --locked --release --bin plugincore
	touch $@

# Plugincore beside its peers, which takes about an hour; needs wrk, h2load and openssl. Writes docs/benchmarks.md.
bench: target/bench/requirements
	target/bench/venv/bin/python benches/compare/run.py

# The same in a few minutes, for a look: nothing is written.
bench-quick: target/bench/requirements
	target/bench/venv/bin/python benches/compare/run.py --quick

# What takes more instructions than in the last release, or in BASE: make bench-guard BASE=main; needs valgrind, openssl
# and a C compiler.
bench-guard: target/bench/requirements
	target/bench/venv/bin/python benches/compare/guard.py $(BASE)

# What is left of the throughput under ten times the load that a plugin sustains; needs h2load.
bench-overload: target/bench/requirements
	target/bench/venv/bin/python benches/compare/overload.py

target/bench/requirements: benches/compare/requirements.txt
	test -x target/bench/venv/bin/python || $(PYTHON) -m venv target/bench/venv
	target/bench/venv/bin/python -m pip install --quiet -r benches/compare/requirements.txt
	touch $@

clean:
	rm -rf $(VENV) $(TEST) $(ORIGINAL) $(DOCS) target
