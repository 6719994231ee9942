/* progress.h - how far a long command is: a bar on a terminal (bytes, rate, ETA), a plain line every 10 s elsewhere, JSON
 * lines with "type":"progress" every second with --json, nothing with --quiet.  On standard error; JSON on standard output.
 * Any thread may add. */
#ifndef COMMON_PROGRESS_H
#define COMMON_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress; /* NULL with --quiet, which all of these take */
struct progress *progress_new(const char *what, bool json, bool quiet);
void progress_total(struct progress *p, uint64_t bytes, uint64_t files); /* 0: not known (yet) */
void progress_add(struct progress *p, uint64_t bytes, uint64_t files);
void progress_free(struct progress **p); /* removes the bar */

#endif
