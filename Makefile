# Understudy's commands for people who work on it. `make lab` and `make test` are all that a newcomer needs:
# each sets up what it lacks first, and is quick about it the second time.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# Asked each time it is used: `setup` may have to bring the Node along first.
NODE = $$(bin/find-node)
STAMPS := .stamps
# Seeds of `make sim`, and the first one.
SEEDS ?= 1000000
FROM ?= 1
# How long `make soak` lasts.
SOAK_MINUTES ?= 30

.PHONY: help setup sipp packages runtime-node lab test check sim scenarios soak starve bench bench-packages clean

help: ## What can be made here
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: packages $(STAMPS)/modules runtime-node ## Install what is missing: packages (as root), modules, a Node

# Not a stamp: what is installed can be removed again, and looking costs nothing. One clone at a time (flock),
# and whoever else holds apt's lock is waited for.
packages:
	@missing=; \
	command -v nft >/dev/null || [ -x /usr/sbin/nft ] || missing="$$missing nftables"; \
	command -v ip >/dev/null || [ -x /usr/sbin/ip ] || missing="$$missing iproute2"; \
	command -v conntrack >/dev/null || [ -x /usr/sbin/conntrack ] || missing="$$missing conntrack"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then \
	  echo "Missing on this machine:$$missing (Debian's names). The lab and some tests need them:" >&2; \
	  echo "  sudo apt-get install -y$$missing" >&2; \
	  exit 0; \
	fi; \
	echo "Installing$$missing"; \
	export DEBIAN_FRONTEND=noninteractive; \
	exec 9</var/lib/apt/lists; flock -w 600 9; \
	for attempt in 1 2 3 4 5; do \
	  apt-get -o DPkg::Lock::Timeout=300 update -q </dev/null && break; sleep 5; \
	done; \
	apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends $$missing </dev/null

# For calls (scenarios ftp-sip and kinds), of which a newcomer needs none: as root, where it can be had; else they are
# named as not played.
sipp: packages
	@command -v sipp >/dev/null || [ "$$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null || { \
	  export DEBIAN_FRONTEND=noninteractive; exec 9</var/lib/apt/lists; flock -w 600 9; \
	  get="apt-get -o DPkg::Lock::Timeout=300 -q"; \
	  $$get install -y --no-install-recommends sip-tester </dev/null || \
	  { $$get update </dev/null && $$get install -y --no-install-recommends sip-tester </dev/null; }; \
	} || echo "SIPp (package sip-tester) cannot be had: scenarios with calls are not played." >&2

$(STAMPS)/modules: package-lock.json
	@mkdir -p $(STAMPS)
	@sum=$$(sha256sum <package-lock.json); \
	if [ ! -d node_modules ] || [ "$$sum" != "$$(cat $@ 2>/dev/null)" ]; then \
	  npm ci --no-audit --no-fund --loglevel=error </dev/null; \
	fi; \
	echo "$$sum" >$@

# Where the machine's own Node is too old, one is brought along in runtime/.
runtime-node:
	@bin/find-node >/dev/null 2>&1 || npm ci --prefix runtime --no-audit --no-fund --loglevel=error </dev/null
	@bin/find-node >/dev/null

lab: setup ## The crash of a box, on this machine, in network namespaces: what survives, and how fast
	@bin/understudy lab

test: setup sipp ## Every test: unit, property, golden, simulator, the scenarios in small
	@$(NODE) --test --test-concurrency=2 --test-timeout=900000 'test/**/*.test.ts'

check: setup ## Types, style, and the rules of the house
	@$(NODE) node_modules/typescript/bin/tsc --noEmit
	@$(NODE) node_modules/@biomejs/biome/bin/biome check --error-on-warnings
	@$(NODE) --test test/tidy.test.ts

sim: setup ## The election and the log in virtual time: SEEDS=1000000 and a tenth of that, FROM=1
	@$(NODE) test/sim/main.ts --seeds $(SEEDS) --from $(FROM)
	@$(NODE) test/sim/logMain.ts --seeds $$(($(SEEDS) / 10)) --from $(FROM)

# One scenario a line; one that fails does not keep the others from being played.
scenarios: setup sipp ## Every scenario at its full size, with its figures (root; an hour)
	@status=0; \
	play() { echo "== understudy lab $$*" >&2; bin/understudy lab --figures "$$@" || status=$$?; }; \
	play --scenario crash --runs 10; \
	play --scenario crash --background 200000; \
	play --scenario crash --v6; \
	play --scenario power; \
	play --scenario freeze --runs 20; \
	play --scenario handover; \
	play --scenario placement; \
	play --scenario kinds --v6; \
	play --scenario kinds-handover --v6; \
	play --scenario ftp-sip --v6; \
	for name in kill-heart kill-daemon restart-daemon restart-heart upgrade wedge-daemon freeze-standby \
	  heartbeats-cut deaf-lan deaf-wan deaf-lan-both deaf-wan-both carrier unplug-standby unplug-standby-ports \
	  split sync-cut foreign-flush boot-race flap flood busy-nft busy-disk full-disk read-only-disk saturated \
	  reboot-standby mid-snapshot stale damaged sync-lost paths-cut loss on-off storm slow-standby churn idle-call apply apply-broken drift rollback \
	  audit overrun readiness; do \
	  play --scenario $$name; \
	done; \
	exit $$status

# SOAK_MINUTES=480 for a night.
soak: setup ## Churn, crashes, cuts and audits for SOAK_MINUTES (30): nothing lost, nothing grows
	@bin/understudy lab --scenario soak --minutes $(SOAK_MINUTES)

starve: setup ## Half an hour and more of a starved machine, and a hundred deaths and returns (root)
	@bin/understudy lab --figures --scenario saturated --runs 15
	@bin/understudy lab --figures --scenario flap --runs 2

# Nothing that is installed for it is started: neither now (policy-rc.d) nor, where there is an init, at boot.
bench-packages:
	@missing=; \
	for name in conntrackd keepalived; do [ -x /usr/sbin/$$name ] || missing="$$missing $$name"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" -ne 0 ]; then echo "Missing on this machine:$$missing. Run it as root." >&2; exit 69; fi; \
	echo "Installing$$missing"; \
	policy=/usr/sbin/policy-rc.d; made=; \
	if [ ! -e $$policy ]; then printf '#!/bin/sh\nexit 101\n' >$$policy; chmod 755 $$policy; made=yes; fi; \
	trap '[ -z "$$made" ] || rm -f '$$policy EXIT; \
	DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends $$missing </dev/null; \
	for name in $$missing; do systemctl disable --quiet $$name 2>/dev/null || true; done

# ROWS=cost,crash plays some of it; what is printed is what docs/performance.md then holds.
bench: setup bench-packages ## Against conntrackd and keepalived, in one run, into docs/performance.md (root; 45 minutes)
	@$(NODE) --disable-warning=ExperimentalWarning bench/main.ts $(if $(ROWS),--rows $(ROWS)) \
	  --json docs/performance.json --document docs/performance.md

clean: ## Remove what `make` put here
	rm -rf node_modules runtime/node_modules $(STAMPS)
