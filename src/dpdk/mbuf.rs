//! The owned packet buffer.
//!
//! Fields are read and written inline at offsets that the C compiler computed (`dpdk_sys::VX_MBUF_*`);
//! [`Mbuf::check_layout`] compares them with what C sees in a live mbuf at start-up.

use std::ptr::NonNull;

use super::{Error, Mempool};

const BUF_ADDR: usize = dpdk_sys::VX_MBUF_BUF_ADDR as usize;
const DATA_OFF: usize = dpdk_sys::VX_MBUF_DATA_OFF as usize;
const REFCNT: usize = dpdk_sys::VX_MBUF_REFCNT as usize;
const NB_SEGS: usize = dpdk_sys::VX_MBUF_NB_SEGS as usize;
const PORT: usize = dpdk_sys::VX_MBUF_PORT as usize;
const OL_FLAGS: usize = dpdk_sys::VX_MBUF_OL_FLAGS as usize;
const PKT_LEN: usize = dpdk_sys::VX_MBUF_PKT_LEN as usize;
const DATA_LEN: usize = dpdk_sys::VX_MBUF_DATA_LEN as usize;
const BUF_LEN: usize = dpdk_sys::VX_MBUF_BUF_LEN as usize;
const TX_OFFLOAD: usize = dpdk_sys::VX_MBUF_TX_OFFLOAD as usize;

/// One mbuf with one owner. Dropping it returns it to its pool.
///
/// Layout: `headroom | data | tailroom`; data is the packet (`data_len` bytes). All bytes are initialised
/// memory, though headroom and tailroom may hold an earlier packet's bytes until they are overwritten.
#[repr(transparent)]
pub struct Mbuf(NonNull<dpdk_sys::rte_mbuf>);

/// What the port found out about a checksum of a received packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// The port did not check; software must.
    Unknown,
    /// The port found it right.
    Good,
    /// The port found it wrong.
    Bad,
}

// SAFETY: an mbuf has one owner and no thread affinity; its pool is thread-safe.
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// Takes ownership of an mbuf.
    ///
    /// # Safety
    /// `raw` is initialised, has a reference count of one and belongs to nobody else.
    #[inline(always)]
    pub(super) unsafe fn from_raw(raw: NonNull<dpdk_sys::rte_mbuf>) -> Self {
        Mbuf(raw)
    }

    /// Gives the mbuf up without freeing it: whoever takes the pointer owns it.
    #[inline(always)]
    pub(super) fn into_raw(self) -> NonNull<dpdk_sys::rte_mbuf> {
        std::mem::ManuallyDrop::new(self).0
    }

    /// Overwrites what an earlier packet left around this one, so that a test sees it if it is ever sent.
    #[cfg(any(test, feature = "fault-injection"))]
    pub(super) fn poison_room(&self) {
        let buffer = self.read::<usize>(BUF_ADDR) as *mut u8;
        let (headroom, len, tailroom) = (self.headroom(), self.len(), self.tailroom());
        let pattern = super::poison::pattern();
        // SAFETY: both ranges lie within the buffer, which this mbuf alone refers to; no slice of them lives, because
        // slices are of the packet only.
        unsafe {
            buffer.write_bytes(pattern, headroom);
            buffer.add(headroom + len).write_bytes(pattern, tailroom);
        }
    }

    /// Gives all `frames` back to their pools with one call.
    #[inline]
    pub fn free_all<const N: usize>(frames: &mut arrayvec::ArrayVec<Mbuf, N>) {
        let count = frames.len();
        // SAFETY: the array holds `count` owned mbufs (`Mbuf` is a transparent pointer), which are given up here
        // and not dropped again: the length is zero before anything else can see the array.
        unsafe {
            frames.set_len(0);
            dpdk_sys::rte_pktmbuf_free_bulk(frames.as_mut_ptr().cast(), count as u32);
        }
    }

    /// The packet's bytes (of the first segment; see [`Mbuf::is_contiguous`]).
    #[inline(always)]
    pub fn data(&self) -> &[u8] {
        // SAFETY: data_off + data_len lies within the buffer, which is initialised memory and ours alone.
        unsafe { std::slice::from_raw_parts(self.start(), self.len()) }
    }

    /// The packet's bytes, to change in place.
    #[inline(always)]
    pub fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `data`; `&mut self` excludes other references.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.len()) }
    }

    /// Length of the packet in bytes.
    #[inline(always)]
    pub fn len(&self) -> usize {
        usize::from(self.read::<u16>(DATA_LEN))
    }

    /// Whether the packet holds no byte.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the whole packet is in this one segment.
    #[inline(always)]
    pub fn is_contiguous(&self) -> bool {
        self.read::<u16>(NB_SEGS) == 1
    }

    /// Bytes free before the packet.
    #[inline(always)]
    pub fn headroom(&self) -> usize {
        usize::from(self.read::<u16>(DATA_OFF))
    }

    /// Bytes free behind the packet.
    #[inline(always)]
    pub fn tailroom(&self) -> usize {
        usize::from(self.read::<u16>(BUF_LEN)) - self.headroom() - self.len()
    }

    /// Moves the packet's start by `bytes`: a positive number drops leading bytes, a negative one takes
    /// headroom in. Returns whether it fitted; if not, nothing changed.
    #[inline(always)]
    #[must_use]
    pub fn move_start(&mut self, bytes: isize) -> bool {
        let (headroom, len) = (self.headroom() as isize, self.len() as isize);
        if !self.is_contiguous() || headroom + bytes < 0 || bytes > len {
            return false;
        }
        self.write(DATA_OFF, (headroom + bytes) as u16);
        self.set_len((len - bytes) as usize);
        true
    }

    /// Makes the packet `len` bytes long by cutting its end or taking tailroom in. Returns whether it fitted;
    /// if not, nothing changed.
    #[inline(always)]
    #[must_use]
    pub fn resize(&mut self, len: usize) -> bool {
        if !self.is_contiguous() || len > self.len() + self.tailroom() {
            return false;
        }
        self.set_len(len);
        true
    }

    /// Asks the cache for the packet: the first lines of it, as many as a voice packet has.
    #[inline(always)]
    pub fn prefetch_data(&self) {
        const VOICE: usize = 256;
        super::prefetch_lines(self.start(), self.len().min(VOICE));
    }

    /// What the port found out about the IPv4 header checksum.
    #[inline(always)]
    pub fn rx_ip_checksum(&self) -> Checksum {
        match self.read::<u64>(OL_FLAGS) & dpdk_sys::VX_RX_IP_CKSUM_MASK {
            flags if flags == dpdk_sys::VX_RX_IP_CKSUM_GOOD => Checksum::Good,
            flags if flags == dpdk_sys::VX_RX_IP_CKSUM_BAD => Checksum::Bad,
            _ => Checksum::Unknown,
        }
    }

    /// What the port found out about the UDP checksum.
    #[inline(always)]
    pub fn rx_udp_checksum(&self) -> Checksum {
        match self.read::<u64>(OL_FLAGS) & dpdk_sys::VX_RX_L4_CKSUM_MASK {
            flags if flags == dpdk_sys::VX_RX_L4_CKSUM_GOOD => Checksum::Good,
            flags if flags == dpdk_sys::VX_RX_L4_CKSUM_BAD => Checksum::Bad,
            _ => Checksum::Unknown,
        }
    }

    /// Clears what reception left in the flags and, where asked for, has the port fill in checksums on
    /// transmission. `l2_len` and `l3_len` are header lengths in bytes.
    #[inline(always)]
    pub fn set_tx_checksums(&mut self, ipv6: bool, ip: bool, udp: bool, l2_len: u8, l3_len: u16) {
        let mut flags = 0;
        if ip || udp {
            flags |= if ipv6 { dpdk_sys::VX_TX_IPV6 } else { dpdk_sys::VX_TX_IPV4 };
            if ip && !ipv6 {
                flags |= dpdk_sys::VX_TX_IP_CKSUM;
            }
            if udp {
                flags |= dpdk_sys::VX_TX_UDP_CKSUM;
            }
            self.write(TX_OFFLOAD, u64::from(l2_len) | u64::from(l3_len) << dpdk_sys::VX_L2_LEN_BITS);
        }
        self.write(OL_FLAGS, flags);
    }

    /// Compares every offset that this file uses with what C sees in a live mbuf of `pool`.
    ///
    /// # Errors
    /// [`Error::MbufLayout`] names the first field that differs.
    pub(super) fn check_layout(pool: &Mempool) -> Result<(), Error> {
        let mut mbuf =
            pool.alloc().ok_or_else(|| Error::from_status("taking an mbuf for the self-check", -1))?;
        // Distinct values, written through the offsets, must read back through C's own view of the structure.
        mbuf.write(DATA_OFF, 96_u16);
        mbuf.set_len(1234);
        mbuf.write(PORT, 0x0b0b_u16);
        mbuf.write(OL_FLAGS, dpdk_sys::VX_TX_IPV4 | dpdk_sys::VX_TX_IP_CKSUM);
        mbuf.write(TX_OFFLOAD, 0x1234_u64);
        // SAFETY: plain integers and a pointer, for which all zeros is a valid value.
        let mut seen: dpdk_sys::vx_mbuf_view = unsafe { std::mem::zeroed() };
        // SAFETY: the mbuf lives and `seen` is writable.
        unsafe { dpdk_sys::vx_mbuf_view(mbuf.0.as_ptr(), &raw mut seen) };
        let fields = [
            ("buf_addr", seen.buf_addr as u64, mbuf.read::<u64>(BUF_ADDR)),
            ("data_off", u64::from(seen.data_off), 96),
            ("refcnt", u64::from(seen.refcnt), u64::from(mbuf.read::<u16>(REFCNT))),
            ("nb_segs", u64::from(seen.nb_segs), u64::from(mbuf.read::<u16>(NB_SEGS))),
            ("port", u64::from(seen.port), 0x0b0b),
            ("ol_flags", seen.ol_flags, dpdk_sys::VX_TX_IPV4 | dpdk_sys::VX_TX_IP_CKSUM),
            ("pkt_len", u64::from(seen.pkt_len), 1234),
            ("data_len", u64::from(seen.data_len), 1234),
            ("buf_len", u64::from(seen.buf_len), u64::from(mbuf.read::<u16>(BUF_LEN))),
            ("tx_offload", seen.tx_offload, 0x1234),
        ];
        for (field, expected, read) in fields {
            if expected != read {
                return Err(Error::MbufLayout { field, expected, read });
            }
        }
        mbuf.write(OL_FLAGS, 0_u64);
        Ok(())
    }

    #[inline(always)]
    fn set_len(&mut self, len: usize) {
        self.write(DATA_LEN, len as u16);
        self.write(PKT_LEN, len as u32);
    }

    #[inline(always)]
    fn start(&self) -> *mut u8 {
        let buffer = self.read::<usize>(BUF_ADDR) as *mut u8;
        // SAFETY: data_off never exceeds buf_len.
        unsafe { buffer.add(self.headroom()) }
    }

    #[inline(always)]
    fn read<T: Copy>(&self, offset: usize) -> T {
        // SAFETY: `offset` is that of an aligned field of type `T` in a live mbuf (checked by `check_layout`).
        unsafe { self.0.as_ptr().cast::<u8>().add(offset).cast::<T>().read() }
    }

    #[inline(always)]
    fn write<T: Copy>(&mut self, offset: usize, value: T) {
        // SAFETY: as in `read`; `&mut self` excludes other references.
        unsafe { self.0.as_ptr().cast::<u8>().add(offset).cast::<T>().write(value) }
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: we own the mbuf and give it up here.
        unsafe { dpdk_sys::vx_mbuf_free(self.0.as_ptr()) }
    }
}

impl std::fmt::Debug for Mbuf {
    /// Shows the shape, never the bytes: they may be opened voice.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mbuf").field("headroom", &self.headroom()).field("len", &self.len()).finish()
    }
}
