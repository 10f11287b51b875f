// SPDX-License-Identifier: GPL-2.0
/* Wrappers: directories. */

#include <linux/compat.h>
#include <linux/fs.h>

/* nfsd sets a mode.  Other readers are recognised by their system call. */
bool pinfs_helper_dir_pos_is_31bit(const struct file *file)
{
	if (file->f_mode & FMODE_32BITHASH)
		return true;
	return !(file->f_mode & FMODE_64BITHASH) && in_compat_syscall();
}

bool pinfs_helper_dir_emit_dots(struct file *file, struct dir_context *ctx)
{
	return dir_emit_dots(file, ctx);
}

bool pinfs_helper_dir_emit(struct dir_context *ctx, const char *name, int len,
			   u64 ino, unsigned int type)
{
	return dir_emit(ctx, name, len, ino, type);
}
