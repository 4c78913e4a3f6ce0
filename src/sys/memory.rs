//! Memory that was needed for a while goes back to the system: an agent works for seconds and rests for minutes, and what it
//! holds while it rests is what it costs.

/// Pools of memory that threads share.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const POOLS: i32 = 2;

/// Bytes that a command that soon ends takes at once.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const AHEAD: i32 = 4 * 1024 * 1024;

/// Has all threads share a few pools of memory. Otherwise nearly each gets one of its own, and every pool keeps what its
/// threads once needed. To be called before there are threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the allocator is told in no other way")]
pub fn share_pools() {
    // SAFETY: it takes two numbers, and may be called at any time; it refuses what it does not know.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, POOLS) };
}

/// Has all threads share a few pools of memory.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub const fn share_pools() {}

/// Takes memory from the system in larger pieces than usual: for a command that soon ends, and for which a turn of the system
/// for each few pages is a large part of what it does.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the allocator is told in no other way")]
pub fn take_ahead() {
    // SAFETY: it takes two numbers, and may be called at any time; it refuses what it does not know.
    unsafe { libc::mallopt(libc::M_TOP_PAD, AHEAD) };
}

/// Takes memory from the system in larger pieces than usual.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub const fn take_ahead() {}

/// Gives back what is free, and lets go of the pages of the program's own file. Those stay in the system's cache of files, from
/// where they come back without the disk when they are used again; until then they are no longer this process's, and the
/// system may use the room for something else first. Most of them were needed to start, or for one round.
#[cfg(target_os = "linux")]
pub fn give_back() {
    free::give_back();
    // Where it cannot be seen what is mapped, everything stays.
    if let Ok(maps) = std::fs::read_to_string("/proc/self/smaps") {
        program::unchanged(&maps).for_each(program::let_go);
    }
}

/// Gives back what is free: nothing is known of it here.
#[cfg(not(target_os = "linux"))]
pub const fn give_back() {}

#[cfg(target_os = "linux")]
mod free {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "the allocator is told in no other way")]
    pub(super) fn give_back() {
        // SAFETY: it takes a number and locks what it looks at; only memory that nobody holds is given back.
        unsafe { libc::malloc_trim(0) };
    }

    #[cfg(not(target_env = "gnu"))]
    pub(super) const fn give_back() {}
}

#[cfg(target_os = "linux")]
mod program {
    use std::ops::Range;

    /// Where files are mapped that nobody can write through and of which no page was ever changed: all of it can be read
    /// from the file again. What the loader changed before it was made read-only is not among them.
    pub(super) fn unchanged(smaps: &str) -> impl Iterator<Item = Range<usize>> {
        let mut found = Vec::new();
        let mut open: Option<Range<usize>> = None;
        for line in smaps.lines() {
            let mut fields = line.split_ascii_whitespace();
            let (Some(first), Some(second)) = (fields.next(), fields.next()) else { continue };
            if let Some((from, to)) = first.split_once('-') {
                found.extend(open.take());
                let place = |text| usize::from_str_radix(text, 16).ok();
                let is_file = fields.nth(3).is_some_and(|path| path.starts_with('/'));
                let range = place(from).zip(place(to)).map(|(from, to)| from..to);
                open = range.filter(|_| is_file && second.starts_with('r') && second[1..].starts_with('-'));
                open = open.filter(|_| second.ends_with('p'));
            } else if matches!(first, "Anonymous:" | "Swap:" | "Locked:") && second != "0" {
                open = None;
            }
        }
        found.extend(open);
        found.into_iter()
    }

    #[expect(unsafe_code, reason = "memory is named by its address")]
    pub(super) fn let_go(range: Range<usize>) {
        let start = std::ptr::with_exposed_provenance_mut(range.start);
        // SAFETY: the range is a mapping of a file that nobody can write through and that holds no changed page
        // ([`unchanged`]): whoever reads there next reads the same bytes from the file. Where it is refused they just stay.
        unsafe { libc::madvise(start, range.len(), libc::MADV_DONTNEED) };
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn mapping(head: &str, anonymous: &str, swap: &str) -> String {
            format!("{head}\nSize: 8 kB\nAnonymous: {anonymous} kB\nSwap: {swap} kB\nLocked: 0 kB\nVmFlags: rd mr\n")
        }

        #[test]
        fn only_what_can_be_read_from_the_file_again_is_let_go() {
            let smaps = [
                mapping("1000-3000 r-xp 00000000 fd:00 7 /usr/bin/mesh", "0", "0"),
                mapping("3000-4000 r--p 00002000 fd:00 7 /usr/bin/mesh", "4", "0"),
                mapping("4000-5000 r--p 00002000 fd:00 7 /usr/bin/mesh", "0", "4"),
                mapping("5000-6000 rw-p 00003000 fd:00 7 /usr/bin/mesh", "0", "0"),
                mapping("6000-7000 r--s 00003000 fd:00 8 /var/lib/db", "0", "0"),
                mapping("7000-8000 r-xp 00000000 00:00 0 [vdso]", "0", "0"),
                mapping("8000-9000 r--p 00000000 00:00 0", "0", "0"),
                mapping("a000-c000 r--p 00000000 fd:00 7 /usr/bin/mesh", "0", "0"),
            ];
            let found: Vec<_> = unchanged(&smaps.concat()).collect();
            assert_eq!(found, [0x1000..0x3000, 0xa000..0xc000]);
        }

        #[test]
        fn a_program_that_let_go_of_its_pages_goes_on() {
            let own_kb = || {
                let smaps = std::fs::read_to_string("/proc/self/smaps").expect("readable");
                let program = unchanged(&smaps).max_by_key(Range::len).expect("at least this program");
                let from = smaps.find(&format!("{:x}-", program.start)).expect("named");
                let rss = smaps[from..].lines().find_map(|line| line.strip_prefix("Rss:")).expect("told");
                rss.trim_end_matches("kB").trim().parse::<u64>().expect("a number")
            };
            let before = own_kb();
            super::super::give_back();
            let after = own_kb();
            assert!(after < before, "{before} kB before, {after} kB after");
        }
    }
}
