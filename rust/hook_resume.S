/* SPDX-License-Identifier: GPL-2.0 */

#include <linux/linkage.h>
#include <asm/nospec-branch.h>
#include <asm/unwind_hints.h>

/*
 * Continues a redirected function where ftrace would continue it: at the address in
 * %rax, just past the call of __fentry__.  The caller has put the arguments where the
 * function expects them.  The return address on the stack is the caller's.
 *
 * This is a return and not an indirect jump, because the target has no ENDBR: with
 * indirect branch tracking, a jump or call to it raises a control protection fault.
 * RET is the return that the kernel's mitigations require.
 */
SYM_FUNC_START(pinfs_hook_resume)
	push	%rax
	UNWIND_HINT_FUNC
	RET
SYM_FUNC_END(pinfs_hook_resume)
