//! The command table: one row per command. A command is a function in `commands` and a row here, in
//! the table of its theme.
//!
//! A row says all that there is to say of a command before it runs: how many arguments it takes, where its keys stand,
//! how it spreads over partitions, and what `COMMAND INFO` and `COMMAND DOCS` tell. Names, arities, flags and key
//! positions are those of Redis 7, which clients rely on.
//!
//! Where to read next: `rows_string` and its neighbours (the rows), `lookup` (from name to row).

mod access;
mod argument;
mod lookup;
mod rows_bitmap;
mod rows_conflict;
mod rows_connection;
mod rows_generic;
mod rows_hash;
mod rows_list;
mod rows_server;
mod rows_set;
mod rows_sorted_set;
mod rows_string;
mod rows_transaction;

use bytes::Bytes;
use resp::Value;

use crate::context::Handler;
use crate::errors;

pub use access::{Access, access};
pub use argument::{Argument, ArgumentKind};

/// What a command does to the state, which decides the way it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reads keys: answered by [`crate::answer`].
    Read,
    /// May change keys: prepared by [`crate::prepare`](crate::prepare()).
    Write,
    /// Concerns the connection, the server or the cluster: answered by the server.
    Server,
}

/// How a command whose keys lie in several partitions is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// It is not: all keys must lie in one slot.
    OneSlot,
    /// It is split by partition, and the replies are joined.
    Parts(Join),
    /// It goes to every partition, and the replies are joined.
    Everywhere(Join),
    /// It goes where its cursor stands.
    Cursor,
}

/// How replies are joined; [`Gather`](crate::route::Gather) is this with what it takes to do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// Integers are added.
    Sum,
    /// `OK` if all say so.
    AllOk,
    /// Arrays are put one after another.
    Concatenate,
    /// Elements are put back in the order of the keys.
    Interleave,
    /// One of those that are not null.
    PickOne,
}

/// Where the keys stand among the arguments, as `COMMAND INFO` says it. Index 0 is the name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// The first key; 0: there are none.
    pub first: u32,
    /// The last key; negative: counted from the end, -1 being the last argument.
    pub last: i32,
    /// From one key to the next.
    pub step: u32,
}

/// A row of the command table.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// The name, lower case; that of a subcommand has its container's before it: `object|encoding`.
    pub name: &'static str,
    /// The number of arguments, name included; negative: at least that many.
    pub arity: i32,
    /// What it does to the state.
    pub kind: Kind,
    /// The flags of `COMMAND INFO`, with blanks between.
    pub flags: &'static str,
    /// The categories of ACL that do not follow from the flags, without `@`, with blanks between.
    pub categories: &'static str,
    /// Where the keys stand.
    pub keys: Keys,
    /// The argument that says how many keys follow it, if there is one; 0: there is none.
    pub numkeys: u32,
    /// What is done with keys in several partitions.
    pub spread: Spread,
    /// The group in `COMMAND DOCS`.
    pub group: &'static str,
    /// The version of Redis that brought it, or of Consort for our own.
    pub since: &'static str,
    /// What it costs.
    pub complexity: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    /// Its arguments, for `COMMAND DOCS`.
    pub arguments: &'static [Argument],
    /// What it contains, if it is a container such as `OBJECT`.
    pub subcommands: &'static [Command],
    pub(crate) handler: Option<Handler>,
}

impl Command {
    /// The row of a command by name, in any case.
    pub fn lookup(name: &[u8]) -> Option<&'static Command> {
        lookup::find(name)
    }

    /// Every row. Subcommands stand in the row of their container.
    pub fn all() -> &'static [Command] {
        lookup::all()
    }

    /// The place of this row among [`Command::all`].
    ///
    /// # Panics
    /// It is a subcommand's row.
    pub fn number(&'static self) -> usize {
        let rows = Command::all();
        let number =
            (std::ptr::from_ref(self) as usize).wrapping_sub(rows.as_ptr() as usize) / size_of::<Command>();
        assert!(number < rows.len(), "'{}' is a row of the table of commands", self.name);
        number
    }

    /// The row of a subcommand by name, in any case, without the container's.
    pub fn subcommand(&self, name: &[u8]) -> Option<&'static Command> {
        let own_name = |row: &&Command| row.name.rsplit('|').next().unwrap_or_default().as_bytes();
        self.subcommands.iter().find(|row| own_name(row).eq_ignore_ascii_case(name))
    }

    /// The row that says what `arguments` mean: that of the subcommand if this is a container and has it.
    pub fn resolve(&self, arguments: &[Bytes]) -> &Command {
        arguments.get(1).and_then(|name| self.subcommand(name)).unwrap_or(self)
    }

    /// Checks the number of arguments, name included. Subcommands are checked too, but for those of containers that the
    /// server answers, which does it itself.
    ///
    /// # Errors
    /// `ERR wrong number of arguments for 'get' command`, as Redis says it.
    pub fn check_arity(&self, arguments: &[Bytes]) -> Result<(), Value> {
        self.check_count(arguments.len())?;
        if self.subcommands.is_empty() || self.kind == Kind::Server {
            return Ok(());
        }
        let Some(name) = arguments.get(1) else { return Ok(()) };
        match self.subcommand(name) {
            Some(row) => row.check_count(arguments.len()),
            None => Err(errors::unknown_subcommand(name, self.name)),
        }
    }

    fn check_count(&self, count: usize) -> Result<(), Value> {
        let wanted = self.arity.unsigned_abs() as usize;
        if count == wanted || (self.arity < 0 && count > wanted) {
            return Ok(());
        }
        Err(errors::wrong_arity(self.name))
    }

    /// Does it read only?
    pub fn is_read(&self) -> bool {
        self.kind == Kind::Read
    }

    /// Does it name keys?
    pub fn has_keys(&self) -> bool {
        self.keys.first > 0 || self.numkeys > 0
    }

    /// Has it this flag of `COMMAND INFO`?
    pub fn has_flag(&self, flag: &str) -> bool {
        self.flag_names().any(|own| own == flag)
    }

    /// Its flags.
    pub fn flag_names(&self) -> impl Iterator<Item = &'static str> {
        self.flags.split_ascii_whitespace()
    }

    /// Its categories of ACL, without `@`: those that follow from flags, as in Redis, and its own.
    pub fn category_names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.categories.split_ascii_whitespace().collect();
        let follows = [
            ("write", "write"),
            ("readonly", "read"),
            ("admin", "admin"),
            ("admin", "dangerous"),
            ("fast", "fast"),
        ];
        names.extend(follows.iter().filter(|(flag, _)| self.has_flag(flag)).map(|(_, name)| *name));
        if !self.has_flag("fast") {
            names.push("slow");
        }
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// The words in which rows are written.
impl Command {
    const fn new(name: &'static str, arity: i32, kind: Kind, handler: Option<Handler>) -> Command {
        Command {
            name,
            arity,
            kind,
            flags: "",
            categories: "",
            keys: Keys { first: 0, last: 0, step: 0 },
            numkeys: 0,
            spread: Spread::OneSlot,
            group: "",
            since: "",
            complexity: "",
            summary: "",
            arguments: &[],
            subcommands: &[],
            handler,
        }
    }

    const fn read(name: &'static str, arity: i32, handler: Handler) -> Command {
        Command::new(name, arity, Kind::Read, Some(handler))
    }

    const fn write(name: &'static str, arity: i32, handler: Handler) -> Command {
        Command::new(name, arity, Kind::Write, Some(handler))
    }

    const fn server(name: &'static str, arity: i32) -> Command {
        Command::new(name, arity, Kind::Server, None)
    }

    const fn flags(self, flags: &'static str, categories: &'static str) -> Command {
        Command { flags, categories, ..self }
    }

    const fn keys(self, first: u32, last: i32, step: u32) -> Command {
        Command { keys: Keys { first, last, step }, ..self }
    }

    const fn key(self) -> Command {
        self.keys(1, 1, 1)
    }

    const fn numkeys(self, argument: u32) -> Command {
        Command { numkeys: argument, ..self }
    }

    const fn spread(self, spread: Spread) -> Command {
        Command { spread, ..self }
    }

    const fn docs(
        self,
        group: &'static str,
        since: &'static str,
        complexity: &'static str,
        summary: &'static str,
    ) -> Command {
        Command { group, since, complexity, summary, ..self }
    }

    const fn arguments(self, arguments: &'static [Argument]) -> Command {
        Command { arguments, ..self }
    }

    const fn subcommands(self, subcommands: &'static [Command]) -> Command {
        Command { subcommands, ..self }
    }
}

#[cfg(test)]
mod tests;
