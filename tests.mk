# tests.mk - what is run rather than built: packages, checks, faults, benchmark, demonstration, installation.  Included at the end
# of the Makefile.  `make check` is the whole of it; tests/tally.sh counts and sums.

DEPS_BUILD := build-essential pkg-config librsync-dev liblmdb-dev libssl-dev liburing-dev libcmocka-dev libzstd-dev \
              libjansson-dev libinih-dev libxxhash-dev
DEPS_CHECK := mandoc clang clang-format cppcheck libclang-rt-14-dev rsync attr acl jq python3 openssl e2fsprogs mount \
              iproute2 nftables procps util-linux git shellcheck
DEPS_BENCH := restic borgbackup time

E2E      := 01-roundtrip 02-nights 03-points 04-pki 05-wire-abuse 06-receipts 07-corruption 08-full-disk 09-link 10-growing \
            11-plain-io 12-config 13-daemon 14-restore-safety
# Under TSan a pass takes twenty times as long: those that make the threads meet.
E2E_TSAN := 02-nights 13-daemon
FUZZ     := conf delta frame item map mark pack page token
JOBS     ?= $(shell nproc)
KILLS    ?= 12
FLIPS    ?= 60
FUZZ_SECONDS ?= 8
# Address space randomised too far hides the sanitizers' shadow on some kernels; where this is forbidden it is not needed.
FIXED    := $(shell setarch -R true 2>/dev/null && echo setarch -R)
TALLY    := tests/tally.sh
export TALLY_DIR ?= $(BUILD)/tally
MAN      := farshore-site.8 farshore-agent.8 farshore-snapshot.1 farshore-verify.1 farshore-restore.1 farshore-conf.5 \
            farshore-store.5 farshore-wire.5

.PHONY: deps deps-bench units lint e2e fault fuzz fuzzers bench demo install check check-asan check-tsan check-fuzz check-units \
        check-e2e

deps:
	@tests/deps.sh $(DEPS_BUILD) $(DEPS_CHECK)
deps-bench:
	@tests/deps.sh $(DEPS_BENCH)

units: $(TESTS)

lint: all
	@BUILD=$(BUILD) tests/lint/lint.sh

e2e: all
	@$(TALLY) start
	@$(MAKE) --no-print-directory -s check-e2e
	@$(TALLY) sum

# The long run.  A seed that failed is given again as SEED=.
fault: all
	@$(TALLY) start
	@TALLY_SECONDS=14400 $(TALLY) run fault/kill env BUILD=$(BUILD) tests/fault/kill.sh $(or $(N),300)
	@TALLY_SECONDS=14400 $(TALLY) run fault/flip env BUILD=$(BUILD) tests/fault/flip.sh $(or $(N),2000)
	@TALLY_SECONDS=14400 $(TALLY) run fault/million env BUILD=$(BUILD) tests/fault/million.sh
	@$(TALLY) sum

# --- Parts of `make check`: each adds to the tally that is open.

check-units: units
	@for t in $(UNITS); do \
	    CMOCKA_MESSAGE_OUTPUT=TAP $(TALLY) run "$(LABEL)unit/$$t" $(RUN) $(BUILD)/tests/unit/$$t; \
	done

check-e2e: all
	@printf '%s\n' $(E2E) | xargs -P $(JOBS) -I{} $(TALLY) run "$(LABEL)e2e/{}" $(RUN) env BUILD=$(BUILD) tests/e2e/{}.sh

# (Under sanitizers gcc warns of what it cannot see through: warnings are errors in the plain builds.)
check-asan:
	@$(MAKE) --no-print-directory -s -j$(JOBS) BUILD=$(BUILD)/asan SAN=address,undefined CFLAGS='-O1 -g' WERROR= all units
	@$(MAKE) --no-print-directory -s BUILD=$(BUILD)/asan SAN=address,undefined CFLAGS='-O1 -g' WERROR= \
	    LABEL=asan/ RUN='$(FIXED)' check-units check-e2e

check-tsan:
	@$(MAKE) --no-print-directory -s -j$(JOBS) BUILD=$(BUILD)/tsan SAN=thread CFLAGS='-O1 -g' WERROR= all units
	@$(MAKE) --no-print-directory -s BUILD=$(BUILD)/tsan SAN=thread CFLAGS='-O1 -g' WERROR= \
	    LABEL=tsan/ RUN='$(FIXED)' E2E='$(E2E_TSAN)' check-units check-e2e

# Fuzzers are built by clang, and all programs with them: the second compiler's warnings are errors too.
$(FUZZ:%=$(BUILD)/tests/fuzz/fuzz_%): $(BUILD)/tests/fuzz/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(WIRE_OBJS) \
        $(BUILD)/libfarshore.a
	$(CC) $(OURS) $(CFLAGS) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS)
fuzzers: $(FUZZ:%=$(BUILD)/tests/fuzz/fuzz_%)

check-fuzz:
	@$(MAKE) --no-print-directory -s -j$(JOBS) BUILD=$(BUILD)/fuzz CC=clang SAN=fuzzer-no-link,address,undefined \
	    CFLAGS='-O1 -g' all fuzzers
	@printf '%s\n' $(FUZZ) | xargs -P $(JOBS) -I{} $(TALLY) one "fuzz/{}" $(FIXED) \
	    tests/fuzz/run.sh $(BUILD)/fuzz/tests/fuzz/fuzz_{} tests/fuzz/corpus/{} $(FUZZ_SECONDS)

fuzz:
	@$(TALLY) start
	@$(MAKE) --no-print-directory FUZZ_SECONDS=$(or $(SECONDS),60) check-fuzz
	@$(TALLY) sum

check: deps
	@$(TALLY) start
	@$(MAKE) --no-print-directory -s -j$(JOBS) WERROR=1 all units
	@$(TALLY) run lint env BUILD=$(BUILD) tests/lint/lint.sh
	@$(MAKE) --no-print-directory -s WERROR=1 check-units check-e2e
	@$(TALLY) run fault/kill env BUILD=$(BUILD) tests/fault/kill.sh $(KILLS)
	@$(TALLY) run fault/flip env BUILD=$(BUILD) tests/fault/flip.sh $(FLIPS)
	@$(MAKE) --no-print-directory -s WERROR=1 check-fuzz
	@$(MAKE) --no-print-directory -s WERROR=1 check-asan
	@$(MAKE) --no-print-directory -s WERROR=1 check-tsan
	@$(TALLY) sum

# --- For people.

bench: deps deps-bench
	@$(MAKE) --no-print-directory -s -j$(JOBS) all
	@BUILD=$(BUILD) python3 tests/bench/bench.py

demo: deps
	@$(MAKE) --no-print-directory -s -j$(JOBS) all
	@BUILD=$(BUILD) tests/demo.sh

install: all
	install -d $(DESTDIR)$(prefix)/bin $(DESTDIR)$(prefix)/share/bash-completion/completions
	install -m 755 $(PROGRAMS:%=$(BUILD)/%) $(DESTDIR)$(prefix)/bin
	install -d $(foreach s,1 5 8,$(DESTDIR)$(prefix)/share/man/man$s)
	$(foreach p,$(MAN),install -m 644 man/$p $(DESTDIR)$(prefix)/share/man/man$(subst .,,$(suffix $p))/$p &&) true
	install -m 644 completion/farshore $(DESTDIR)$(prefix)/share/bash-completion/completions/farshore-site
	$(foreach p,$(filter-out farshore-site,$(PROGRAMS)),ln -sf farshore-site \
	    $(DESTDIR)$(prefix)/share/bash-completion/completions/$p &&) true
	install -d $(DESTDIR)$(prefix)/share/doc/farshore
	install -m 644 README.md DESIGN.md LICENSE $(DESTDIR)$(prefix)/share/doc/farshore
