// SPDX-License-Identifier: GPL-2.0

#include <linux/blkdev.h>
#include <linux/capability.h>
#include <linux/compat.h>
#include <linux/fcntl.h>
#include <linux/fileattr.h>
#include <linux/filelock.h>
#include <linux/fserror.h>
#include <linux/iversion.h>
#include <linux/kallsyms.h>
#include <linux/kdev_t.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/pagemap.h>
#include <linux/pid_namespace.h>
#include <linux/posix_acl_xattr.h>
#include <linux/proc_fs.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/stacktrace.h>
#include <linux/statfs.h>
#include <linux/string.h>
#include <linux/sysfs.h>
#include <linux/uaccess.h>
#include <linux/unaligned.h>
#include <linux/wait_bit.h>
#include <linux/writeback.h>

#include "helpers.h"

/* vfs/inode.rs */

loff_t pinfs_helper_i_size_read(const struct inode *inode)
{
	return i_size_read(inode);
}

void pinfs_helper_mark_dirty(struct inode *inode)
{
	mark_inode_dirty(inode);
}

bool pinfs_helper_is_dirty(const struct inode *inode)
{
	return inode_state_read_once((struct inode *)inode) & I_DIRTY_DATASYNC;
}

void pinfs_helper_i_size_write(struct inode *inode, loff_t size)
{
	i_size_write(inode, size);
}

u64 pinfs_helper_peek_iversion(const struct inode *inode)
{
	return inode_peek_iversion(inode);
}

/* Whoever asked before the inode left memory may compare with what it got. */
void pinfs_helper_set_iversion(struct inode *inode, u64 version)
{
	inode_set_iversion_queried(inode, version);
}

bool pinfs_helper_fileattr_has_fsx(const struct file_kattr *fa)
{
	return fileattr_has_fsx(fa);
}

u32 pinfs_helper_fileattr_flags(const struct file_kattr *fa)
{
	return fa->flags;
}

u32 pinfs_helper_i_uid_read(const struct inode *inode)
{
	return i_uid_read(inode);
}

u32 pinfs_helper_i_gid_read(const struct inode *inode)
{
	return i_gid_read(inode);
}

void pinfs_helper_i_uid_write(struct inode *inode, u32 uid)
{
	i_uid_write(inode, uid);
}

void pinfs_helper_i_gid_write(struct inode *inode, u32 gid)
{
	i_gid_write(inode, gid);
}

struct timespec64 pinfs_helper_inode_get_atime(const struct inode *inode)
{
	return inode_get_atime(inode);
}

struct timespec64 pinfs_helper_inode_get_mtime(const struct inode *inode)
{
	return inode_get_mtime(inode);
}

struct timespec64 pinfs_helper_inode_get_ctime(const struct inode *inode)
{
	return inode_get_ctime(inode);
}

void pinfs_helper_inode_set_atime(struct inode *inode, struct timespec64 ts)
{
	inode_set_atime_to_ts(inode, ts);
}

void pinfs_helper_inode_set_mtime(struct inode *inode, struct timespec64 ts)
{
	inode_set_mtime_to_ts(inode, ts);
}

bool pinfs_helper_inode_is_new(struct inode *inode)
{
	return inode_state_read_once(inode) & I_NEW;
}

u32 pinfs_helper_new_encode_dev(dev_t dev)
{
	return new_encode_dev(dev);
}

dev_t pinfs_helper_new_decode_dev(u32 dev)
{
	return new_decode_dev(dev);
}

/* Gives the first page in a range of the mapping the mark of a dirty one. */
void pinfs_helper_tag_dirty(struct inode *inode, pgoff_t first, pgoff_t last)
{
	XA_STATE(xas, &inode->i_mapping->i_pages, first);
	unsigned long flags;

	xas_lock_irqsave(&xas, flags);
	if (xas_find(&xas, last))
		xas_set_mark(&xas, PAGECACHE_TAG_DIRTY);
	xas_unlock_irqrestore(&xas, flags);
}

/*
 * Finds the page of a mapping that holds an index: its first index and its
 * number of pages, 0 if there is none.  Page faults change that, so they must be
 * kept out for the answer to last.
 */
unsigned long pinfs_helper_dax_entry(struct inode *inode, pgoff_t index, pgoff_t *first,
				     bool *dirty)
{
	XA_STATE(xas, &inode->i_mapping->i_pages, index);
	unsigned long pages = 0;
	unsigned long flags;

	if (mapping_empty(inode->i_mapping))
		return 0;
	xas_lock_irqsave(&xas, flags);
	if (xas_load(&xas)) {
		pages = 1UL << xas_get_order(&xas);
		*first = index & ~(pages - 1);
		*dirty = xas_get_mark(&xas, PAGECACHE_TAG_DIRTY);
	}
	xas_unlock_irqrestore(&xas, flags);
	return pages;
}

int pinfs_helper_dax_flush_range(struct inode *inode, struct dax_device *dax_dev,
				 loff_t start, loff_t end)
{
	struct writeback_control wbc = {
		.sync_mode = WB_SYNC_ALL,
		.nr_to_write = LONG_MAX,
		.range_start = start,
		.range_end = end,
	};

	return dax_writeback_mapping_range(inode->i_mapping, dax_dev, &wbc);
}

/*
 * What vfs_truncate(), do_ftruncate(), may_open() and nfsd have asked before
 * they called notify_change(), and what that asked of the file and of who
 * changes its size.  By name, and to open a file, permission is needed; a file
 * that is open for writing has it for good.  nfsd has no files that stay open
 * and lets the owner do what a descriptor would let it do.
 *
 * The set-user-ID and set-group-ID bits and capabilities that the file may have
 * by now go by themselves: what the caller wants done about them follows from
 * what they were.  Security modules and fanotify are not asked again; there is
 * no way for a module to do so.
 */
int pinfs_helper_recheck_truncate(struct mnt_idmap *idmap,
				  struct dentry *dentry, struct iattr *attr)
{
	struct inode *inode = d_inode(dentry);
	struct iattr privs = { .ia_valid = ATTR_FORCE | ATTR_KILL_PRIV };
	int ret;

	if (sb_rdonly(inode->i_sb))
		return -EROFS;
	if (IS_APPEND(inode) || IS_IMMUTABLE(inode))
		return -EPERM;
	if (!(attr->ia_valid & ATTR_FILE) || (attr->ia_valid & ATTR_OPEN)) {
		ret = inode_permission(idmap, inode, MAY_WRITE);
		if (ret == -EACCES && pinfs_helper_is_server() &&
		    vfsuid_eq_kuid(i_uid_into_vfsuid(idmap, inode),
				   current_fsuid()))
			ret = 0;
		if (ret)
			return ret;
	}
	attr->ia_valid &= ~ATTR_KILL_PRIV;
	ret = setattr_prepare(idmap, dentry, attr);
	if (ret)
		return ret;
	if (IS_NOSEC(inode))
		return 0;
	privs.ia_valid |= setattr_should_drop_suidgid(idmap, inode);
	return notify_change(idmap, dentry, &privs, NULL);
}

struct dentry *pinfs_helper_file_dentry(const struct file *file)
{
	return file->f_path.dentry;
}

int pinfs_helper_finish_open(struct file *file)
{
	return finish_open_simple(file, 0);
}

/* vfs/super_block.rs */

struct kmem_cache *pinfs_helper_inode_cache_create(const char *name,
						   unsigned int size,
						   unsigned int align,
						   void (*ctor)(void *))
{
	return kmem_cache_create(name, size, align,
				 SLAB_RECLAIM_ACCOUNT | SLAB_ACCOUNT, ctor);
}

void *pinfs_helper_inode_cache_alloc(struct super_block *sb,
				     struct kmem_cache *cache)
{
	return alloc_inode_sb(sb, cache, GFP_KERNEL);
}

void pinfs_helper_super_set_uuid(struct super_block *sb, const u8 *uuid)
{
	super_set_uuid(sb, uuid, UUID_SIZE);
}

void pinfs_helper_super_set_sysfs_name(struct super_block *sb)
{
	super_set_sysfs_name_bdev(sb);
}

__kernel_fsid_t pinfs_helper_uuid_to_fsid(const u8 *uuid)
{
	return uuid_to_fsid((__u8 *)uuid);
}

bool pinfs_helper_bdev_read_only(struct block_device *bdev)
{
	return bdev_read_only(bdev);
}

void pinfs_helper_sb_start_intwrite(struct inode *inode)
{
	sb_start_intwrite(inode->i_sb);
}

void pinfs_helper_sb_end_intwrite(struct inode *inode)
{
	sb_end_intwrite(inode->i_sb);
}

void pinfs_helper_report_metadata(struct super_block *sb, int error)
{
	fserror_report_metadata(sb, error, GFP_NOFS);
}

void pinfs_helper_report_shutdown(struct super_block *sb)
{
	fserror_report_shutdown(sb, GFP_NOFS);
}

struct workqueue_struct *pinfs_helper_alloc_workqueue(const char *name)
{
	return alloc_workqueue("%s", WQ_UNBOUND, 0, name);
}

/* sysfs.rs */

void pinfs_helper_sysfs_attr_init(struct attribute *attr)
{
	sysfs_attr_init(attr);
}

/* vfs/quarantine.rs */

void pinfs_helper_init_work(struct work_struct *work, work_func_t func)
{
	INIT_WORK(work, func);
}

/* The caller has an open file, which keeps its superblock active. */
void pinfs_helper_super_hold(struct super_block *sb)
{
	atomic_inc(&sb->s_active);
}

bool pinfs_helper_mapping_mapped(const struct inode *inode)
{
	return mapping_mapped(inode->i_mapping);
}

int pinfs_helper_wait_zero_or_frozen(int *counter, const struct super_block *sb)
{
	return wait_var_event_killable(counter, READ_ONCE(*counter) == 0 ||
				       READ_ONCE(sb->s_writers.frozen) != SB_UNFROZEN);
}

bool pinfs_helper_dax_page_is_idle(struct page *page)
{
	return dax_page_is_idle(page);
}

/* Says whether the entry was still in the queue. */
bool pinfs_helper_unwait(struct wait_queue_head *head,
			 struct wait_queue_entry *entry)
{
	unsigned long flags;
	bool waited;

	spin_lock_irqsave(&head->lock, flags);
	waited = !list_empty(&entry->entry);
	list_del_init(&entry->entry);
	spin_unlock_irqrestore(&head->lock, flags);
	return waited;
}

void pinfs_helper_list_del_init(struct list_head *entry)
{
	list_del_init(entry);
}

/* vfs/xattr.rs */

struct posix_acl *pinfs_helper_acl_from_xattr(const void *value, size_t size)
{
	return posix_acl_from_xattr(&init_user_ns, value, size);
}

void *pinfs_helper_acl_to_xattr(const struct posix_acl *acl, size_t *size)
{
	return posix_acl_to_xattr(&init_user_ns, acl, size, GFP_NOFS);
}

void pinfs_helper_acl_release(struct posix_acl *acl)
{
	posix_acl_release(acl);
}

/* vfs/file.rs */

void pinfs_helper_file_accessed(struct file *file)
{
	file_accessed(file);
}

ssize_t pinfs_helper_generic_write_sync(struct kiocb *iocb, ssize_t count)
{
	return generic_write_sync(iocb, count);
}

/* nfsd says what its client can take; of others it is known by their call. */
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

bool pinfs_helper_daxdev_mapping_supported(const struct vm_area_desc *desc,
					   const struct inode *inode,
					   struct dax_device *dax_dev)
{
	return daxdev_mapping_supported(desc, inode, dax_dev);
}

void pinfs_helper_vma_desc_set_hugepage(struct vm_area_desc *desc)
{
	vma_desc_set_flags(desc, VMA_HUGEPAGE_BIT);
}

struct file *pinfs_helper_vmf_file(const struct vm_fault *vmf)
{
	return vmf->vma->vm_file;
}

/*
 * vmf->cow_page is only set for single pages, so the VMA is asked whether a
 * write is one to the file.
 */
bool pinfs_helper_vmf_is_shared_write(const struct vm_fault *vmf)
{
	return (vmf->flags & FAULT_FLAG_WRITE) &&
	       (vmf->vma->vm_flags & VM_SHARED);
}

/* Whether a page is that of a mapping at an index, by itself or in a folio. */
static bool is_own(struct page *page, const struct address_space *mapping, pgoff_t index)
{
	struct folio *folio = page_folio(page);

	return READ_ONCE(folio->mapping) == mapping &&
	       READ_ONCE(folio->index) + (page - &folio->page) == index;
}

/* Whether a frame is what the file of a fault has where the fault is. */
bool pinfs_helper_vmf_has(const struct vm_fault *vmf, unsigned int order, unsigned long pfn)
{
	const pgoff_t index = ALIGN_DOWN(vmf->pgoff, 1UL << order);

	return is_own(pfn_to_page(pfn), vmf->vma->vm_file->f_mapping, index);
}

void pinfs_helper_sb_start_pagefault(struct inode *inode)
{
	sb_start_pagefault(inode->i_sb);
}

void pinfs_helper_sb_end_pagefault(struct inode *inode)
{
	sb_end_pagefault(inode->i_sb);
}

/* lock.rs */

void pinfs_helper_inode_lock(struct inode *inode)
{
	inode_lock(inode);
}

bool pinfs_helper_inode_trylock(struct inode *inode)
{
	return inode_trylock(inode);
}

void pinfs_helper_inode_unlock(struct inode *inode)
{
	inode_unlock(inode);
}

void pinfs_helper_inode_lock_shared(struct inode *inode)
{
	inode_lock_shared(inode);
}

bool pinfs_helper_inode_trylock_shared(struct inode *inode)
{
	return inode_trylock_shared(inode);
}

void pinfs_helper_inode_unlock_shared(struct inode *inode)
{
	inode_unlock_shared(inode);
}

void pinfs_helper_invalidate_lock(struct inode *inode)
{
	filemap_invalidate_lock(inode->i_mapping);
}

void pinfs_helper_invalidate_unlock(struct inode *inode)
{
	filemap_invalidate_unlock(inode->i_mapping);
}

void pinfs_helper_invalidate_lock_shared(struct inode *inode)
{
	filemap_invalidate_lock_shared(inode->i_mapping);
}

void pinfs_helper_invalidate_unlock_shared(struct inode *inode)
{
	filemap_invalidate_unlock_shared(inode->i_mapping);
}

/*
 * The VFS calls setattr and fallocate with write access to the superblock, but
 * others call them without: the core dumper, which tells by PF_DUMPCORE; loop
 * and target_core_file, which call f_op->fallocate() from kernel threads; and
 * ecryptfs and cachefiles, which call notify_change() from system calls.  The
 * counter itself does not say who holds it.
 *
 * So what is asked is who called: if all that is on the stack is the kernel
 * proper, pinfs, and overlayfs, which takes it as the VFS does, then it is held.
 * Whoever else is there may be one who has not; that includes the trampolines
 * of BPF and kprobes, which count as modules.
 */
static bool is_known_caller(unsigned long addr)
{
	char name[KSYM_SYMBOL_LEN];
	char *module;

	sprint_symbol(name, addr);
	module = strchr(name, '[');
	return !module || strstarts(module, "[" KBUILD_MODNAME "]") ||
	       strstarts(module, "[overlay]");
}

bool pinfs_helper_holds_write_access(void)
{
	unsigned long stack[64];
	unsigned int count, i;

	if (current->flags & (PF_DUMPCORE | PF_KTHREAD))
		return false;
	/* Built in, they do not show as modules. */
	if (IS_BUILTIN(CONFIG_ECRYPT_FS) || IS_BUILTIN(CONFIG_CACHEFILES))
		return false;
	count = stack_trace_save(stack, ARRAY_SIZE(stack), 0);
	if (!count || count == ARRAY_SIZE(stack))
		return false;
	for (i = 0; i < count; i++)
		if (!is_known_caller(stack[i]))
			return false;
	return true;
}

void pinfs_helper_sb_start_write(struct inode *inode)
{
	sb_start_write(inode->i_sb);
}

void pinfs_helper_sb_end_write(struct inode *inode)
{
	sb_end_write(inode->i_sb);
}

void pinfs_helper_down_write_nested(struct rw_semaphore *sem, int subclass)
{
	down_write_nested(sem, subclass);
}

/* task.rs */

bool pinfs_helper_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

/*
 * Whether the current task is a server of other machines, that is nfsd: of the
 * kernel's threads that are no workers of a workqueue, it alone calls file
 * systems for others.
 */
bool pinfs_helper_is_server(void)
{
	return (current->flags & (PF_KTHREAD | PF_WQ_WORKER)) == PF_KTHREAD;
}

bool pinfs_helper_is_admin(void)
{
	return capable(CAP_SYS_ADMIN);
}

/* dax.rs */

u64 pinfs_helper_bdev_nr_bytes(struct block_device *bdev)
{
	return bdev_nr_bytes(bdev);
}

/* What fs_dax_get_by_bdev() refuses on a disk that has DAX. */
bool pinfs_helper_bdev_dax_misaligned(struct block_device *bdev)
{
	return blk_queue_dax(bdev_get_queue(bdev)) &&
	       ((get_start_sect(bdev) | bdev_nr_sectors(bdev)) * SECTOR_SIZE) % PAGE_SIZE;
}

/*
 * Which struct pages of a device are in a file's mapping, and whose.
 *
 * The DAX core believes that no block is in two files.  A page that is in one
 * mapping and comes into another, or comes at another index, or as part of a
 * huge page, gets a wrong owner, order or reference count for good
 * (dax_associate_entry(), dax_folio_init(), vmf_insert_folio_pmd()).  So a page
 * fault claims the pages that it is about to give to the core, from the
 * iomap_next that fills in their mapping to the one that ends it, while it holds
 * the lock of the mapping's entry:
 *
 * - The page that the mapping has at this index already: nothing is to be done,
 *   as the entry cannot change.
 * - Else the page must be in no mapping: no ->mapping, no references, no part of
 *   a folio.  Of two faults in two files that want one page at once, the one
 *   gets it that first puts its mark into ->index, which is 0 while ->mapping is
 *   NULL.  The core overwrites the mark with the index; the end of the fault
 *   takes away what is left of it.
 * - 2 MiB at once, of which all pages must be in no mapping, exclude every other
 *   fault in the same 2 MiB of the device.  A word for each 2 MiB says how many
 *   faults that take single pages are on their way, or that one is that takes
 *   all.  A single one counts itself before it looks whether the page is part of
 *   a folio, and a large one finds no count before it makes it one.  So none
 *   writes into a page that becomes a tail.
 *
 * To look at 512 pages in each large fault would cost as much as the fault.  So
 * the word also says whether a single one was ever taken since they were looked
 * at last.  Nobody needs to wait: where nothing is wrong with a file system,
 * none of this is ever in conflict.
 */
#define GROUP_COUNT	GENMASK(23, 0)	/* faults on their way that take single pages */
#define GROUP_HUGE	BIT(24)		/* one that takes all */
#define GROUP_SINGLES	BIT(25)		/* a single page may be in a mapping */
#define GROUP_FOLIO	BIT(26)		/* all may be, as one */

/* Of an entry in a DAX mapping, as in fs/dax.c: it has no page of the device. */
#define DAX_NO_PAGE	(BIT(2) | BIT(3))

int pinfs_helper_pages_init(struct pinfs_pages *pages, unsigned long pfn, unsigned long nr)
{
	const size_t groups = ((pfn + nr - 1) >> PMD_ORDER) - (pfn >> PMD_ORDER) + 1;

	pages->pfn = pfn;
	pages->nr = nr;
	pages->groups = kvcalloc(groups, sizeof(*pages->groups), GFP_KERNEL);
	return pages->groups ? 0 : -ENOMEM;
}

void pinfs_helper_pages_free(struct pinfs_pages *pages)
{
	kvfree(pages->groups);
}

static struct folio *nth_page(const struct pinfs_pages *pages, unsigned long nr)
{
	return (struct folio *)pfn_to_page(pages->pfn + nr);
}

static atomic_t *group_of(const struct pinfs_pages *pages, unsigned long nr)
{
	return &pages->groups[((pages->pfn + nr) >> PMD_ORDER) - (pages->pfn >> PMD_ORDER)];
}

/* No address in the kernel is the index of a page. */
static pgoff_t mark_of_fault(void)
{
	return (pgoff_t)current;
}

/* Whether a page is in no mapping, and on no way into one. */
static __always_inline bool is_spare(struct folio *page)
{
	/* One jump, as all are so. */
	return !((unsigned long)PageCompound(&page->page) |
		 (unsigned long)READ_ONCE(page->mapping) | READ_ONCE(page->index) |
		 folio_ref_count(page));
}

static __always_inline bool claim_single(atomic_t *group, struct folio *page)
{
	const pgoff_t mark = mark_of_fault();
	const int old = atomic_fetch_inc(group);

	if (!(old & GROUP_SINGLES))
		atomic_or(GROUP_SINGLES, group);
	if (likely(!(old & GROUP_HUGE) && is_spare(page) &&
		   !cmpxchg(&page->index, 0, mark))) {
		/* Somebody may have got it, and be done, in between. */
		if (likely(!READ_ONCE(page->mapping)))
			return true;
		cmpxchg(&page->index, mark, 0);
	}
	atomic_dec(group);
	return false;
}

static bool is_page(const void *entry)
{
	return xa_is_value(entry) && !(xa_to_value(entry) & DAX_NO_PAGE);
}

/* Whether the mapping has a page of the device at an index. */
static bool has_page(struct address_space *mapping, pgoff_t index)
{
	return is_page(xa_load(&mapping->i_pages, index));
}

/*
 * The same for the index where an entry of 2 MiB begins that the caller has
 * locked: so it is there, and in a slot of its own.  xa_load() costs four times
 * as much.
 */
static __always_inline bool has_huge_page(struct address_space *mapping, pgoff_t index)
{
	const struct xarray *xa = &mapping->i_pages;
	void *entry;

	rcu_read_lock();
	entry = xa_head(xa);
	while (xa_is_node(entry)) {
		const struct xa_node *node = xa_to_node(entry);

		entry = xa_entry(xa, node, (index >> node->shift) & XA_CHUNK_MASK);
	}
	rcu_read_unlock();
	return is_page(entry);
}

/*
 * Keeps faults out of 2 MiB, and sets @state, if all of its pages are in no
 * mapping.
 */
static bool take_group(atomic_t *group, struct folio *first, int state)
{
	unsigned long count = 1;
	int old = atomic_read(group);

	do {
		if (old & (GROUP_HUGE | GROUP_COUNT))
			return false;
	} while (!atomic_try_cmpxchg(group, &old,
				     (old & ~GROUP_SINGLES) | GROUP_HUGE | state));
	if (old & GROUP_SINGLES)
		count = HPAGE_PMD_NR;
	for (unsigned long i = 0; i < count; i++) {
		if (unlikely(!is_spare((struct folio *)(&first->page + i)))) {
			atomic_or(old & GROUP_SINGLES, group);
			atomic_andnot(GROUP_HUGE, group);
			return false;
		}
	}
	return true;
}

static __always_inline bool claim_huge(atomic_t *group, struct folio *first, struct address_space *mapping,
		       pgoff_t index)
{
	/* The core would leave the mapping's entry as it is, and map these pages. */
	return !has_huge_page(mapping, index) && take_group(group, first, GROUP_FOLIO);
}

/*
 * Claims what a fault at @pos, of one page or of 2 MiB, is about to get from
 * @iomap, whose addresses begin @offset bytes before the device's pages.  The
 * claim is kept in the iomap.  Returns -EUCLEAN if somebody else has it.
 */
int pinfs_helper_claim(const struct pinfs_pages *pages, struct inode *inode, loff_t pos,
		       loff_t length, struct iomap *iomap, u64 offset)
{
	struct address_space *mapping = inode->i_mapping;
	const unsigned long nr = PHYS_PFN(iomap->addr - offset + (pos - iomap->offset));
	const pgoff_t index = pos >> PAGE_SHIFT;
	const bool huge = length > PAGE_SIZE;
	struct folio *page;
	atomic_t *group;

	/* Of 2 MiB that are not there as one, the core will ask for a page. */
	if (huge && (iomap->length - (pos - iomap->offset) < PMD_SIZE ||
		     !IS_ALIGNED(pages->pfn + nr, HPAGE_PMD_NR)))
		return 0;
	if (unlikely(nr + (length >> PAGE_SHIFT) > pages->nr))
		return -EUCLEAN;
	page = nth_page(pages, nr);
	if ((READ_ONCE(page->mapping) || PageCompound(&page->page)) &&
	    is_own(&page->page, mapping, index) && (!huge || folio_test_large(page)))
		return 0;
	group = group_of(pages, nr);
	if (huge ? !claim_huge(group, page, mapping, index) : !claim_single(group, page))
		return -EUCLEAN;
	iomap->private = group;
	iomap->inline_data = huge ? NULL : page;
	return 0;
}

/*
 * Ends a claim.  Returns false if the mapping has another page of the device
 * there than the one that was claimed, which the core has left in its place.
 */
bool pinfs_helper_unclaim(struct inode *inode, loff_t pos, const struct iomap *iomap)
{
	struct folio *page = iomap->inline_data;
	atomic_t *group = iomap->private;
	bool left = false;

	if (page && unlikely(READ_ONCE(page->index) == mark_of_fault())) {
		left = has_page(inode->i_mapping, pos >> PAGE_SHIFT);
		cmpxchg(&page->index, mark_of_fault(), 0);
	}
	/* Whoever finds the claim gone finds what the core has made of the page. */
	smp_mb__before_atomic();
	if (page)
		atomic_dec(group);
	else
		atomic_andnot(GROUP_HUGE, group);
	return !left;
}

/*
 * Says whether pages may be in a mapping, without looking at them.
 */
bool pinfs_helper_maybe_in_use(const struct pinfs_pages *pages, unsigned long nr,
			       unsigned long count)
{
	const unsigned long end = min(nr + count, pages->nr);
	atomic_t *group, *last;

	if (nr >= end)
		return false;
	last = group_of(pages, end - 1);
	for (group = group_of(pages, nr); group <= last; group++)
		if (atomic_read(group))
			return true;
	return false;
}

/*
 * Says whether one of a number of pages is in a mapping, or on its way into one;
 * with @but, in one of another file.  Without, nobody but by mistake faults in
 * the pages meanwhile: they are free, or the caller's alone.
 */
bool pinfs_helper_in_use(const struct pinfs_pages *pages, unsigned long nr, unsigned long count,
			 const struct inode *but)
{
	const unsigned long end = min(nr + count, pages->nr);

	while (nr < end) {
		const unsigned long next = min(end, ALIGN_DOWN(pages->pfn + nr, HPAGE_PMD_NR) +
					       HPAGE_PMD_NR - pages->pfn);
		atomic_t *group = group_of(pages, nr);
		const int state = atomic_read(group);

		if (likely(!state)) {
			nr = next;
			continue;
		}
		if ((state & GROUP_HUGE) && !but)
			return true;
		if ((state & GROUP_SINGLES) && !but && next - nr == HPAGE_PMD_NR) {
			/* All of it, so the next look need not be as long. */
			if (!take_group(group, nth_page(pages, nr), 0))
				return true;
			smp_mb__before_atomic();
			atomic_andnot(GROUP_HUGE, group);
			nr = next;
			continue;
		}
		for (; nr < next; nr++) {
			struct folio *folio = page_folio(&nth_page(pages, nr)->page);
			struct address_space *mapping = READ_ONCE(folio->mapping);

			if (but ? mapping && mapping != but->i_mapping :
				  mapping || READ_ONCE(folio->index))
				return true;
			/* All are as the first. */
			if (!(state & (GROUP_SINGLES | GROUP_COUNT)))
				nr = next - 1;
		}
	}
	return false;
}

/*
 * Copies whole words and returns the number of bytes that are left, which is
 * zero unless the memory is poisoned.  copy_mc_to_kernel() does the same byte
 * by byte, which is slow for the small structures of a file system where the
 * processor has no microcode for it.
 */
static __always_inline size_t pmem_read_words(void *dst, const void *src,
					      size_t words)
{
	asm volatile("1: rep movsq\n"
		     "2:\n"
		     _ASM_EXTABLE_TYPE(1b, 2b, EX_TYPE_DEFAULT_MCE_SAFE)
		     : "+c" (words), "+D" (dst), "+S" (src)
		     :
		     : "memory");
	return words * sizeof(u64);
}

/*
 * Copies between one contiguous range of a device and a read's or write's
 * memory, as dax_iomap_rw() does once it knows where to.  Returns the number of
 * bytes copied: fewer than asked for at a fault or a machine check, and none
 * where the device will not give an address, which dax_iomap_rw() knows how to
 * deal with.
 */
size_t pinfs_helper_dax_copy(struct dax_device *dax_dev, u64 at, size_t len,
			     struct iov_iter *iter)
{
	const unsigned int offset = offset_in_page(at);
	size_t done = 0;
	void *addr;
	long pages;
	int id;

	id = dax_read_lock();
	pages = dax_direct_access(dax_dev, PHYS_PFN(at), PFN_UP(offset + len),
				  DAX_ACCESS, &addr, NULL);
	if (pages > 0) {
		len = min_t(size_t, len, PFN_PHYS(pages) - offset);
		if (iov_iter_rw(iter) == WRITE)
			done = _copy_from_iter_flushcache(addr + offset, len,
							  iter);
		else
			done = _copy_mc_to_iter(addr + offset, len, iter);
	}
	dax_read_unlock(id);
	return done;
}

size_t pinfs_helper_pmem_read(void *dst, const void *src, size_t len)
{
	if (len % sizeof(u64))
		return copy_mc_to_kernel(dst, src, len);
	return pmem_read_words(dst, src, len / sizeof(u64));
}

static __always_inline void pmem_write_word(void **dst, const void **src)
{
	WRITE_ONCE(*(u64 *)*dst, get_unaligned((const u64 *)*src));
	*dst += sizeof(u64);
	*src += sizeof(u64);
}

/*
 * An aligned word is stored at once, which a journal's commit relies on;
 * memcpy() promises nothing of the kind.
 */
void pinfs_helper_pmem_write(void *dst, const void *src, size_t len)
{
	if (len % sizeof(u64) || !IS_ALIGNED((unsigned long)dst, sizeof(u64))) {
		memcpy(dst, src, len);
		return;
	}
	for (; len >= 4 * sizeof(u64); len -= 4 * sizeof(u64)) {
		pmem_write_word(&dst, &src);
		pmem_write_word(&dst, &src);
		pmem_write_word(&dst, &src);
		pmem_write_word(&dst, &src);
	}
	for (; len; len -= sizeof(u64))
		pmem_write_word(&dst, &src);
}

/* Past the cache: needs no write-back, and a fence like one. */
void pinfs_helper_pmem_stream(void *dst, const void *src, size_t len)
{
	memcpy_flushcache(dst, src, len);
}

void pinfs_helper_pmem_zero(void *dst, size_t len)
{
	if (len % sizeof(u64))
		memset(dst, 0, len);
	else
		memset64(dst, 0, len / sizeof(u64));
}

void pinfs_helper_pmem_wmb(void)
{
	pmem_wmb();
}

u64 pinfs_helper_dax_folio_range(struct page *page, u64 *start)
{
	struct folio *folio = page_folio(page);

	*start = folio_pos(folio);
	return folio_size(folio);
}

bool pinfs_helper_page_mapped(struct page *page)
{
	return folio_mapped(page_folio(page));
}

long pinfs_helper_wait_page_idle_killable(struct page *page,
					  unsigned int msecs,
					  bool (*stop)(void *), void *arg)
{
	return ___wait_var_event(page,
				 ___wait_cond_timeout(dax_page_is_idle(page) ||
						      stop(arg)),
				 TASK_KILLABLE, 0, msecs_to_jiffies(msecs),
				 __ret = schedule_timeout(__ret));
}

void pinfs_helper_wake_page(unsigned long pfn)
{
	wake_up_var(pfn_to_page(pfn));
}

/* lease.rs */

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

/* A lease that was to be broken stays. */
void pinfs_helper_lease_spare(struct file_lease *lease)
{
	lease->c.flc_flags &= ~FL_UNLOCK_PENDING;
	lease->fl_break_time = 0;
}

/*
 * The kernel's own leases put their fasync entry into place under flc_lock,
 * with memory that modules cannot allocate ahead; ours get it before anybody
 * else sees them.  What is not used (because the file has a layout lease
 * already, which was changed instead) is taken back.
 */
int pinfs_helper_layout_lease_install(struct file *file, int fd,
				      const struct lease_manager_operations *ops)
{
	struct file_lease *lease = locks_alloc_lease();
	struct file_lease *unused = lease;
	int ret;

	if (!lease)
		return -ENOMEM;
	lease->c.flc_owner = file;
	lease->c.flc_pid = current->tgid;
	lease->c.flc_file = file;
	lease->c.flc_flags = FL_LAYOUT;
	lease->c.flc_type = F_RDLCK;
	lease->fl_lmops = ops;

	ret = fasync_helper(fd, file, 1, &lease->fl_fasync);
	if (ret >= 0)
		ret = vfs_setlease(file, F_RDLCK, &unused, NULL);
	if (unused) {
		fasync_helper(-1, file, 0, &unused->fl_fasync);
		locks_free_lease(unused);
	}
	return ret;
}

/* What vfs_setlease() asks first, but for the security modules. */
bool pinfs_helper_may_lease(struct file *file)
{
	vfsuid_t vfsuid = i_uid_into_vfsuid(file_mnt_idmap(file),
					    file_inode(file));

	return vfsuid_eq_kuid(vfsuid, current_fsuid()) || capable(CAP_LEASE);
}

/* The lease of a file, under flc_lock. */
static struct file_lease *
find_layout_lease(struct file_lock_context *ctx, const struct file *file,
		  const struct lease_manager_operations *ops)
{
	struct file_lease *lease;

	list_for_each_entry(lease, &ctx->flc_lease, c.flc_list)
		if (lease->c.flc_file == file && lease->fl_lmops == ops)
			return lease;
	return NULL;
}

bool pinfs_helper_file_has_layout_lease(const struct file *file,
					const struct lease_manager_operations *ops)
{
	struct file_lock_context *ctx = locks_inode_context(file_inode(file));
	bool found;

	if (!ctx || list_empty_careful(&ctx->flc_lease))
		return false;
	spin_lock(&ctx->flc_lock);
	found = find_layout_lease(ctx, file, ops);
	spin_unlock(&ctx->flc_lock);
	return found;
}

/* What vfs_setlease() does to a lease that is there, and nothing else of it. */
int pinfs_helper_layout_lease_update(struct file *file,
				     const struct lease_manager_operations *ops)
{
	struct file_lock_context *ctx = locks_inode_context(file_inode(file));
	struct file_lease *lease;
	int ret = -EAGAIN;
	LIST_HEAD(dispose);

	if (!ctx)
		return ret;
	spin_lock(&ctx->flc_lock);
	lease = find_layout_lease(ctx, file, ops);
	if (lease)
		ret = ops->lm_change(lease, F_RDLCK, &dispose);
	spin_unlock(&ctx->flc_lock);
	return ret;
}

bool pinfs_helper_file_has_other_lease(const struct file *file,
				       const struct lease_manager_operations *ops)
{
	struct file_lock_context *ctx = locks_inode_context(file_inode(file));
	struct file_lease *lease;

	lockdep_assert_held(&ctx->flc_lock);
	list_for_each_entry(lease, &ctx->flc_lease, c.flc_list)
		if (lease->c.flc_file == file && lease->fl_lmops != ops)
			return true;
	return false;
}

int pinfs_helper_break_layout(struct inode *inode, bool wait)
{
	return break_layout(inode, wait);
}

/* gup.rs */

int pinfs_helper_mmap_read_lock_killable(struct mm_struct *mm)
{
	return mmap_read_lock_killable(mm);
}

void pinfs_helper_mmap_read_unlock(struct mm_struct *mm)
{
	mmap_read_unlock(mm);
}

bool pinfs_helper_vma_lookup(struct mm_struct *mm, unsigned long addr,
			     struct pinfs_vma *found)
{
	struct vm_area_struct *vma;

	addr = untagged_addr_remote(mm, addr);
	vma = vma_lookup(mm, addr);
	if (!vma)
		return false;
	found->file = vma->vm_file;
	found->index = linear_page_index(vma, addr);
	found->pages = (vma->vm_end - addr + PAGE_SIZE - 1) >> PAGE_SHIFT;
	found->shared = vma->vm_flags & VM_MAYSHARE;
	found->can_be_huge = IS_ALIGNED(found->index - PHYS_PFN(addr), PTRS_PER_PMD) &&
			     vma->vm_end - vma->vm_start >= PMD_SIZE;
	return true;
}

bool pinfs_helper_get_write_access(struct inode *inode)
{
	return !get_write_access(inode);
}

void pinfs_helper_put_write_access(struct inode *inode)
{
	put_write_access(inode);
}

const struct path *pinfs_helper_file_path(const struct file *file)
{
	return &file->f_path;
}

/* How often the mappings have been changed, unless they are just being. */
bool pinfs_helper_mmap_seq(struct mm_struct *mm, unsigned int *seq)
{
	return mmap_lock_speculate_try_begin(mm, seq);
}

bool pinfs_helper_mmap_seq_changed(struct mm_struct *mm, unsigned int seq)
{
	return mmap_lock_speculate_retry(mm, seq);
}

/* The fast path takes no other flags, and is for the task's own memory. */
bool pinfs_helper_can_pin_fast(const struct mm_struct *mm, unsigned long count,
			       unsigned int flags)
{
	const unsigned int others = FOLL_GET | FOLL_DUMP | FOLL_NOFAULT |
				    FOLL_HWPOISON | FOLL_ANON | FOLL_SPLIT_PMD |
				    FOLL_PCI_P2PDMA | FOLL_INTERRUPTIBLE |
				    FOLL_HONOR_NUMA_FAULT;

	return mm == current->mm && count <= INT_MAX && !(flags & others);
}

int pinfs_helper_pin_fast(unsigned long start, int count, unsigned int flags,
			  struct page **pages)
{
	return pin_user_pages_fast(start, count, flags & (FOLL_WRITE | FOLL_FORCE),
				   pages);
}

/*
 * All pages of a subsection, the unit that memory of devices comes and goes in,
 * the last of them last: if that has no mark, none has.  The first would not do
 * for it, as a device may keep its memmap there, in pages without one.
 *
 * Each page of a huge one has its own mark.  ClearPageReserved() would not have
 * that: the others are not folios.
 */
static void clear_reserved_subsection(struct page *last)
{
	struct page *page;

	if (!test_bit_acquire(PG_reserved, &last->flags.f))
		return;
	for (page = last - (PAGES_PER_SUBSECTION - 1); page != last; page++)
		if (test_bit(PG_reserved, &page->flags.f))
			clear_bit(PG_reserved, &page->flags.f);
	clear_bit_unlock(PG_reserved, &last->flags.f);
}

/*
 * Pages of a device have their struct pages for whole subsections, and so does
 * all that lies between two pages of one range.  The caller has pinned both.
 */
void pinfs_helper_clear_reserved(struct page *first, struct page *last)
{
	unsigned long pfn = page_to_pfn(first), end = page_to_pfn(last);

	if (!is_zone_device_page(first) ||
	    !zone_device_pages_have_same_pgmap(first, last) ||
	    page_pgmap(first)->nr_range != 1)
		return;
	for (pfn |= ~PAGE_SUBSECTION_MASK; ; pfn += PAGES_PER_SUBSECTION) {
		clear_reserved_subsection(pfn_to_page(pfn));
		if (pfn >= end)
			break;
	}
}

/* work.rs */

void pinfs_helper_init_delayed_work(struct delayed_work *work, work_func_t func)
{
	INIT_DELAYED_WORK(work, func);
}

/* proc.rs */

struct pid_namespace *pinfs_helper_seq_pid_ns(const struct seq_file *seq)
{
	return proc_pid_ns(file_inode(seq->file)->i_sb);
}

bool pinfs_helper_seq_has_overflowed(struct seq_file *seq)
{
	return seq_has_overflowed(seq);
}

/* The address only: the address space may be gone when this returns. */
const struct mm_struct *pinfs_helper_task_mm_id(struct task_struct *task)
{
	const struct mm_struct *mm;

	task_lock(task);
	mm = task->mm;
	task_unlock(task);
	return mm;
}

/* The first process whose number is not below *nr, which becomes its number. */
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

void pinfs_helper_pid_file_init(struct pinfs_pid_file *file,
				struct module *owner, const char *name,
				pinfs_pid_show_t show)
{
	file->owner = owner;
	file->entry.name = name;
	file->entry.len = strlen(name);
	file->entry.mode = S_IFREG | 0444;
	file->entry.show = show;
}

/*
 * procfs answers ENOENT also if it has no memory for an inode.  What is really
 * not there is not there the next time either.
 */
static int pid_file_lookup(struct vfsmount *mnt, const char *name)
{
	struct path path;
	int tries, ret;

	for (tries = 0; tries < 3; tries++) {
		ret = vfs_path_lookup(mnt->mnt_root, mnt, name, LOOKUP_FOLLOW,
				      &path);
		if (!ret)
			path_put(&path);
		if (ret != -ENOENT)
			break;
	}
	return ret;
}

/*
 * Looks the file up in /proc/self and /proc/thread-self, in an instance of
 * procfs of our own: the caller's may not have one.
 */
int pinfs_helper_pid_file_probe(const char *name)
{
	static const char * const dirs[] = { "self", "thread-self" };
	struct file_system_type *type = get_fs_type("proc");
	struct vfsmount *mnt;
	char path_name[64];
	int ret = 0;
	int i;

	if (!type)
		return -ENOENT;
	mnt = kern_mount(type);
	module_put(type->owner);
	if (IS_ERR(mnt))
		return PTR_ERR(mnt);
	WRITE_ONCE(pinfs_pid_file_prober, current);
	for (i = 0; !ret && i < ARRAY_SIZE(dirs); i++) {
		scnprintf(path_name, sizeof(path_name), "%s/%s", dirs[i], name);
		ret = pid_file_lookup(mnt, path_name);
	}
	WRITE_ONCE(pinfs_pid_file_prober, NULL);
	kern_unmount(mnt);
	return ret;
}

bool pinfs_helper_pid_file_uncache(struct dentry *dentry, struct dentry *found)
{
	if (IS_ERR(found))
		return false;
	d_drop(found ?: dentry);
	return true;
}

/* An inode number means nothing here, as it is another after each look-up. */
void pinfs_helper_pid_file_emit(struct dir_context *ctx, const char *name)
{
	if (dir_emit(ctx, name, strlen(name), 1, DT_REG))
		ctx->pos++;
}

static void pid_file_forget_in(struct super_block *sb, void *fop)
{
	struct dentry *dentry;
	struct inode *inode;

again:
	spin_lock(&sb->s_inode_list_lock);
	list_for_each_entry(inode, &sb->s_inodes, i_sb_list) {
		/* One that is being freed is in no dentry, so none can open it. */
		if (inode->i_fop != fop || !igrab(inode))
			continue;
		spin_unlock(&sb->s_inode_list_lock);
		make_bad_inode(inode);
		/* Inodes of procfs have one dentry. */
		dentry = d_find_any_alias(inode);
		if (dentry) {
			d_invalidate(dentry);
			dput(dentry);
		}
		iput(inode);
		cond_resched();
		goto again;
	}
	spin_unlock(&sb->s_inode_list_lock);
}

void pinfs_helper_pid_file_forget(struct pinfs_pid_file *file)
{
	struct file_system_type *type = get_fs_type("proc");

	if (!type)
		return;
	iterate_supers_type(type, pid_file_forget_in, &file->fop);
	module_put(type->owner);
}
