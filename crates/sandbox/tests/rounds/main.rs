//! Scripts with tools, in rounds, against a real zygote.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test

mod cases;
mod divergence;
mod driver;
mod equality;
mod limits;
mod scripts;
