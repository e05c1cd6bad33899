//! Commands with subcommands: a table of rows, from which the choice, the check of arity, `HELP` and the list in
//! `COMMAND INFO` follow.

use resp::Value;

use super::{Action, Call, error, lossy, simple, wrong_arity};

/// A subcommand.
pub(crate) struct Subcommand {
    /// The name, lower case.
    pub name: &'static str,
    /// The number of arguments, both names included; negative: at least that many.
    pub arity: i32,
    /// What stands after the container's name in `HELP`.
    pub usage: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Does it.
    pub run: fn(&mut Call<'_>) -> Action,
}

/// A row of a container.
pub(crate) const fn row(
    name: &'static str,
    arity: i32,
    usage: &'static str,
    about: &'static str,
    run: fn(&mut Call<'_>) -> Action,
) -> Subcommand {
    Subcommand { name, arity, usage, about, run }
}

/// A command with subcommands.
pub(crate) struct Container {
    /// The name, lower case.
    pub name: &'static str,
    /// What it has (`help` is added).
    pub subcommands: &'static [Subcommand],
    /// What Redis has there and Consort does not, and why.
    pub absent: &'static [(&'static str, &'static str)],
}

impl Container {
    /// Runs the subcommand that the second argument names.
    pub fn run(&self, call: &mut Call<'_>) -> Action {
        let Some(asked) = call.arguments.get(1) else { return wrong_arity(self.name).into() };
        if asked.eq_ignore_ascii_case(b"help") {
            return self.help().into();
        }
        let is_asked = |name: &str| asked.eq_ignore_ascii_case(name.as_bytes());
        if let Some(row) = self.subcommands.iter().find(|row| is_asked(row.name)) {
            let count = call.arguments.len() as i32;
            if (row.arity >= 0 && count != row.arity) || count < -row.arity {
                return wrong_arity(&format!("{}|{}", self.name, row.name)).into();
            }
            return (row.run)(call);
        }
        if let Some((name, why)) = self.absent.iter().find(|(name, _)| is_asked(name)) {
            let (container, name) = (self.name.to_uppercase(), name.to_uppercase());
            return error(format!("ERR {container} {name} is not supported: {why}")).into();
        }
        let container = self.name.to_uppercase();
        error(format!("ERR unknown subcommand '{}'. Try {container} HELP.", lossy(asked))).into()
    }

    fn help(&self) -> Value {
        let title =
            format!("{} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", self.name.to_uppercase());
        let mut lines = vec![simple(title)];
        for row in self.subcommands {
            lines.push(simple(row.usage));
            lines.push(simple(format!("    {}", row.about)));
        }
        lines.push(simple("HELP"));
        lines.push(simple("    Print this help."));
        Value::Array(lines)
    }
}
