// SPDX-License-Identifier: GPL-2.0
/* Wrappers: open files. */

#include <linux/fs.h>

void pinfs_helper_file_accessed(struct file *file)
{
	file_accessed(file);
}

ssize_t pinfs_helper_generic_write_sync(struct kiocb *iocb, ssize_t count)
{
	return generic_write_sync(iocb, count);
}

struct dentry *pinfs_helper_file_dentry(const struct file *file)
{
	return file->f_path.dentry;
}

int pinfs_helper_finish_open(struct file *file)
{
	return finish_open_simple(file, 0);
}

const struct path *pinfs_helper_file_path(const struct file *file)
{
	return &file->f_path;
}
