pub mod actors;
pub mod domain;
pub mod engine;
pub mod sandbox;
pub mod store;
