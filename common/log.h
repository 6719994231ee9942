/* log.h - lines for people on standard error: time, program, level, message.  With --quiet only warnings and errors. */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>
#include "common/err.h"

void log_setup(const char *program, bool quiet, bool stamps); /* stamps: "<RFC 3339 time> " before each line (daemons) */
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A progress bar stands on the terminal: the next line takes its place.  For progress.c. */
void log_bar(bool shown);
/* "program: text", and "  hint: ..." on a line of its own when there is one.  Returns err_exit(err->kind). */
int log_fail(const struct err *err);

#endif
