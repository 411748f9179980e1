//! Random bytes for keys, from the kernel.
//!
//! The entropy of a job is 64 bits, enough for `Math.random` and too little for a key. The filter allows `getrandom`.
#![allow(unsafe_code)] // the system call

use std::io;
use std::process;

/// Fills `bytes` with the kernel's random numbers. Ends the process if there are none: a key must not be predictable.
///
/// Makes the system call itself: the C library's function may keep a state, which a fork would copy.
pub(super) fn fill(bytes: &mut [u8]) {
    let mut start = 0;
    while let Some(rest) = bytes.get_mut(start..).filter(|rest| !rest.is_empty()) {
        // SAFETY: the kernel writes at most as many bytes as the slice has.
        let filled =
            unsafe { libc::syscall(libc::SYS_getrandom, rest.as_mut_ptr(), rest.len(), 0_u32) };
        match usize::try_from(filled) {
            Ok(filled) if filled > 0 => start += filled,
            _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            _ => process::abort(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_keys_differ() {
        let (mut one, mut other) = ([0; 64], [0; 64]);
        fill(&mut one);
        fill(&mut other);
        assert_ne!(one, other);
        fill(&mut []);
    }
}
