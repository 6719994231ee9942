# One Makefile, no recursion, nothing globbed: adding a file is a visible line in a diff.
VERSION := 0.1.0
CC      ?= cc
BUILD   ?= build
Q       := $(if $(V),,@)# V=1 shows the whole commands
CFLAGS  ?= -O2 -g
prefix  ?= /usr/local
WARN    := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wcast-qual -Wformat=2 \
           -Wmissing-prototypes -Wstrict-prototypes -Wvla -Wwrite-strings
OURS    := -std=c17 -D_GNU_SOURCE -DFARSHORE_VERSION='"$(VERSION)"' -I. -pthread $(WARN) \
           $(if $(WERROR),-Werror) $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer)
LIBS    := -lrsync -llmdb -lssl -lcrypto -luring -lzstd -lxxhash -ljansson -linih

COMMON     := err mem bytes hash seal sign zip io fs log when pool ring kv kv_watch kv_check kv_check_tree pem pki channel channel_context channel_tcp conf conf_get opt opt_help json \
              progress
SNAPSHOT   := merkle map tree tree_page delta delta_read mark index index_row ledger pack pack_read stage commit commit_write store store_make reindex \
              read read_blob point escape walk owner
REPLICATOR := wire wire_open wire_data wire_item
SITE       := main_site site_init site_admin site_status control serve session session_queue session_upload session_data \
              session_item session_object session_mark join
AGENT      := main_agent agent_join agent_conf agent_state greet status link table table_sweep scan entry list dir meta hard past \
              unit read digest settle ask answer window cargo object work pass run
LIST       := main_snapshot list show diff
VERIFY     := main_verify verify_store verify_child verify_finding verify_seen verify_index verify_content verify_ledger \
              verify_mark verify_tree verify_unit verify_pack verify_hit verify_against verify_live
RESTORE    := main_restore restore_run restore_plan restore_tree restore_file restore_large restore_special restore_link restore_meta \
              restore_report only

LIB_OBJS   := $(COMMON:%=$(BUILD)/common/%.o) $(SNAPSHOT:%=$(BUILD)/snapshot/%.o)
WIRE_OBJS  := $(REPLICATOR:%=$(BUILD)/replicator/%.o)
SITE_OBJS  := $(SITE:%=$(BUILD)/replicator/%.o)
AGENT_OBJS := $(AGENT:%=$(BUILD)/replicator/%.o)
PROGRAMS   := farshore-site farshore-agent farshore-snapshot farshore-verify farshore-restore

.PHONY: all clean
.DELETE_ON_ERROR:
all: $(PROGRAMS:%=$(BUILD)/%)

$(BUILD)/libfarshore.a: $(LIB_OBJS)
	@rm -f $@
	$(Q)ar rcs $@ $^
$(BUILD)/farshore-site: $(SITE_OBJS) $(WIRE_OBJS) $(BUILD)/libfarshore.a
$(BUILD)/farshore-agent: $(AGENT_OBJS) $(WIRE_OBJS) $(BUILD)/libfarshore.a
$(BUILD)/farshore-snapshot: $(LIST:%=$(BUILD)/snapshot/%.o) $(BUILD)/libfarshore.a
$(BUILD)/farshore-verify: $(VERIFY:%=$(BUILD)/verify/%.o) $(BUILD)/libfarshore.a
$(BUILD)/farshore-restore: $(RESTORE:%=$(BUILD)/restore/%.o) $(BUILD)/libfarshore.a
$(PROGRAMS:%=$(BUILD)/%):
	@echo "  LD $@"
	$(Q)$(CC) $(OURS) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo "  CC $<"
	$(Q)$(CC) $(OURS) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# Unit tests: tests/unit/FOLDER/test_NAME.c for FOLDER/NAME.c; WRAP_FOLDER/NAME holds the linker's --wrap options.
UNITS_common     := bytes io fs log when pool conf opt json hash seal sign zip ring kv kv_check pki channel channel_context channel_tcp
UNITS_snapshot   := merkle map tree tree_page delta delta_read mark commit ledger pack point read stage escape walk owner diff show
UNITS_replicator := wire wire_open wire_data wire_item session session_item session_mark session_data session_object join control \
                    table list settle hard meta agent_conf agent_state answer object past
UNITS_verify     := verify_seen verify_child verify_finding verify_live
UNITS_restore    := only
UNITS      := $(UNITS_common:%=common/%) $(UNITS_snapshot:%=snapshot/%) $(UNITS_replicator:%=replicator/%) \
              $(UNITS_verify:%=verify/%) $(UNITS_restore:%=restore/%)
TESTS      := $(UNITS:%=$(BUILD)/tests/unit/%)

.PHONY: unit
unit: $(TESTS)
	@for t in $(TESTS); do $$t || exit 1; done

WRAP_common/fs      := -Wl,--wrap=fsync,--wrap=fdatasync,--wrap=write,--wrap=renameat
WRAP_common/io      := -Wl,--wrap=write,--wrap=pwrite,--wrap=pread
WRAP_snapshot/pack  := -Wl,--wrap=pwrite
WRAP_snapshot/stage := -Wl,--wrap=fsync,--wrap=fdatasync
CHANNEL_FIXTURE := $(BUILD)/tests/unit/common/channel_fixture.o
EXTRA_common/channel := $(CHANNEL_FIXTURE)
EXTRA_common/channel_context := $(CHANNEL_FIXTURE)
STORE_FIXTURE        := $(BUILD)/tests/unit/snapshot/store_fixture.o
EXTRA_snapshot/commit := $(STORE_FIXTURE)
EXTRA_snapshot/pack  := $(STORE_FIXTURE)
EXTRA_snapshot/point := $(STORE_FIXTURE)
EXTRA_snapshot/read  := $(STORE_FIXTURE)
EXTRA_snapshot/stage := $(STORE_FIXTURE)
EXTRA_snapshot/walk  := $(STORE_FIXTURE)
EXTRA_snapshot/diff  := $(BUILD)/snapshot/diff.o
EXTRA_snapshot/show  := $(BUILD)/snapshot/show.o $(BUILD)/snapshot/list.o
$(foreach u,$(UNITS_verify),$(eval EXTRA_verify/$(u) := $(BUILD)/verify/$(u).o))
EXTRA_restore/only   := $(BUILD)/restore/only.o
SITE_FIXTURE := $(BUILD)/tests/unit/replicator/site_fixture.o $(filter-out %/main_site.o,$(SITE_OBJS))
EXTRA_replicator/wire := $(CHANNEL_FIXTURE)
EXTRA_replicator/session := $(SITE_FIXTURE)
EXTRA_replicator/session_data := $(SITE_FIXTURE)
EXTRA_replicator/session_object := $(SITE_FIXTURE)
EXTRA_replicator/join := $(SITE_FIXTURE)
EXTRA_replicator/control := $(SITE_FIXTURE)
EXTRA_replicator/session_item := $(SITE_FIXTURE)
EXTRA_replicator/session_mark := $(SITE_FIXTURE)
# The agent's units link what they test; settle, agent_conf and agent_state link the whole agent.
AGENT_REST := $(filter-out %/main_agent.o,$(AGENT_OBJS))
EXTRA_replicator/table    := $(BUILD)/replicator/table.o $(BUILD)/replicator/table_sweep.o
EXTRA_replicator/list     := $(BUILD)/replicator/list.o
EXTRA_replicator/hard     := $(BUILD)/replicator/hard.o
EXTRA_replicator/meta     := $(BUILD)/replicator/meta.o
EXTRA_replicator/object   := $(BUILD)/replicator/object.o
EXTRA_replicator/past     := $(BUILD)/replicator/past.o
EXTRA_replicator/answer   := $(addprefix $(BUILD)/replicator/,answer.o ask.o window.o cargo.o digest.o)
EXTRA_replicator/settle   := $(AGENT_REST)
EXTRA_replicator/agent_conf  := $(AGENT_REST)
EXTRA_replicator/agent_state := $(AGENT_REST)
TREE_FIXTURE := $(BUILD)/tests/unit/snapshot/tree_fixture.o
EXTRA_snapshot/tree  := $(TREE_FIXTURE)
EXTRA_snapshot/tree_page := $(TREE_FIXTURE)

.SECONDEXPANSION:
$(TESTS): $(BUILD)/tests/unit/%: $(BUILD)/tests/unit/$$(dir $$*)test_$$(notdir $$*).o $(BUILD)/tests/unit/unit.o \
          $$(EXTRA_$$*) $(WIRE_OBJS) $(BUILD)/libfarshore.a
	@echo "  LD $@"
	$(Q)$(CC) $(OURS) $(CFLAGS) $(LDFLAGS) $(WRAP_$*) -o $@ $^ -lcmocka $(LIBS)

include tests.mk

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
