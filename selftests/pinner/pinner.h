/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests `pins_kernel` and `pins_model` ask of the module pinner. */
#ifndef PINNER_H
#define PINNER_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define PINNER_DEVICE	"pinfs_pinner"

/* Who owns the pin. */
enum pinner_owner {
	PINNER_SELF,		/* the device's open file that is called */
	PINNER_FD,		/* the file behind fd */
	PINNER_MM,		/* the caller's address space */
	PINNER_NOBODY,		/* neither: an error */
	PINNER_NULL,		/* no description of an owner at all: an error */
};

struct pinner_pin {
	__u64 addr;
	__u64 pages;
	__u32 owner;
	__s32 fd;
	__u32 read_only;
	__u32 handle;		/* out */
};

/* How it is given back. */
enum pinner_way {
	PINNER_CALL,		/* by the caller itself, in the owner's name */
	PINNER_WORK,		/* by a kernel worker, in the owner's name */
	PINNER_INTERRUPT,	/* with interrupts disabled, in the owner's name */
};

struct pinner_unpin {
	__u32 handle;
	__u32 way;
};

#define PINNER_COUNTS	16

/* How many pins there are on each page of the caller's memory, whoever has them. */
struct pinner_counts {
	__u64 addr;
	__u32 count[PINNER_COUNTS];	/* out */
};

/* Returns the number of pages pinned. */
#define PINNER_PIN	_IOWR('p', 1, struct pinner_pin)
#define PINNER_UNPIN	_IOW('p', 2, struct pinner_unpin)
#define PINNER_COUNT	_IOWR('p', 3, struct pinner_counts)

#endif
