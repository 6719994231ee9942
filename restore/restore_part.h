/* restore_part.h - the name of a large file that replaces another, until it is whole. */
#ifndef RESTORE_PART_H
#define RESTORE_PART_H

#define PART_PREFIX ".farshore-part-"
#define PART_NAME_BYTES (sizeof PART_PREFIX - 1 + 16) /* and 16 hex digits */

#endif
