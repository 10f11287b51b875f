// SPDX-License-Identifier: GPL-2.0

//! Checksums: CRC-32C (Castagnoli) in software, eight bytes at a time, and a trait for faster ones.

/// The polynomial, reflected.
const POLY: u32 = 0x82f6_3b78;

/// `TABLES[k][b]`: contribution of byte `b` when `k` more bytes follow it.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut t = [[0u32; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 {
                (crc >> 1) ^ POLY
            } else {
                crc >> 1
            };
            bit += 1;
        }
        t[0][i] = crc;
        i += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut i = 0;
        while i < 256 {
            let prev = t[k - 1][i];
            t[k][i] = (prev >> 8) ^ t[0][(prev & 0xff) as usize];
            i += 1;
        }
        k += 1;
    }
    t
}

/// Continues `crc` over `data`, without inversion before or after.
pub fn update(mut crc: u32, data: &[u8]) -> u32 {
    let mut words = data.chunks_exact(8);
    for word in words.by_ref() {
        let mut next = 0;
        for (k, &byte) in word.iter().enumerate() {
            // Only the first four bytes are combined with the running remainder.
            let index = if k < 4 {
                byte ^ (crc >> (8 * k)) as u8
            } else {
                byte
            };
            next ^= TABLES[7 - k][usize::from(index)];
        }
        crc = next;
    }
    for &byte in words.remainder() {
        crc = (crc >> 8) ^ TABLES[0][usize::from(byte ^ crc as u8)];
    }
    crc
}

/// Computes checksums. The kernel and the host have their own fast implementations.
pub trait Checksum {
    /// Continues a CRC-32C over `data`: the plain polynomial step, without inversion before or
    /// after, as the kernel's `crc32c()`.
    fn crc32c(&self, crc: u32, data: &[u8]) -> u32 {
        update(crc, data)
    }

    /// Computes the XXH64 of `data`, as the kernel's `xxh64()`.
    fn xxh64(&self, seed: u64, data: &[u8]) -> u64;
}

#[cfg(test)]
mod tests {
    use super::update;

    #[test]
    fn known_answers() {
        // The check value of the CRC catalogue, and the vectors of RFC 3720.
        assert_eq!(!update(!0, b"123456789"), 0xe306_9283);
        assert_eq!(!update(!0, &[0; 32]), 0x8a91_36aa);
        assert_eq!(!update(!0, &[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn any_cut_gives_the_same() {
        let data: [u8; 61] = core::array::from_fn(|i| (i * 37) as u8);
        let whole = update(7, &data);
        for cut in 0..data.len() {
            assert_eq!(update(update(7, &data[..cut]), &data[cut..]), whole);
        }
    }
}
