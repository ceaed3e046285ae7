//! A thread that shuts itself out of the kernel: after [`enter`] one system call ends the process with SIGSYS.
//!
//! This is how a worker proves that it makes none. The filter (seccomp(2), this thread only) allows one thing: the
//! system call of [`park`], and that only from its own instruction. A locked thread can therefore neither return to
//! whoever started it nor exit; it publishes what it has to say by plain stores and parks until the process ends.
//!
//! All signals are blocked first: a handler would return through `rt_sigreturn`, which is a system call, too. A
//! synchronous one (SIGSEGV) that is blocked ends the process as it would by default, under its own name.
//!
//! Reading the time-stamp counter, page faults and memory that other processes write are no system calls.

use std::cell::Cell;

use super::Error;

thread_local! {
    static LOCKED: Cell<bool> = const { Cell::new(false) };
}

/// Virtual devices whose receive and transmit functions never enter the kernel.
const KERNEL_FREE: [&str; 3] = ["net_memif", "net_null", "net_ring"];
/// `AUDIT_ARCH_X86_64` of linux/audit.h: EM_X86_64, 64 bit, little endian.
const ARCH_X86_64: u32 = 0xc000_003e;
/// Offsets in `struct seccomp_data` (linux/seccomp.h).
const OFFSET_NR: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_INSTRUCTION_POINTER: u32 = 8;

// The one system call that the filter lets through. The kernel reports the address of the instruction behind it.
core::arch::global_asm!(
    ".p2align 4",
    ".globl voxlane_lockdown_park",
    ".hidden voxlane_lockdown_park",
    ".type voxlane_lockdown_park, @function",
    "voxlane_lockdown_park:",
    "mov eax, {pause}",
    "syscall",
    ".globl voxlane_lockdown_parked",
    ".hidden voxlane_lockdown_parked",
    "voxlane_lockdown_parked:",
    "jmp voxlane_lockdown_park",
    ".size voxlane_lockdown_park, . - voxlane_lockdown_park",
    pause = const libc::SYS_pause,
);

unsafe extern "C" {
    fn voxlane_lockdown_park() -> !;
    /// Not data: the label behind the system call.
    static voxlane_lockdown_parked: u8;
}

/// Whether a port of `driver` (a driver's name, or a virtual device's name with its number and arguments) is polled
/// without entering the kernel. PCI devices are; they have no entry here.
pub fn is_kernel_free(driver: &str) -> bool {
    let name = driver.split(',').next().unwrap_or(driver).trim_end_matches(|c: char| c.is_ascii_digit());
    KERNEL_FREE.contains(&name)
}

/// Whether the kernel can end a process for a system call.
///
/// # Errors
/// [`Error::Lockdown`] with the kernel's reason.
pub fn is_available() -> Result<(), Error> {
    let action = libc::SECCOMP_RET_KILL_PROCESS;
    // SAFETY: the pointer is to a readable u32, as SECCOMP_GET_ACTION_AVAIL wants it.
    let status =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    if status == 0 { Ok(()) } else { Err(refused("SECCOMP_RET_KILL_PROCESS is not available")) }
}

/// Locks the calling thread out of the kernel, for good. Blocks all its signals.
///
/// The thread must have done before what enters the kernel once: faulted in its heap, thrown a panic.
///
/// # Errors
/// [`Error::Lockdown`] with the kernel's reason; the thread is as free as before, but for its signals.
pub fn enter() -> Result<(), Error> {
    // SAFETY: sigset_t is plain data that sigfillset initialises; the old mask is not wanted.
    let status = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut())
    };
    if status != 0 {
        return Err(refused("blocking signals"));
    }
    // SAFETY: takes integers only. Needed for an unprivileged filter, right for a privileged one.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(refused("PR_SET_NO_NEW_PRIVS"));
    }
    let mut filter = filter(&raw const voxlane_lockdown_parked as u64);
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SPEC_ALLOW: older kernels would otherwise switch speculative store bypass off for the thread, which makes the
    // packet path slower and protects nothing here.
    let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // Marked first: from the call on, the heap may not be asked any more.
    LOCKED.set(true);
    // SAFETY: the program and the filter it points to outlive the call, which copies them.
    let status =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if status != 0 {
        LOCKED.set(false);
        return Err(refused("SECCOMP_SET_MODE_FILTER"));
    }
    Ok(())
}

/// Whether the calling thread is locked out of the kernel.
#[inline(always)]
pub fn is_locked() -> bool {
    LOCKED.get()
}

/// Sleeps until the process ends: the one thing that a locked thread may ask of the kernel.
pub fn park() -> ! {
    // SAFETY: the function takes nothing, touches no memory and never returns.
    unsafe { voxlane_lockdown_park() }
}

/// Allows pause(2) from `parked` alone; everything else ends the process.
fn filter(parked: u64) -> [libc::sock_filter; 10] {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let load = |offset| libc::sock_filter { code: LOAD, jt: 0, jf: 0, k: offset };
    // On to the next instruction, or over `to_kill` of them to the last.
    let require = |value, to_kill| libc::sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: to_kill, k: value };
    let answer = |action| libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: action };
    [
        load(OFFSET_ARCH),
        require(ARCH_X86_64, 7),
        load(OFFSET_NR),
        require(libc::SYS_pause as u32, 5),
        load(OFFSET_INSTRUCTION_POINTER),
        require(parked as u32, 3),
        load(OFFSET_INSTRUCTION_POINTER + 4),
        require((parked >> 32) as u32, 1),
        answer(libc::SECCOMP_RET_ALLOW),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
    ]
}

fn refused(step: &'static str) -> Error {
    Error::Lockdown { step, reason: std::io::Error::last_os_error() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_that_enter_the_kernel_are_told_apart() {
        for driver in ["net_memif", "net_memif0", "net_memif12,role=server,id=0", "net_null0", "net_ring"] {
            assert!(is_kernel_free(driver), "{driver}");
        }
        for driver in ["net_af_packet0,iface=a", "net_af_xdp", "net_tap0", "net_pcap0", "net_vhost0", ""] {
            assert!(!is_kernel_free(driver), "{driver}");
        }
    }

    /// What the kernel would make of the filter: BPF of these three kinds of instruction, by hand.
    fn verdict(filter: &[libc::sock_filter], nr: u32, arch: u32, instruction_pointer: u64) -> u32 {
        let (mut at, mut word) = (0, 0);
        loop {
            let instruction = filter[at];
            at += 1;
            match u32::from(instruction.code) & 7 {
                libc::BPF_LD => {
                    word = match instruction.k {
                        0 => nr,
                        4 => arch,
                        8 => instruction_pointer as u32,
                        12 => (instruction_pointer >> 32) as u32,
                        other => panic!("nothing at {other}"),
                    }
                }
                libc::BPF_JMP if word == instruction.k => at += usize::from(instruction.jt),
                libc::BPF_JMP => at += usize::from(instruction.jf),
                _ => return instruction.k,
            }
        }
    }

    #[test]
    fn the_filter_allows_pause_from_the_stub_and_nothing_else() {
        let (here, pause) = (0x5555_1234_5678_u64, libc::SYS_pause as u32);
        let filter = filter(here);
        let is_allowed = |nr, arch, at| verdict(&filter, nr, arch, at) == libc::SECCOMP_RET_ALLOW;
        assert!(is_allowed(pause, ARCH_X86_64, here));
        assert!(!is_allowed(pause, ARCH_X86_64, here + 1));
        assert!(!is_allowed(pause, ARCH_X86_64, here ^ (1 << 40)));
        assert!(!is_allowed(pause, 0x4000_0003, here), "the 32-bit interface");
        assert!(!is_allowed(pause | 0x4000_0000, ARCH_X86_64, here), "the x32 interface");
        for nr in (0..600).filter(|&nr| nr != pause) {
            assert!(!is_allowed(nr, ARCH_X86_64, here), "{nr}");
            assert_eq!(verdict(&filter, nr, ARCH_X86_64, here), libc::SECCOMP_RET_KILL_PROCESS);
        }
    }

    #[test]
    fn the_kernel_can_do_it_and_this_thread_is_free() {
        assert!(is_available().is_ok());
        assert!(!is_locked());
    }
}
