# Everything a developer types. `make test` is what CI runs; `make help` lists the rest.
#
# All steps of `make test` share one target folder and one profile. Two kinds of dependency artefacts are
# built, each once: metadata (clippy, rustdoc) and code (binaries, tests). `--workspace --all-targets` is the
# same everywhere, because another choice of packages means other features and so a second build.

SHELL := /bin/bash
CARGO ?= cargo
TOOLS := target/tools
OHA_VERSION := 1.16.0
CARGO_FUZZ_VERSION := 0.13.2

export CARGO_TERM_COLOR ?= auto
# Where rustup puts it, for shells that haven't been told yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

.DEFAULT_GOAL := help
.PHONY: help test contracts clients lint format unit simulation mutations fuzz doc loadtest bench peers control-plane-bench limits-bench lifecycle-bench sync-bench stores-bench tools

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: tools ## everything that must hold: format, lints, documentation, all tests, licences
	@.ci/step --reset
	@.ci/step "format" $(CARGO) fmt --all --check
	@.ci/step "lints" $(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	@RUSTDOCFLAGS="-D warnings" .ci/step "documentation" $(CARGO) doc --workspace --no-deps --locked
	@.ci/step "build" $(CARGO) build --workspace --all-targets --locked
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		.ci/step "tests" $(CARGO) nextest run --workspace --locked && \
		.ci/step "tests on PostgreSQL" $(CARGO) test --workspace --locked --test it-postgres; \
	else \
		.ci/step "tests" $(CARGO) test --workspace --locked --tests; \
	fi
	@.ci/schemathesis
	@.ci/step "contracts of the four surfaces" target/debug/contracts
	@.ci/clients
	@.ci/step "clients of partners" target/debug/clients
	@.ci/step "examples in the documentation" $(CARGO) test --workspace --locked --doc
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		.ci/step "licences, bans, sources" $(CARGO) deny --offline check licenses bans sources; \
	else \
		echo "cargo-deny is not installed: licences were checked by a test, advisories were not."; \
	fi
	@.ci/step --summary

contracts: tools ## schemathesis alone against the four surfaces; ARGS="--seed 7 --examples 50 --only keys"
	@.ci/schemathesis
	$(CARGO) build --workspace --all-targets --locked
	target/debug/contracts $(ARGS)

clients: tools ## the clients of partners through a gateway: curl, httpx, gRPC, WebSockets ...; ARGS='-k "curl or node"'
	@.ci/clients
	$(CARGO) build --workspace --all-targets --locked
	target/debug/clients $(ARGS)

lint: tools ## format and lints alone
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

format: ## writes the format
	$(CARGO) fmt --all

unit: tools ## the tests beside the code alone: no processes
	$(CARGO) test --workspace --locked --lib

simulation: tools ## the sync protocol under faults; HISTORIES=100000 FROM=1, or SEED=7 to play one again
	$(if $(SEED),KEYWARD_SIM_SEED=$(SEED)) $(if $(HISTORIES),KEYWARD_SIM_HISTORIES=$(HISTORIES)) $(if $(FROM),KEYWARD_SIM_FROM=$(FROM)) \
		$(CARGO) test --workspace --locked --test sync -- --nocapture simulation::

mutations: tools ## messages that are almost right, on both sides of the sync protocol; MANY=1000000
	$(if $(MANY),KEYWARD_MUTATIONS=$(MANY)) $(CARGO) test --workspace --locked --test sync -- --nocapture mutated::

fuzz: tools $(TOOLS)/bin/cargo-fuzz ## whatever reads bytes from outside, 60 s each; FUZZ_SECONDS=600, FUZZ_JOBS=1, TARGETS="paths credentials"
	@.ci/install g++:g++
	@PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" FUZZ_SECONDS="$(FUZZ_SECONDS)" FUZZ_JOBS="$(FUZZ_JOBS)" TARGETS="$(TARGETS)" .ci/fuzz

doc: tools ## the documentation of the code, in target/doc
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

loadtest: tools $(TOOLS)/bin/oha ## oha and our own generator against a running stack; report in target/loadtest
	$(CARGO) build --release --locked -p keyward-gateway -p keyward-control-plane -p keyward-loadtest
	PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" target/release/keyward-loadtest $(ARGS)

bench: tools ## criterion benchmarks of the hot functions
	$(CARGO) bench --locked -p keyward-benches $(ARGS)

peers: tools ## the gateway against nginx on the same work: processor time per request
	@.ci/install nginx:nginx-light
	$(CARGO) build --release --locked -p keyward-gateway
	$(CARGO) build --release --locked -p keyward-benches --no-default-features --bin peers
	target/release/peers $(ARGS)

control-plane-bench: tools ## the control plane on SQLite and PostgreSQL; ARGS="--customers 1000000" for long lists
	$(CARGO) build --release --locked -p keyward-gateway -p keyward-control-plane -p keyward-benches \
		--bin keyward-gateway --bin keyward-control-plane --bin control-plane-bench
	target/release/control-plane-bench $(ARGS)

limits-bench: tools ## limits that gateways share in Redis: its calls, latency, memory, outages; ARGS="--only latency"
	$(CARGO) build --release --locked -p keyward-gateway -p keyward-control-plane -p keyward-loadtest -p keyward-benches \
		--bin keyward-gateway --bin keyward-control-plane --bin keyward-seed --bin limits-bench
	target/release/limits-bench $(ARGS)

lifecycle-bench: tools ## 100 reloads and 10 upgrades under load, and what an idle connection costs; ARGS="--per-second 1000"
	$(CARGO) build --release --locked -p keyward-gateway -p keyward-control-plane -p keyward-loadtest -p keyward-benches \
		--bin keyward-gateway --bin keyward-control-plane --bin keyward-seed --bin lifecycle-bench
	target/release/lifecycle-bench $(ARGS)

sync-bench: tools ## how changes reach gateways, huge key sets, many gateways; ARGS="--only propagation"
	$(CARGO) build --release --locked -p keyward-gateway -p keyward-control-plane -p keyward-loadtest -p keyward-benches \
		--bin keyward-gateway --bin keyward-control-plane --bin keyward-seed --bin sync-bench
	target/release/sync-bench $(ARGS)

stores-bench: tools ## embedded stores on the work of a gateway's replica; ARGS="--keys 10000000 --folder /var/tmp"
	$(CARGO) build --profile measure --locked -p keyward-benches --no-default-features --features stores --bin stores-bench
	target/measure/stores-bench $(ARGS)

# cargo and a C compiler are all that building needs; setpriv and taskset start the processes of the tests,
# curl runs the lines that `keyward standalone` prints, nginx asks the gateway about calls, and PostgreSQL, Redis and nginx are
# started by the tests in folders of their own: the servers that Debian starts with the packages are not used.
tools:
	@.ci/install cc:gcc /usr/include/stdlib.h:libc6-dev setpriv:util-linux taskset:util-linux \
		/etc/ssl/certs/ca-certificates.crt:ca-certificates curl:curl \
		/usr/lib/postgresql:postgresql psql:postgresql-client redis-server:redis-server /usr/sbin/nginx:nginx-light
	@command -v $(CARGO) >/dev/null || { \
		echo "cargo is missing. Install Rust (https://rustup.rs); rust-toolchain.toml says which version is used." >&2; \
		exit 1; }

# It takes about five minutes and stays until target/ is removed. It doesn't build without its TLS.
$(TOOLS)/bin/oha:
	@.ci/install cmake:cmake
	@echo "Installing oha $(OHA_VERSION) with cargo into $(TOOLS)"
	$(CARGO) install oha --version $(OHA_VERSION) --locked --root $(TOOLS) --target-dir $(TOOLS)/build

# A minute, once.
$(TOOLS)/bin/cargo-fuzz:
	@echo "Installing cargo-fuzz $(CARGO_FUZZ_VERSION) with cargo into $(TOOLS)"
	$(CARGO) install cargo-fuzz --version $(CARGO_FUZZ_VERSION) --locked --root $(TOOLS) --target-dir $(TOOLS)/build
