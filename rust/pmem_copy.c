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

void pinfs_helper_pmem_zero(void *dst, size_t len)
{
	if (len % sizeof(u64))
		memset(dst, 0, len);
	else
		memset64(dst, 0, len / sizeof(u64));
}
