//! What the load generator says to a server: one request per operation, and which operations a piece of input answers.
//!
//! Two protocols: [`resp`] (Consort, Redis, the limit) and [`etcd`] (gRPC over [`http2`]).

pub mod etcd;
pub mod http2;
pub mod resp;

use bytes::BytesMut;
use clap::ValueEnum;

use super::keys::Key;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Operation {
    /// Write a value.
    Set,
    /// Read a value linearizably.
    Get,
}

impl Operation {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Set => "SET",
            Operation::Get => "GET",
        }
    }
}

/// An operation that was answered; an error says why it did not do what it should.
pub type Answer = Result<(), String>;

/// One connection's side of a protocol, for one kind of operation. It does no I/O: bytes to send go to `out`, bytes received come in `input`.
pub trait Wire {
    /// What is said first.
    fn open(&mut self, out: &mut Vec<u8>);

    /// Adds a request.
    ///
    /// # Errors
    /// The protocol does not allow another request now.
    fn request(&mut self, key: &Key, value: &[u8], out: &mut Vec<u8>) -> Result<(), String>;

    /// Takes everything that is complete from `input`; what has to be said in return without being a request goes to
    /// `out`.
    ///
    /// # Errors
    /// The server broke the protocol or closes the connection.
    fn receive(
        &mut self,
        input: &mut BytesMut,
        out: &mut Vec<u8>,
        answers: &mut Vec<Answer>,
    ) -> Result<(), String>;
}
