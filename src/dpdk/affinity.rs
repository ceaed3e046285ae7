//! Where threads run. `rte_eal_init` pins the thread that calls it and children inherit that, so every
//! control thread states its own cores.

use super::Error;

/// The cores that this process may run on, ascending.
pub fn allowed_cores() -> Vec<u16> {
    // SAFETY: cpu_set_t is a plain bit set, for which all zeros is a valid value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer and size describe `set`; pid 0 is the calling thread.
    let status = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    if status != 0 {
        return Vec::new();
    }
    (0..libc::CPU_SETSIZE as u16)
        // SAFETY: the index is below CPU_SETSIZE.
        .filter(|&core| unsafe { libc::CPU_ISSET(usize::from(core), &set) })
        .collect()
}

/// Restricts the calling thread to `cores`.
///
/// # Errors
/// [`Error::Affinity`] when the system has none of them or forbids them.
pub fn pin_current_thread(cores: &[u16]) -> Result<(), Error> {
    // SAFETY: cpu_set_t is a plain bit set, for which all zeros is a valid value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &core in cores.iter().filter(|&&core| i32::from(core) < libc::CPU_SETSIZE) {
        // SAFETY: the index is below CPU_SETSIZE.
        unsafe { libc::CPU_SET(usize::from(core), &mut set) };
    }
    // SAFETY: the pointer and size describe `set`; pid 0 is the calling thread.
    let status = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if status != 0 {
        return Err(Error::Affinity { cores: cores.to_vec(), reason: std::io::Error::last_os_error() });
    }
    Ok(())
}
