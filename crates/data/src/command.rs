//! The command table: one row per command. A command is one file (or a few kindred ones share it) and one row here.

use bytes::Bytes;
use resp::Value;

/// What a command does to the state, which decides the way it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reads keys: answered by [`crate::answer`].
    Read,
    /// May change keys: prepared by [`crate::prepare`].
    Write,
    /// Concerns the connection, the server or the cluster: answered by the server.
    Server,
}

/// A row of the command table.
#[derive(Debug)]
pub struct Command {
    /// The name, lower case.
    pub name: &'static str,
    /// The number of arguments, name included; negative: at least that many.
    pub arity: i32,
    /// What it does to the state.
    pub kind: Kind,
}

impl Command {
    /// The row of a command by name, in any case.
    pub fn lookup(name: &[u8]) -> Option<&'static Command> {
        let _ = name;
        todo!()
    }

    /// Every row.
    pub fn all() -> &'static [Command] {
        todo!()
    }

    /// Checks the number of arguments, name included.
    ///
    /// # Errors
    /// `ERR wrong number of arguments for 'get' command`, as Redis says it.
    pub fn check_arity(&self, arguments: &[Bytes]) -> Result<(), Value> {
        let _ = arguments;
        todo!()
    }

    /// Does it read only?
    pub fn is_read(&self) -> bool {
        self.kind == Kind::Read
    }
}
