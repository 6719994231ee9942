/* owner.h - whom a restored file belongs to: by name where this machine knows the name, else by number. */
#ifndef SNAPSHOT_OWNER_H
#define SNAPSHOT_OWNER_H

#include <stdbool.h>
#include <stdint.h>
#include "snapshot/tree.h"

/* Names looked up once; thread-safe. */
struct owners;
struct owners *owners_new(bool numeric); /* numeric: names are not looked at */
void owners_free(struct owners **o);
void owners_find(struct owners *o, const struct tree_entry *e, uint32_t *ret_uid, uint32_t *ret_gid);

#endif
