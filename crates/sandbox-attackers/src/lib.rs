//! Native attackers against the isolation layers: code that runs in the job process as if the engine had been taken over.
//!
//! The program of this crate is a sandbox program in which [`Attacker`] stands where the service's has the engine. The job's
//! text names the attack. An attack that comes back reports it, and the test fails.
#![allow(unsafe_code)] // attackers make raw system calls
#![allow(clippy::unwrap_used)] // for tests

mod attacks;
mod forgeries;
mod registers;

pub use attacks::{ALLOWED, Attacker, FORBIDDEN};
pub use forgeries::ALL as FORGERIES;
pub use registers::{mark, marked};
