/* SPDX-License-Identifier: GPL-2.0 */

#include <linux/linkage.h>
#include <asm/nospec-branch.h>
#include <asm/unwind_hints.h>

/*
 * Goes on with a redirected function where ftrace would have gone on: just
 * behind the call of __fentry__, whose address is in %rax.  The caller has put
 * the arguments where the function expects them, and the return address on the
 * stack is the caller's.
 *
 * A return and not an indirect jump, because the target carries no ENDBR: with
 * indirect branch tracking a jump or call there is a control protection fault.
 * RET is whatever return the kernel's mitigations ask for.
 */
SYM_FUNC_START(pinfs_hook_resume)
	push	%rax
	UNWIND_HINT_FUNC
	RET
SYM_FUNC_END(pinfs_hook_resume)
