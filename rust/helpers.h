/* SPDX-License-Identifier: GPL-2.0 */
/*
 * C functions, structures and constants that Rust uses, by the file that defines
 * them.  A function of helpers/ wraps an inline function or a macro of the kernel and
 * is named after it.  The other functions are described where they are defined.
 */
#ifndef _PINFS_HELPERS_H
#define _PINFS_HELPERS_H

#include <linux/dax.h>
#include <linux/fileattr.h>
#include <linux/fs.h>
#include <linux/iomap.h>
#include <linux/mm.h>
#include <linux/ptrace.h>
#include <linux/task_work.h>
#include <linux/workqueue.h>

#include <linux/pinfs.h>

struct file_lease;
struct ftrace_regs;
struct lease_manager_operations;
struct pid;
struct pid_namespace;
struct seq_file;

/* Constants whose macros bindgen cannot evaluate. */
static const unsigned long pinfs_sb_rdonly = SB_RDONLY;
static const unsigned long pinfs_sb_force = SB_FORCE;
static const unsigned long pinfs_sb_flags = SB_POSIXACL | SB_NOSEC | SB_I_VERSION;
static const loff_t pinfs_max_lfs_filesize = MAX_LFS_FILESIZE;
static const fop_flags_t pinfs_fop_flags =
	FOP_MMAP_SYNC | FOP_BUFFER_RASYNC | FOP_BUFFER_WASYNC;
static const int pinfs_iocb_nowait = IOCB_NOWAIT;
static const u32 pinfs_ioc_lease = PINFS_IOC_LEASE;
static const int pinfs_i_dirty_pages = I_DIRTY_PAGES;
static const fmode_t pinfs_fmode_nowait = FMODE_NOWAIT;
static const unsigned int pinfs_ptrace_mode_read_fscreds =
	PTRACE_MODE_READ_FSCREDS;

/* helpers/acl.c */

struct posix_acl *pinfs_helper_acl_from_xattr(const void *value, size_t size);
void *pinfs_helper_acl_to_xattr(const struct posix_acl *acl, size_t *size);
void pinfs_helper_acl_release(struct posix_acl *acl);

/* helpers/bdev.c */

bool pinfs_helper_bdev_read_only(struct block_device *bdev);
u64 pinfs_helper_bdev_nr_bytes(struct block_device *bdev);
bool pinfs_helper_bdev_dax_misaligned(struct block_device *bdev);

/* helpers/dax.c */

bool pinfs_helper_daxdev_mapping_supported(const struct vm_area_desc *desc,
					   const struct inode *inode,
					   struct dax_device *dax_dev);
bool pinfs_helper_dax_page_is_idle(struct page *page);
u64 pinfs_helper_dax_folio_range(struct page *page, u64 *start);
bool pinfs_helper_page_mapped(struct page *page);
long pinfs_helper_wait_page_idle_killable(struct page *page,
					  unsigned int msecs,
					  bool (*stop)(void *), void *arg);
void pinfs_helper_wake_page(unsigned long pfn);

/* helpers/dir.c */

bool pinfs_helper_dir_pos_is_31bit(const struct file *file);
bool pinfs_helper_dir_emit_dots(struct file *file, struct dir_context *ctx);
bool pinfs_helper_dir_emit(struct dir_context *ctx, const char *name, int len,
			   u64 ino, unsigned int type);

/* helpers/file.c */

void pinfs_helper_file_accessed(struct file *file);
ssize_t pinfs_helper_generic_write_sync(struct kiocb *iocb, ssize_t count);
struct dentry *pinfs_helper_file_dentry(const struct file *file);
int pinfs_helper_finish_open(struct file *file);
const struct path *pinfs_helper_file_path(const struct file *file);

/* helpers/inode.c */

loff_t pinfs_helper_i_size_read(const struct inode *inode);
void pinfs_helper_mark_dirty(struct inode *inode);
bool pinfs_helper_is_dirty(const struct inode *inode);
void pinfs_helper_i_size_write(struct inode *inode, loff_t size);
u64 pinfs_helper_peek_iversion(const struct inode *inode);
void pinfs_helper_set_iversion(struct inode *inode, u64 version);
bool pinfs_helper_fileattr_has_fsx(const struct file_kattr *fa);
u32 pinfs_helper_fileattr_flags(const struct file_kattr *fa);
u32 pinfs_helper_i_uid_read(const struct inode *inode);
u32 pinfs_helper_i_gid_read(const struct inode *inode);
void pinfs_helper_i_uid_write(struct inode *inode, u32 uid);
void pinfs_helper_i_gid_write(struct inode *inode, u32 gid);
struct timespec64 pinfs_helper_inode_get_atime(const struct inode *inode);
struct timespec64 pinfs_helper_inode_get_mtime(const struct inode *inode);
struct timespec64 pinfs_helper_inode_get_ctime(const struct inode *inode);
void pinfs_helper_inode_set_atime(struct inode *inode, struct timespec64 ts);
void pinfs_helper_inode_set_mtime(struct inode *inode, struct timespec64 ts);
bool pinfs_helper_inode_is_new(struct inode *inode);
u32 pinfs_helper_new_encode_dev(dev_t dev);
dev_t pinfs_helper_new_decode_dev(u32 dev);
bool pinfs_helper_get_write_access(struct inode *inode);
void pinfs_helper_put_write_access(struct inode *inode);
bool pinfs_helper_mapping_mapped(const struct inode *inode);

/* helpers/lease.c */

bool pinfs_helper_file_is_writable(const struct file *file);
struct file *pinfs_helper_lease_file(const struct file_lease *lease);
void pinfs_helper_lease_signal(struct file_lease *lease);
void pinfs_helper_lease_setup(struct file_lease *lease, int type);
void pinfs_helper_lease_own(struct file_lease *lease);
void pinfs_helper_lease_spare(struct file_lease *lease);
bool pinfs_helper_may_lease(struct file *file);
int pinfs_helper_break_layout(struct inode *inode, bool wait);

/* helpers/lock.c */

void pinfs_helper_inode_lock(struct inode *inode);
bool pinfs_helper_inode_trylock(struct inode *inode);
void pinfs_helper_inode_unlock(struct inode *inode);
void pinfs_helper_inode_lock_shared(struct inode *inode);
bool pinfs_helper_inode_trylock_shared(struct inode *inode);
void pinfs_helper_inode_unlock_shared(struct inode *inode);
void pinfs_helper_invalidate_lock(struct inode *inode);
void pinfs_helper_invalidate_unlock(struct inode *inode);
void pinfs_helper_invalidate_lock_shared(struct inode *inode);
void pinfs_helper_invalidate_unlock_shared(struct inode *inode);
void pinfs_helper_sb_start_write(struct inode *inode);
void pinfs_helper_sb_end_write(struct inode *inode);
void pinfs_helper_sb_start_intwrite(struct inode *inode);
void pinfs_helper_sb_end_intwrite(struct inode *inode);
void pinfs_helper_sb_start_pagefault(struct inode *inode);
void pinfs_helper_sb_end_pagefault(struct inode *inode);
void pinfs_helper_down_write_nested(struct rw_semaphore *sem, int subclass);

/* helpers/mm.c */

/**
 * struct pinfs_vma - the mapping that covers an address
 * @file: the mapped file, or NULL
 * @index: index of the address in the file, in pages
 * @pages: number of pages from the address to the end of the mapping
 * @shared: the mapping is shared
 * @can_be_huge: the mapping is aligned so, and long enough, that huge pages fit
 */
struct pinfs_vma {
	struct file *file;
	pgoff_t index;
	unsigned long pages;
	bool shared;
	bool can_be_huge;
};

int pinfs_helper_mmap_read_lock_killable(struct mm_struct *mm);
void pinfs_helper_mmap_read_unlock(struct mm_struct *mm);
bool pinfs_helper_vma_lookup(struct mm_struct *mm, unsigned long addr,
			     struct pinfs_vma *found);
bool pinfs_helper_mmap_seq(struct mm_struct *mm, unsigned int *seq);
bool pinfs_helper_mmap_seq_changed(struct mm_struct *mm, unsigned int seq);
void pinfs_helper_vma_desc_set_hugepage(struct vm_area_desc *desc);
struct file *pinfs_helper_vmf_file(const struct vm_fault *vmf);
bool pinfs_helper_vmf_is_shared_write(const struct vm_fault *vmf);
bool pinfs_helper_can_pin_fast(const struct mm_struct *mm, unsigned long count,
			       unsigned int flags);
int pinfs_helper_pin_fast(unsigned long start, int count, unsigned int flags,
			  struct page **pages);

/* helpers/pmem.c */

void pinfs_helper_pmem_stream(void *dst, const void *src, size_t len);
void pinfs_helper_pmem_wmb(void);

/* helpers/proc.c */

struct pid_namespace *pinfs_helper_seq_pid_ns(const struct seq_file *seq);
bool pinfs_helper_seq_has_overflowed(struct seq_file *seq);
const struct mm_struct *pinfs_helper_task_mm_id(struct task_struct *task);
struct task_struct *pinfs_helper_next_process(struct pid_namespace *ns, int *nr);
int pinfs_helper_lock_exec_update(struct task_struct *task);
void pinfs_helper_unlock_exec_update(struct task_struct *task);

/* helpers/super.c */

struct kmem_cache *pinfs_helper_inode_cache_create(const char *name,
						   unsigned int size,
						   unsigned int align,
						   void (*ctor)(void *));
void *pinfs_helper_inode_cache_alloc(struct super_block *sb,
				     struct kmem_cache *cache);
void pinfs_helper_super_set_uuid(struct super_block *sb, const u8 *uuid);
void pinfs_helper_super_set_sysfs_name(struct super_block *sb);
__kernel_fsid_t pinfs_helper_uuid_to_fsid(const u8 *uuid);
void pinfs_helper_report_metadata(struct super_block *sb, int error);
void pinfs_helper_report_shutdown(struct super_block *sb);
void pinfs_helper_super_hold(struct super_block *sb);

/* helpers/sysfs.c */

void pinfs_helper_sysfs_attr_init(struct attribute *attr);

/* helpers/task.c */

bool pinfs_helper_fatal_signal_pending(void);
bool pinfs_helper_is_server(void);
bool pinfs_helper_is_admin(void);

/* helpers/wait.c */

int pinfs_helper_wait_zero_or_frozen(int *counter, const struct super_block *sb);
bool pinfs_helper_unwait(struct wait_queue_head *head,
			 struct wait_queue_entry *entry);
void pinfs_helper_list_del_init(struct list_head *entry);

/* helpers/work.c */

struct workqueue_struct *pinfs_helper_alloc_workqueue(const char *name);
void pinfs_helper_init_work(struct work_struct *work, work_func_t func);
void pinfs_helper_init_delayed_work(struct delayed_work *work, work_func_t func);

/* helpers/notrace/ftrace.c */

unsigned long pinfs_helper_ftrace_regs_argument(struct ftrace_regs *fregs,
						unsigned int n);
unsigned long pinfs_helper_ftrace_regs_ip(struct ftrace_regs *fregs);
void pinfs_helper_ftrace_regs_set_ip(struct ftrace_regs *fregs,
				     unsigned long ip);

/* helpers/notrace/module.c */

bool pinfs_helper_module_is_going(const struct module *module);
bool pinfs_helper_module_is_live(const struct module *module);

/* helpers/notrace/page.c */

/**
 * struct pinfs_page_place - where in a file a page is
 * @inode: the file
 * @index: index of the page's folio in the file, in pages
 * @pfn: first page frame of the folio
 * @page: number of the page in the folio
 * @order: order of the folio
 */
struct pinfs_page_place {
	struct inode *inode;
	pgoff_t index;
	unsigned long pfn;
	unsigned int page;
	unsigned int order;
};

bool pinfs_helper_page_place(struct page *page, struct pinfs_page_place *place);
unsigned long pinfs_helper_pfn_pins(unsigned long pfn);
unsigned long pinfs_helper_any_pfn_pins(unsigned long pfn);
unsigned long pinfs_helper_pages_left_in_folio(struct page *page);

/* helpers/notrace/spinlock.c */

void pinfs_helper_spin_lock_init_once(spinlock_t *lock, const char *name, bool *ready);
unsigned long pinfs_helper_spin_lock_irqsave(spinlock_t *lock);
void pinfs_helper_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags);

/* helpers/notrace/task.c */

struct pid *pinfs_helper_current_tgid(void);

/* helpers/notrace/work.c */

void pinfs_helper_queue_delayed_work(struct delayed_work *work,
				     unsigned int msecs, bool earlier);

/* caller.c */

struct mm_struct *pinfs_helper_acting_mm(void);
int pinfs_helper_syscall_fd(void);
struct file *pinfs_helper_caller_file(void);
const struct file *pinfs_helper_caller_file_id(void);
struct file *pinfs_helper_clone_source(const void __user *arg);

/* dax_claim.c */

/**
 * struct pinfs_pages - the struct pages of a device
 * @pfn: the first page frame
 * @nr: number of pages
 * @groups: GROUP_* of each 2 MiB, of which the first and the last may be partial
 */
struct pinfs_pages {
	unsigned long pfn;
	unsigned long nr;
	atomic_t *groups;
};

int pinfs_helper_pages_init(struct pinfs_pages *pages, unsigned long pfn, unsigned long nr);
void pinfs_helper_pages_free(struct pinfs_pages *pages);
int pinfs_helper_claim(const struct pinfs_pages *pages, struct inode *inode, loff_t pos,
		       loff_t length, struct iomap *iomap, u64 offset);
bool pinfs_helper_unclaim(struct inode *inode, loff_t pos, const struct iomap *iomap);
bool pinfs_helper_maybe_in_use(const struct pinfs_pages *pages, unsigned long nr,
			       unsigned long count);
bool pinfs_helper_in_use(const struct pinfs_pages *pages, unsigned long nr, unsigned long count,
			 const struct inode *but);
bool pinfs_helper_vmf_has(const struct vm_fault *vmf, unsigned int order, unsigned long pfn);

/* dax_mapping.c */

void pinfs_helper_tag_dirty(struct inode *inode, pgoff_t first, pgoff_t last);
unsigned long pinfs_helper_dax_entry(struct inode *inode, pgoff_t index, pgoff_t *first,
				     bool *dirty);
int pinfs_helper_dax_flush_range(struct inode *inode, struct dax_device *dax_dev,
				 loff_t start, loff_t end);

/* hook_lookup.c */

bool pinfs_helper_hook_disabled(const char *name);
int pinfs_helper_function_address(const char *name, unsigned long *address);

/* hook_resume.S */

void pinfs_hook_resume(void);

/* lease_install.c */

int pinfs_helper_layout_lease_install(struct file *file, int fd,
				      const struct lease_manager_operations *ops);
bool pinfs_helper_file_has_layout_lease(const struct file *file,
					const struct lease_manager_operations *ops);
int pinfs_helper_layout_lease_update(struct file *file,
				     const struct lease_manager_operations *ops);
bool pinfs_helper_file_has_other_lease(const struct file *file,
				       const struct lease_manager_operations *ops);

/* pmem_copy.c */

size_t pinfs_helper_dax_copy(struct dax_device *dax_dev, u64 at, size_t len,
			     struct iov_iter *iter);
size_t pinfs_helper_pmem_read(void *dst, const void *src, size_t len);
void pinfs_helper_pmem_write(void *dst, const void *src, size_t len);
void pinfs_helper_pmem_zero(void *dst, size_t len);

/* proc_pid.c */

typedef int (*pinfs_pid_show_t)(struct seq_file *seq, struct pid_namespace *ns,
				struct pid *pid, struct task_struct *task);

/*
 * struct pid_entry of fs/proc/base.c.  The build compares the kernel's layout with
 * the one in the file shapes.
 */
struct pinfs_pid_entry {
	const char *name;
	unsigned int len;
	umode_t mode;
	const struct inode_operations *iop;
	const struct file_operations *fop;
	pinfs_pid_show_t show;
};

/**
 * struct pinfs_pid_file - the file of pinfs in /proc/PID and /proc/PID/task/TID
 * @entry: its entry, a table of one.  It is incomplete while @entry.fop is NULL.
 * @fop: the functions of the entry "status", owned by @owner
 * @owner: pinfs
 * @tables: the kernel's tables of /proc/PID and of /proc/PID/task/TID, once found
 */
struct pinfs_pid_file {
	struct pinfs_pid_entry entry;
	struct file_operations fop;
	struct module *owner;
	const struct pinfs_pid_entry *tables[2];
};

void pinfs_helper_pid_file_init(struct pinfs_pid_file *file,
				struct module *owner, const char *name,
				pinfs_pid_show_t show);
int pinfs_helper_pid_file_probe(const char *name);
bool pinfs_helper_pid_file_uncache(struct dentry *dentry, struct dentry *found);
void pinfs_helper_pid_file_emit(struct dir_context *ctx, const char *name);
void pinfs_helper_pid_file_forget(struct pinfs_pid_file *file);

/* proc_pid_table.c */

extern struct task_struct *pinfs_pid_file_prober;
bool pinfs_helper_dentry_is(const struct dentry *dentry, const char *name);
bool pinfs_helper_pid_file_is_probed(void);
bool pinfs_helper_pid_table(struct pinfs_pid_file *file,
			    const struct pinfs_pid_entry *table,
			    unsigned long count);

/* reserved_pages.c */

void pinfs_helper_clear_reserved(struct page *first, struct page *last);

/* task_work.c */

void pinfs_helper_task_work_exit(void);
bool pinfs_helper_task_work(struct module *module, task_work_func_t func);
void pinfs_helper_task_work_done(struct module *module,
				 struct callback_head *head);

/* trace.c */

void pinfs_helper_trace_lease_set(const struct inode *inode, u64 start,
				  u64 end, int lease);
void pinfs_helper_trace_lease_release(const struct inode *inode, u64 start,
				      u64 end, int reason);
void pinfs_helper_trace_lease_break(const struct inode *inode, u64 start,
				    u64 end);
void pinfs_helper_trace_pin(const struct inode *inode, u64 start, u64 end);
void pinfs_helper_trace_unpin(const struct inode *inode, u64 start, u64 end,
			      u64 refs);
void pinfs_helper_trace_busy_wait(const struct inode *inode, u64 start,
				  u64 end);
void pinfs_helper_trace_quarantine(const struct inode *inode, bool enter);

/* truncate.c */

int pinfs_helper_recheck_truncate(struct mnt_idmap *idmap,
				  struct dentry *dentry, struct iattr *attr);

/* write_access.c */

bool pinfs_helper_holds_write_access(void);

#endif /* _PINFS_HELPERS_H */
