// SPDX-License-Identifier: GPL-2.0
/*
 * A device that pins its callers' memory by vaddr_pin_pages(), as a driver
 * would, and says what the kernel counts.  For tests only.  An open file of it
 * gives back what it has pinned when it is released.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vaddr_pin.h>
#include <linux/workqueue.h>

#include "pinner.h"

#define MAX_PAGES	(1 << 18)

struct pin {
	struct list_head list;
	struct work_struct work;
	struct vaddr_pin owner;
	struct page **pages;
	unsigned long count;
	u32 handle;
	bool dirty;
};

struct pinner {
	struct mutex lock;
	struct list_head pins;
	u32 handles;
};

static void free_pin(struct pin *pin)
{
	kvfree(pin->pages);
	kfree(pin);
}

static void unpin(struct pin *pin, bool dirty)
{
	vaddr_unpin_pages_dirty_lock(pin->pages, pin->count, &pin->owner, dirty);
}

static void unpin_work(struct work_struct *work)
{
	struct pin *pin = container_of(work, struct pin, work);

	unpin(pin, pin->dirty);
}

static int pinner_open(struct inode *inode, struct file *file)
{
	struct pinner *pinner = kzalloc(sizeof(*pinner), GFP_KERNEL);

	if (!pinner)
		return -ENOMEM;
	mutex_init(&pinner->lock);
	INIT_LIST_HEAD(&pinner->pins);
	file->private_data = pinner;
	return 0;
}

static int pinner_release(struct inode *inode, struct file *file)
{
	struct pinner *pinner = file->private_data;
	struct pin *pin, *next;

	list_for_each_entry_safe(pin, next, &pinner->pins, list) {
		unpin(pin, pin->dirty);
		free_pin(pin);
	}
	kfree(pinner);
	return 0;
}

/* The references to an owner that is not the caller's are for the call alone. */
static long pin_for(struct pin *pin, const struct pinner_pin *arg, struct file *self)
{
	struct vaddr_pin *owner = &pin->owner;
	struct file *other = NULL;
	long ret;

	switch (arg->owner) {
	case PINNER_SELF:
		owner->f_owner = self;
		break;
	case PINNER_FD:
		other = fget(arg->fd);
		if (!other)
			return -EBADF;
		owner->f_owner = other;
		break;
	case PINNER_MM:
		owner->mm = current->mm;
		break;
	case PINNER_NOBODY:
		break;
	case PINNER_NULL:
		owner = NULL;
		break;
	default:
		return -EINVAL;
	}
	mmap_read_lock(current->mm);
	ret = vaddr_pin_pages(arg->addr, arg->pages, arg->read_only ? 0 : FOLL_WRITE, pin->pages,
			      owner);
	mmap_read_unlock(current->mm);
	if (other)
		fput(other);
	return ret;
}

static long pinner_pin(struct file *file, struct pinner_pin __user *uarg)
{
	struct pinner *pinner = file->private_data;
	struct pinner_pin arg;
	struct pin *pin;
	long ret;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (!arg.pages || arg.pages > MAX_PAGES)
		return -EINVAL;
	pin = kzalloc(sizeof(*pin), GFP_KERNEL);
	if (!pin)
		return -ENOMEM;
	INIT_WORK(&pin->work, unpin_work);
	pin->dirty = !arg.read_only;
	pin->pages = kvcalloc(arg.pages, sizeof(*pin->pages), GFP_KERNEL);
	ret = pin->pages ? pin_for(pin, &arg, file) : -ENOMEM;
	if (ret <= 0) {
		free_pin(pin);
		return ret;
	}
	pin->count = ret;
	mutex_lock(&pinner->lock);
	pin->handle = ++pinner->handles;
	list_add_tail(&pin->list, &pinner->pins);
	mutex_unlock(&pinner->lock);
	/* Should this fail, release gives it back. */
	return put_user(pin->handle, &uarg->handle) ? -EFAULT : ret;
}

static struct pin *take_pin(struct pinner *pinner, u32 handle)
{
	struct pin *pin;

	guard(mutex)(&pinner->lock);
	list_for_each_entry(pin, &pinner->pins, list) {
		if (pin->handle == handle) {
			list_del(&pin->list);
			return pin;
		}
	}
	return NULL;
}

static long pinner_unpin(struct pinner *pinner, const struct pinner_unpin __user *uarg)
{
	struct pinner_unpin arg;
	struct pin *pin;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (arg.way > PINNER_INTERRUPT)
		return -EINVAL;
	pin = take_pin(pinner, arg.handle);
	if (!pin)
		return -ENOENT;
	switch (arg.way) {
	case PINNER_CALL:
		unpin(pin, pin->dirty);
		break;
	case PINNER_WORK:
		schedule_work(&pin->work);
		flush_work(&pin->work);
		break;
	case PINNER_INTERRUPT:
		local_irq_disable();
		unpin(pin, false);
		local_irq_enable();
		break;
	}
	free_pin(pin);
	return 0;
}

/* Of a page in a small folio it is made out from the references that nothing else explains. */
static u32 pins_of_page(struct page *page)
{
	struct folio *folio = page_folio(page);

	if (folio_has_pincount(folio))
		return atomic_read(&folio->_pincount);
	return (folio_ref_count(folio) - folio_mapcount(folio) + GUP_PIN_COUNTING_BIAS / 2) /
	       GUP_PIN_COUNTING_BIAS;
}

static long pinner_count(struct pinner_counts __user *uarg)
{
	struct page *pages[PINNER_COUNTS];
	struct pinner_counts arg;
	int got;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	got = get_user_pages_fast(arg.addr, PINNER_COUNTS, 0, pages);
	if (got < 0)
		return got;
	for (int i = 0; i < got; i++) {
		arg.count[i] = pins_of_page(pages[i]);
		put_page(pages[i]);
	}
	if (got < PINNER_COUNTS)
		return -EFAULT;
	return copy_to_user(uarg, &arg, sizeof(arg)) ? -EFAULT : 0;
}

static long pinner_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	switch (cmd) {
	case PINNER_PIN:
		return pinner_pin(file, (void __user *)arg);
	case PINNER_UNPIN:
		return pinner_unpin(file->private_data, (void __user *)arg);
	case PINNER_COUNT:
		return pinner_count((void __user *)arg);
	}
	return -ENOTTY;
}

static const struct file_operations pinner_fops = {
	.owner		= THIS_MODULE,
	.open		= pinner_open,
	.release	= pinner_release,
	.unlocked_ioctl	= pinner_ioctl,
};

static struct miscdevice pinner_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= PINNER_DEVICE,
	.fops	= &pinner_fops,
};

module_misc_device(pinner_device);

MODULE_DESCRIPTION("A user of vaddr_pin_pages() for the tests of pinfs");
MODULE_AUTHOR("pinfs authors");
MODULE_LICENSE("GPL");
