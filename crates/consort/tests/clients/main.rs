//! Real Redis clients, unmodified, against a cluster of three nodes made by `consort dev`: redis-py, ioredis, the Rust
//! crate `redis`, redis-cli and redis-benchmark.
//!
//! The scripts are in the folder `clients/` of the repository. Their clients are installed with pip and npm into the
//! target folder, once for each list of versions. Where a tool is missing or nothing can be installed, a test says so and
//! passes; with `CONSORT_REQUIRE_CLIENTS=1` it fails instead (`.ci/run` sets that).
//!
//! Where to read next: [`cluster`] (how one is started and never left behind), [`tools`] (what is installed and run).
#![allow(clippy::disallowed_methods)]

mod cluster;
mod moves;
mod node;
mod python;
mod redis_crate;
mod redis_tools;
mod tools;
