#include "common/progress.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "common/auto.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/when.h"

#define NS_PER_S 1000000000ll
#define BAR_CELLS_MAX 30
#define RATE_S 5.0 /* the rate is a mean that forgets with this time */

enum mode { MODE_BAR, MODE_PLAIN, MODE_JSON };

struct progress {
    char *what;
    enum mode mode;
    bool colour;
    atomic_uint_fast64_t bytes, files, bytes_total, files_total;
    int64_t start_ns;

    /* The ticker's own. */
    int64_t tick_ns;
    uint64_t tick_bytes, tick_files;
    double rate, file_rate; /* a second */

    pthread_mutex_t lock; /* guards ending */
    pthread_cond_t wake;
    bool ending;
    pthread_t ticker;
};

/* What one line shows. */
struct view {
    uint64_t bytes, bytes_total, files, files_total;
    double rate;
    int64_t eta_s; /* -1: not known */
};

/* Out of memory, or our own misuse. */
static void
must(int rc)
{
    if (rc != 0)
        abort();
}

static double
blend(double old, uint64_t more, double s)
{
    return old + ((double)more / s - old) * (s / (s + RATE_S));
}

/* Where bytes are known they tell how far it is; else files do. */
static struct view
look(struct progress *p)
{
    struct view v = {
        .bytes = atomic_load(&p->bytes),
        .bytes_total = atomic_load(&p->bytes_total),
        .files = atomic_load(&p->files),
        .files_total = atomic_load(&p->files_total),
        .eta_s = -1,
    };
    const int64_t now = when_tick_ns();
    const double s = (double)(now - p->tick_ns) / (double)NS_PER_S;

    if (s >= 0.05) {
        /* The first second has no past to be blended with. */
        const bool first = p->tick_ns == p->start_ns;
        p->rate = first ? (double)v.bytes / s : blend(p->rate, v.bytes - p->tick_bytes, s);
        p->file_rate = first ? (double)v.files / s : blend(p->file_rate, v.files - p->tick_files, s);
        p->tick_ns = now;
        p->tick_bytes = v.bytes;
        p->tick_files = v.files;
    }
    v.rate = p->rate;
    const bool by_bytes = v.bytes_total > 0;
    const uint64_t total = by_bytes ? v.bytes_total : v.files_total;
    const uint64_t done = by_bytes ? v.bytes : v.files;
    const double rate = by_bytes ? p->rate : p->file_rate;
    if (total > 0 && done >= total)
        v.eta_s = 0;
    else if (total > 0 && rate > 0 && (double)(total - done) / rate < 1e9)
        v.eta_s = (int64_t)((double)(total - done) / rate + 0.5);
    return v;
}

/* 0..100, or -1 where no total is known.  A total that turns out too small never shows more than 100. */
static int
percent(const struct view *v)
{
    const uint64_t total = v->bytes_total > 0 ? v->bytes_total : v->files_total;
    const uint64_t done = v->bytes_total > 0 ? v->bytes : v->files;

    if (total == 0)
        return -1;
    return done >= total ? 100 : (int)((double)done * 100.0 / (double)total);
}

/* "1.2 GiB of 3.4 GiB, 7 files, 120.0 MiB/s, 12 s left" */
static char *
describe(const struct view *v)
{
    char bytes[WHEN_ROOM], total[WHEN_ROOM + 4] = "", rate[WHEN_ROOM], left[WHEN_ROOM + 16] = "";

    when_bytes(v->bytes, bytes);
    when_bytes((uint64_t)(v->rate < 0 ? 0 : v->rate), rate);
    if (v->bytes_total > 0) {
        char text[WHEN_ROOM];
        when_bytes(v->bytes_total, text);
        (void)snprintf(total, sizeof total, " of %s", text);
    }
    if (v->eta_s > 0) {
        char text[WHEN_ROOM];
        when_age(v->eta_s * NS_PER_S, text);
        (void)snprintf(left, sizeof left, ", %s left", text);
    }
    if (v->files_total > 0)
        return mem_text("%s%s, %ju of %ju files, %s/s%s", bytes, total, (uintmax_t)v->files,
                        (uintmax_t)v->files_total, rate, left);
    return mem_text("%s%s, %ju files, %s/s%s", bytes, total, (uintmax_t)v->files, rate, left);
}

/* "1.2 GiB/3.4 GiB 120.0 MiB/s ETA 12 s": short, so that 80 columns have room for a bar. */
static char *
describe_short(const struct view *v)
{
    char bytes[WHEN_ROOM], total[WHEN_ROOM], rate[WHEN_ROOM], left[WHEN_ROOM] = "";

    when_bytes(v->bytes, bytes);
    when_bytes(v->bytes_total, total);
    when_bytes((uint64_t)(v->rate < 0 ? 0 : v->rate), rate);
    if (v->eta_s >= 0)
        when_age(v->eta_s * NS_PER_S, left);
    const char *const eta = v->eta_s >= 0 ? " ETA " : "";
    if (v->bytes_total > 0)
        return mem_text("%s/%s %s/s%s%s", bytes, total, rate, eta, left);
    if (v->files_total > 0)
        return mem_text("%ju/%ju files %s/s%s%s", (uintmax_t)v->files, (uintmax_t)v->files_total, rate, eta,
                        left);
    return mem_text("%s %ju files %s/s", bytes, (uintmax_t)v->files, rate);
}

static void
show_json(const struct progress *p, const struct view *v)
{
    AUTO(json_free) struct json *j = json_new();

    json_number(j, "schema", 1);
    json_text(j, "type", "progress");
    json_text(j, "what", p->what);
    json_number(j, "bytes", (int64_t)v->bytes);
    json_number(j, "bytes_total", (int64_t)v->bytes_total);
    json_number(j, "files", (int64_t)v->files);
    json_number(j, "files_total", (int64_t)v->files_total);
    json_number(j, "rate", (int64_t)v->rate);
    if (v->eta_s >= 0)
        json_number(j, "eta_s", v->eta_s);
    json_print(stdout, j);
    (void)fflush(stdout); /* who reads this wants it now */
}

static size_t
columns(void)
{
    struct winsize size;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

static void
say(const char *text)
{
    const ssize_t n = write(STDERR_FILENO, text, strlen(text));

    (void)n;
}

static void
show_bar(const struct progress *p, const struct view *v)
{
    static const char cells[] = "##############################";
    static const char holes[] = "..............................";
    _Static_assert(sizeof cells == BAR_CELLS_MAX + 1 && sizeof holes == BAR_CELLS_MAX + 1, "both are full");
    const int part = percent(v);
    AUTO(auto_free) char *facts = describe_short(v);
    AUTO(auto_free) char *head = part < 0 ? mem_text("%s  ", p->what) : mem_text("%s %3d %% ", p->what, part);
    const size_t room = columns() - 1; /* the last column would wrap */
    const size_t used = strlen(head) + strlen(facts);
    int width = used + 3 >= room ? 0 : (int)(room - used - 3);

    width = width > BAR_CELLS_MAX ? BAR_CELLS_MAX : width;
    if (part < 0 || width < 5) {
        AUTO(auto_free)
        char *line = mem_text("\r%.*s%.*s\033[K", (int)room, head,
                              (int)(strlen(head) < room ? room - strlen(head) : 0), facts);
        say(line);
        return;
    }
    const int full = width * part / 100;
    AUTO(auto_free)
    char *line = mem_text("\r%s[%s%.*s%s%.*s] %s\033[K", head, p->colour ? "\033[32m" : "", full, cells,
                          p->colour ? "\033[0m" : "", width - full, holes, facts);
    say(line);
}

static void
show(struct progress *p)
{
    const struct view v = look(p);

    if (p->mode == MODE_JSON) {
        show_json(p, &v);
    } else if (p->mode == MODE_BAR) {
        show_bar(p, &v);
    } else {
        AUTO(auto_free) char *facts = describe(&v);
        const int part = percent(&v);
        if (part < 0)
            log_info("%s: %s", p->what, facts);
        else
            log_info("%s: %d %%, %s", p->what, part, facts);
    }
}

static void *
tick(void *arg)
{
    static const int64_t every_ns[] = {
        [MODE_BAR] = NS_PER_S / 5, [MODE_PLAIN] = 10 * NS_PER_S, [MODE_JSON] = NS_PER_S
    };
    struct progress *const p = arg;
    int64_t last = p->start_ns;

    must(pthread_mutex_lock(&p->lock));
    while (!p->ending) {
        const int64_t now = when_tick_ns();
        if (now - last >= every_ns[p->mode]) {
            last = now;
            must(pthread_mutex_unlock(&p->lock));
            show(p);
            must(pthread_mutex_lock(&p->lock));
            continue;
        }
        const int64_t at = last + every_ns[p->mode];
        const struct timespec until = { .tv_sec = at / NS_PER_S, .tv_nsec = at % NS_PER_S };
        (void)pthread_cond_timedwait(&p->wake, &p->lock, &until); /* the loop looks at what was the cause */
    }
    must(pthread_mutex_unlock(&p->lock));
    return NULL;
}

static void
start(struct progress *p)
{
    pthread_condattr_t attr;

    must(pthread_condattr_init(&attr));
    must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC)); /* when_tick_ns counts by it */
    must(pthread_cond_init(&p->wake, &attr));
    must(pthread_condattr_destroy(&attr));
    must(pthread_mutex_init(&p->lock, NULL));
    must(pthread_create(&p->ticker, NULL, tick, p));
}

struct progress *
progress_new(const char *what, bool json, bool quiet)
{
    if (quiet)
        return NULL;
    struct progress *const p = mem_zero(1, sizeof *p);
    const char *const term = getenv("TERM");
    const char *const plain = getenv("NO_COLOR");
    const bool tty = isatty(STDERR_FILENO) == 1 && term != NULL && strcmp(term, "dumb") != 0;

    p->what = mem_text("%s", what);
    p->mode = json ? MODE_JSON : tty ? MODE_BAR : MODE_PLAIN;
    p->colour = plain == NULL || *plain == '\0';
    p->start_ns = p->tick_ns = when_tick_ns();
    if (p->mode == MODE_BAR)
        log_bar(true);
    start(p);
    return p;
}

void
progress_total(struct progress *p, uint64_t bytes, uint64_t files)
{
    if (p == NULL)
        return;
    atomic_store(&p->bytes_total, bytes);
    atomic_store(&p->files_total, files);
}

void
progress_add(struct progress *p, uint64_t bytes, uint64_t files)
{
    if (p == NULL)
        return;
    atomic_fetch_add_explicit(&p->bytes, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->files, files, memory_order_relaxed);
}

void
progress_free(struct progress **p)
{
    struct progress *const gone = *p;

    *p = NULL;
    if (gone == NULL)
        return;
    must(pthread_mutex_lock(&gone->lock));
    gone->ending = true;
    must(pthread_cond_signal(&gone->wake));
    must(pthread_mutex_unlock(&gone->lock));
    must(pthread_join(gone->ticker, NULL));
    if (gone->mode == MODE_BAR) {
        log_bar(false);
        say("\r\033[K");
    } else if (gone->mode == MODE_JSON) {
        show(gone); /* what it came to, also for a run of less than a second */
    }
    must(pthread_cond_destroy(&gone->wake));
    must(pthread_mutex_destroy(&gone->lock));
    free(gone->what);
    free(gone);
}
