/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The headers that bindings.rs is generated from.  The file allowlist selects what is
 * generated.
 */
#include <linux/backing-dev.h>
#include <linux/blkdev.h>
#include <linux/crc32.h>
#include <linux/dax.h>
#include <linux/exportfs.h>
#include <linux/falloc.h>
#include <linux/fileattr.h>
#include <linux/filelock.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/fs_parser.h>
#include <linux/ftrace.h>
#include <linux/iomap.h>
#include <linux/iversion.h>
#include <linux/libnvdimm.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/posix_acl.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/statfs.h>
#include <linux/writeback.h>
#include <linux/xattr.h>
#include <linux/xxhash.h>

#include <linux/pinfs.h>

#include "helpers.h"
