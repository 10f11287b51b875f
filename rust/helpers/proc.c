// SPDX-License-Identifier: GPL-2.0
/* Wrappers: /proc and the processes that it shows. */

#include <linux/pid_namespace.h>
#include <linux/proc_fs.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>

struct pid_namespace *pinfs_helper_seq_pid_ns(const struct seq_file *seq)
{
	return proc_pid_ns(file_inode(seq->file)->i_sb);
}

bool pinfs_helper_seq_has_overflowed(struct seq_file *seq)
{
	return seq_has_overflowed(seq);
}

/* Takes no reference: the address space may be gone when this returns. */
const struct mm_struct *pinfs_helper_task_mm_id(struct task_struct *task)
{
	const struct mm_struct *mm;

	task_lock(task);
	mm = task->mm;
	task_unlock(task);
	return mm;
}

/*
 * Returns the process with the lowest number that is at least *@nr, with a reference,
 * and sets *@nr to that number.  Returns NULL if there is none.
 */
struct task_struct *pinfs_helper_next_process(struct pid_namespace *ns, int *nr)
{
	struct task_struct *task = NULL;
	struct pid *pid;

	rcu_read_lock();
	while ((pid = find_ge_pid(*nr, ns))) {
		*nr = pid_nr_ns(pid, ns);
		task = pid_task(pid, PIDTYPE_TGID);
		if (task) {
			get_task_struct(task);
			break;
		}
		++*nr;
	}
	rcu_read_unlock();
	return task;
}

int pinfs_helper_lock_exec_update(struct task_struct *task)
{
	return down_read_killable(&task->signal->exec_update_lock);
}

void pinfs_helper_unlock_exec_update(struct task_struct *task)
{
	up_read(&task->signal->exec_update_lock);
}
