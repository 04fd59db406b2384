# `make demo` and `make test` do all the set-up on a fresh Debian machine with Rust. `make help` lists the rest.

SHELL := /bin/bash
.DEFAULT_GOAL := build
.PHONY: help build demo test bench install clean

# Links the RocksDB archive that .ci/rocksdb builds once per machine.
cargo = eval "$$(.ci/rocksdb)" && cargo

PREFIX ?= /usr/local
TARGET := $(or $(CARGO_TARGET_DIR),target)

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do printf '  %-10s %s\n' "$$name" "$$what"; done

build: ## Build the release binary
	@.ci/install build
	$(cargo) build --locked --release

demo: ## Build the redis example from nothing, run it, ask it PING
	@.ci/install build demo
	$(cargo) build --locked --release
	SILT=$(TARGET)/release/silt examples/demo

test: ## Formatting, lints, documentation, licences, all tests
	@.ci/install build test
	cargo fmt --all --check
	cargo fmt --manifest-path benches/Cargo.toml --check
	$(cargo) clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --manifest-path benches/Cargo.toml --all-targets -- -D warnings
	$(cargo) test --locked --workspace
	cargo test --locked --manifest-path benches/Cargo.toml
	RUSTDOCFLAGS="-D warnings" && export RUSTDOCFLAGS && $(cargo) doc --locked --workspace --no-deps --document-private-items
	.ci/deny

bench: ## Compare Silt with Docker and buildah on this machine
	@.ci/install build bench
	$(cargo) build --locked --release
	cargo run --locked --release --manifest-path benches/Cargo.toml -- --silt $(TARGET)/release/silt --out benches/results

install: build ## Install the binary below PREFIX (/usr/local)
	install -D -m 0755 $(TARGET)/release/silt $(DESTDIR)$(PREFIX)/bin/silt

clean: ## Remove what was built here; the machine's cache folder stays
	cargo clean
