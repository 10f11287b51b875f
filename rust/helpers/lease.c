// SPDX-License-Identifier: GPL-2.0
/* Wrappers: leases on files. */

#include <linux/capability.h>
#include <linux/filelock.h>
#include <linux/mount.h>
#include <linux/sched.h>

bool pinfs_helper_file_is_writable(const struct file *file)
{
	return file->f_mode & FMODE_WRITE;
}

struct file *pinfs_helper_lease_file(const struct file_lease *lease)
{
	return lease->c.flc_file;
}

void pinfs_helper_lease_signal(struct file_lease *lease)
{
	kill_fasync(&lease->fl_fasync, SIGIO, POLL_MSG);
}

void pinfs_helper_lease_setup(struct file_lease *lease, int type)
{
	__f_setown(lease->c.flc_file, task_pid(current), PIDTYPE_TGID, 0);
	lease->c.flc_type = type;
}

void pinfs_helper_lease_own(struct file_lease *lease)
{
	lease->c.flc_pid = current->tgid;
}

/* Ends the breaking of a lease, but not the lease.  The caller holds flc_lock. */
void pinfs_helper_lease_spare(struct file_lease *lease)
{
	lease->c.flc_flags &= ~FL_UNLOCK_PENDING;
	lease->fl_break_time = 0;
}

/*
 * Makes the checks that vfs_setlease() makes before it sets a lease, except those of
 * security modules.  Does not sleep.
 */
bool pinfs_helper_may_lease(struct file *file)
{
	vfsuid_t vfsuid = i_uid_into_vfsuid(file_mnt_idmap(file),
					    file_inode(file));

	return vfsuid_eq_kuid(vfsuid, current_fsuid()) || capable(CAP_LEASE);
}

int pinfs_helper_break_layout(struct inode *inode, bool wait)
{
	return break_layout(inode, wait);
}
