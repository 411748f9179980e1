//! Tools: functions outside that a script calls, and the replay of an execution along its log.
//!
//! | module | content |
//! |---|---|
//! | `replay` | [`Replay`]: how far along the log this process is |
//! | `report` | what this process adds to the log |
//! | `records` | the choice of the next record |
//! | `divergence` | differences between a script and its log |
//! | `steps` | the loop of records and timers, and the delivery of answers |
//! | `object` | the global `tools`, and its calls |
//! | `argument` | arguments as JSON |
//! | `random` | randomness from the seed of the log |
//! | `ends` | the ends of a round: suspension, divergence, a rejection that nothing handles |
//!
//! An execution without tools has no [`Replay`], and nothing here runs. With tools an execution is a function of its
//! script, its limits and its log: the clock moves with records alone, and everything random comes from one seed.

mod argument;
mod divergence;
mod ends;
mod object;
mod random;
mod records;
mod replay;
mod report;
mod steps;

pub(super) use ends::judge_rejections;
pub(super) use object::install;
pub(super) use replay::Replay;
pub(super) use steps::step;
