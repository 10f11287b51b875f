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

/* Disabled by who loads the module, or not as the module knows it. */
bool pinfs_helper_hook_disabled(const char *name)
{
	return names_hook(disable_hooks, name) ||
	       names_hook(PINFS_UNFIT_HOOKS, name);
}

/*
 * A probe that is registered but never armed changes no code; it is the one
 * exported way to learn a function's address from its name.
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
