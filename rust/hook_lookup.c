// SPDX-License-Identifier: GPL-2.0
/* Which kernel functions can be hooked, and where they are. */

#include <linux/kprobes.h>
#include <linux/moduleparam.h>
#include <linux/string.h>

#include "helpers.h"
#include "shapes.h"

static char disable_hooks[256];
module_param_string(disable_hooks, disable_hooks, sizeof(disable_hooks), 0444);
MODULE_PARM_DESC(disable_hooks,
		 "kernel functions to treat as missing, separated by commas");

/* Returns true if a comma-separated list has a name. */
static bool names_hook(const char *p, const char *name)
{
	size_t len = strlen(name);

	while (*p) {
		size_t n = strcspn(p, ",");

		if (n == len && !memcmp(p, name, len))
			return true;
		p += n;
		if (*p == ',')
			p++;
	}
	return false;
}

/**
 * pinfs_helper_hook_disabled() - check whether a function must not be hooked
 * @name: name of a kernel function
 *
 * Return: true if the parameter disable_hooks names it, or if its prototype, or a
 * structure that its hook needs, differs from the one in the file shapes.
 */
bool pinfs_helper_hook_disabled(const char *name)
{
	return names_hook(disable_hooks, name) ||
	       names_hook(PINFS_UNFIT_HOOKS, name);
}

/**
 * pinfs_helper_function_address() - find the address of a kernel function
 * @name: its name
 * @address: set to its address
 *
 * No exported function looks up a symbol.  Registering a kprobe does, and changes no
 * code while the kprobe is disabled.
 *
 * Context: may sleep.
 * Return: 0, or the errno of register_kprobe().
 */
int pinfs_helper_function_address(const char *name, unsigned long *address)
{
	struct kprobe probe = {
		.symbol_name = name,
		.flags = KPROBE_FLAG_DISABLED,
	};
	int ret = register_kprobe(&probe);

	if (ret)
		return ret;
	*address = (unsigned long)probe.addr;
	unregister_kprobe(&probe);
	return 0;
}
