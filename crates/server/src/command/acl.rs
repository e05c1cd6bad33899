//! `ACL`: users, what they may do, and what they were refused.

use std::collections::BTreeMap;

use bytes::Bytes;
use data::Command;
use replication::catalogue::{Catalogue, Change};
use resp::Value;

use super::subcommand::{Container, row};
use super::{Action, Call, Context, bulk, error, integer, lossy, map, parse_integer, simple, wrong_arity};
use crate::acl::{self, DEFAULT, Denied, LogEntry, User, Users};
use crate::clock::{monotonic_ms, wall_clock_ms};
use crate::session::Session;

pub(super) const ACL: Container = Container {
    name: "acl",
    subcommands: &[
        row("cat", -2, "CAT [<category>]", "List the categories of commands, or the commands of one.", cat),
        row(
            "deluser",
            -3,
            "DELUSER <username> [<username> ...]",
            "Delete users everywhere; their connections end.",
            |call| edit(Edit::Delete(call.arguments[2..].to_vec())),
        ),
        row(
            "dryrun",
            -4,
            "DRYRUN <username> <command> [<arg> ...]",
            "Say whether the user may run the command, without running it.",
            dry_run,
        ),
        row(
            "genpass",
            -2,
            "GENPASS [<bits>]",
            "Generate a random password in hexadecimal digits: of 256 bits, or of so many.",
            generate,
        ),
        row("getuser", 3, "GETUSER <username>", "Get the rules of a user.", get_user),
        row("list", 2, "LIST", "List the users with their rules, as SETUSER takes them.", list),
        row("log", -2, "LOG [<count> | RESET]", "List what was refused by this node, or forget it.", log),
        row(
            "setuser",
            -3,
            "SETUSER <username> [<rule> ...]",
            "Make or change a user, everywhere. Rules as in Redis 7, and: consistency=<level> ack=<how> r=<replicas> w=<replicas>.",
            set_user,
        ),
        row("users", 2, "USERS", "List the names of the users.", |call| {
            let names = call.context.users.all().into_iter().map(|(name, _)| Value::Bulk(name));
            Value::Array(names.collect()).into()
        }),
        row("whoami", 2, "WHOAMI", "Return the name of the user of this connection.", |call| {
            Value::Bulk(call.session.client.names().user).into()
        }),
    ],
    absent: &[
        ("load", "users are kept by the catalogue, not in a file"),
        ("save", "users are kept by the catalogue, and are so from the moment of SETUSER on"),
    ],
};

/// A change of users, to be made of those that there are at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// These rules, on top of those that the user has.
    Set(Bytes, Vec<Bytes>),
    /// These are to be gone.
    Delete(Vec<Bytes>),
}

impl Edit {
    /// The change of the catalogue, and what is answered when it is made.
    ///
    /// # Errors
    /// A rule is none.
    pub fn change(&self, catalogue: &Catalogue, users: &Users) -> Result<(Change, Value), String> {
        match self {
            Edit::Set(name, rules) => {
                let mut user = match catalogue.users.get(name) {
                    Some(text) => User::of_text(text),
                    // As the configuration of this node has it.
                    None if name == DEFAULT => (*users.default_user()).clone(),
                    None => User::new(),
                };
                for rule in acl::rules(rules)? {
                    let rule = Bytes::from(rule);
                    user.set(&rule).map_err(|reason| {
                        format!("Error in ACL SETUSER modifier '{}': {reason}", lossy(&hidden(&rule)))
                    })?;
                }
                Ok((Change::Users(BTreeMap::from([(name.clone(), Some(user.text()))])), Value::OK))
            }
            Edit::Delete(names) => {
                let known: BTreeMap<Bytes, Option<Bytes>> = names
                    .iter()
                    .filter(|name| catalogue.users.contains_key(*name))
                    .map(|name| (name.clone(), None))
                    .collect();
                let count = known.len();
                Ok((Change::Users(known), integer(count)))
            }
        }
    }

    /// What can be said before anything is tried.
    ///
    /// # Errors
    /// The user cannot be, or cannot be gone.
    pub fn check(&self) -> Result<(), Value> {
        match self {
            Edit::Set(name, _) => {
                let is_plain = std::str::from_utf8(name).is_ok_and(|name| {
                    !name.is_empty() && !name.contains(|c: char| c.is_control() || c.is_whitespace())
                });
                match is_plain {
                    true => Ok(()),
                    false => {
                        Err(error("ERR Usernames can't be empty, or contain spaces or control characters"))
                    }
                }
            }
            Edit::Delete(names) if names.iter().any(|name| name == DEFAULT) => {
                Err(error("ERR The 'default' user cannot be removed"))
            }
            Edit::Delete(_) => Ok(()),
        }
    }
}

/// A password is nothing for messages.
fn hidden(rule: &Bytes) -> Bytes {
    match rule.first() {
        Some(b'>' | b'<') => Bytes::from([&rule[..1], b"(password)"].concat()),
        _ => rule.clone(),
    }
}

/// Notes a refusal for `ACL LOG`.
pub(super) fn note(
    context: &Context,
    session: &Session,
    reason: &'static str,
    within: &'static str,
    object: Bytes,
    user: Bytes,
) {
    let now_ms = wall_clock_ms();
    context.users.note(LogEntry {
        id: 0,
        count: 1,
        reason,
        context: within,
        object: object.slice(..object.len().min(128)),
        user: user.slice(..user.len().min(128)),
        client: session.client.row(monotonic_ms()),
        created_ms: now_ms,
        updated_ms: now_ms,
    });
}

/// May the session run this command? `in_transaction`: it stands in one.
///
/// # Errors
/// `NOPERM`, which is kept for `ACL LOG`, too.
pub fn permit(
    command: &'static Command,
    arguments: &[Bytes],
    session: &Session,
    context: &Context,
    in_transaction: bool,
) -> Result<(), Value> {
    let Err(denied) = session.user.permits(command, arguments) else { return Ok(()) };
    let within = if in_transaction { "multi" } else { "toplevel" };
    let user = session.client.names().user;
    let (reason, object) = match &denied {
        Denied::Command(name) => ("command", Bytes::from_static(name.as_bytes())),
        Denied::Key(key) => ("key", key.clone()),
    };
    note(context, session, reason, within, object, user.clone());
    Err(error(refusal(&denied, &user)))
}

fn refusal(denied: &Denied, user: &[u8]) -> String {
    match denied {
        Denied::Command(name) => {
            format!("NOPERM User {} has no permissions to run the '{name}' command", lossy(user))
        }
        Denied::Key(_) => "NOPERM No permissions to access a key".into(),
    }
}

pub(super) fn acl(call: &mut Call<'_>) -> Action {
    ACL.run(call)
}

fn set_user(call: &mut Call<'_>) -> Action {
    edit(Edit::Set(call.arguments[2].clone(), call.arguments[3..].to_vec()))
}

fn edit(edit: Edit) -> Action {
    match edit.check() {
        Ok(()) => Action::Users(edit),
        Err(error) => error.into(),
    }
}

fn cat(call: &mut Call<'_>) -> Action {
    match call.arguments {
        [_, _] => Value::Array(acl::categories().into_iter().map(bulk).collect()).into(),
        [_, _, category] => {
            let names = acl::commands_of(&lossy(category).to_ascii_lowercase());
            match names.is_empty() {
                true => error(format!("ERR Unknown category '{}'", lossy(category))).into(),
                false => Value::Array(names.into_iter().map(bulk).collect()).into(),
            }
        }
        _ => wrong_arity("acl|cat").into(),
    }
}

fn dry_run(call: &mut Call<'_>) -> Action {
    let (name, full) = (&call.arguments[2], &call.arguments[3..]);
    let Some(user) = call.context.users.find(name).filter(|_| name != acl::MYSELF) else {
        return error(format!("ERR User '{}' not found", lossy(name))).into();
    };
    let Some(command) = Command::lookup(&full[0]) else {
        return error(format!("ERR Command '{}' not found", lossy(&full[0]))).into();
    };
    if let Err(error) = command.check_arity(full) {
        return error.into();
    }
    match user.permits(command, full) {
        Ok(()) => Value::OK.into(),
        Err(Denied::Key(key)) => {
            bulk(format!("User {} has no permissions to access the '{}' key", lossy(name), lossy(&key)))
                .into()
        }
        Err(denied) => bulk(refusal(&denied, name).trim_start_matches("NOPERM ").to_owned()).into(),
    }
}

fn generate(call: &mut Call<'_>) -> Action {
    const WRONG: &str = "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096";
    let bits = match call.arguments {
        [_, _] => 256,
        [_, _, bits] => match parse_integer(bits).filter(|bits| (1..=4096).contains(bits)) {
            Some(bits) => bits as usize,
            None => return error(WRONG).into(),
        },
        _ => return wrong_arity("acl|genpass").into(),
    };
    let digits = bits.div_ceil(4);
    let mut bytes = vec![0; digits.div_ceil(2)];
    crate::random::fill(&mut bytes);
    let mut password: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    password.truncate(digits);
    bulk(password).into()
}

fn get_user(call: &mut Call<'_>) -> Action {
    let name = &call.arguments[2];
    let Some(user) = call.context.users.find(name).filter(|_| name != acl::MYSELF) else {
        return Value::Null.into();
    };
    let profile: Vec<String> = user.profile().words().collect();
    let mut permissions = user.permissions().map(|one| {
        [
            ("commands", bulk(one.commands_text())),
            ("keys", Value::Bulk(one.keys_text())),
            ("channels", Value::Bulk(one.channels_text())),
        ]
    });
    let [commands, keys, channels] = permissions.next().expect("each user has its own");
    map([
        ("flags", Value::Set(user.flags().into_iter().map(simple).collect())),
        ("passwords", Value::Array(user.passwords().into_iter().map(bulk).collect())),
        commands,
        keys,
        channels,
        ("selectors", Value::Array(permissions.map(map).collect())),
        ("profile", bulk(profile.join(" "))),
    ])
    .into()
}

fn list(call: &mut Call<'_>) -> Action {
    let line = |(name, user): (Bytes, std::sync::Arc<User>)| {
        Value::Bulk(Bytes::from([b"user ", &name[..], b" ", &user.text()[..]].concat()))
    };
    Value::Array(call.context.users.all().into_iter().map(line).collect()).into()
}

fn log(call: &mut Call<'_>) -> Action {
    let count = match call.arguments {
        [_, _] => 10,
        [_, _, _] if call.is(2, "reset") => {
            call.context.users.reset_log();
            return Value::OK.into();
        }
        [_, _, count] => match parse_integer(count).and_then(|count| usize::try_from(count).ok()) {
            Some(count) => count,
            None => return super::not_an_integer().into(),
        },
        _ => return wrong_arity("acl|log").into(),
    };
    let now_ms = wall_clock_ms();
    let entry = |entry: LogEntry| {
        let age = now_ms.saturating_sub(entry.updated_ms) as f64 / 1000.0;
        map([
            ("count", integer(entry.count)),
            ("reason", bulk(entry.reason)),
            ("context", bulk(entry.context)),
            ("object", Value::Bulk(entry.object)),
            ("username", Value::Bulk(entry.user)),
            ("age-seconds", Value::Double(age)),
            ("client-info", bulk(entry.client)),
            ("entry-id", integer(entry.id)),
            ("timestamp-created", integer(entry.created_ms)),
            ("timestamp-last-updated", integer(entry.updated_ms)),
        ])
    };
    Value::Array(call.context.users.log().into_iter().take(count).map(entry).collect()).into()
}
