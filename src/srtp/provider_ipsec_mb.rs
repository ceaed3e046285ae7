//! The fast provider: intel-ipsec-mb, where it is installed. The one file of the gateway's cryptography with `unsafe`.
//!
//! GCM is called directly, one packet at a time: no job, no queue, no copy. AES-CM with HMAC-SHA1 goes through the
//! library's multi-buffer jobs, which work on packets of several sessions at once
//! (`bench/crypto-comparison` has what else was tried).
//!
//! The library is opened when the process starts ([`IpsecMbProvider::is_available`]), so one binary runs with and
//! without it.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::OnceLock;

use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::counter_hmac::CounterHmacKey;
use super::kdf::SessionKeys;
use super::provider::{AuthFailed, BATCH, Batch, CounterHmac, HMAC_LEN, Provider};
use super::{Suite, TAG_LEN};

/// The `ipsec-mb` provider.
#[derive(Clone, Copy, Debug)]
pub struct IpsecMbProvider;

/// Why intel-ipsec-mb cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum IpsecMbError {
    /// It is not installed.
    #[error("libIPSec_MB.so.1 was not found; install it with: apt-get install libipsec-mb1")]
    Missing,
    /// It is another release than the one that this program was built for.
    #[error(
        "libIPSec_MB.so.1 is version {0}, which this program was not built for; build it again on this machine"
    )]
    Version(String),
    /// It lacks a function.
    #[error("libIPSec_MB.so.1 lacks a function that every release has; reinstall the package libipsec-mb1")]
    Symbol,
    /// The processor lacks AES-NI.
    #[error("intel-ipsec-mb does not support this processor; use --crypto aes-gcm")]
    Unsupported,
}

/// The library's functions that keep no state.
static FUNCTIONS: OnceLock<Result<ipsec_mb_sys::vx_imb_functions, IpsecMbError>> = OnceLock::new();

/// Octets of `struct gcm_key_data`.
const KEY_SIZE: usize = ipsec_mb_sys::VX_IMB_GCM_KEY_SIZE as usize;

/// Octets of a cache line.
const LINE: usize = 64;

/// Where the SHA-1 states of an AES-CM key lie: behind the longest AES key schedule.
const INNER: usize = 256;
const OUTER: usize = INNER + 32;

impl IpsecMbProvider {
    /// Opens the library.
    ///
    /// # Errors
    /// [`IpsecMbError`]: it is missing or does not fit.
    pub fn is_available() -> Result<(), IpsecMbError> {
        functions().map(|_| ()).map_err(Clone::clone)
    }

    /// The library's version and the instruction set that it chose, such as `1.3.0, AVX-512`.
    pub fn description() -> Option<String> {
        let functions = functions().ok()?;
        let set = match functions.architecture {
            4 => "AVX-512",
            3 => "AVX2",
            2 => "AVX",
            _ => "SSE",
        };
        Some(format!("{}, {set}", version(functions.version)))
    }
}

#[inline(always)]
fn functions() -> Result<&'static ipsec_mb_sys::vx_imb_functions, &'static IpsecMbError> {
    match FUNCTIONS.get() {
        Some(functions) => functions.as_ref(),
        None => open().as_ref(),
    }
}

#[cold]
fn open() -> &'static Result<ipsec_mb_sys::vx_imb_functions, IpsecMbError> {
    FUNCTIONS.get_or_init(|| {
        let mut found = MaybeUninit::zeroed();
        // SAFETY: the pointer is to a writable structure, of which all zeros is a valid value (nullable functions).
        let status = unsafe { ipsec_mb_sys::vx_imb_open(found.as_mut_ptr()) } as u32;
        // SAFETY: as above; the shim may have filled it in.
        let found = unsafe { found.assume_init() };
        match status {
            ipsec_mb_sys::VX_IMB_OK => Ok(found),
            ipsec_mb_sys::VX_IMB_MISSING => Err(IpsecMbError::Missing),
            ipsec_mb_sys::VX_IMB_VERSION => Err(IpsecMbError::Version(version(found.version))),
            ipsec_mb_sys::VX_IMB_SYMBOL => Err(IpsecMbError::Symbol),
            _ => Err(IpsecMbError::Unsupported),
        }
    })
}

fn version(number: u32) -> String {
    format!("{}.{}.{}", number >> 16, number >> 8 & 0xff, number & 0xff)
}

/// An expanded key: `struct gcm_key_data`, whose first octets are the AES round keys and whose last ones the powers of
/// the hash key, the first power last; or, of an AES-CM suite, round keys and the two SHA-1 states of HMAC. Wiped when
/// dropped.
///
/// The library wants it at the start of a cache line. Its own alignment is less so that what a context keeps with it
/// (the salt) fits in the last line; a context is aligned to lines, and has the key first.
#[repr(C, align(16))]
pub struct IpsecMbKey([MaybeUninit<u8>; KEY_SIZE]);

impl Drop for IpsecMbKey {
    fn drop(&mut self) {
        // SAFETY: `new` initialised every octet.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast::<u8>(), KEY_SIZE) }.zeroize();
    }
}

impl ZeroizeOnDrop for IpsecMbKey {}

impl IpsecMbKey {
    #[inline(always)]
    fn at(&self, offset: usize) -> *const c_void {
        self.0.get(offset).map_or(std::ptr::null(), |octet| std::ptr::from_ref(octet).cast())
    }
}

/// What a call of a context means that the library was not found: contexts exist only after it was.
const OPENED: &str = "the provider is chosen only after its library was opened";

impl Provider for IpsecMbProvider {
    type Key = IpsecMbKey;
    type Batch = Jobs;

    const NAME: &'static str = "ipsec-mb";

    fn key(keys: &SessionKeys) -> IpsecMbKey {
        let functions = functions().expect(OPENED);
        #[repr(C, align(64))]
        struct Aligned(IpsecMbKey);
        let mut aligned = Aligned(IpsecMbKey([MaybeUninit::new(0); KEY_SIZE]));
        let to: *mut c_void = aligned.0.0.as_mut_ptr().cast();
        let key: *const c_void = keys.key().as_ptr().cast();
        // SAFETY: `key` has the 16 or 32 octets that each function reads, `to` room for what each writes: a
        // gcm_key_data, or 15 round keys (into the direction that nobody uses as well).
        unsafe {
            match keys.suite() {
                Suite::AeadAes128Gcm => functions.gcm128_expand.expect(OPENED)(key, to),
                Suite::AeadAes256Gcm => functions.gcm256_expand.expect(OPENED)(key, to),
                suite => {
                    let mut unused = [0_u8; 256];
                    let schedule = if suite.key_len() == 16 {
                        functions.aes128_schedule
                    } else {
                        functions.aes256_schedule
                    };
                    schedule.expect(OPENED)(key, to, unused.as_mut_ptr().cast());
                    unused.zeroize();
                    for (state, at) in CounterHmacKey::hmac_states(keys).iter().zip([INNER, OUTER]) {
                        let octets = state.iter().flat_map(|word| word.to_ne_bytes());
                        for (to, octet) in aligned.0.0[at..].iter_mut().zip(octets) {
                            to.write(octet);
                        }
                    }
                }
            }
        }
        aligned.0
    }

    /// Round keys from the front, and from the back as many powers of the hash key as the packet has blocks.
    #[inline(always)]
    fn lines(key: *const IpsecMbKey, suite: Suite, len: usize, each: impl Fn(*const u8)) {
        let (front, back) = match suite {
            Suite::AeadAes128Gcm => (192, hash_powers(len)),
            Suite::AeadAes256Gcm => (240, hash_powers(len)),
            Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => (176, 0),
            Suite::AesCm256HmacSha1_80 => (240, 0),
        };
        let base = key.cast::<u8>();
        for line in 0..usize::div_ceil(front, LINE) {
            each(base.wrapping_add(line * LINE));
        }
        if back == 0 {
            each(base.wrapping_add(INNER));
        }
        // What stands behind the key in its context, the salt, is in the last of these lines.
        for line in (KEY_SIZE - back) / LINE..KEY_SIZE.div_ceil(LINE) {
            each(base.wrapping_add(line * LINE));
        }
    }

    #[inline]
    fn aead_open(
        key: &IpsecMbKey,
        suite: Suite,
        nonce: &[u8; 12],
        aad: &[u8],
        in_out: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), AuthFailed> {
        let functions = functions().expect(OPENED);
        let open = if suite == Suite::AeadAes128Gcm { functions.gcm128_open } else { functions.gcm256_open };
        let computed = gcm(open, key, nonce, aad, in_out);
        // Two words of difference folded into one, and that compared without a branch on its value.
        let difference = u128::from_ne_bytes(computed) ^ u128::from_ne_bytes(*tag);
        let matches = ((difference >> 64) as u64 | difference as u64).ct_eq(&0);
        if bool::from(matches) { Ok(()) } else { Err(AuthFailed) }
    }

    #[inline]
    fn aead_seal(
        key: &IpsecMbKey,
        suite: Suite,
        nonce: &[u8; 12],
        aad: &[u8],
        in_out: &mut [u8],
    ) -> [u8; TAG_LEN] {
        let functions = functions().expect(OPENED);
        let seal = if suite == Suite::AeadAes128Gcm { functions.gcm128_seal } else { functions.gcm256_seal };
        gcm(seal, key, nonce, aad, in_out)
    }
}

/// Octets of hash key powers that decide the tag of a message of `len` octets: one power for each block, at most the 48
/// that there are (`bench/crypto-comparison` found them by changing one octet after the other).
#[inline(always)]
fn hash_powers(len: usize) -> usize {
    len.div_ceil(16).clamp(1, 48) * 16
}

/// Runs GCM in place and answers the tag.
#[inline(always)]
fn gcm(
    function: ipsec_mb_sys::vx_imb_gcm,
    key: &IpsecMbKey,
    nonce: &[u8; 12],
    aad: &[u8],
    in_out: &mut [u8],
) -> [u8; TAG_LEN] {
    #[repr(C, align(64))]
    struct Context(MaybeUninit<[u8; ipsec_mb_sys::VX_IMB_GCM_CONTEXT_SIZE as usize]>);

    let function = function.expect(OPENED);
    let mut context = Context(MaybeUninit::uninit());
    let mut tag = [0; TAG_LEN];
    // SAFETY: the key was expanded by the same library for this function's key size; context and tag have room; the
    // message may be encrypted in place; all slices are passed with their lengths.
    unsafe {
        function(
            key.at(0),
            context.0.as_mut_ptr().cast(),
            in_out.as_mut_ptr(),
            in_out.as_ptr(),
            in_out.len() as u64,
            nonce.as_ptr(),
            aad.as_ptr(),
            aad.len() as u64,
            tag.as_mut_ptr(),
            TAG_LEN as u64,
        );
    }
    tag
}

/// A worker's multi-buffer managers.
pub struct Jobs {
    batch: NonNull<c_void>,
}

// SAFETY: the managers have no thread affinity; `&mut self` keeps two threads from using them at a time.
unsafe impl Send for Jobs {}

/// Octets of HMAC that the library writes: at least what any suite sends.
const TAG_SIZE: usize = ipsec_mb_sys::VX_IMB_TAG_SIZE as usize;

/// The library's view of packets that are under way, with pointers into them.
type Views = arrayvec::ArrayVec<ipsec_mb_sys::vx_imb_counter_hmac, BATCH>;

const _: () = assert!(BATCH <= ipsec_mb_sys::VX_IMB_MAX_BURST as usize && TAG_SIZE <= HMAC_LEN);

impl Jobs {
    /// Pointers to at most [`BATCH`] packets, valid for as long as neither they nor `tags` move or are dropped.
    fn views(packets: &mut [CounterHmac<'_, IpsecMbKey>], tags: &mut [[u8; TAG_SIZE]; BATCH]) -> Views {
        let views = packets.iter_mut().zip(tags).map(|(packet, tag)| {
            let end = packet.cipher_start.checked_add(packet.cipher_len);
            assert!(
                end.is_some_and(|end| end <= packet.packet.len()) && !packet.suite.is_aead(),
                "the encrypted part lies within the packet, and the key is one of AES-CM"
            );
            ipsec_mb_sys::vx_imb_counter_hmac {
                round_keys: packet.key.at(0),
                inner: packet.key.at(INNER),
                outer: packet.key.at(OUTER),
                packet: packet.packet.as_mut_ptr(),
                counter: packet.counter.as_ptr(),
                tag: tag.as_mut_ptr(),
                cipher_start: packet.cipher_start as u32,
                cipher_len: packet.cipher_len as u32,
                authenticated_len: packet.packet.len() as u32,
                key_len: packet.suite.key_len() as u32,
            }
        });
        views.collect()
    }

    fn hmac(&mut self, views: &Views) {
        // SAFETY: every pointer is to memory that outlives the call and is not used otherwise meanwhile (`views` was
        // made from exclusive borrows that are still held by the caller); each tag has room for what is written.
        unsafe { ipsec_mb_sys::vx_imb_hmac(self.batch.as_ptr(), views.as_ptr(), views.len() as u32) };
    }

    fn counter(&mut self, view: &ipsec_mb_sys::vx_imb_counter_hmac) {
        // SAFETY: as above; `views` has checked that the encrypted part lies within the packet.
        unsafe { ipsec_mb_sys::vx_imb_counter(self.batch.as_ptr(), view) };
    }
}

impl Batch<IpsecMbProvider> for Jobs {
    fn new() -> Self {
        functions().expect(OPENED);
        // SAFETY: the library is open; the call takes memory and initialises it.
        let batch = unsafe { ipsec_mb_sys::vx_imb_batch_new() };
        Jobs { batch: NonNull::new(batch).expect("memory for the multi-buffer managers, once at start") }
    }

    /// Packets that are not authentic stay as they are.
    fn open(&mut self, packets: &mut [CounterHmac<'_, IpsecMbKey>]) {
        for packets in packets.chunks_mut(BATCH) {
            let mut tags = [[0; TAG_SIZE]; BATCH];
            let views = Self::views(packets, &mut tags);
            self.hmac(&views);
            for ((packet, tag), view) in packets.iter_mut().zip(&tags).zip(&views) {
                let (computed, wanted) = (tag.get(..packet.tag_len), packet.tag.get(..packet.tag_len));
                packet.verified =
                    computed.zip(wanted).is_some_and(|(computed, wanted)| computed.ct_eq(wanted).into());
                if packet.verified {
                    self.counter(view);
                }
            }
        }
    }

    fn seal(&mut self, packets: &mut [CounterHmac<'_, IpsecMbKey>]) {
        for packets in packets.chunks_mut(BATCH) {
            let mut tags = [[0; TAG_SIZE]; BATCH];
            let views = Self::views(packets, &mut tags);
            for view in &views {
                self.counter(view);
            }
            self.hmac(&views);
            for (packet, tag) in packets.iter_mut().zip(&tags) {
                if let Some(to) = packet.tag.first_chunk_mut() {
                    *to = *tag;
                }
            }
        }
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        // SAFETY: the managers are ours and have no job under way.
        unsafe { ipsec_mb_sys::vx_imb_batch_free(self.batch.as_ptr()) };
    }
}
