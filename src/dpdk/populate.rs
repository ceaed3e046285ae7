//! Page tables filled before they are needed: a worker's first use of a page must not be a page fault.

/// Has the kernel map every page of the program and its libraries that is read or run from: the code of the stages, and
/// what the unwinder reads after a panic. Returns how many bytes; 0 where the kernel cannot (before Linux 5.14), and
/// then the first use of each page costs a fault.
pub fn populate_program() -> usize {
    let is_program = |mapping: &Mapping<'_>| {
        let Mapping { rights, path, .. } = mapping;
        path.starts_with('/')
            && !path.starts_with("/dev/")
            && !path.starts_with("/memfd:")
            && rights.starts_with("r-")
    };
    populate_all(is_program, libc::MADV_POPULATE_READ)
}

/// The same for the memory that memif ports share with their peers, which is mapped when a peer comes: to be called then.
pub fn populate_peers() -> usize {
    let is_shared = |mapping: &Mapping<'_>| {
        mapping.path.starts_with("/memfd:memif") && mapping.rights.starts_with("rw-s")
    };
    populate_all(is_shared, libc::MADV_POPULATE_WRITE)
}

/// A line of /proc/self/maps.
#[derive(Debug, PartialEq, Eq)]
struct Mapping<'l> {
    start: usize,
    end: usize,
    rights: &'l str,
    path: &'l str,
}

fn mapping(line: &str) -> Option<Mapping<'_>> {
    let mut words = line.split_whitespace();
    let (range, rights, path) = (words.next()?, words.next()?, words.nth(3)?);
    let (start, end) = range.split_once('-')?;
    let parse = |text| usize::from_str_radix(text, 16).ok();
    Some(Mapping { start: parse(start)?, end: parse(end)?, rights, path })
}

fn populate_all(is_wanted: impl Fn(&Mapping<'_>) -> bool, advice: libc::c_int) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let wanted = maps.lines().filter_map(mapping).filter(is_wanted);
    wanted.filter(|mapping| populate(mapping, advice)).map(|mapping| mapping.end - mapping.start).sum()
}

fn populate(mapping: &Mapping<'_>, advice: libc::c_int) -> bool {
    let start = std::ptr::without_provenance_mut(mapping.start);
    // SAFETY: both kinds of advice map the pages that an access would map and change no byte; where nothing is mapped any
    // more they fail.
    unsafe { libc::madvise(start, mapping.end.saturating_sub(mapping.start), advice) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_maps_is_read() {
        let line = "55d0c0a00000-55d0c0a21000 r-xp 00021000 08:01 1234   /usr/bin/voxlane";
        let expected = Mapping {
            start: 0x55d0_c0a0_0000,
            end: 0x55d0_c0a2_1000,
            rights: "r-xp",
            path: "/usr/bin/voxlane",
        };
        assert_eq!(mapping(line), Some(expected));
        assert_eq!(mapping("7f0000000000-7f0000200000 r--p 00000000 00:00 0"), None, "of no file");
        assert_eq!(mapping(""), None);
    }

    #[test]
    fn this_program_is_populated_and_has_no_peers() {
        // Kernels before 5.14 say no.
        let bytes = populate_program();
        assert!(bytes == 0 || bytes > 1 << 20, "{bytes}");
        assert_eq!(populate_peers(), 0);
    }
}
