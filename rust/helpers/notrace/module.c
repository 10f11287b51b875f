// SPDX-License-Identifier: GPL-2.0
/* Wrappers: the state of a module. */

#include <linux/module.h>

bool pinfs_helper_module_is_going(const struct module *module)
{
	return module->state == MODULE_STATE_GOING;
}

bool pinfs_helper_module_is_live(const struct module *module)
{
	return READ_ONCE(module->state) == MODULE_STATE_LIVE;
}
