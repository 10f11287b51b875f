// SPDX-License-Identifier: GPL-2.0
/*
 * Lets the n-th allocation or copy of a task fail, on kernels that were built
 * without CONFIG_FAULT_INJECTION.  For the test `fail_alloc` only.
 *
 * /proc/pinfs_failnth takes and gives numbers as /proc/thread-self/fail-nth
 * does: written n, the n-th failure that could be injected into the writing
 * task is; what is read is how many are still to go, 0 after it has happened.
 * There is one victim at a time.
 *
 * The functions below get a probe at their entry that lets them return at once
 * with what they return in distress.
 */
#include <linux/gfp.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/uaccess.h>

#define NO_GFP	-1
/* The result is the length that was to be copied: all of it is left. */
#define LEFT	1

struct point {
	const char *name;
	int gfp;	/* which argument says how to allocate */
	long result;
	int length;	/* which argument it is, for LEFT */
	struct kprobe probe;
};

#ifdef CONFIG_SLAB_BUCKETS
#define BUCKETS	1
#else
#define BUCKETS	0
#endif

static struct point points[] = {
	{ "kmem_cache_alloc_noprof", 1 },
	{ "kmem_cache_alloc_lru_noprof", 2 },
	{ "kmem_cache_alloc_node_noprof", 1 },
	{ "__kmalloc_noprof", 1 },
	{ "__kmalloc_cache_noprof", 1 },
	{ "__kmalloc_cache_node_noprof", 1 },
	{ "__kmalloc_large_noprof", 1 },
	{ "__kmalloc_node_noprof", 1 + BUCKETS },
	{ "__kmalloc_node_track_caller_noprof", 1 + BUCKETS },
	{ "__kvmalloc_node_noprof", 2 + BUCKETS },
	{ "__vmalloc_noprof", 1 },
	{ "vrealloc_node_align_noprof", 3 },
	{ "__alloc_frozen_pages_noprof", 0 },
	{ "pcpu_alloc_noprof", 3 },
	{ "_copy_from_user", NO_GFP, LEFT, 2 },
	{ "_copy_to_user", NO_GFP, LEFT, 2 },
	{ "_copy_from_iter", NO_GFP, 0 },
	{ "_copy_from_iter_flushcache", NO_GFP, 0 },
	{ "_copy_to_iter", NO_GFP, 0 },
	{ "_copy_mc_to_iter", NO_GFP, 0 },
	{ "strncpy_from_user", NO_GFP, -EFAULT },
};

/* Only compared; changed by the victim alone, apart from who becomes it. */
static struct task_struct *victim;
static unsigned int to_go;

/* Where a call that is not to be goes instead: it leaves the result alone. */
static noinline notrace void go_back(void)
{
	barrier();
}

static int hit(struct kprobe *probe, struct pt_regs *regs)
{
	struct point *point = container_of(probe, struct point, probe);

	if (!in_task() || current != READ_ONCE(victim) || !to_go)
		return 0;
	if (point->gfp != NO_GFP &&
	    regs_get_kernel_argument(regs, point->gfp) & (__force unsigned long)__GFP_NOFAIL)
		return 0;
	if (--to_go)
		return 0;
	regs_set_return_value(regs, point->result == LEFT ?
			      regs_get_kernel_argument(regs, point->length) : point->result);
	instruction_pointer_set(regs, (unsigned long)go_back);
	return 1;
}
NOKPROBE_SYMBOL(hit);

static ssize_t failnth_write(struct file *file, const char __user *buf, size_t count,
			     loff_t *pos)
{
	unsigned int n;
	int ret = kstrtouint_from_user(buf, count, 0, &n);

	if (ret)
		return ret;
	WRITE_ONCE(victim, NULL);
	to_go = n;
	if (n)
		WRITE_ONCE(victim, current);
	return count;
}

static ssize_t failnth_read(struct file *file, char __user *buf, size_t count, loff_t *pos)
{
	char text[16];
	int len = scnprintf(text, sizeof(text), "%u\n", to_go);

	return simple_read_from_buffer(buf, count, pos, text, len);
}

static const struct proc_ops failnth_ops = {
	.proc_read	= failnth_read,
	.proc_write	= failnth_write,
};

static void remove_probes(unsigned int count)
{
	while (count--)
		unregister_kprobe(&points[count].probe);
}

static int __init failnth_init(void)
{
	unsigned int i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(points); i++) {
		points[i].probe.symbol_name = points[i].name;
		points[i].probe.pre_handler = hit;
		ret = register_kprobe(&points[i].probe);
		if (ret) {
			pr_err("failnth: no probe at %s: %d\n", points[i].name, ret);
			remove_probes(i);
			return ret;
		}
	}
	if (!proc_create("pinfs_failnth", 0600, NULL, &failnth_ops)) {
		remove_probes(i);
		return -ENOMEM;
	}
	return 0;
}
module_init(failnth_init);

static void __exit failnth_exit(void)
{
	remove_proc_entry("pinfs_failnth", NULL);
	remove_probes(ARRAY_SIZE(points));
}
module_exit(failnth_exit);

MODULE_DESCRIPTION("Fault injection for the tests of pinfs");
MODULE_AUTHOR("pinfs authors");
MODULE_LICENSE("GPL");
