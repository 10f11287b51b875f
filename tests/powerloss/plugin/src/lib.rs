// SPDX-License-Identifier: GPL-2.0

//! A QEMU plugin that records what a guest does to a range of its physical memory: every store with
//! its value, every write-back of a cache line, every store fence, and marks that programs in the
//! guest set.
//!
//! ```text
//! -plugin libpinfs_powerloss.so,trace=FILE,base=ADDRESS,size=BYTES
//! ```
//!
//! The guest's kernel has to be booted with `nokaslr`: where it maps all of its memory tells at once
//! which of its stores are to the range, and these are most of what a guest does.
//!
//! A mark is the instruction CPUID with the leaf [`recorder::MARK_LEAF`]; any program may execute it,
//! and outside of QEMU it does nothing. The format of the file is described in [`recorder`].
//!
//! One processor only: what is a fence to one is none to another, and a list has one order.

#![deny(unsafe_op_in_unsafe_fn)]

mod decode;
mod qemu;
mod recorder;

use std::{
    collections::HashMap,
    ffi::{
        c_char,
        c_int,
        c_void,
        CStr, //
    },
    sync::{
        Mutex,
        MutexGuard,
        OnceLock, //
    },
};

use decode::{
    Address,
    Instruction, //
};
use recorder::{
    Recorder,
    SITE_DEPTH, //
};

/// Where the kernel's half of the addresses begins.
const KERNEL: u64 = 1 << 63;

/// Where x86-64 kernels load modules, when they may move their own image. The return addresses in
/// here tell one call of `arch_wb_cache_pmem()` from another.
const MODULES: std::ops::Range<u64> = 0xffff_ffff_c000_0000..0xffff_ffff_ff00_0000;

/// Where an x86-64 kernel with page tables of four levels that does not hide maps physical memory.
const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;

/// Bytes of the stack that are searched for return addresses.
const STACK: usize = 640;

/// The longest text of a mark.
const MARK_MAX: u64 = 1 << 20;

struct State {
    recorder: Recorder,
    registers: Option<qemu::Registers>,
    /// Pages through which programs have stored to the range.
    mapped: HashMap<u64, u64>,
    /// Something happened in the range since the last fence.
    dirty: bool,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

/// The range: physical address and size.
static RANGE: OnceLock<(u64, u64)> = OnceLock::new();

/// Whether a physical address is in the range.
fn is_in_range(phys: u64) -> bool {
    RANGE
        .get()
        .is_some_and(|(base, size)| phys.wrapping_sub(*base) < *size)
}

/// Calls `f` with the state. A panic cannot pass through QEMU, so there is none to poison the lock.
fn with_state(f: impl FnOnce(&mut State)) {
    let mut guard: MutexGuard<'_, Option<State>> = match STATE.lock() {
        Ok(guard) => guard,
        Err(poisoned) => poisoned.into_inner(),
    };
    if let Some(state) = guard.as_mut() {
        f(state);
    }
}

impl State {
    fn store(&mut self, vaddr: u64, phys: u64, bytes: &[u8], streaming: bool) {
        if vaddr < KERNEL {
            self.mapped.insert(vaddr >> 12, phys >> 12);
            if (vaddr & 0xfff) + bytes.len() as u64 > 0x1000 {
                self.store_across(vaddr, bytes, streaming);
                return;
            }
        }
        if let Some(off) = self.recorder.offset(phys) {
            self.dirty = true;
            self.recorder.store(off, bytes, streaming);
        }
    }

    /// A program's store into two pages, which need not be neighbours. QEMU tells where the first is;
    /// the second is where the program has stored to it before.
    fn store_across(&mut self, vaddr: u64, bytes: &[u8], streaming: bool) {
        for (at, byte) in (vaddr..).zip(bytes) {
            let Some(phys) = self.translate(at) else {
                self.recorder
                    .fail("a store into two pages, of which the second is not known");
                return;
            };
            if let Some(off) = self.recorder.offset(phys) {
                self.dirty = true;
                self.recorder.store(off, &[*byte], streaming);
            }
        }
    }

    /// The physical address behind a virtual one that was stored through before. The line behind any
    /// other cannot be dirty, unless it was stored to through another mapping.
    fn translate(&self, vaddr: u64) -> Option<u64> {
        if vaddr >= KERNEL {
            return Some(vaddr.wrapping_sub(DIRECT_MAP));
        }
        let page = self.mapped.get(&(vaddr >> 12))?;
        Some(page << 12 | vaddr & 0xfff)
    }

    fn flush(&mut self, pc: u64, operand: &Address) {
        let registers = self.registers.as_ref();
        let Some(vaddr) = registers.and_then(|regs| operand.value(|number| regs.read(number)))
        else {
            return;
        };
        let Some(off) = self
            .translate(vaddr)
            .and_then(|phys| self.recorder.offset(phys))
        else {
            return;
        };
        let site = self.site(pc);
        self.dirty = true;
        self.recorder.flush(off / 64 * 64, &site);
    }

    fn fence(&mut self, pc: u64) {
        if std::mem::take(&mut self.dirty) {
            let site = self.site(pc);
            self.recorder.fence(&site);
        }
    }

    /// Where in the code this is: the instruction and, on the way there, calls from modules.
    fn site(&self, pc: u64) -> [u64; SITE_DEPTH] {
        let mut site = [0; SITE_DEPTH];
        site[0] = pc;
        if pc < KERNEL {
            return site;
        }
        let stack = self
            .registers
            .as_ref()
            .and_then(|regs| regs.read(qemu::RSP))
            .and_then(|rsp| qemu::read_memory(rsp, STACK))
            .unwrap_or_default();
        let calls = stack
            .chunks_exact(8)
            .filter_map(|word| word.try_into().ok().map(u64::from_le_bytes))
            .filter(|word| MODULES.contains(word));
        for (slot, call) in site[1..].iter_mut().zip(calls) {
            *slot = call;
        }
        site
    }

    fn mark(&mut self) {
        let Some(regs) = &self.registers else {
            return;
        };
        if regs.read(qemu::RAX).map(|leaf| leaf as u32) != Some(recorder::MARK_LEAF) {
            return;
        }
        let (Some(addr), Some(len)) = (regs.read(qemu::RBX), regs.read(qemu::RCX)) else {
            return;
        };
        let text = match len {
            0..=MARK_MAX => qemu::read_memory(addr, len as usize),
            _ => None,
        };
        match text {
            Some(text) => self.recorder.mark(&text),
            None => self.recorder.fail("a mark's text cannot be read"),
        }
    }
}

extern "C" fn on_init(_id: u64, _vcpu: u32) {
    let registers = qemu::Registers::find();
    with_state(|state| {
        if registers.is_none() {
            state
                .recorder
                .fail("QEMU does not tell about the registers");
        }
        state.registers = registers;
    });
}

extern "C" fn on_store(_vcpu: u32, info: u32, vaddr: u64, streaming: *mut c_void) {
    // The translation takes its time, so the kernel's other stores are not asked about.
    if vaddr >= KERNEL && !is_in_range(vaddr.wrapping_sub(DIRECT_MAP)) {
        return;
    }
    let Some(phys) = qemu::physical(info, vaddr) else {
        return;
    };
    if is_in_range(phys) {
        let (bytes, len) = qemu::value(info);
        with_state(|state| state.store(vaddr, phys, &bytes[..len], !streaming.is_null()));
    }
}

extern "C" fn on_flush(_vcpu: u32, data: *mut c_void) {
    // SAFETY: It was leaked for this in `on_translate`.
    let (pc, operand) = unsafe { &*data.cast::<(u64, Address)>() };
    with_state(|state| state.flush(*pc, operand));
}

extern "C" fn on_fence(_vcpu: u32, pc: *mut c_void) {
    with_state(|state| state.fence(pc as u64));
}

extern "C" fn on_cpuid(_vcpu: u32, _data: *mut c_void) {
    with_state(State::mark);
}

extern "C" fn on_exit(_id: u64, _data: *mut c_void) {
    with_state(|state| state.recorder.end());
}

extern "C" fn on_translate(_id: u64, block: *mut qemu::Block) {
    for insn in qemu::instructions(block) {
        let mut streaming = std::ptr::null_mut();
        match decode::decode(insn.bytes(), insn.vaddr()) {
            Instruction::Other => {}
            Instruction::StreamingStore => streaming = std::ptr::dangling_mut(),
            // Blocks are translated again and again, but those with a flush are few.
            Instruction::Flush(operand) => {
                let data = Box::leak(Box::new((insn.vaddr(), operand)));
                insn.on_execute(on_flush, std::ptr::from_mut(data).cast(), true);
            }
            Instruction::Fence => insn.on_execute(on_fence, insn.vaddr() as *mut c_void, true),
            Instruction::Cpuid => insn.on_execute(on_cpuid, std::ptr::null_mut(), true),
        }
        insn.on_store(on_store, streaming);
    }
}

/// The version of QEMU's interface for plugins that the declarations in [`qemu`] belong to. QEMU
/// refuses a plugin whose version it does not have.
#[no_mangle]
pub static qemu_plugin_version: c_int = 4;

fn install(id: u64, arguments: &[&str]) -> Result<(), String> {
    let (mut file, mut base, mut size) = (None, None, None);
    for argument in arguments {
        let (name, value) = argument
            .split_once('=')
            .ok_or_else(|| format!("'{argument}' is not of the form NAME=VALUE"))?;
        let number = || {
            value
                .parse()
                .map_err(|_| format!("{argument}: not a number"))
        };
        match name {
            "trace" => file = Some(value),
            "base" => base = Some(number()?),
            "size" => size = Some(number()?),
            _ => return Err(format!("unknown argument '{argument}'")),
        }
    }
    let file = file.ok_or("trace= is missing")?;
    let base = base.ok_or("base= is missing")?;
    let size = size.ok_or("size= is missing")?;
    let recorder =
        Recorder::create(file, base, size).map_err(|error| format!("{file}: {error}"))?;
    if let Ok(mut state) = STATE.lock() {
        *state = Some(State {
            recorder,
            registers: None,
            mapped: HashMap::new(),
            dirty: false,
        });
    }
    RANGE.get_or_init(|| (base, size));
    qemu::register(id, on_init, on_translate, on_exit);
    Ok(())
}

/// Called by QEMU when it has loaded the plugin.
///
/// # Safety
///
/// `info` points to what QEMU says about itself, and `argv` to `argc` strings.
#[no_mangle]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    info: *const qemu::Info,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    // SAFETY: As the caller says.
    let problem = unsafe { (*info).problem() };
    let arguments: Vec<&str> = (0..argc as usize)
        // SAFETY: As the caller says; the strings live longer than this call.
        .filter_map(|index| unsafe { CStr::from_ptr(*argv.add(index)) }.to_str().ok())
        .collect();
    let result = match problem {
        Some(problem) => Err(problem),
        None => install(id, &arguments),
    };
    match result {
        Ok(()) => 0,
        Err(message) => {
            eprintln!("pinfs_powerloss: {message}");
            1
        }
    }
}
