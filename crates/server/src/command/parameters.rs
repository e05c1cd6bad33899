//! `CONFIG`: the parameters of Redis that mean something here, some of which may be changed while the node runs. Changes
//! are forgotten when the node stops; what is to stay belongs in the configuration file.

use resp::Value;

use super::subcommand::{Container, Subcommand};
use super::{Action, Call, Context, bulk, error, lossy, wrong_arity};
use crate::config::{Redirect, units::parse_bytes};
use crate::settings::Settings;
use crate::stats::Counter;
use data::glob::matches;

/// A parameter.
struct Parameter {
    name: &'static str,
    get: fn(&Context) -> String,
    change: Change,
}

/// How a parameter may be changed.
enum Change {
    /// Not at all; the text says why. Setting it to what it is is allowed, since scripts do that.
    Never(&'static str),
    /// To a number between these, after `scale` (what the setting counts a unit of the parameter as).
    Number { setting: fn(&Settings) -> &Counter, low: u64, high: u64, scale: u64 },
    /// To a size in bytes between these.
    Bytes { setting: fn(&Settings) -> &Counter, low: u64, high: u64 },
    /// `client-output-buffer-limit normal <hard> <soft> <seconds> ...`: the hard limit of normal clients counts.
    OutputBuffer,
    /// The password.
    Password,
    /// Which connections are redirected.
    Redirect,
}

const FILE: &str = "it is set in the configuration file";
const DURABLE: &str = "every acknowledged write is on disk; that is not for sale";
const NO_EVICTION: &str = "nothing is evicted";
const ONE: &str = "there is one database";
const NOT_HERE: &str = "there is no such thing here";

const fn fixed(name: &'static str, get: fn(&Context) -> String, why: &'static str) -> Parameter {
    Parameter { name, get, change: Change::Never(why) }
}

/// In the order of their names, as `CONFIG GET *` gives them.
const PARAMETERS: &[Parameter] = &[
    fixed("activedefrag", |_| "no".into(), NOT_HERE),
    fixed("appendfsync", |_| "always".into(), DURABLE),
    fixed("appendonly", |_| "yes".into(), DURABLE),
    fixed("bind", |context| context.config.listen_client.host.clone(), FILE),
    Parameter {
        name: "client-output-buffer-limit",
        get: |context| {
            let normal = context.settings.output_buffer_bytes.get();
            format!("normal {normal} 0 0 slave 0 0 0 pubsub 0 0 0")
        },
        change: Change::OutputBuffer,
    },
    fixed("client-query-buffer-limit", |context| context.config.limits.request_bytes.to_string(), FILE),
    fixed("cluster-enabled", |_| "yes".into(), FILE),
    fixed("cluster-node-timeout", |context| ms(context.config.timing.election_timeout), FILE),
    Parameter {
        name: "cluster-redirect",
        get: |context| context.settings.redirect().name().into(),
        change: Change::Redirect,
    },
    fixed("cluster-require-full-coverage", |_| "no".into(), NOT_HERE),
    fixed("databases", |_| "1".into(), ONE),
    fixed("dir", |context| context.config.data.display().to_string(), FILE),
    fixed("io-threads", |context| context.config.workers.to_string(), FILE),
    fixed("loglevel", |context| context.config.log.clone(), FILE),
    Parameter {
        name: "maxclients",
        get: |context| context.settings.max_clients.get().to_string(),
        change: Change::Number {
            setting: |settings| &settings.max_clients,
            low: 1,
            high: 1_000_000,
            scale: 1,
        },
    },
    fixed("maxmemory", |_| "0".into(), NO_EVICTION),
    fixed("maxmemory-policy", |_| "noeviction".into(), NO_EVICTION),
    fixed("notify-keyspace-events", |_| String::new(), NOT_HERE),
    fixed("port", |context| context.config.listen_client.port.to_string(), FILE),
    Parameter {
        name: "proto-max-bulk-len",
        get: |context| context.settings.bulk_bytes.get().to_string(),
        change: Change::Bytes { setting: |settings| &settings.bulk_bytes, low: 1 << 10, high: 512 << 20 },
    },
    fixed("replica-read-only", |_| "yes".into(), NOT_HERE),
    Parameter {
        name: "request-timeout",
        get: |context| context.settings.request_timeout_ms.get().to_string(),
        change: Change::Number {
            setting: |settings| &settings.request_timeout_ms,
            low: 10,
            high: 600_000,
            scale: 1,
        },
    },
    Parameter {
        name: "requirepass",
        get: |context| context.settings.password().unwrap_or_default(),
        change: Change::Password,
    },
    fixed("save", |_| String::new(), DURABLE),
    fixed("slowlog-log-slower-than", |_| "-1".into(), NOT_HERE),
    fixed("slowlog-max-len", |_| "0".into(), NOT_HERE),
    Parameter {
        name: "timeout",
        get: |context| (context.settings.idle_timeout_ms.get() / 1000).to_string(),
        change: Change::Number {
            setting: |settings| &settings.idle_timeout_ms,
            low: 0,
            high: 1 << 31,
            scale: 1000,
        },
    },
];

pub(super) const CONFIG: Container = Container {
    name: "config",
    subcommands: &[
        Subcommand {
            name: "get",
            arity: -3,
            usage: "GET <pattern>",
            about: "Return parameters matching the glob-like <pattern> and their values.",
            run: get,
        },
        Subcommand {
            name: "resetstat",
            arity: 2,
            usage: "RESETSTAT",
            about: "Reset statistics reported by the INFO command.",
            run: resetstat,
        },
        Subcommand {
            name: "set",
            arity: -4,
            usage: "SET <directive> <value>",
            about: "Set the configuration <directive> to <value>, until the node stops.",
            run: set,
        },
    ],
    absent: &[("rewrite", "change the configuration file, which CONFIG SET leaves alone")],
};

pub(super) fn config(call: &mut Call<'_>) -> Action {
    CONFIG.run(call)
}

fn ms(duration: std::time::Duration) -> String {
    duration.as_millis().to_string()
}

fn get(call: &mut Call<'_>) -> Action {
    let patterns: Vec<Vec<u8>> =
        call.arguments[2..].iter().map(|pattern| pattern.to_ascii_lowercase()).collect();
    let asked =
        |parameter: &&Parameter| patterns.iter().any(|pattern| matches(pattern, parameter.name.as_bytes()));
    let found = PARAMETERS.iter().filter(asked);
    Value::Map(found.map(|found| (bulk(found.name), bulk((found.get)(call.context)))).collect()).into()
}

fn resetstat(call: &mut Call<'_>) -> Action {
    call.context.stats.reset();
    Value::OK.into()
}

fn set(call: &mut Call<'_>) -> Action {
    set_checked(call).into()
}

/// All parameters are checked before the first is changed.
fn set_checked(call: &Call<'_>) -> Result<Value, Value> {
    let pairs = call.arguments[2..].chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(wrong_arity("config|set"));
    }
    let mut changes = Vec::new();
    for pair in pairs {
        let parameter = find(&pair[0])?;
        let failed = |why: &str| failure(parameter.name, why);
        if changes.iter().any(|(seen, _): &(&Parameter, _)| seen.name == parameter.name) {
            return Err(failed("duplicate parameter"));
        }
        let value = std::str::from_utf8(&pair[1]).map_err(|_| failed("argument is not text"))?;
        changes.push((parameter, parameter.check(value, call.context).map_err(|why| failed(&why))?));
    }
    for (parameter, value) in changes {
        parameter.apply(value, call.context);
    }
    Ok(Value::OK)
}

fn find(name: &[u8]) -> Result<&'static Parameter, Value> {
    let found = PARAMETERS.iter().find(|parameter| name.eq_ignore_ascii_case(parameter.name.as_bytes()));
    found.ok_or_else(|| {
        error(format!("ERR Unknown option or number of arguments for CONFIG SET - '{}'", lossy(name)))
    })
}

fn failure(name: &str, why: &str) -> Value {
    error(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}"))
}

/// A value that has been checked.
enum Checked {
    Same,
    Number(u64),
    Password(Option<String>),
    Redirect(Redirect),
}

impl Parameter {
    fn check(&self, value: &str, context: &Context) -> Result<Checked, String> {
        let between = |number: u64, low: u64, high: u64| {
            let inside = (low..=high).contains(&number);
            inside
                .then_some(number)
                .ok_or_else(|| format!("argument must be between {low} and {high} inclusive"))
        };
        match &self.change {
            Change::Never(_) if value == (self.get)(context) => Ok(Checked::Same),
            Change::Never(why) => Err(format!("can't set immutable config: {why}")),
            Change::Number { low, high, scale, .. } => {
                let number = value.parse().map_err(|_| "argument couldn't be parsed into an integer")?;
                Ok(Checked::Number(between(number, *low, *high)? * scale))
            }
            Change::Bytes { low, high, .. } => {
                let bytes = parse_bytes(value).ok_or("argument must be a memory value")?;
                Ok(Checked::Number(between(bytes, *low, *high)?))
            }
            Change::OutputBuffer => output_buffer(value),
            Change::Redirect => Ok(Checked::Redirect(
                Redirect::parse(value)
                    .ok_or("argument(s) must be one of the following: never, aware, always")?,
            )),
            Change::Password if context.users.governs_default() => {
                Err("the user 'default' is one of ACL SETUSER, and so is its password".into())
            }
            Change::Password => Ok(Checked::Password((!value.is_empty()).then(|| value.to_string()))),
        }
    }

    fn apply(&self, value: Checked, context: &Context) {
        let settings = &context.settings;
        match (value, &self.change) {
            (Checked::Number(number), Change::Number { setting, .. } | Change::Bytes { setting, .. }) => {
                setting(settings).set(number);
            }
            (Checked::Number(number), _) => settings.output_buffer_bytes.set(number),
            (Checked::Password(password), _) => {
                context.users.set_password(password.as_deref());
                settings.set_password(password);
            }
            (Checked::Redirect(redirect), _) => settings.set_redirect(redirect),
            (Checked::Same, _) => {}
        }
    }
}

/// Groups of `class hard soft seconds`. Classes other than `normal` are accepted and have no clients.
fn output_buffer(value: &str) -> Result<Checked, String> {
    let words: Vec<&str> = value.split_whitespace().collect();
    let groups = words.chunks_exact(4);
    if words.is_empty() || !groups.remainder().is_empty() {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    let mut normal = Checked::Same;
    for group in groups {
        if !["normal", "slave", "replica", "pubsub"].contains(&group[0].to_ascii_lowercase().as_str()) {
            return Err("Invalid client class specified in buffer limit configuration.".into());
        }
        let hard = parse_bytes(group[1])
            .filter(|_| parse_bytes(group[2]).is_some() && group[3].parse::<u64>().is_ok())
            .ok_or("Error in hard, soft or soft_seconds setting in buffer limit configuration.")?;
        if group[0].eq_ignore_ascii_case("normal") {
            // Zero means without bound in Redis. Here buffers are bounded; this is as good as none.
            normal = Checked::Number(if hard == 0 { u64::MAX >> 1 } else { hard });
        }
    }
    Ok(normal)
}
