// SPDX-License-Identifier: GPL-2.0
/* Copies to and from persistent memory. */

#include <linux/dax.h>
#include <linux/pfn.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <linux/unaligned.h>
#include <asm/asm.h>

#include "helpers.h"

/*
 * Copies whole words.  Returns the number of bytes that are left, which is zero
 * unless the memory is poisoned.  copy_mc_to_kernel() copies byte by byte, which is
 * slow for the small structures of a file system if the processor's microcode does
 * not speed it up.
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

/**
 * pinfs_helper_dax_copy() - copy between a range of a device and a read's or write's memory
 * @dax_dev: the device
 * @at: address of the range in the device
 * @len: number of bytes
 * @iter: the memory, and the direction
 *
 * Does the same as dax_iomap_rw() after it has got a mapping.
 *
 * Context: may sleep, in a fault of the memory.
 * Return: number of bytes copied.  It is smaller than @len after a fault or a machine
 * check, or at the end of what the device maps at once.  It is 0 if the device does
 * not return an address, which dax_iomap_rw() can handle.
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

/**
 * pinfs_helper_pmem_read() - copy out of persistent memory
 * @dst: destination, ordinary memory
 * @src: source
 * @len: number of bytes
 *
 * Context: any.  The device is alive, as under dax_read_lock().
 * Return: number of bytes that are left because the memory is poisoned.
 */
size_t pinfs_helper_pmem_read(void *dst, const void *src, size_t len)
{
	if (len % sizeof(u64))
		return copy_mc_to_kernel(dst, src, len);
	return pmem_read_words(dst, src, len / sizeof(u64));
}

/* Stores one word at once, and advances both pointers. */
static __always_inline void pmem_write_word(void **dst, const void **src)
{
	WRITE_ONCE(*(u64 *)*dst, get_unaligned((const u64 *)*src));
	*dst += sizeof(u64);
	*src += sizeof(u64);
}

/**
 * pinfs_helper_pmem_write() - copy into persistent memory
 * @dst: destination
 * @src: source
 * @len: number of bytes
 *
 * Stores each aligned word at once.  The commit of a journal relies on that, and
 * memcpy() does not promise it.  The caller writes back the cache lines.
 *
 * Context: any.  The device is alive, as under dax_read_lock().
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

/**
 * pinfs_helper_pmem_zero() - zero persistent memory
 * @dst: the memory
 * @len: number of bytes
 *
 * The caller writes back the cache lines.
 *
 * Context: any.  The device is alive, as under dax_read_lock().
 */
void pinfs_helper_pmem_zero(void *dst, size_t len)
{
	if (len % sizeof(u64))
		memset(dst, 0, len);
	else
		memset64(dst, 0, len / sizeof(u64));
}
