# make run     builds what is missing; the ingress on http://localhost:8080, the service on http://127.0.0.1:8081
# make dev     debug builds, built and started again after every change; the page on http://localhost:5173
# make check   before each commit: format, clippy, words, unit tests, native attackers
# make test    every test that needs no container engine: units, HTTP, stores, attackers, the page in a browser
# make test-all  make test, and then make test-deploy. A change lands after this one (.ci/run)
# make lint    format, words, clippy, licences
# make bench   what it costs on this machine, beside others; nothing fails by it. Takes half an hour; docs/performance.md
# make test-deploy  images, compose, Postgres with several services, Cloud Run: built, started, killed, stopped
# make test-gvisor  doctor, the selftest and the attackers under gVisor
# make audit   known vulnerabilities (RustSec, npm) and licences; says so where a database cannot be reached
# make pin-images  writes the digests of base images, where their registries answer
# make nightly  audit, test-asan, fuzz, crashtest
# make fuzz    many more random values, bodies and scripts than `make test` tries; FUZZ_CASES says how many
# make test-replay  scripts with tools, suspended at every record: as many random ones as REPLAY_SCRIPTS says
# make crashtest  services and databases are killed at random, CRASHES times; no accepted job may be lost, nor usage beyond the last second
# make test-asan  the engine under AddressSanitizer and UBSan, with memory refused at every point; some forty minutes
# make soak    half an hour of honest and hostile scripts, and of SIGKILL to random parts

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := run
.PHONY: run dev check build page test test-all test-deploy test-replay lint bench fuzz crashtest soak test-asan test-gvisor audit pin-images nightly tools tools-page tools-test \
  tools-deploy tools-lint tools-bench tools-gvisor

CARGO ?= cargo
CARGO_DENY_VERSION := 0.20.2
OHA_VERSION := 1.16.0
FUZZ_CASES ?= 20000
REPLAY_SCRIPTS ?= 10000
CRASHES ?= 50
RUNSC := runsc --platform=ptrace --network=none --ignore-cgroups do

# Linked statically, wherever there is a static C library: a fork copies every mapping, and a program without shared
# libraries has a third of them. Naming the target keeps the flag away from build scripts and procedural macros.
TRIPLE := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
TARGET_VARIABLE := $(shell tr 'a-z-' 'A-Z_' <<<'$(TRIPLE)')
ifneq ($(wildcard $(shell cc -print-file-name=libc.a 2>/dev/null)),)
export CARGO_TARGET_$(TARGET_VARIABLE)_RUSTFLAGS := -C target-feature=+crt-static
endif

# As root on a Debian system what is missing is installed; anybody else is told what to type.
APT := $(if $(shell command -v apt-get),$(if $(filter 0,$(shell id -u)),yes))

# Both, until Ctrl-C or the end of either. The ingress stops last, so that it still answers while the service drains.
run: build
	@mkdir -p target/sources
	@export SANDPIPER_SOURCES_DIR=target/sources SANDPIPER_INGRESS_SOURCES_DIR=target/sources; \
	setsid bin/sandpiper serve --host 127.0.0.1 --port 8081 --client-header sandpiper-client & service=$$!; \
	setsid bin/sandpiper-ingress serve --port 8080 --api-port 8081 & ingress=$$!; \
	trap 'trap - INT TERM HUP; kill $$service || :; wait $$service || :; kill $$ingress || :; wait' EXIT 2>/dev/null; \
	trap 'exit 0' INT TERM HUP; \
	wait -n $$service $$ingress || echo "one of the two has ended" >&2

# make dev DEV_OPTIONS='--executors 1': options of the service.
dev: tools frontend/node_modules/.package-lock.json
	@CARGO="$(CARGO)" TRIPLE="$(TRIPLE)" DEV_OPTIONS="$(DEV_OPTIONS)" DEV_CARGO="$(DEV_CARGO)" tools/dev

check: tools
	$(CARGO) fmt --all --check
	.ci/words
	$(CARGO) clippy --workspace --all-targets --locked --target $(TRIPLE) -- -D warnings
	$(CARGO) test --workspace --locked --target $(TRIPLE) --lib --test walls

# The three programs, and not the one that tests attack the sandbox with.
PROGRAMS := -p sandpiper -p sandpiper-sandbox -p sandpiper-ingress --bins
# Quick to build, for people; `make build DIST=1` builds what images and benchmarks run, optimised across crates.
PROFILE = $(if $(DIST),dist,release)

build: tools page
	$(CARGO) build $(PROGRAMS) --profile $(PROFILE) --locked --target $(TRIPLE)
	mkdir -p bin
	install $(addprefix target/$(TRIPLE)/$(PROFILE)/,sandpiper sandpiper-sandbox sandpiper-ingress) bin

# The web page, to frontend/dist.
page: frontend/dist/index.html

frontend/dist/index.html: frontend/index.html frontend/vite.config.ts $(wildcard frontend/src/* frontend/public/*) frontend/node_modules/.package-lock.json
	cd frontend && npm run --silent build

frontend/node_modules/.package-lock.json: frontend/package-lock.json | tools-page
	cd frontend && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# Every suite runs, whatever failed before it; what failed is listed at the end.
SUITES = CARGO="$(CARGO)" TRIPLE="$(TRIPLE)" tests/suites

test: tools tools-test page
	@$(SUITES) rust page

test-all: tools tools-test tools-deploy page
	@$(SUITES) rust page deploy

# In a container engine that is running, or in one of its own. The image of the page needs the downloads of `make page`.
test-deploy: tools tools-deploy page
	@$(SUITES) deploy

lint: tools tools-lint
	$(CARGO) fmt --all --check
	.ci/words
	$(CARGO) clippy --workspace --all-targets --locked --target $(TRIPLE) -- -D warnings
	$(CARGO) deny --locked --log-level error check licenses bans sources

bench: DIST = 1
bench: build tools-bench
	benches/micro --profile dist --target $(TRIPLE)
	$(CARGO) build --profile dist --locked --target $(TRIPLE) -p sandpiper-sandbox --example engine-alone
	ENGINE="$(abspath $(or $(CARGO_TARGET_DIR),target))/$(TRIPLE)/dist/examples/engine-alone" \
	  benches/compare bin/sandpiper bin/sandpiper-ingress
	benches/ingress bin/sandpiper bin/sandpiper-ingress
	benches/goodput bin/sandpiper bin/sandpiper-ingress
	benches/scale bin/sandpiper bin/sandpiper-ingress
	benches/plot

test-gvisor: build tools-gvisor
	$(RUNSC) $(CURDIR)/bin/sandpiper doctor
	$(RUNSC) $(CURDIR)/bin/sandpiper selftest
	CARGO_TARGET_$(TARGET_VARIABLE)_RUNNER="$(RUNSC)" $(CARGO) test --locked --target $(TRIPLE) -p sandpiper-sandbox-attackers --test walls

fuzz: tools
	PROPTEST_CASES=$(FUZZ_CASES) $(CARGO) test --locked --target $(TRIPLE) --test it fuzz
	DETERMINISM_SCRIPTS=$(FUZZ_CASES) $(CARGO) test --locked --target $(TRIPLE) --test it determinism::
	PROPTEST_CASES=$(FUZZ_CASES) $(CARGO) test --locked --target $(TRIPLE) -p sandpiper-sandbox-protocol --lib frames

test-replay: tools
	REPLAY_SCRIPTS=$(REPLAY_SCRIPTS) $(CARGO) test --locked --target $(TRIPLE) -p sandpiper-sandbox --test rounds equality

crashtest: tools tools-test
	CRASHES=$(CRASHES) $(CARGO) test --locked --target $(TRIPLE) --test it crash:: -- --nocapture --test-threads 1

test-asan: tools
	tests/asan/run

soak: DIST = 1
soak: build
	$(CARGO) bench --profile dist --locked --target $(TRIPLE) --bench soak

# Exit status of the script: 1 if something was found, 3 if a database could not be asked.
audit: tools tools-lint tools-page
	@CARGO="$(CARGO)" .ci/audit

# What takes too long for every change, beside `make audit`. One step a line.
NIGHTLY := \
  test-asan \
  fuzz \
  crashtest

nightly: tools tools-lint tools-page tools-test
	@CARGO="$(CARGO)" MAKE="$(MAKE)" .ci/nightly $(NIGHTLY)

# Exit status of the script: 3 if a registry did not answer and its images keep their tags.
pin-images:
	@$(call ensure,curl,curl)
	.ci/pin-images

tools:
	@command -v $(CARGO) >/dev/null || { \
	  echo "Rust is missing. Install 1.95 or newer from https://rustup.rs and try again." >&2; exit 1; }
	@$(call ensure,cc,gcc libc6-dev)

# A Postgres that tests start themselves; and servers from which they fetch scripts as if from S3 and from Google Cloud
# Storage, installed again when the list has changed.
STORES := ingress/tests/stores.txt
# What tries the API by its description, checks the description, and generates clients from it.
OPENAPI := tests/openapi/tools.txt
tests/openapi/node_modules/.package-lock.json: tests/openapi/package-lock.json | tools-page
	cd tests/openapi && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# Public schemas that the deployment's files are held to.
SCHEMAS := tests/deploy/tools.txt
# Prometheus's programs without its service, which the package would start: only unpacked.
PROMETHEUS := target/prometheus
PROMETHEUS_GET = if command -v apt-get >/dev/null; then \
  { [ -z "$(APT)" ] || apt-get update -qq; } && mkdir -p $(PROMETHEUS) && cd $(PROMETHEUS) && \
  apt-get download -qq prometheus && dpkg-deb -x prometheus_*.deb .; \
  else echo "prometheus and promtool are missing: https://prometheus.io/download" >&2; exit 1; fi
tools-test: tests/openapi/node_modules/.package-lock.json
	@[ -n "$(wildcard /usr/lib/postgresql/*/bin/initdb)" ] || $(call ensure,initdb,postgresql)
	@$(call packages,$(STORES),target/stores)
	@$(call packages,$(OPENAPI),target/openapi)
	@$(call packages,$(SCHEMAS),target/schemas)
	@$(call ensure,chromium,chromium)
	@command -v promtool >/dev/null || [ -x $(PROMETHEUS)/usr/bin/promtool ] || { $(PROMETHEUS_GET); }

# As root on a Debian system; elsewhere tests/deploy/with-engine says what is missing.
tools-deploy:
ifneq ($(APT),)
	@docker info >/dev/null 2>&1 || { $(call ensure,dockerd,docker.io iptables) && $(call ensure,runsc,runsc); }
	@docker compose version >/dev/null 2>&1 || $(call ensure,docker-compose,docker-compose)
	@$(call ensure,debootstrap,debootstrap)
	@$(call ensure,envsubst,gettext-base)
	@$(call ensure,docker-registry,docker-registry)
endif

tools-page:
	@$(call ensure,npm,nodejs npm)

tools-lint:
	@$(CARGO) fmt --version >/dev/null 2>&1 && $(CARGO) clippy --version >/dev/null 2>&1 || { \
	  echo "Type: rustup component add rustfmt clippy" >&2; exit 1; }
	@$(CARGO) deny --version >/dev/null 2>&1 || \
	  env -u CARGO_TARGET_$(TARGET_VARIABLE)_RUSTFLAGS $(CARGO) install --locked cargo-deny@$(CARGO_DENY_VERSION)

tools-gvisor:
	@$(call ensure,runsc,runsc)

# What Sandpiper is compared with: servers of ours on packages that bring their own programs, so nothing of theirs is run
# while they are installed.
benches/peers/node_modules/.package-lock.json: benches/peers/package.json benches/peers/package-lock.json | tools-page
	cd benches/peers && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

tools-bench: benches/peers/node_modules/.package-lock.json
	@pkg-config --exists openssl 2>/dev/null || $(call ensure,libssl-dev,pkg-config libssl-dev)
	@# Its own choice for TLS, which nothing here uses, takes longer to build than all the rest.
	@[ "$$(target/tools/bin/oha --version 2>/dev/null)" = "oha $(OHA_VERSION)" ] || \
	  env -u CARGO_TARGET_$(TARGET_VARIABLE)_RUSTFLAGS $(CARGO) install --quiet --locked --root target/tools \
	    --no-default-features --features native-tls oha@$(OHA_VERSION)
	@$(call ensure,wrk,wrk)
	@$(call ensure,nginx,nginx-light)
	@$(call ensure,python3,python3)
	@$(call ensure,curl,curl)

# $(call packages,LIST,FOLDER): the Python packages of LIST are in FOLDER afterwards.
packages = cmp -s $(1) $(2)/installed.txt || { \
  $(call ensure,python3,python3 python3-venv) && rm -rf $(2) && python3 -m venv $(2) && \
  $(2)/bin/pip install --quiet --disable-pip-version-check --requirement $(1) && cp $(1) $(2)/installed.txt; }

# $(call ensure,COMMAND,PACKAGES): COMMAND is there afterwards, or it is said how to get it.
ensure = { command -v $(1) >/dev/null || \
  if [ -n "$(APT)" ]; then apt-get update -qq && apt-get install -y -qq $(2); \
  else echo "$(1) is missing. On Debian or Ubuntu type: sudo apt-get install $(2)" >&2; exit 1; fi; }
