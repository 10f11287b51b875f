// SPDX-License-Identifier: GPL-2.0

//! QEMU's interface for plugins, version 4 (QEMU 9.2 to 10.0), as far as it is used here; see
//! `include/qemu/qemu-plugin.h` there.

use std::{
    ffi::{
        c_char,
        c_int,
        c_uint,
        c_void,
        CStr, //
    },
    ptr,
};

/// A block of instructions that is being translated.
#[repr(C)]
pub struct Block {
    _opaque: [u8; 0],
}

#[repr(C)]
struct Insn {
    _opaque: [u8; 0],
}

#[repr(C)]
struct HwAddr {
    _opaque: [u8; 0],
}

/// `qemu_info_t`.
#[repr(C)]
pub struct Info {
    target_name: *const c_char,
    min: c_int,
    cur: c_int,
    system_emulation: bool,
    smp_vcpus: c_int,
    max_vcpus: c_int,
}

/// `qemu_plugin_mem_value`.
#[repr(C)]
struct Value {
    kind: c_int,
    low: u64,
    high: u64,
}

/// `qemu_plugin_reg_descriptor`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Descriptor {
    handle: *mut c_void,
    name: *const c_char,
    feature: *const c_char,
}

/// GLib's `GArray`.
#[repr(C)]
struct Array {
    data: *mut Descriptor,
    len: c_uint,
}

/// GLib's `GByteArray`.
#[repr(C)]
struct Bytes {
    data: *mut u8,
    len: c_uint,
}

type MemCallback = extern "C" fn(u32, u32, u64, *mut c_void);
type ExecCallback = extern "C" fn(u32, *mut c_void);
type InitCallback = extern "C" fn(u64, u32);
type BlockCallback = extern "C" fn(u64, *mut Block);
type ExitCallback = extern "C" fn(u64, *mut c_void);

const NO_REGS: c_int = 0;
const READ_REGS: c_int = 1;
const MEM_WRITE: c_int = 2;

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_init_cb(id: u64, callback: InitCallback);
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, callback: BlockCallback);
    fn qemu_plugin_register_atexit_cb(id: u64, callback: ExitCallback, data: *mut c_void);
    fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Insn;
    fn qemu_plugin_insn_data(insn: *const Insn, dest: *mut c_void, len: usize) -> usize;
    fn qemu_plugin_insn_vaddr(insn: *const Insn) -> u64;
    fn qemu_plugin_register_vcpu_mem_cb(
        insn: *mut Insn,
        callback: MemCallback,
        flags: c_int,
        access: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        insn: *mut Insn,
        callback: ExecCallback,
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_mem_size_shift(info: u32) -> c_uint;
    fn qemu_plugin_mem_get_value(info: u32) -> Value;
    fn qemu_plugin_get_hwaddr(info: u32, vaddr: u64) -> *mut HwAddr;
    fn qemu_plugin_hwaddr_is_io(addr: *const HwAddr) -> bool;
    fn qemu_plugin_hwaddr_phys_addr(addr: *const HwAddr) -> u64;
    fn qemu_plugin_get_registers() -> *mut Array;
    fn qemu_plugin_read_register(handle: *mut c_void, buf: *mut Bytes) -> c_int;
    fn qemu_plugin_read_memory_vaddr(addr: u64, buf: *mut Bytes, len: usize) -> bool;
    // GLib, which QEMU is linked with.
    fn g_byte_array_new() -> *mut Bytes;
    fn g_byte_array_free(array: *mut Bytes, free_segment: c_int) -> *mut u8;
    fn g_array_free(array: *mut Array, free_segment: c_int) -> *mut c_char;
}

impl Info {
    /// Why this QEMU is not one to be used with.
    pub fn problem(&self) -> Option<String> {
        // SAFETY: QEMU gives a string.
        let target = unsafe { CStr::from_ptr(self.target_name) };
        if target != c"x86_64" || !self.system_emulation {
            return Some("for qemu-system-x86_64 only".to_owned());
        }
        (self.smp_vcpus != 1).then(|| format!("for one processor only, not {}", self.smp_vcpus))
    }
}

/// Says what QEMU should tell.
pub fn register(id: u64, init: InitCallback, block: BlockCallback, exit: ExitCallback) {
    // SAFETY: `id` is this plugin's, and functions live as long as it does: it is never unloaded.
    unsafe {
        qemu_plugin_register_vcpu_init_cb(id, init);
        qemu_plugin_register_vcpu_tb_trans_cb(id, block);
        qemu_plugin_register_atexit_cb(id, exit, ptr::null_mut());
    }
}

/// An instruction of a block; only good while the block is being translated.
pub struct Instruction {
    insn: *mut Insn,
    bytes: [u8; 16],
    len: usize,
}

/// The instructions of a block that is being translated.
pub fn instructions(block: *mut Block) -> impl Iterator<Item = Instruction> {
    // SAFETY: The block is from QEMU.
    let count = unsafe { qemu_plugin_tb_n_insns(block) };
    (0..count).map(move |index| {
        let mut bytes = [0u8; 16];
        // SAFETY: The index is below the number of instructions.
        let insn = unsafe { qemu_plugin_tb_get_insn(block, index) };
        // SAFETY: There is room for as much as is asked for.
        let len = unsafe { qemu_plugin_insn_data(insn, bytes.as_mut_ptr().cast(), bytes.len()) };
        Instruction { insn, bytes, len }
    })
}

impl Instruction {
    /// Its code.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }

    /// Where it stands.
    pub fn vaddr(&self) -> u64 {
        // SAFETY: The instruction is of a block that is being translated.
        unsafe { qemu_plugin_insn_vaddr(self.insn) }
    }

    /// Calls `callback` whenever it is about to be executed.
    pub fn on_execute(&self, callback: ExecCallback, data: *mut c_void, registers: bool) {
        let flags = if registers { READ_REGS } else { NO_REGS };
        // SAFETY: The instruction is of a block that is being translated.
        unsafe { qemu_plugin_register_vcpu_insn_exec_cb(self.insn, callback, flags, data) };
    }

    /// Calls `callback` after each of its stores.
    pub fn on_store(&self, callback: MemCallback, data: *mut c_void) {
        // SAFETY: The instruction is of a block that is being translated.
        unsafe {
            qemu_plugin_register_vcpu_mem_cb(self.insn, callback, NO_REGS, MEM_WRITE, data);
        }
    }
}

/// Where in the guest's memory the access went that a callback is about.
pub fn physical(info: u32, vaddr: u64) -> Option<u64> {
    // SAFETY: Within the callback, both arguments are from QEMU.
    unsafe {
        let addr = qemu_plugin_get_hwaddr(info, vaddr);
        if addr.is_null() || qemu_plugin_hwaddr_is_io(addr) {
            return None;
        }
        Some(qemu_plugin_hwaddr_phys_addr(addr))
    }
}

/// What was stored: the bytes and how many they are.
pub fn value(info: u32) -> ([u8; 16], usize) {
    // SAFETY: Within the callback, from QEMU.
    let (value, shift) = unsafe {
        (
            qemu_plugin_mem_get_value(info),
            qemu_plugin_mem_size_shift(info),
        )
    };
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&value.low.to_le_bytes());
    bytes[8..].copy_from_slice(&value.high.to_le_bytes());
    (bytes, 1 << shift.min(4))
}

/// A buffer that QEMU fills.
struct Buffer(*mut Bytes);

impl Buffer {
    fn new() -> Self {
        // SAFETY: It has no conditions, and does not fail.
        Buffer(unsafe { g_byte_array_new() })
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: It is alive, and so are its contents.
        unsafe {
            let array = &*self.0;
            if array.len == 0 {
                return &[];
            }
            std::slice::from_raw_parts(array.data, array.len as usize)
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: Nobody else has it.
        unsafe { g_byte_array_free(self.0, 1) };
    }
}

/// Reads the memory of the processor that a callback is about.
pub fn read_memory(vaddr: u64, len: usize) -> Option<Vec<u8>> {
    let buffer = Buffer::new();
    // SAFETY: The buffer is alive.
    unsafe { qemu_plugin_read_memory_vaddr(vaddr, buffer.0, len) }
        .then(|| buffer.bytes().to_vec())
        .filter(|bytes| bytes.len() == len)
}

/// Numbers of registers as instructions have them.
pub const RAX: usize = 0;
/// See [`RAX`].
pub const RCX: usize = 1;
/// See [`RAX`].
pub const RBX: usize = 3;
/// See [`RAX`].
pub const RSP: usize = 4;

const NAMES: [&CStr; 16] = [
    c"rax", c"rcx", c"rdx", c"rbx", c"rsp", c"rbp", c"rsi", c"rdi", c"r8", c"r9", c"r10", c"r11",
    c"r12", c"r13", c"r14", c"r15",
];

/// The general registers.
pub struct Registers([*mut c_void; 16]);

// SAFETY: The handles are numbers to QEMU.
unsafe impl Send for Registers {}

impl Registers {
    /// Finds the handles; to be called when a processor has begun to be.
    pub fn find() -> Option<Self> {
        let mut handles = [None; 16];
        // SAFETY: The array is ours, with as many descriptors as it says.
        unsafe {
            let array = qemu_plugin_get_registers();
            if array.is_null() {
                return None;
            }
            for index in 0..(*array).len as usize {
                let register = *(*array).data.add(index);
                let name = CStr::from_ptr(register.name);
                if let Some(number) = NAMES.iter().position(|&known| known == name) {
                    handles[number] = Some(register.handle);
                }
            }
            g_array_free(array, 1);
        }
        let mut found = [ptr::null_mut(); 16];
        for (to, from) in found.iter_mut().zip(handles) {
            *to = from?;
        }
        Some(Registers(found))
    }

    /// Reads a register of the processor that a callback is about.
    pub fn read(&self, number: usize) -> Option<u64> {
        let handle = *self.0.get(number)?;
        let buffer = Buffer::new();
        // SAFETY: The handle is from QEMU, and the buffer is alive.
        let len = unsafe { qemu_plugin_read_register(handle, buffer.0) };
        if len != 8 {
            return None;
        }
        buffer.bytes().try_into().ok().map(u64::from_le_bytes)
    }
}
