//! `CLIENT`: the connections of this node.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use replication::consistency::{Consistency, LONGEST_BOUND_MS};
use replication::primaries::{Level, Quorum};
use resp::Value;

use super::subcommand::{Container, row};
use super::{Action, Call, bulk, error, integer, lossy, not_an_integer, parse_integer, syntax_error, text};
use crate::clients::{Client, Unblock};
use crate::clock::monotonic_ms;
use crate::session::ReplyMode;

pub(super) const CLIENT: Container = Container {
    name: "client",
    subcommands: &[
        row(
            "ack",
            -3,
            "ACK (ASYNC|SEMI-SYNC <replicas>|SYNC|DEFAULT)",
            "Have writes of the connection acknowledged by more than their primary-replica keyspaces ask for.",
            ack,
        ),
        row(
            "quorum",
            -3,
            "QUORUM ([R <replicas>] [W <replicas>]|DEFAULT)",
            "Ask so many replicas of leaderless keyspaces: a number, ONE, QUORUM, ALL or LOCAL-QUORUM.",
            quorum,
        ),
        row(
            "session",
            -3,
            "SESSION (TOKEN|RESUME <token>)",
            "Return what the connection has seen; see no less than that from now on, at level session or bounded.",
            session,
        ),
        row(
            "consistency",
            -2,
            "CONSISTENCY [STRONG|BOUNDED <milliseconds>|SESSION|EVENTUAL|DEFAULT]",
            "How fresh the connection's reads are to be, whatever their keyspace says; without a level: what was said last.",
            consistency,
        ),
        row("getname", 2, "GETNAME", "Return the name of the current connection.", getname),
        row(
            "getredir",
            2,
            "GETREDIR",
            "Return the client ID that tracking redirects to: none, -1.",
            getredir,
        ),
        row("id", 2, "ID", "Return the ID of the current connection.", id),
        row("info", 2, "INFO", "Return information about the current client connection.", info),
        row(
            "kill",
            -3,
            "KILL <ip:port> | [ID <id>] [TYPE <type>] [USER <user>] [ADDR <ip:port>] [LADDR <ip:port>] [SKIPME (YES|NO)]",
            "Close the connections that match all options.",
            kill,
        ),
        row(
            "list",
            -2,
            "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB)] [ID <id> [<id> ...]]",
            "Return information about client connections.",
            list,
        ),
        row("no-evict", 3, "NO-EVICT (ON|OFF)", "Nothing is evicted here; the flag is kept.", no_evict),
        row("no-touch", 3, "NO-TOUCH (ON|OFF)", "Keys keep no access time here; the flag is kept.", no_touch),
        row("reply", 3, "REPLY (ON|OFF|SKIP)", "Control the replies sent to the current connection.", reply),
        row("setinfo", 4, "SETINFO <option> <value>", "Set LIB-NAME or LIB-VER of the connection.", setinfo),
        row("setname", 3, "SETNAME <name>", "Assign the name <name> to the current connection.", setname),
        row(
            "unblock",
            -3,
            "UNBLOCK <id> [TIMEOUT|ERROR]",
            "End the wait of a connection to this node, as if its time were over or with an error.",
            unblock,
        ),
    ],
    absent: &[
        ("caching", "client side caching is not there"),
        ("pause", "it would hold back writes of one node out of many"),
        ("tracking", "client side caching is not there"),
        ("trackinginfo", "client side caching is not there"),
        ("unpause", "CLIENT PAUSE is not there"),
    ],
};

/// More than this at the most is never asked for: a keyspace has at most as many copies.
fn ack(call: &mut Call<'_>) -> Action {
    let words = &call.arguments[2..];
    if let [word] = words
        && word.eq_ignore_ascii_case(b"default")
    {
        call.session.own.acknowledgement = None;
        return Value::OK.into();
    }
    match super::keyspace::acknowledgement(words) {
        Ok((_, taken)) if taken != words.len() => {
            error("ERR syntax error: CLIENT ACK ASYNC|SEMI-SYNC <replicas>|SYNC|DEFAULT").into()
        }
        Ok((acknowledgement, _)) => {
            call.session.own.acknowledgement = Some(acknowledgement);
            Value::OK.into()
        }
        Err(error) => error.into(),
    }
}

fn quorum(call: &mut Call<'_>) -> Action {
    let words = &call.arguments[2..];
    if let [word] = words
        && word.eq_ignore_ascii_case(b"default")
    {
        call.session.own.quorum = Quorum::default();
        return Value::OK.into();
    }
    // What is not said stays as it was.
    let mut quorum = call.session.own.quorum;
    let (pairs, rest) = words.as_chunks::<2>();
    for [name, word] in pairs {
        let Some(level) = Level::parse(word) else {
            return error(format!(
                "ERR '{}' is no number of replicas: a number from 1 on, ONE, QUORUM, ALL or LOCAL-QUORUM",
                lossy(word)
            ))
            .into();
        };
        match &name.to_ascii_lowercase()[..] {
            b"r" => quorum.read = Some(level),
            b"w" => quorum.write = Some(level),
            _ => return error(QUORUM_SYNTAX).into(),
        }
    }
    if !rest.is_empty() {
        return error(QUORUM_SYNTAX).into();
    }
    call.session.own.quorum = quorum;
    Value::OK.into()
}

fn consistency(call: &mut Call<'_>) -> Action {
    let words = &call.arguments[2..];
    match words {
        [] => {
            let level = call.session.consistency().map_or_else(|| "default".to_owned(), Consistency::name);
            return bulk(level).into();
        }
        [word] if word.eq_ignore_ascii_case(b"default") => call.session.own.consistency = None,
        _ => match Consistency::parse(words) {
            Some((level, taken)) if taken == words.len() => call.session.own.consistency = Some(level),
            _ => {
                return error(format!(
                    "ERR syntax error: CLIENT CONSISTENCY STRONG | BOUNDED <milliseconds from 1 to {LONGEST_BOUND_MS}> | SESSION | EVENTUAL | DEFAULT"
                ))
                .into();
            }
        },
    }
    Value::OK.into()
}

const QUORUM_SYNTAX: &str = "ERR syntax error: CLIENT QUORUM [R <replicas>] [W <replicas>] | DEFAULT";

fn session(call: &mut Call<'_>) -> Action {
    let words = &call.arguments[2..];
    match words {
        [word] if word.eq_ignore_ascii_case(b"token") => Action::SessionToken,
        [word, token] if word.eq_ignore_ascii_case(b"resume") => {
            let Some(token) = crate::seen::parse(token, &crate::seen::key(&call.context.config)) else {
                return error("ERR that is no token of CLIENT SESSION TOKEN in this cluster").into();
            };
            let placement = call.context.cluster.state().placement.clone();
            if token.layout > placement.layout() || token.keyspaces > placement.keyspaces_numbered {
                let text =
                    "TRYAGAIN this node does not know yet where all keys belong that the session has seen";
                return error(text).into();
            }
            // Both what this connection and what the other one had seen.
            for (partition, seen) in token.seen {
                let seen = match call.session.seen.remove(&partition) {
                    Some(former) => former.and(seen),
                    None => seen,
                };
                call.session.seen.insert(partition, seen);
            }
            Value::OK.into()
        }
        _ => error("ERR syntax error: CLIENT SESSION TOKEN | RESUME <token>").into(),
    }
}

pub(super) fn client(call: &mut Call<'_>) -> Action {
    CLIENT.run(call)
}

fn id(call: &mut Call<'_>) -> Action {
    integer(call.session.client.id).into()
}

fn getredir(_: &mut Call<'_>) -> Action {
    Value::Integer(-1).into()
}

fn info(call: &mut Call<'_>) -> Action {
    text(call.session.client.row(monotonic_ms()) + "\n").into()
}

fn getname(call: &mut Call<'_>) -> Action {
    let name = call.session.client.names().name;
    if name.is_empty() { Value::Null.into() } else { bulk(name).into() }
}

fn setname(call: &mut Call<'_>) -> Action {
    match valid_name(&call.arguments[2], "Client names") {
        Ok(name) => call.session.client.change_names(|names| names.name = name),
        Err(error) => return error.into(),
    }
    Value::OK.into()
}

fn setinfo(call: &mut Call<'_>) -> Action {
    let (is_name, is_version) = (call.is(2, "lib-name"), call.is(2, "lib-ver"));
    if !is_name && !is_version {
        return error(format!("ERR Unrecognized option '{}'", call.text(2))).into();
    }
    let what = if is_name { "lib-name" } else { "lib-ver" };
    match valid_name(&call.arguments[3], what) {
        Ok(value) if is_name => call.session.client.change_names(|names| names.library = value),
        Ok(value) => call.session.client.change_names(|names| names.library_version = value),
        Err(error) => return error.into(),
    }
    Value::OK.into()
}

/// A name stands in `CLIENT LIST` between spaces, so it holds none: printable ASCII only.
pub(super) fn valid_name(name: &[u8], what: &str) -> Result<String, Value> {
    match std::str::from_utf8(name) {
        Ok(name) if name.bytes().all(|byte| (b'!'..=b'~').contains(&byte)) => Ok(name.to_string()),
        _ => Err(error(format!("ERR {what} cannot contain spaces, newlines or special characters."))),
    }
}

fn reply(call: &mut Call<'_>) -> Action {
    call.session.reply_mode = match () {
        () if call.is(2, "on") => ReplyMode::On,
        () if call.is(2, "off") => ReplyMode::Off,
        () if call.is(2, "skip") && call.session.reply_mode == ReplyMode::Off => ReplyMode::Off,
        () if call.is(2, "skip") => ReplyMode::SkipNext,
        () => return syntax_error().into(),
    };
    Value::OK.into()
}

fn no_evict(call: &mut Call<'_>) -> Action {
    match on_or_off(call) {
        Some(on) => call.session.client.no_evict.store(on, Ordering::Relaxed),
        None => return syntax_error().into(),
    }
    Value::OK.into()
}

fn no_touch(call: &mut Call<'_>) -> Action {
    match on_or_off(call) {
        Some(on) => call.session.client.no_touch.store(on, Ordering::Relaxed),
        None => return syntax_error().into(),
    }
    Value::OK.into()
}

fn on_or_off(call: &Call<'_>) -> Option<bool> {
    if call.is(2, "on") { Some(true) } else { call.is(2, "off").then_some(false) }
}

fn list(call: &mut Call<'_>) -> Action {
    list_checked(call).into()
}

fn list_checked(call: &Call<'_>) -> Result<Value, Value> {
    let mut clients = call.context.clients.all();
    if call.is(2, "type") && call.arguments.len() == 4 {
        if !is_normal(&call.arguments[3])? {
            clients.clear();
        }
    } else if call.is(2, "id") && call.arguments.len() >= 4 {
        let ids = call.arguments[3..]
            .iter()
            .map(|id| parse_integer(id).ok_or_else(|| error("ERR Invalid client ID")))
            .collect::<Result<Vec<i64>, Value>>()?;
        clients.retain(|client| ids.contains(&(client.id as i64)));
    } else if call.arguments.len() > 2 {
        return Err(syntax_error());
    }
    let now_ms = monotonic_ms();
    Ok(text(clients.iter().map(|client| client.row(now_ms) + "\n").collect::<String>()))
}

/// Clients are all of the type `normal`: there are no replicas by `PSYNC` and no subscribers.
fn is_normal(kind: &[u8]) -> Result<bool, Value> {
    match kind.to_ascii_lowercase().as_slice() {
        b"normal" => Ok(true),
        b"master" | b"replica" | b"slave" | b"pubsub" => Ok(false),
        _ => Err(error(format!("ERR Unknown client type '{}'", lossy(kind)))),
    }
}

fn kill(call: &mut Call<'_>) -> Action {
    let myself = call.session.client.id;
    match kill_checked(call) {
        // The reply goes out first, then the connection closes.
        Ok((killed, reply)) if killed.iter().any(|client| client.id == myself) => Action::Close(reply),
        Ok((_, reply)) => reply.into(),
        Err(error) => error.into(),
    }
}

fn unblock(call: &mut Call<'_>) -> Action {
    let how = match call.arguments.len() {
        3 => Unblock::Timeout,
        4 if call.is(3, "timeout") => Unblock::Timeout,
        4 if call.is(3, "error") => Unblock::Error,
        _ => return error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR").into(),
    };
    let Some(id) = parse_integer(&call.arguments[2]) else {
        return error("ERR value is not an integer or out of range").into();
    };
    let clients = call.context.clients.all();
    let unblocked = clients.iter().any(|client| client.id as i64 == id && client.unblock(how));
    Value::Integer(unblocked.into()).into()
}

type Killed = Vec<Arc<Client>>;

fn kill_checked(call: &Call<'_>) -> Result<(Killed, Value), Value> {
    let myself = call.session.client.id;
    let mut clients = call.context.clients.all();
    let old_form = call.arguments.len() == 3;
    if old_form {
        let address = call.text(2);
        clients.retain(|client| client.peer.to_string() == address);
        if clients.is_empty() {
            return Err(error("ERR No such client"));
        }
    } else {
        narrow(call, &mut clients)?;
    }
    // Our own connection closes after its reply; asking it to close would race with that.
    clients.iter().filter(|client| client.id != myself).for_each(|client| client.kill());
    let reply = if old_form { Value::OK } else { integer(clients.len()) };
    Ok((clients, reply))
}

/// Keeps the clients that match all options of the new form.
fn narrow(call: &Call<'_>, clients: &mut Killed) -> Result<(), Value> {
    let mut skip_myself = true;
    let options = call.arguments[2..].chunks_exact(2);
    if !options.remainder().is_empty() {
        return Err(syntax_error());
    }
    for option in options {
        let (name, value) = (option[0].to_ascii_lowercase(), &option[1]);
        let address = String::from_utf8_lossy(value);
        match name.as_slice() {
            b"id" => {
                let id = parse_integer(value)
                    .filter(|id| *id > 0)
                    .ok_or_else(|| error("ERR client-id should be greater than 0"))?;
                clients.retain(|client| client.id == id as u64);
            }
            b"type" => {
                if !is_normal(value)? {
                    clients.clear();
                }
            }
            b"addr" => clients.retain(|client| client.peer.to_string() == address),
            b"laddr" => clients.retain(|client| client.local.to_string() == address),
            b"user" if call.context.users.find(value).is_none() => {
                return Err(error(format!("ERR No such user '{}'", lossy(value))));
            }
            b"user" => clients.retain(|client| client.names().user == *value),
            b"skipme" if value.eq_ignore_ascii_case(b"yes") => skip_myself = true,
            b"skipme" if value.eq_ignore_ascii_case(b"no") => skip_myself = false,
            b"maxage" => {
                let seconds = parse_integer(value).ok_or_else(not_an_integer)?;
                let now_ms = monotonic_ms();
                clients.retain(|client| client.age_ms(now_ms) / 1000 >= seconds.max(0) as u64);
            }
            _ => return Err(syntax_error()),
        }
    }
    if skip_myself {
        clients.retain(|client| client.id != call.session.client.id);
    }
    Ok(())
}
