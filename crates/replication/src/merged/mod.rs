//! Strategies that stamp mutations and join them, instead of agreeing on an order.
//!
//! Where to read next: `clock`, then `causal` (what every replica of a `multi-primary` keyspace does), `replica` (its clients), `hints` (what other nodes hold for it meanwhile); what a value is, and why joining
//! it in any order comes out the same, is in [`data::merged`].

pub mod causal;
pub mod clock;
pub mod hints;
pub(crate) mod replica;
