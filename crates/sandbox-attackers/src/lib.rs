//! Native attackers against the isolation layers: code that runs in the job process as if the engine had been taken
//! over.
//!
//! The program of this crate is a sandbox program in which [`Attacker`] replaces the service's engine. The job's text
//! names the attack. An attack whose call returns reports that, and the test fails.
#![allow(unsafe_code)] // attackers make raw system calls
#![allow(clippy::unwrap_used)] // for tests

mod attacks;
mod forgeries;
mod registers;
pub mod rounds;

pub use attacks::{ALLOWED, Attacker, FORBIDDEN};
pub use forgeries::ALL as FORGERIES;
pub use registers::{count_marks, mark};
