//! The number of connections that fit into the limit of open files.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;

/// Minimum connections, or `--connections-max` if that is less. A program with fewer does not start.
const CONNECTIONS_LEAST: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the limit of open files (RLIMIT_NOFILE) is {limit}, and at least {needed} are needed: raise it \
     (`ulimit -n`, `LimitNOFILE=`, `--ulimit nofile=`)"
)]
pub struct TooFewDescriptors {
    limit: usize,
    needed: usize,
}

/// Raises the limit of open files as far as the system allows, and returns the new limit.
pub fn raise_limit() -> io::Result<usize> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    Ok(usize::try_from(most).unwrap_or(usize::MAX))
}

/// Returns how many of `wanted` connections fit into a limit of open files. `reserved` files are for other purposes,
/// and each connection takes `per_connection`.
///
/// # Errors
///
/// Fewer than 16 connections fit, or fewer than `wanted` if that is less.
pub fn connections_within(
    limit: usize,
    reserved: usize,
    per_connection: usize,
    wanted: usize,
) -> Result<usize, TooFewDescriptors> {
    let least = CONNECTIONS_LEAST.min(wanted);
    let room = limit.saturating_sub(reserved) / per_connection.max(1);
    if room < least {
        let needed = reserved.saturating_add(least.saturating_mul(per_connection));
        return Err(TooFewDescriptors { limit, needed });
    }
    Ok(wanted.min(room))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_get_the_rest_of_the_limit_and_too_small_a_rest_is_an_error() {
        assert_eq!(connections_within(1_000_000, 100, 2, 10_000), Ok(10_000));
        assert_eq!(connections_within(1_100, 100, 2, 10_000), Ok(500));
        assert_eq!(connections_within(1_101, 100, 2, 10_000), Ok(500));
        assert_eq!(connections_within(132, 100, 2, 10_000), Ok(16));
        assert_eq!(connections_within(102, 100, 2, 1), Ok(1));
        for limit in 0..132 {
            let refused = connections_within(limit, 100, 2, 10_000).unwrap_err();
            let said = refused.to_string();
            for part in ["RLIMIT_NOFILE", &format!("is {limit},"), " 132 "] {
                assert!(said.contains(part), "{said}");
            }
        }
        assert!(connections_within(usize::MAX, usize::MAX, 2, 1).is_err());
    }
}
