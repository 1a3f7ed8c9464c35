# `make help` lists what there is. Everything that is fetched or built goes to target/;
# nothing is installed system-wide but rustup's WebAssembly targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

MODULE := target/wasm32-wasip1/release/consul_resolver.wasm
# A module that tests can make trap; built apart, so that the one that is shipped stays as it is.
TRAP_TARGET := target/trap
DEMO := target/debug/demo
TOOLS := target/tools
CARGO_FUZZ_VERSION := 0.13.2
WASM_BINDGEN_VERSION := $(shell sed -n '/^name = "wasm-bindgen"$$/{n;s/version = "\(.*\)"/\1/p;}' Cargo.lock)
CARGO_FUZZ := $(TOOLS)/cargo-fuzz-$(CARGO_FUZZ_VERSION)/bin/cargo-fuzz
RUNNER := $(TOOLS)/wasm-bindgen-$(WASM_BINDGEN_VERSION)/bin/wasm-bindgen-test-runner

# `test` sets up, then tests: in this order also under `make -j`.
.NOTPARALLEL:
.PHONY: help demo test build check bench fleet sim fuzz reference promises mutants setup test-native test-wasm clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: build $(DEMO) ## Start Consul, three instances of a service and Envoy on localhost:10000
	@$(DEMO) run --module $(MODULE) --config envoy/envoy.yaml

test: setup test-native test-wasm ## Set up everything and run all tests (REQUIRE_CONSUL=1: fail where Consul cannot be had)

build: ## Build the module that Envoy loads
	@./tools/targets wasm32-wasip1
	cargo build --release --lib --target wasm32-wasip1

check: ## Formatting and lints, for this machine and for WebAssembly
	@./tools/targets wasm32-wasip1 wasm32-unknown-unknown
	@cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --lib --package consul-resolver --package empty-filter --package bare-handoff --target wasm32-wasip1 -- -D warnings
	cargo clippy --lib --features trap --target wasm32-wasip1 -- -D warnings
	cargo clippy --package picks --target wasm32-wasip1 -- -D warnings
	cargo clippy --lib --target wasm32-unknown-unknown -- -D warnings

bench: build ## Measure, side by side, and write docs/benchmarks.md (BENCH="--help" shows more)
	cargo build --release --package empty-filter --package bare-handoff --target wasm32-wasip1
	cargo build --release --package picks --target wasm32-wasip1
	cargo build --release --package fake-consul # The agent of large catalogs is a process of its own.
	@mkdir -p docs
	cargo bench --bench proxy -- --module $(MODULE) $(if $(findstring --only,$(BENCH)),,--write docs/benchmarks.md) --plot docs/load.svg $(BENCH)

fleet: ## Simulate many Envoys at one Consul, and write the figures of docs/fleet.md
	cargo bench --bench fleet -- --write docs/fleet.md --plots docs

# Of `make test` this is a share. It prints the seed of a failure; SEED=17 repeats that one.
SEEDS ?= 10000
sim: ## Simulate that everything goes wrong (SEEDS=100000 worlds; SEED=17 only that one)
	SIM_SEEDS=$(SEEDS) $(if $(SEED),SIM_SEED=$(SEED)) cargo test --profile sim --test simulation -- whatever

reference: ## Write envoy/config.schema.json and docs/configuration.md of the declarations in src/config
	UPDATE=1 cargo test --test config reference::

promises: ## Write into docs/reliability.md which tests keep each promise
	UPDATE=1 cargo test --test promises page_lists

mutants: ## Show that the tests catch known bugs (BUG=backoff only those of that name)
	cargo run --quiet --package mutants -- $(BUG)

# How long each target runs. The code under test has no unsafe line, so a sanitizer would only
# cost speed.
SECONDS ?= 60
FUZZ := $(notdir $(basename $(wildcard fuzz/targets/*.rs)))
fuzz: $(CARGO_FUZZ) ## Look for inputs that break what reads them (SECONDS=60 for each target, FUZZ="health" only that one)
	@rustup toolchain list | grep -q ^nightly || rustup toolchain install nightly --profile minimal
	@for target in $(FUZZ); do \
	  found=target/fuzz/found/$$target; kept=target/fuzz/corpus/$$target; mkdir -p $$found $$kept; \
	  words=fuzz/dictionaries/$$target.dict; \
	  PATH="$(CURDIR)/$(dir $(CARGO_FUZZ)):$$PATH" cargo +nightly fuzz run --sanitizer none \
	    --target-dir target/fuzz $$target $$kept fuzz/corpus/$$target -- -max_total_time=$(SECONDS) \
	    -max_len=4096 -timeout=5 -verbosity=0 -print_final_stats=1 -artifact_prefix=$$found/ \
	    $$(test -e $$words && echo -dict=$$words) || { \
	    echo "$$target: the input lies in $$found; put it into fuzz/corpus/$$target once it is mended"; \
	    exit 1; }; \
	done

setup: build $(DEMO) ## Get all that the tests need
	cargo build --release --lib --features trap --target wasm32-wasip1 --target-dir $(TRAP_TARGET)
	@$(DEMO) fetch

TIMES := $(CURDIR)/target/test-times
test-native:
	@mkdir -p target && : >$(TIMES)
	TIMES=$(TIMES) cargo test --workspace --config 'target."cfg(all())".runner = "$(CURDIR)/tools/timed"'
	@echo "The ten slowest tests:"
	@sed -nE 's/^test (.*) \.\.\. ok <([0-9.]+)s>$$/\2 s  \1/p' $(TIMES) | sort -rn | sed -n 1,10p

test-wasm: $(RUNNER)
	@./tools/targets wasm32-unknown-unknown
	node=$$(./tools/node) && PATH="$$node:$$PATH" \
	CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER="$(CURDIR)/$(RUNNER)" \
	cargo test --lib --target wasm32-unknown-unknown

$(DEMO): FORCE
	cargo build --package stack --package demo

$(RUNNER):
	cargo install --debug wasm-bindgen-cli --version $(WASM_BINDGEN_VERSION) --root $(TOOLS)/wasm-bindgen-$(WASM_BINDGEN_VERSION)

$(CARGO_FUZZ):
	cargo install --debug --locked cargo-fuzz --version $(CARGO_FUZZ_VERSION) --root $(TOOLS)/cargo-fuzz-$(CARGO_FUZZ_VERSION)

clean: ## Remove all that was built or fetched
	cargo clean

FORCE:
