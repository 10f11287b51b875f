// SPDX-License-Identifier: GPL-2.0

//! The few instructions of x86-64 that matter here.

/// What an instruction is to this plugin.
#[derive(Debug, PartialEq, Eq)]
pub enum Instruction {
    /// A store past the cache: MOVNTI and its like.
    StreamingStore,
    /// CLWB, CLFLUSHOPT or CLFLUSH.
    Flush(Address),
    /// SFENCE or MFENCE. Instructions with a LOCK prefix order write-backs too, but nobody should
    /// count on one being executed.
    Fence,
    /// CPUID.
    Cpuid,
    /// Anything else.
    Other,
}

/// An operand in memory.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Address {
    base: Option<usize>,
    index: Option<(usize, u32)>,
    /// Displacement, and for an address relative to the next instruction that address too.
    offset: u64,
}

impl Address {
    /// The address, with the registers that `read` returns. Segments with a base are not known here.
    pub fn value(&self, read: impl Fn(usize) -> Option<u64>) -> Option<u64> {
        let mut value = self.offset;
        if let Some(base) = self.base {
            value = value.wrapping_add(read(base)?);
        }
        if let Some((index, shift)) = self.index {
            value = value.wrapping_add(read(index)? << shift);
        }
        Some(value)
    }

    /// Takes an operand apart: `code` begins at its ModRM byte, and the instruction ends with it, at
    /// `end`.
    fn decode(code: &[u8], rex: u8, end: u64) -> Option<Self> {
        let modrm = *code.first()?;
        let (kind, rm) = (modrm >> 6, modrm & 7);
        let extend = |bits: u8, rex_bit: u8| usize::from(bits | (rex >> rex_bit & 1) << 3);
        let mut address = Address::default();
        let mut rest = &code[1..];
        if rm == 4 {
            let sib = *rest.first()?;
            rest = &rest[1..];
            let index = extend(sib >> 3 & 7, 1);
            if index != 4 {
                address.index = Some((index, u32::from(sib >> 6)));
            }
            if sib & 7 != 5 || kind != 0 {
                address.base = Some(extend(sib & 7, 0));
            } else {
                address.offset = displacement(rest, 4)?;
            }
        } else if rm == 5 && kind == 0 {
            address.offset = end.wrapping_add(displacement(rest, 4)?);
        } else {
            address.base = Some(extend(rm, 0));
        }
        match kind {
            1 => address.offset = displacement(rest, 1)?,
            2 => address.offset = displacement(rest, 4)?,
            _ => {}
        }
        Some(address)
    }
}

fn displacement(code: &[u8], len: usize) -> Option<u64> {
    let bytes = code.get(..len)?;
    Some(match *bytes {
        [byte] => byte as i8 as u64,
        [a, b, c, d] => i32::from_le_bytes([a, b, c, d]) as u64,
        _ => return None,
    })
}

/// Says what the instruction is whose code is `code` and which stands at `pc`.
pub fn decode(code: &[u8], pc: u64) -> Instruction {
    let is_prefix = |byte: &u8| {
        matches!(
            byte,
            0x66 | 0x67 | 0xf2 | 0xf3 | 0xf0 | 0x2e | 0x36 | 0x3e | 0x26 | 0x64 | 0x65
        )
    };
    let prefixes = code.iter().take_while(|byte| is_prefix(byte)).count();
    let (prefixes, mut rest) = code.split_at(prefixes);
    let mut rex = 0;
    if let [byte @ 0x40..=0x4f, after @ ..] = rest {
        (rex, rest) = (*byte, after);
    }
    let operand_size = prefixes.contains(&0x66);
    let repeated = prefixes.iter().any(|byte| matches!(byte, 0xf2 | 0xf3));
    let end = pc.wrapping_add(code.len() as u64);
    match rest {
        [0x0f, 0xa2, ..] => Instruction::Cpuid,
        [0x0f, 0xc3 | 0x2b | 0xe7, ..] => Instruction::StreamingStore,
        // With a VEX prefix, of two or three bytes; the latter says that 0F is implied.
        [0xc5, _, 0x2b | 0xe7, ..] => Instruction::StreamingStore,
        [0xc4, map, _, 0x2b | 0xe7, ..] if map & 0x1f == 1 => Instruction::StreamingStore,
        [0x0f, 0xae, modrm, ..] => match (modrm >> 6, modrm >> 3 & 7) {
            (3, 6 | 7) if !operand_size && !repeated => Instruction::Fence,
            (3, _) => Instruction::Other,
            // XSAVEOPT and others have the same code without the prefix.
            (_, 6) if !operand_size => Instruction::Other,
            (_, 6 | 7) if !repeated => match Address::decode(&rest[2..], rex, end) {
                Some(address) => Instruction::Flush(address),
                None => Instruction::Other,
            },
            _ => Instruction::Other,
        },
        _ => Instruction::Other,
    }
}
