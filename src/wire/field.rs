//! Reading and writing fixed-width fields without a panic.
//!
//! Views check their lengths once, so the fallbacks below are unreachable through them unless a setter
//! changed a length field afterwards. They cost the same comparison that indexing would, and cannot panic.

/// `N` bytes at `offset`, or zeroes if the buffer ends before them.
#[inline(always)]
pub(super) fn array<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    match bytes.get(offset..).and_then(<[u8]>::first_chunk::<N>) {
        Some(chunk) => *chunk,
        None => [0; N],
    }
}

/// The byte at `offset`, or zero.
#[inline(always)]
pub(super) fn u8_at(bytes: &[u8], offset: usize) -> u8 {
    bytes.get(offset).copied().unwrap_or(0)
}

/// The 16-bit field at `offset`, or zero.
#[inline(always)]
pub(super) fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_be_bytes(array(bytes, offset))
}

/// The 32-bit field at `offset`, or zero.
#[inline(always)]
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_be_bytes(array(bytes, offset))
}

/// The bytes from `start` up to `end`, or an empty slice if they are not all there.
#[inline(always)]
pub(super) fn range(bytes: &[u8], start: usize, end: usize) -> &[u8] {
    bytes.get(start..end).unwrap_or(&[])
}

/// As [`range`], to change in place.
#[inline(always)]
pub(super) fn range_mut(bytes: &mut [u8], start: usize, end: usize) -> &mut [u8] {
    bytes.get_mut(start..end).unwrap_or(&mut [])
}

/// Writes `value` at `offset`; does nothing if the buffer ends before it.
#[inline(always)]
pub(super) fn put<const N: usize>(bytes: &mut [u8], offset: usize, value: [u8; N]) {
    if let Some(chunk) = bytes.get_mut(offset..).and_then(<[u8]>::first_chunk_mut::<N>) {
        *chunk = value;
    }
}

/// Writes the bits of `value` that `mask` selects at `offset`.
#[inline(always)]
pub(super) fn put_bits(bytes: &mut [u8], offset: usize, mask: u8, value: u8) {
    if let Some(byte) = bytes.get_mut(offset) {
        *byte = (*byte & !mask) | (value & mask);
    }
}

/// Copies `value` to `offset`; does nothing if the buffer ends before it.
#[inline(always)]
pub(super) fn put_slice(bytes: &mut [u8], offset: usize, value: &[u8]) {
    if let Some(room) = bytes.get_mut(offset..).and_then(|rest| rest.get_mut(..value.len())) {
        room.copy_from_slice(value);
    }
}
