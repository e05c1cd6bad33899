//! Tests of the core. `group` is a handful of replicas on a perfect network for stories of single rules; `simulator` is
//! a seeded world of faults with oracles.

mod appointed;
mod changing;
mod elections;
mod group;
mod reading;
mod simulator;
mod writing;
