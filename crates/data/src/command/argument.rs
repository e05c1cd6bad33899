//! The arguments of commands, as `COMMAND DOCS` describes them.

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentKind {
    /// A key.
    Key,
    /// Any bytes.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Double,
    /// A pattern of keys.
    Pattern,
    /// A point in time.
    UnixTime,
    /// A word and nothing else.
    Token,
    /// One of those inside.
    OneOf,
    /// All of those inside, in order.
    Block,
}

impl ArgumentKind {
    /// The word that `COMMAND DOCS` uses.
    pub fn name(&self) -> &'static str {
        match self {
            ArgumentKind::Key => "key",
            ArgumentKind::String => "string",
            ArgumentKind::Integer => "integer",
            ArgumentKind::Double => "double",
            ArgumentKind::Pattern => "pattern",
            ArgumentKind::UnixTime => "unix-time",
            ArgumentKind::Token => "pure-token",
            ArgumentKind::OneOf => "oneof",
            ArgumentKind::Block => "block",
        }
    }
}

/// An argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: ArgumentKind,
    /// The word that stands before it (or is all of it).
    pub token: Option<&'static str>,
    /// May it be left out?
    pub optional: bool,
    /// May it come several times?
    pub multiple: bool,
    /// What is inside a [`ArgumentKind::OneOf`] or [`ArgumentKind::Block`].
    pub inner: &'static [Argument],
}

/// The words in which rows are written.
impl Argument {
    pub(super) const fn new(name: &'static str, kind: ArgumentKind) -> Argument {
        Argument { name, kind, token: None, optional: false, multiple: false, inner: &[] }
    }

    pub(super) const fn word(name: &'static str, token: &'static str) -> Argument {
        Argument::new(name, ArgumentKind::Token).token(token)
    }

    pub(super) const fn one_of(name: &'static str, inner: &'static [Argument]) -> Argument {
        Argument { inner, ..Argument::new(name, ArgumentKind::OneOf) }
    }

    pub(super) const fn block(name: &'static str, inner: &'static [Argument]) -> Argument {
        Argument { inner, ..Argument::new(name, ArgumentKind::Block) }
    }

    pub(super) const fn token(self, token: &'static str) -> Argument {
        Argument { token: Some(token), ..self }
    }

    pub(super) const fn optional(self) -> Argument {
        Argument { optional: true, ..self }
    }

    pub(super) const fn multiple(self) -> Argument {
        Argument { multiple: true, ..self }
    }
}

pub(super) const KEY: Argument = Argument::new("key", ArgumentKind::Key);
pub(super) const VALUE: Argument = Argument::new("value", ArgumentKind::String);
pub(super) const INCREMENT: Argument = Argument::new("increment", ArgumentKind::Integer);
pub(super) const DECREMENT: Argument = Argument::new("decrement", ArgumentKind::Integer);
pub(super) const OFFSET: Argument = Argument::new("offset", ArgumentKind::Integer);
pub(super) const START: Argument = Argument::new("start", ArgumentKind::Integer);
pub(super) const END: Argument = Argument::new("end", ArgumentKind::Integer);
pub(super) const SECONDS: Argument = Argument::new("seconds", ArgumentKind::Integer);
pub(super) const MILLISECONDS: Argument = Argument::new("milliseconds", ArgumentKind::Integer);
pub(super) const AT_SECONDS: Argument = Argument::new("unix-time-seconds", ArgumentKind::UnixTime);
pub(super) const AT_MILLISECONDS: Argument = Argument::new("unix-time-milliseconds", ArgumentKind::UnixTime);
pub(super) const KEY_VALUE: Argument = Argument::block("data", &[KEY, VALUE]).multiple();
