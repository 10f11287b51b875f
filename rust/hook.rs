// SPDX-License-Identifier: GPL-2.0

//! Kernel functions that are redirected to this module, or observed, while a value lives.
//!
//! There are two kinds, which use ftrace and exported functions only:
//!
//! * [`Hook`] redirects: at the entry of the kernel function a call-back calls
//!   [`Redirect::wanted`], and if this returns true, continues the call in the replacement. The
//!   replacement can sleep, and can run the original with arguments of its choice
//!   ([`Call::resume`]).
//!   original run with arguments of its choice ([`Call::resume`]).
//! * [`Observer`] observes: [`Point::entered`] runs before the function does, in the context of
//!   the function's caller, hard interrupts included.
//!
//! # Why this module may use Rust in a call-back
//!
//! The kernel's Rust code has no `__fentry__` sites, so none of it is ever traced. The C helpers
//! that call-backs use are compiled without them, too. If a call-back reaches a traced function of
//! the kernel (a spin lock, say), `FTRACE_OPS_FL_RECURSION` ends the recursion before it returns
//! here. `FTRACE_OPS_FL_RCU` prevents call-backs where RCU does not watch.
//!
//! # How the original is called
//!
//! ftrace itself continues a function at the address past its `call __fentry__`. A call that enters
//! there does not reach the call-back again, so no rule about callers is needed to tell a
//! redirected call from the original one, tail calls included. It is entered by a return, see
//! `hook_resume.S`.
//!
//! # Unloading
//!
//! A redirected call holds a reference to the module from before the instruction pointer is changed
//! until the replacement is about to return. So the module cannot be unloaded while a task is
//! inside a redirected function, for however long (`rmmod` fails with `EBUSY`). After unloading has
//! begun, no call is redirected any more, because taking a reference fails. When a [`Hook`] is
//! dropped, ftrace makes sure that no call-back runs any more, and waits for an RCU-tasks grace
//! period, as it does for all `ftrace_ops` that are not the kernel's own: for tasks that were
//! preempted in a trampoline, or in the few instructions between releasing the reference and
//! returning. After that no function of the kernel can return into the hook. When loading fails
//! half-way, calls may still be inside. The drop waits for these, and for another grace period.
//!
//! C header: [`include/linux/ftrace.h`](srctree/include/linux/ftrace.h)

#![allow(
    private_bounds,
    reason = "hooks are declared in rust/ only, and declaring one is unsafe"
)]

use crate::rust::{
    bindings,
    safe, //
};
use core::{
    marker::{
        PhantomData,
        PhantomPinned, //
    },
    pin::Pin, //
};
use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_uint,
        c_ulong, //
    },
    new_mutex,
    prelude::*,
    str::CStr,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Mutex, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};

/// The type of an argument that a register holds.
pub(super) trait Argument {
    /// Converts the contents of the register as C does.
    fn from_register(contents: usize) -> Self;
}

macro_rules! argument {
    ($($Type:ty)*) => {$(
        impl Argument for $Type {
            fn from_register(contents: usize) -> Self {
                contents as Self
            }
        }
    )*};
}

argument! { u8 c_int c_uint c_ulong }

impl<T> Argument for *const T {
    fn from_register(contents: usize) -> Self {
        contents as Self
    }
}

impl<T> Argument for *mut T {
    fn from_register(contents: usize) -> Self {
        contents as Self
    }
}

/// The arguments of a kernel function that was just entered.
///
/// # Invariants
///
/// `regs` are those that ftrace has passed to the call-back in progress.
pub(super) struct Entry<'a> {
    regs: *mut bindings::ftrace_regs,
    _p: PhantomData<&'a ()>,
    _not_send: NotThreadSafe,
}

impl Entry<'_> {
    /// Returns the `n`th argument, counted from 0, of those in registers.
    pub(super) fn argument<T: Argument>(&self, n: u32) -> T {
        // SAFETY: By the type's invariant the registers are valid during the call-back, which the
        // value does not outlive. The helper takes any number.
        T::from_register(unsafe { bindings::pinfs_helper_ftrace_regs_argument(self.regs, n) })
    }
}

/// State that the call-back and the replacement of one hook share. It is a `static` for each hook,
/// because a replacement gets no arguments but those of the function that it replaces.
pub(super) struct State {
    /// The address where the original continues: past its call of `__fentry__`.
    resume: Atomic<usize>,
    /// Number of redirected calls in progress.
    inside: Atomic<usize>,
}

impl State {
    /// Returns the state of a hook without calls.
    pub(super) const fn new() -> Self {
        Self {
            resume: Atomic::new(0),
            inside: Atomic::new(0),
        }
    }
}

/// A kernel function to redirect, and its replacement. [`redirect!`] implements it.
///
/// # Safety
///
/// [`Redirect::replacement`] must return the address of a function with the C signature of the
/// kernel function [`Redirect::NAME`], which returns an integer or a pointer and takes at most six
/// arguments, all in registers. Its first act is [`Call::begin`] with [`Redirect::state`], which is
/// used for no other kernel function.
pub(super) unsafe trait Redirect: 'static {
    /// The name of the kernel function.
    const NAME: &'static CStr;

    /// Returns the address of the replacement.
    fn replacement() -> usize;

    /// Returns the one state that belongs to this hook.
    fn state() -> &'static State;

    /// Returns whether to redirect this call.
    ///
    /// Runs in the context of the caller, normally with preemption disabled: it must not sleep.
    fn wanted(entry: &Entry<'_>) -> bool;
}

/// Declares a type `Hook` so that [`Hook<Hook>`](Hook) redirects a kernel function:
///
/// ```ignore
/// redirect! {
///     /// The purpose of the type.
///     pub(crate) struct SetLease<L: Leases>;
///
///     // SAFETY: The kernel's function has this signature.
///     unsafe fn fcntl_setlease(call, fd: c_uint, file: *mut bindings::file, arg: c_int) -> c_int {
///         // Runs in place of the kernel's function. `call.resume()` runs that.
///     }
///
///     fn wanted(entry) -> bool {
///         // See `Redirect::wanted`.
///     }
/// }
/// ```
///
/// The function is the kernel's one of that name. It must have the given signature, return an
/// integer or a pointer, and take at most six arguments, all in registers. Its replacement gets the
/// arguments that the kernel has passed.
macro_rules! redirect {
    (
        $(#[$meta:meta])*
        $vis:vis struct $Name:ident<$P:ident: $Bound:ident>;

        unsafe fn $function:ident($call:ident $(, $arg:ident: $Arg:ty)* $(,)?) -> $Ret:ty $body:block

        fn wanted($entry:ident) -> bool $wanted:block
    ) => {
        $(#[$meta])*
        $vis struct $Name<$P>(::core::marker::PhantomData<$P>);

        impl<$P: $Bound> $Name<$P> {
            /// # Safety
            ///
            /// The arguments must be as in a call of the kernel's function that was redirected
            /// here.
            unsafe extern "C" fn stand_in($($arg: $Arg),*) -> $Ret {
                use $crate::rust::hook::{Call, Redirect};

                // SAFETY: The first act of the replacement, with the state of its hook.
                let $call = unsafe { Call::begin(Self::state()) };
                $body
            }
        }

        // SAFETY: The replacement has the signature that was given for the kernel's function, and
        // begins with `Call::begin`. As the state is for all `$P`, it is that of this function
        // alone.
        unsafe impl<$P: $Bound> $crate::rust::hook::Redirect for $Name<$P> {
            const NAME: &'static ::kernel::str::CStr =
                match ::kernel::str::CStr::from_bytes_with_nul(
                    concat!(stringify!($function), "\0").as_bytes(),
                ) {
                    Ok(name) => name,
                    Err(_) => panic!(),
                };

            fn replacement() -> usize {
                Self::stand_in as usize
            }

            fn state() -> &'static $crate::rust::hook::State {
                static STATE: $crate::rust::hook::State = $crate::rust::hook::State::new();

                &STATE
            }

            fn wanted($entry: &$crate::rust::hook::Entry<'_>) -> bool $wanted
        }
    };
}

pub(super) use redirect;

/// A redirected call in progress, which keeps the module loaded.
///
/// # Invariants
///
/// The value owns a reference to the module, and a count of [`State::inside`].
pub(super) struct Call {
    state: &'static State,
    _not_send: NotThreadSafe,
}

impl Call {
    /// Takes over the reference and the count that the call-back took for this call.
    ///
    /// # Safety
    ///
    /// Must be called only as the first act of the replacement of the hook that `state` belongs to.
    pub(super) unsafe fn begin(state: &'static State) -> Self {
        // INVARIANT: `redirect` has taken both before it let the call continue here.
        Self {
            state,
            _not_send: NotThreadSafe,
        }
    }

    /// Runs the original function and returns what it returns.
    ///
    /// # Safety
    ///
    /// The arguments must be right for the function; surplus ones are ignored.
    pub(super) unsafe fn resume(&self, arguments: [usize; 6]) -> usize {
        // SAFETY: The address is where the function continues past its call of `__fentry__`: the
        // call-back has stored it before it redirected this call. The arguments are right, by this
        // function's requirements.
        unsafe { Function(self.state.resume.load(Relaxed)).call(arguments) }
    }
}

/// A function of the kernel, by its address.
#[derive(Clone, Copy)]
pub(super) struct Function(usize);

impl Function {
    /// Returns the function at an address that [`address_of`] has found.
    pub(super) fn at(address: usize) -> Self {
        Self(address)
    }

    /// Calls the function and returns what it returns.
    ///
    /// # Safety
    ///
    /// The address must be that of a function, or past its ENDBR or its call of `__fentry__`. It
    /// returns an integer or a pointer, and takes at most six arguments, all in registers, for
    /// which these must be right; surplus ones are ignored.
    pub(super) unsafe fn call(self, arguments: [usize; 6]) -> usize {
        let [a, b, c, d, e, f] = arguments;
        let mut ret = self.0;
        // SAFETY: `hook_resume.S` enters the function at an address that it may be entered at, with
        // arguments that are right, by this function's requirements; and as a function of the C ABI
        // it changes no registers but those that are named here.
        unsafe {
            core::arch::asm!(
                "call {resume}",
                resume = sym bindings::pinfs_hook_resume,
                inlateout("rax") ret,
                inlateout("rdi") a => _,
                inlateout("rsi") b => _,
                inlateout("rdx") c => _,
                inlateout("rcx") d => _,
                inlateout("r8") e => _,
                inlateout("r9") f => _,
                clobber_abi("C"),
            )
        };
        ret
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.state.inside.fetch_sub(1, Full);
        // SAFETY: By the type's invariant the value owns the reference. The code between here and
        // the replacement's return stays, see the module's documentation.
        unsafe { bindings::module_put(crate::rust::compat::this_module()) };
    }
}

/// A kernel function that is redirected as long as the value lives.
#[pin_data(PinnedDrop)]
pub(crate) struct Hook<R: Redirect> {
    #[pin]
    ops: Opaque<bindings::ftrace_ops>,
    #[pin]
    _pin: PhantomPinned,
    _p: PhantomData<R>,
}

// SAFETY: The value is only a registration, and ftrace synchronises `ftrace_ops`.
unsafe impl<R: Redirect> Send for Hook<R> {}
// SAFETY: No method takes a shared reference.
unsafe impl<R: Redirect> Sync for Hook<R> {}

impl<R: Redirect> Hook<R> {
    /// Redirects the function.
    ///
    /// # Errors
    ///
    /// `ENOENT` if the kernel has no such function that could be traced (or the parameter
    /// `disable_hooks` names it), `EBUSY` if it is already redirected by other means.
    pub(crate) fn new() -> Result<Pin<KBox<Self>>> {
        KBox::try_pin_init(
            try_pin_init!(Self {
                ops <- Opaque::try_ffi_init(|slot: *mut bindings::ftrace_ops| {
                    // SAFETY: The slot is ours to initialise and pinned, and the call-back is that
                    // of the ops of a hook. They are registered last.
                    unsafe {
                        init_ops(slot, redirect_entered::<R>, bindings::FTRACE_OPS_FL_IPMODIFY);
                        add_function(slot, R::NAME, address_of(R::NAME)?)?;
                        to_result(bindings::register_ftrace_function(slot)).inspect_err(|_| {
                            bindings::ftrace_free_filter(slot);
                        })
                    }
                }),
                _pin: PhantomPinned,
                _p: PhantomData,
            }? Error),
            GFP_KERNEL,
        )
    }
}

#[pinned_drop]
impl<R: Redirect> PinnedDrop for Hook<R> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The ops were registered when the value was made, and their filter is freed after
        // they are unregistered. The module is loaded as long as its code runs.
        unsafe {
            bindings::unregister_ftrace_function(self.ops.get());
            if !bindings::pinfs_helper_module_is_going(crate::rust::compat::this_module()) {
                while R::state().inside.load(Relaxed) != 0 {
                    bindings::msleep(10);
                }
                bindings::synchronize_rcu_tasks();
            }
            bindings::ftrace_free_filter(self.ops.get());
        }
    }
}

/// A kernel function to observe.
pub(super) struct Point {
    /// Its name.
    pub(super) name: &'static CStr,
    /// Its address, to tell several functions of one observer apart.
    pub(super) address: fn() -> usize,
    /// Called when the function was entered with these arguments and has yet to run.
    ///
    /// May run in hard interrupt context: it must not sleep.
    pub(super) entered: unsafe fn(entry: &Entry<'_>),
}

/// Kernel functions to observe.
///
/// # Safety
///
/// It must be sound to call [`Point::entered`] at the entry of the function at [`Point::address`].
pub(super) unsafe trait Observe: 'static {
    /// The functions.
    const POINTS: &'static [Point];
}

/// Kernel functions that are observed while the observer is enabled.
#[pin_data(PinnedDrop)]
pub(crate) struct Observer {
    #[pin]
    ops: Opaque<bindings::ftrace_ops>,
    #[pin]
    enabled: Mutex<bool>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: `ops` is used under the mutex, and by ftrace, which has locks of its own.
unsafe impl Send for Observer {}
// SAFETY: A shared reference registers the ops and unregisters them, under the mutex.
unsafe impl Sync for Observer {}

impl Observer {
    /// Looks up the functions of `O`. It does not observe them yet.
    ///
    /// # Errors
    ///
    /// `ENOENT` if the kernel lacks one of them.
    pub(crate) fn new<O: Observe>() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            ops <- Opaque::try_ffi_init(|slot: *mut bindings::ftrace_ops| {
                // SAFETY: The slot is ours to initialise and pinned, and the call-back is that of
                // the ops of an observer. They are not registered yet.
                unsafe {
                    init_ops(slot, observe::<O>, 0);
                    for point in O::POINTS {
                        add_function(slot, point.name, (point.address)()).inspect_err(|_| {
                            bindings::ftrace_free_filter(slot);
                        })?;
                    }
                }
                Ok::<(), Error>(())
            }),
            enabled <- new_mutex!(false, "pinfs_observer"),
            _pin: PhantomPinned,
        }? Error)
    }

    /// Starts observing, unless it has started. Every later entry is observed after this returns.
    ///
    /// # Errors
    ///
    /// `ENODEV` while `ftrace_enabled` is off, `ENOMEM`.
    pub(crate) fn enable(&self) -> Result {
        let mut enabled = self.enabled.lock();
        if !*enabled {
            // SAFETY: The ops are initialised, have their filter, and are not registered.
            to_result(unsafe { bindings::register_ftrace_function(self.ops.get()) })?;
            *enabled = true;
        }
        Ok(())
    }

    /// Stops observing if `condition` returns true. The observer cannot be enabled while
    /// `condition` runs. After that no call of [`Point::entered`] runs any more.
    ///
    /// Waits for RCU-tasks grace periods.
    pub(crate) fn disable_if(&self, condition: impl FnOnce() -> bool) {
        let mut enabled = self.enabled.lock();
        if *enabled && condition() {
            // SAFETY: The ops are registered, as `enabled` is true, and the mutex keeps it so.
            unsafe { bindings::unregister_ftrace_function(self.ops.get()) };
            *enabled = false;
        }
    }
}

#[pinned_drop]
impl PinnedDrop for Observer {
    fn drop(self: Pin<&mut Self>) {
        self.disable_if(|| true);
        // SAFETY: The ops are no longer registered, and no call-back of theirs runs.
        unsafe { bindings::ftrace_free_filter(self.ops.get()) };
    }
}

/// # Safety
///
/// `slot` must be valid for writes and pinned, and `func` must fit the ops in it.
unsafe fn init_ops(
    slot: *mut bindings::ftrace_ops,
    func: unsafe extern "C" fn(
        c_ulong,
        c_ulong,
        *mut bindings::ftrace_ops,
        *mut bindings::ftrace_regs,
    ),
    flags: u32,
) {
    // Permanent: `sysctl kernel.ftrace_enabled=0` is refused while the ops are registered. Without
    // its hooks the module would miss unpins.
    let flags = flags
        | bindings::FTRACE_OPS_FL_RECURSION
        | bindings::FTRACE_OPS_FL_RCU
        | bindings::FTRACE_OPS_FL_PERMANENT;
    let ops = bindings::ftrace_ops {
        func: Some(func),
        flags: flags as c_ulong,
        ..Default::default()
    };
    // SAFETY: The slot is valid for writes, by this function's requirements.
    unsafe { slot.write(ops) };
}

/// Adds a function to the filter of the ops. It passes the address, as ftrace goes through all
/// functions of the kernel to find one by its name.
///
/// # Safety
///
/// `ops` must be initialised and not registered.
unsafe fn add_function(ops: *mut bindings::ftrace_ops, name: &CStr, address: usize) -> Result {
    if safe::pinfs_helper_hook_disabled(name) {
        return Err(ENOENT);
    }
    // ftrace returns EINVAL for a function that cannot be traced. It must not be ignored: ops
    // without a filter are called for every function of the kernel.
    // SAFETY: The ops are initialised and not registered, by this function's requirements. ftrace
    // looks for the address among those that it knows.
    to_result(unsafe { bindings::ftrace_set_filter_ip(ops, address as c_ulong, 0, 0) })
        .map_err(|err| if err == EINVAL { ENOENT } else { err })
}

/// The call-back of [`Hook`].
///
/// # Safety
///
/// Must be called by ftrace, for the ops of a [`Hook<R>`].
unsafe extern "C" fn redirect_entered<R: Redirect>(
    _ip: c_ulong,
    _parent_ip: c_ulong,
    _ops: *mut bindings::ftrace_ops,
    regs: *mut bindings::ftrace_regs,
) {
    // INVARIANT: ftrace passes them to this call-back.
    let entry = Entry {
        regs,
        _p: PhantomData,
        _not_send: NotThreadSafe,
    };
    if !R::wanted(&entry) {
        return;
    }
    let state = R::state();
    // SAFETY: The module is loaded as long as its code runs. ftrace passes valid registers,
    // whose instruction pointer is where the function continues, and the replacement has its
    // signature, by the trait's requirements.
    unsafe {
        if !bindings::try_module_get(crate::rust::compat::this_module()) {
            return;
        }
        state.inside.add(1, Relaxed);
        state.resume.store(
            bindings::pinfs_helper_ftrace_regs_ip(regs) as usize,
            Relaxed,
        );
        bindings::pinfs_helper_ftrace_regs_set_ip(regs, R::replacement() as c_ulong);
    }
}

/// The call-back of [`Observer`].
///
/// # Safety
///
/// Must be called by ftrace, for the ops of an [`Observer`] of `O`.
unsafe extern "C" fn observe<O: Observe>(
    ip: c_ulong,
    _parent_ip: c_ulong,
    _ops: *mut bindings::ftrace_ops,
    regs: *mut bindings::ftrace_regs,
) {
    // ftrace's address is the function's, or past its ENDBR.
    let is_at = |point: &&Point| ip.wrapping_sub((point.address)()) <= ENDBR_SIZE;
    if let Some(point) = O::POINTS.iter().find(is_at) {
        // INVARIANT: ftrace passes them to this call-back.
        let entry = Entry {
            regs,
            _p: PhantomData,
            _not_send: NotThreadSafe,
        };
        // SAFETY: ftrace calls this at the entry of the function at `ip`, which is the point's, and
        // it is sound to call `entered` there, by the trait's requirements.
        unsafe { (point.entered)(&entry) };
    }
}

/// The size of the instruction ENDBR64.
const ENDBR_SIZE: usize = 4;

/// Returns the address of a kernel function that is not exported, by its name.
///
/// # Errors
///
/// `ENOENT` if there is none, it is named in `disable_hooks`, or the kernel has no kprobes;
/// `ENOMEM`.
pub(crate) fn address_of(name: &CStr) -> Result<usize> {
    let mut address = 0;
    if safe::pinfs_helper_hook_disabled(name) {
        return Err(ENOENT);
    }
    let found = safe::pinfs_helper_function_address(name, &mut address);
    to_result(found).map_err(|err| if err == ENOMEM { ENOMEM } else { ENOENT })?;
    Ok(address)
}

/// Turns missing hooks into `None`, with a warning that `what` is not available.
///
/// # Errors
///
/// `ENOMEM`, which does not depend on the kernel: a module that did without the hooks because of it
/// would lack them until it is loaded again.
pub(crate) fn optional<T>(hooks: Result<T>, what: &str) -> Result<Option<T>> {
    match hooks {
        Ok(hooks) => Ok(Some(hooks)),
        Err(ENOMEM) => Err(ENOMEM),
        Err(err) => {
            pr_warn!("{what} not available: hooks: {err:?}\n");
            Ok(None)
        }
    }
}
