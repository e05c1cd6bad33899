//! Commands about the connection itself, and a few about the node that stand alone.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use resp::{Protocol, Value};

use super::{
    Action, Call, REDIS_VERSION, bulk, error, integer, map, not_an_integer, parse_integer, simple,
    syntax_error, wrong_arity,
};
use crate::acl::{DEFAULT, User};
use crate::clock::wall_clock_ms;
use crate::profile::Profile;

const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";

pub(super) fn ping(call: &mut Call<'_>) -> Action {
    match call.arguments {
        [_] => simple("PONG").into(),
        [_, message] => Value::Bulk(message.clone()).into(),
        _ => wrong_arity("ping").into(),
    }
}

pub(super) fn echo(call: &mut Call<'_>) -> Action {
    Value::Bulk(call.arguments[1].clone()).into()
}

pub(super) fn quit(_: &mut Call<'_>) -> Action {
    Action::Close(Value::OK)
}

pub(super) fn reset(call: &mut Call<'_>) -> Action {
    call.session.reset(&call.context.users);
    Action::Reset(simple("RESET"))
}

pub(super) fn select(call: &mut Call<'_>) -> Action {
    let profiles = &call.context.config.select_profiles;
    call.session.selected = match parse_integer(&call.arguments[1]) {
        Some(0) => Profile::default(),
        Some(number) => match u32::try_from(number).ok().and_then(|number| profiles.get(&number)) {
            Some(profile) => *profile,
            None => return error("ERR DB index is out of range").into(),
        },
        None => return not_an_integer().into(),
    };
    Value::OK.into()
}

pub(super) fn readonly(call: &mut Call<'_>) -> Action {
    call.session.cluster_aware = true;
    call.session.set_readonly(true);
    Value::OK.into()
}

pub(super) fn readwrite(call: &mut Call<'_>) -> Action {
    call.session.cluster_aware = true;
    call.session.set_readonly(false);
    Value::OK.into()
}

/// A slot is moved by changing who holds its partition while the leader serves it, so it is never half moved: nobody is
/// told to `ASK`, and who says `ASKING` all the same is served as ever.
pub(super) fn asking(call: &mut Call<'_>) -> Action {
    call.session.cluster_aware = true;
    Value::OK.into()
}

pub(super) fn auth(call: &mut Call<'_>) -> Action {
    let (user, password) = match call.arguments {
        [_, _] if call.context.users.default_user().is_open() => {
            return error(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
                 configuration is correct?",
            )
            .into();
        }
        [_, password] => (&Bytes::from_static(DEFAULT), password),
        [_, user, password] => (user, password),
        _ => return syntax_error().into(),
    };
    match authenticate(call, user, password) {
        Ok(known) => {
            call.session.become_user(user, known);
            Value::OK.into()
        }
        Err(error) => error.into(),
    }
}

fn authenticate(call: &Call<'_>, name: &Bytes, password: &[u8]) -> Result<Arc<User>, Value> {
    let known = call.context.users.authenticate(name, password);
    known.ok_or_else(|| {
        super::acl::note(call.context, call.session, "auth", "toplevel", name.clone(), name.clone());
        error(WRONG_PASSWORD)
    })
}

pub(super) fn hello(call: &mut Call<'_>) -> Action {
    hello_checked(call).into()
}

/// Nothing is changed unless everything that was asked for can be.
fn hello_checked(call: &mut Call<'_>) -> Result<Value, Value> {
    let mut protocol = call.session.protocol;
    if let Some(version) = call.arguments.get(1) {
        protocol = match parse_integer(version) {
            Some(2) => Protocol::Resp2,
            Some(3) => Protocol::Resp3,
            Some(_) => return Err(error("NOPROTO unsupported protocol version")),
            None => return Err(error("ERR Protocol version is not an integer or out of range")),
        };
    }
    let (mut credentials, mut name) = (None, None);
    let mut next = 2;
    while next < call.arguments.len() {
        let left = call.arguments.len() - next - 1;
        if call.is(next, "auth") && left >= 2 {
            credentials = Some((&call.arguments[next + 1], &call.arguments[next + 2]));
            next += 3;
        } else if call.is(next, "setname") && left >= 1 {
            name = Some(super::client::valid_name(&call.arguments[next + 1], "Client names")?);
            next += 2;
        } else {
            return Err(error(format!("ERR Syntax error in HELLO option '{}'", call.text(next))));
        }
    }
    let known = match credentials {
        Some((user, password)) => Some((user.clone(), authenticate(call, user, password)?)),
        None => None,
    };
    if credentials.is_none() && !call.session.authenticated {
        return Err(error(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
             <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the \
             same time",
        ));
    }
    if let Some((name, user)) = known {
        call.session.become_user(&name, user);
    }
    call.session.set_protocol(protocol);
    if let Some(name) = name {
        call.session.client.change_names(|names| names.name = name);
    }
    Ok(map([
        ("server", bulk("redis")),
        ("version", bulk(REDIS_VERSION)),
        ("proto", integer(call.session.client.protocol.load(Ordering::Relaxed))),
        ("id", integer(call.session.client.id)),
        ("mode", bulk("cluster")),
        ("role", bulk("master")),
        ("modules", Value::Array(Vec::new())),
    ]))
}

pub(super) fn time(_: &mut Call<'_>) -> Action {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Value::Array(vec![bulk(now.as_secs().to_string()), bulk(now.subsec_micros().to_string())]).into()
}

/// Every node leads some partitions, so each calls itself a master; the other nodes are its replicas.
pub(super) fn role(call: &mut Call<'_>) -> Action {
    let state = call.context.cluster.state();
    let offset: u64 = state.statuses().map(|status| status.applied).sum();
    let replicas = state.nodes.iter().filter(|node| node.alive && node.id != state.myself).map(|node| {
        let (host, port) = (node.client.host.clone(), node.client.port.to_string());
        Value::Array(vec![bulk(host), bulk(port), bulk(offset.to_string())])
    });
    Value::Array(vec![bulk("master"), integer(offset), Value::Array(replicas.collect())]).into()
}

pub(super) fn shutdown(call: &mut Call<'_>) -> Action {
    let (mut now, mut abort) = (false, false);
    for index in 1..call.arguments.len() {
        if call.is(index, "now") || call.is(index, "force") {
            now = true;
        } else if call.is(index, "abort") {
            abort = true;
        } else if !call.is(index, "nosave") && !call.is(index, "save") {
            return syntax_error().into();
        }
    }
    match (abort, call.arguments.len()) {
        (false, _) => Action::Shutdown { now },
        // A stop that has begun has handed leadership away; it is over in moments and is not taken back.
        (true, 2) => error("ERR No shutdown in progress.").into(),
        (true, _) => syntax_error().into(),
    }
}

/// How long the process has been up, in milliseconds.
pub(super) fn uptime_ms(context: &super::Context) -> u64 {
    wall_clock_ms().saturating_sub(context.started_ms)
}
