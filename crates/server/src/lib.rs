//! The server: the only crate with sockets and a wall clock.
#![allow(clippy::disallowed_methods)]

pub mod clients;
pub mod cluster;
pub mod command;
pub mod config;
pub mod session;
pub mod settings;
pub mod stats;
