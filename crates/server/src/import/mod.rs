//! `KEYSPACE IMPORT`: takes the keys of a prefix over from a running Redis or Valkey, as a replica of it.
//!
//! The node that is asked follows the source by `PSYNC`: it gets a snapshot ([`rdb`]), then every command that the source carries out,
//! and does the same to the cluster ([`target`]). What it tells the source to have is what the cluster has acknowledged, so `WAIT 1 0` at
//! the source returns once everything written there before is here. Cut-over is: stop writing there, `WAIT`, `KEYSPACE IMPORT <prefix>
//! STOP`, write here.
//!
//! - Only keys with the prefix are taken, of one database. A key of a type that there is not ends the import, unless those
//!   are to be left out. So does what cannot be followed: the source is flushed, a command has keys with and without the prefix.
//! - `MULTI ... EXEC` is taken apart: the keys may be in several partitions.
//! - Commands that do not set but change a value carry a token, so that they are done once ([`target`]).
//! - An import lives in the memory of its node. If that restarts, it has to be begun anew, with an empty keyspace: what was deleted
//!   at the source meanwhile is not known. A connection that breaks is made again, and goes on if the source still knows what was
//!   missed.

mod packed;
mod rdb;
mod target;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use data::Command;
use data::command::Kind;
use resp::{Limits, RequestDecoder, Value, encode_request};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;

use crate::clock::{monotonic_ms, wall_clock_ms};
use crate::node::Node;
use crate::random;
use rdb::Item;
use target::Target;

/// How long after a connection broke the next is tried.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
/// How often the source is told how far this is.
const TELL_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is looked whether to stop.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Room for one read.
const READ_BYTES: usize = 64 << 10;
/// A source that says nothing for so long is gone (Redis pings its replicas every 10 s).
const SILENCE: Duration = Duration::from_secs(60);
/// The longest line of a handshake.
const LINE_BYTES: u64 = 64 << 10;

/// What `redis://[user[:password]@]host[:port][/database]` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    host: String,
    port: u16,
    credentials: Option<(String, String)>,
    database: u64,
}

impl Source {
    /// Reads such a text.
    ///
    /// # Errors
    /// It is not one.
    pub fn parse(text: &str) -> Result<Source, String> {
        let wrong = || "the source is redis://[user:password@]host[:port][/database]".to_owned();
        let rest = text.strip_prefix("redis://").ok_or_else(wrong)?;
        let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
        let database = if database.is_empty() { 0 } else { database.parse().map_err(|_| wrong())? };
        let (credentials, address) = match place.rsplit_once('@') {
            Some((credentials, address)) => {
                let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
                (Some((user.to_owned(), password.to_owned())), address)
            }
            None => (None, place),
        };
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
            None => (address, 6379),
        };
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Source { host: host.trim_matches(['[', ']']).to_owned(), port, credentials, database })
    }

    /// The same without its password.
    pub fn shown(&self) -> String {
        format!("redis://{}:{}/{}", self.host, self.port, self.database)
    }
}

/// How far an import is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// The source is to be reached.
    #[default]
    Connecting,
    /// Its snapshot comes in.
    Loading,
    /// What it does is done here, too.
    Following,
    /// It was told to stop.
    Stopped,
    /// It cannot go on.
    Failed,
}

/// What an import has done.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    phase: Phase,
    keys: u64,
    other_keys: u64,
    other_types: u64,
    commands: u64,
    other_commands: u64,
    /// The source's replication offset, as far as it was read, and as far as the cluster has acknowledged it.
    read: u64,
    applied: u64,
    heard_ms: u64,
    /// Why it does not get on just now; why it ended.
    waiting: Option<String>,
    failure: Option<String>,
}

/// An import, running or over.
#[derive(Debug)]
pub struct Import {
    prefix: Bytes,
    source: Source,
    leaves_out: bool,
    /// Names it in tokens.
    number: u64,
    to_stop: AtomicBool,
    stop: Notify,
    progress: Mutex<Progress>,
}

impl PartialEq for Import {
    fn eq(&self, other: &Import) -> bool {
        self.number == other.number
    }
}

/// The imports of a node, by prefix.
#[derive(Debug, Default)]
pub struct Imports(Mutex<BTreeMap<Bytes, Arc<Import>>>);

impl Imports {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Bytes, Arc<Import>>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The one of a prefix.
    pub fn get(&self, prefix: &[u8]) -> Option<Arc<Import>> {
        self.lock().get(prefix).cloned()
    }

    /// A new one, to be [run](run). `leaves_out`: keys of types that there are not are left out.
    ///
    /// # Errors
    /// There is one.
    pub fn begin(&self, prefix: Bytes, source: Source, leaves_out: bool) -> Result<Arc<Import>, String> {
        let mut imports = self.lock();
        if imports.get(&prefix).is_some_and(|import| !import.is_over()) {
            return Err("an import of this keyspace is under way on this node; STOP ends it".into());
        }
        let import = Arc::new(Import {
            prefix: prefix.clone(),
            source,
            leaves_out,
            number: random::number(),
            to_stop: AtomicBool::new(false),
            stop: Notify::new(),
            progress: Mutex::default(),
        });
        imports.insert(prefix, import.clone());
        Ok(import)
    }
}

impl Import {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn update(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.lock());
    }

    /// Has it ended?
    pub fn is_over(&self) -> bool {
        matches!(self.lock().phase, Phase::Stopped | Phase::Failed)
    }

    fn is_to_stop(&self) -> bool {
        self.to_stop.load(Ordering::Acquire)
    }

    /// Ends it, once what was read is done.
    pub fn stop(&self) {
        self.to_stop.store(true, Ordering::Release);
        self.stop.notify_one();
    }

    /// For `KEYSPACE IMPORT <prefix>`.
    pub fn status(&self) -> Value {
        let progress = self.lock().clone();
        let text = |text: &str| Value::bulk(text.to_owned());
        let number = |number: u64| Value::Integer(number as i64);
        let phase = match progress.phase {
            Phase::Connecting => "connecting",
            Phase::Loading => "loading",
            Phase::Following => "following",
            Phase::Stopped => "stopped",
            Phase::Failed => "failed",
        };
        let silent_ms = monotonic_ms().saturating_sub(progress.heard_ms);
        let fields = [
            ("source", text(&self.source.shown())),
            ("phase", text(phase)),
            ("keys_loaded", number(progress.keys)),
            ("keys_elsewhere", number(progress.other_keys)),
            ("keys_left_out", number(progress.other_types)),
            ("commands_done", number(progress.commands)),
            ("commands_elsewhere", number(progress.other_commands)),
            ("offset_read", number(progress.read)),
            ("offset_done", number(progress.applied)),
            ("silent_ms", number(if progress.heard_ms == 0 { 0 } else { silent_ms })),
            ("waiting_for", text(progress.waiting.as_deref().unwrap_or_default())),
            ("error", text(progress.failure.as_deref().unwrap_or_default())),
        ];
        Value::Map(fields.into_iter().map(|(name, value)| (text(name), value)).collect())
    }
}

/// Why following a source ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The connection, which is to be made again.
    Broken(String),
    /// It was told to stop.
    Stopped,
    /// It makes no sense to go on.
    Failed(String),
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> End {
        End::Broken(format!("the connection to the source: {error}"))
    }
}

impl From<rdb::Error> for End {
    fn from(error: rdb::Error) -> End {
        match error {
            rdb::Error::Broken(error) => error.into(),
            rdb::Error::Malformed(text) => End::Failed(format!("the source's snapshot: {text}")),
        }
    }
}

/// Where the source's stream was left: its name, the offset behind the last command, and the database that was chosen.
struct Position {
    history: String,
    offset: u64,
    database: u64,
}

/// Runs an import to its end.
pub async fn run(node: Arc<Node>, import: Arc<Import>) {
    let mut target = Target::new(node, import.clone());
    let mut position = None;
    loop {
        let end = tokio::select! {
            biased;
            end = follow(&import, &mut target, &mut position) => end.err().unwrap_or(End::Stopped),
            () = stopped_early(&import) => End::Stopped,
        };
        let (phase, failure) = match end {
            End::Broken(reason) if !import.is_to_stop() => {
                tracing::warn!(source = import.source.shown(), reason, "an import lost its source for now");
                import.update(|progress| progress.waiting = Some(reason));
                tokio::time::sleep(RECONNECT_PAUSE).await;
                continue;
            }
            End::Broken(_) | End::Stopped => (Phase::Stopped, None),
            End::Failed(reason) => (Phase::Failed, Some(reason)),
        };
        match &failure {
            Some(reason) => tracing::error!(source = import.source.shown(), reason, "an import failed"),
            None => tracing::info!(source = import.source.shown(), "an import was stopped"),
        }
        import.update(|progress| {
            progress.phase = phase;
            progress.failure = failure;
            progress.waiting = None;
        });
        return;
    }
}

/// A stop takes effect at once, unless commands were read that are to be done first.
async fn stopped_early(import: &Import) {
    loop {
        import.stop.notified().await;
        if matches!(import.lock().phase, Phase::Connecting | Phase::Loading) {
            return;
        }
    }
}

/// Follows the source on one connection.
async fn follow(
    import: &Arc<Import>,
    target: &mut Target,
    position: &mut Option<Position>,
) -> Result<(), End> {
    import.update(|progress| progress.phase = Phase::Connecting);
    let stream = TcpStream::connect((import.source.host.as_str(), import.source.port)).await?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::with_capacity(256 << 10, reader);
    let mut ask = async |words: &[&str]| -> Result<String, End> {
        let mut out = BytesMut::new();
        encode_request(words, &mut out);
        writer.write_all(&out).await?;
        line(&mut reader).await
    };
    if let Some((user, password)) = &import.source.credentials {
        let answer = match (user.as_str(), password.as_str()) {
            (password, "") | ("", password) => ask(&["AUTH", password]).await?,
            (user, password) => ask(&["AUTH", user, password]).await?,
        };
        if !answer.starts_with('+') {
            return Err(End::Failed(format!("the source does not let this node in: {answer}")));
        }
    }
    // That it can follow a change of the source's history; not that it understands a snapshot without a length.
    ask(&["REPLCONF", "capa", "psync2"]).await?;
    let answer = match &position {
        Some(known) => ask(&["PSYNC", &known.history, &(known.offset + 1).to_string()]).await?,
        None => ask(&["PSYNC", "?", "-1"]).await?,
    };
    let words: Vec<&str> = answer.split_whitespace().collect();
    match (words.as_slice(), &mut *position) {
        (["+CONTINUE", rest @ ..], Some(known)) => {
            if let [history, ..] = rest {
                known.history = (*history).to_owned();
            }
        }
        (["+FULLRESYNC", ..], Some(known)) => {
            return Err(End::Failed(format!(
                "the source does not know any more what it did since its offset {}; what was deleted there meanwhile would stay here, \
                 so empty the keyspace and begin again",
                known.offset
            )));
        }
        (["+FULLRESYNC", history, offset], None) => {
            let offset = offset.parse().map_err(|_| End::Failed(format!("the source answers '{answer}'")))?;
            let history = (*history).to_owned();
            load(import, target, &mut reader, &mut writer).await?;
            *position = Some(Position { history, offset, database: u64::MAX });
        }
        // It is itself a replica without a source, or loads its data, or must not be asked by a replica now.
        ([first, ..], _)
            if first.starts_with("-LOADING") || first.starts_with("-NOMASTERLINK") || *first == "-BUSY" =>
        {
            return Err(End::Broken(answer));
        }
        _ => return Err(End::Failed(format!("the source cannot be followed: it answers '{answer}'"))),
    }
    let Some(position) = position else { return Err(End::Failed("no position".into())) };
    import.update(|progress| {
        (progress.phase, progress.read, progress.applied) =
            (Phase::Following, position.offset, position.offset);
        progress.waiting = None;
    });
    keep_up(import, target, reader, writer, position).await
}

/// A line of the handshake, without its end. Empty lines are signs of life.
async fn line(reader: &mut BufReader<OwnedReadHalf>) -> Result<String, End> {
    loop {
        let mut bytes = Vec::new();
        let mut limited = (&mut *reader).take(LINE_BYTES);
        match tokio::time::timeout(SILENCE, limited.read_until(b'\n', &mut bytes)).await {
            Ok(Ok(0)) => return Err(End::Broken("the source closed the connection".into())),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(End::Broken("the source is silent".into())),
        }
        let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        if !text.is_empty() {
            return Ok(text);
        }
    }
}

/// Collections of a snapshot that are to be written: for each key some commands, one after another. The first ones of all go together,
/// then the second ones, since no batch has two of one key.
#[derive(Default)]
struct Collections {
    waiting: Vec<(Bytes, VecDeque<Vec<Bytes>>)>,
    bytes: usize,
    lists: u64,
}

/// A command of a collection has no more parts, nor about as many bytes.
const PARTS: usize = 1000;
const COMMAND_BYTES: usize = 1 << 20;
/// So many collections are written together.
const COLLECTIONS: usize = 512;
/// Or so many bytes.
const COLLECTION_BYTES: usize = 4 << 20;

/// Parts for one command each; an even number, so that pairs stay together.
fn pieces(mut parts: &[Bytes]) -> Vec<&[Bytes]> {
    let mut pieces = Vec::new();
    while !parts.is_empty() {
        let (mut count, mut bytes) = (0, 0);
        while count < parts.len() && count < PARTS && bytes < COMMAND_BYTES {
            bytes += parts[count..parts.len().min(count + 2)].iter().map(Bytes::len).sum::<usize>();
            count += 2;
        }
        let (piece, rest) = parts.split_at(count.min(parts.len()));
        pieces.push(piece);
        parts = rest;
    }
    pieces
}

impl Collections {
    fn add(&mut self, import: &Import, key: Bytes, kind: data::Kind, parts: Vec<Bytes>, at_ms: Option<u64>) {
        let word = |word: &'static str| Bytes::from_static(word.as_bytes());
        let mut commands = VecDeque::from([vec![word("DEL"), key.clone()]]);
        for parts in pieces(&parts) {
            self.bytes += parts.iter().map(Bytes::len).sum::<usize>();
            let pairs = || parts.chunks_exact(2).flat_map(|pair| [pair[1].clone(), pair[0].clone()]);
            let mut command = match kind {
                data::Kind::Hash => vec![word("HSET"), key.clone()],
                data::Kind::Set => vec![word("SADD"), key.clone()],
                data::Kind::SortedSet => vec![word("ZADD"), key.clone()],
                data::Kind::List => {
                    // What is pushed twice is there twice, so each push has a name.
                    self.lists += 1;
                    let token = Bytes::from(format!("{:016x}-l{}", import.number, self.lists));
                    vec![word("IDEMPOTENT"), token, word("RPUSH"), key.clone()]
                }
            };
            match kind {
                data::Kind::SortedSet => command.extend(pairs()),
                _ => command.extend_from_slice(parts),
            }
            commands.push_back(command);
        }
        if let Some(at_ms) = at_ms {
            commands.push_back(vec![word("PEXPIREAT"), key.clone(), Bytes::from(at_ms.to_string())]);
        }
        self.waiting.push((key, commands));
    }

    fn is_full(&self) -> bool {
        self.waiting.len() >= COLLECTIONS || self.bytes >= COLLECTION_BYTES
    }

    async fn write(&mut self, target: &mut Target) -> Result<(), End> {
        self.bytes = 0;
        while !self.waiting.is_empty() {
            for (key, commands) in &mut self.waiting {
                if let Some(command) = commands.pop_front() {
                    target.write(command, std::slice::from_ref(key)).await?;
                }
            }
            self.waiting.retain(|(_, commands)| !commands.is_empty());
        }
        Ok(())
    }
}

/// Takes the source's snapshot.
async fn load(
    import: &Import,
    target: &mut Target,
    reader: &mut BufReader<OwnedReadHalf>,
    writer: &mut OwnedWriteHalf,
) -> Result<(), End> {
    let header = line(reader).await?;
    let length = header.strip_prefix('$').and_then(|length| length.parse::<u64>().ok());
    let length =
        length.ok_or_else(|| End::Failed(format!("no snapshot of a length that is known: '{header}'")))?;
    import.update(|progress| progress.phase = Phase::Loading);
    let mut snapshot = reader.take(length);
    let mut items = rdb::Reader::begin(&mut snapshot).await?;
    let (mut database, mut told_ms) = (0, monotonic_ms());
    let mut collections = Collections::default();
    while let Some(item) = items.next().await? {
        if monotonic_ms().saturating_sub(told_ms) > TELL_INTERVAL.as_millis() as u64 {
            // As a replica does while it loads, so that the source does not take it for dead.
            writer.write_all(b"\n").await?;
            told_ms = monotonic_ms();
            import.update(|progress| progress.heard_ms = told_ms);
        }
        match item {
            Item::Database(number) => database = number,
            Item::String { key, .. } | Item::Collection { key, .. } | Item::Other { key, .. }
                if database != import.source.database || !key.starts_with(&import.prefix) =>
            {
                import.update(|progress| progress.other_keys += 1);
            }
            Item::Other { key, kind } => other_type(import, &key, kind)?,
            Item::String { expires_at_ms: Some(at), .. }
            | Item::Collection { expires_at_ms: Some(at), .. }
                if at <= wall_clock_ms() => {}
            Item::Collection { key, kind, parts, expires_at_ms } => {
                collections.add(import, key, kind, parts, expires_at_ms);
                if collections.is_full() {
                    collections.write(target).await?;
                }
                import.update(|progress| progress.keys += 1);
            }
            Item::String { key, value, expires_at_ms } => {
                let mut command = vec![Bytes::from_static(b"SET"), key.clone(), value];
                if let Some(at) = expires_at_ms {
                    command.extend([Bytes::from_static(b"PXAT"), Bytes::from(at.to_string())]);
                }
                target.write(command, &[key]).await?;
                import.update(|progress| progress.keys += 1);
            }
        }
    }
    collections.write(target).await?;
    target.flush().await
}

fn other_type(import: &Import, key: &[u8], kind: &str) -> Result<(), End> {
    if import.leaves_out {
        import.update(|progress| progress.other_types += 1);
        return Ok(());
    }
    let key = key.escape_ascii();
    Err(End::Failed(format!(
        "the key '{key}' holds {kind}, which cannot be taken (SKIP-OTHER-TYPES leaves such keys out)"
    )))
}

/// Does what the source does.
async fn keep_up(
    import: &Import,
    target: &mut Target,
    mut reader: BufReader<OwnedReadHalf>,
    mut writer: OwnedWriteHalf,
    position: &mut Position,
) -> Result<(), End> {
    let mut decoder = RequestDecoder::new(Limits::default());
    decoder.set_authenticated(true);
    let (mut buffer, mut read) = (BytesMut::new(), position.offset);
    let (mut heard_ms, mut told_ms) = (monotonic_ms(), 0);
    loop {
        buffer.reserve(READ_BYTES);
        // Nothing is lost of a read that is given up.
        match tokio::time::timeout(LOOK_INTERVAL, reader.read_buf(&mut buffer)).await {
            Ok(Ok(0)) => return Err(End::Broken("the source closed the connection".into())),
            Ok(more) => {
                read += more? as u64;
                heard_ms = monotonic_ms();
            }
            Err(_) => {}
        }
        let mut done = position.offset;
        while let Some(arguments) =
            decoder.decode(&mut buffer).map_err(|error| End::Failed(format!("the source: {error}")))?
        {
            done = read - buffer.len() as u64;
            // The offset behind a command is its own, on whatever connection it comes.
            let token = format!("{:016x}-{done}", import.number);
            if let Some((command, keys)) = translate(import, position, arguments, token)? {
                target.write(command, &keys).await?;
                import.update(|progress| progress.commands += 1);
            }
        }
        target.flush().await?;
        let has_news = done > position.offset;
        position.offset = done;
        import.update(|progress| {
            (progress.read, progress.applied, progress.heard_ms) = (read, position.offset, heard_ms);
        });
        if has_news || monotonic_ms().saturating_sub(told_ms) >= TELL_INTERVAL.as_millis() as u64 {
            told_ms = monotonic_ms();
            let mut out = BytesMut::new();
            encode_request(&["REPLCONF", "ACK", &position.offset.to_string()], &mut out);
            writer.write_all(&out).await?;
        }
        if import.is_to_stop() {
            return Err(End::Stopped);
        }
        if monotonic_ms().saturating_sub(heard_ms) > SILENCE.as_millis() as u64 {
            return Err(End::Broken("the source is silent".into()));
        }
    }
}

/// Commands that make a value what it is to be, whatever it was.
const SETTING: [&str; 14] = [
    "set",
    "mset",
    "setex",
    "psetex",
    "del",
    "unlink",
    "pexpireat",
    "persist",
    "hset",
    "hmset",
    "hdel",
    "sadd",
    "srem",
    "zrem",
];

/// What is to be done here, and to which keys; `None`: nothing.
fn translate(
    import: &Import,
    position: &mut Position,
    mut arguments: Vec<Bytes>,
    token: String,
) -> Result<Option<(Vec<Bytes>, Vec<Bytes>)>, End> {
    let Some(name) = arguments.first() else { return Ok(None) };
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let shown = name.to_ascii_uppercase();
    match name.as_str() {
        "select" => {
            let number = arguments.get(1).and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
            position.database = number.ok_or_else(|| End::Failed("a SELECT without a number".into()))?;
            return Ok(None);
        }
        "ping" | "replconf" | "multi" | "exec" | "publish" | "spublish" | "script" | "function" => {
            return Ok(None);
        }
        "flushall" | "swapdb" => {
            return Err(End::Failed(format!("the source was told to {shown}, which cannot be followed")));
        }
        _ => {}
    }
    if position.database != import.source.database {
        import.update(|progress| progress.other_commands += 1);
        return Ok(None);
    }
    if name == "flushdb" {
        return Err(End::Failed(format!("the source was told to {shown}, which cannot be followed")));
    }
    let Some(command) = Command::lookup(name.as_bytes()).filter(|command| command.kind == Kind::Write) else {
        // Of a type that there is not. Most have their key first.
        let key = arguments.get(1).cloned().unwrap_or_default();
        if key.starts_with(&import.prefix) {
            other_type(import, &key, &format!("something that is written by {shown}"))?;
        } else {
            import.update(|progress| progress.other_commands += 1);
        }
        return Ok(None);
    };
    let places = data::route::keys_of(command, &arguments)
        .map_err(|_| End::Failed(format!("a command {shown} of the source has no keys")))?;
    let is_ours = |place: &usize| arguments[*place].starts_with(&import.prefix);
    let ours: Vec<usize> = places.iter().copied().filter(is_ours).collect();
    if ours.is_empty() {
        import.update(|progress| progress.other_commands += 1);
        return Ok(None);
    }
    if ours.len() < places.len() {
        let taken = match name.as_str() {
            "del" | "unlink" => 1,
            "mset" => 2,
            _ => {
                let text = format!(
                    "a command {shown} of the source has keys with the prefix and without, which cannot be followed"
                );
                return Err(End::Failed(text));
            }
        };
        let parts = ours.iter().flat_map(|&place| arguments[place..place + taken].iter().cloned());
        arguments = std::iter::once(arguments[0].clone()).chain(parts).collect();
    }
    let places = data::route::keys_of(command, &arguments).unwrap_or_default();
    let keys: Vec<Bytes> = places.iter().map(|&place| arguments[place].clone()).collect();
    if !SETTING.contains(&name.as_str()) {
        let head = [Bytes::from_static(b"IDEMPOTENT"), Bytes::from(token)];
        arguments = head.into_iter().chain(arguments).collect();
    }
    Ok(Some((arguments, keys)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_from_its_address() {
        let source = Source::parse("redis://host").unwrap();
        assert_eq!((source.host.as_str(), source.port, source.database), ("host", 6379, 0));
        let source = Source::parse("redis://u:p@w@[::1]:7000/3").unwrap();
        assert_eq!(source.credentials, Some(("u".into(), "p@w".into())));
        assert_eq!((source.host.as_str(), source.port, source.database), ("::1", 7000, 3));
        assert_eq!(source.shown(), "redis://::1:7000/3");
        for wrong in ["host", "redis://", "redis://:1", "redis://h:x", "redis://h/x", "rediss://h"] {
            assert!(Source::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn commands_are_taken_with_the_keys_that_have_the_prefix() {
        let imports = Imports::default();
        let source = Source::parse("redis://h").unwrap();
        let import = imports.begin(Bytes::from_static(b"a:"), source.clone(), false).unwrap();
        assert!(imports.begin(Bytes::from_static(b"a:"), source, false).is_err(), "it is under way");
        let mut position = Position { history: String::new(), offset: 0, database: u64::MAX };
        let mut translated = |text: &str| {
            let words = text.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
            translate(&import, &mut position, words, "t".into()).map(|found| {
                found.map(|(command, keys)| {
                    let words: Vec<_> = command.iter().map(|word| String::from_utf8_lossy(word)).collect();
                    (words.join(" "), keys.len())
                })
            })
        };
        let taken = |text: &str, keys| Some((text.to_owned(), keys));
        assert_eq!(translated("SET a:1 x").unwrap(), None, "no database was chosen");
        assert_eq!(translated("SELECT 0").unwrap(), None);
        for (command, expected) in [
            ("SET a:1 x", taken("SET a:1 x", 1)),
            ("set b:1 x", None),
            ("MULTI", None),
            ("INCR a:1", taken("IDEMPOTENT t INCR a:1", 1)),
            ("DEL a:1 b:1 a:2", taken("DEL a:1 a:2", 2)),
            ("MSET b:1 x a:1 y", taken("MSET a:1 y", 1)),
            ("LPUSH b:l x", None),
            ("LPUSH a:l x", taken("IDEMPOTENT t LPUSH a:l x", 1)),
            ("HSET a:h f v", taken("HSET a:h f v", 1)),
            ("ZUNIONSTORE a:z 2 a:x a:y", taken("IDEMPOTENT t ZUNIONSTORE a:z 2 a:x a:y", 3)),
            ("XADD b:s * f v", None),
            ("REPLCONF GETACK *", None),
        ] {
            assert_eq!(translated(command).unwrap(), expected, "{command}");
        }
        for wrong in [
            "XADD a:s * f v",
            "ZUNIONSTORE a:z 2 a:x b:y",
            "RENAME a:1 b:1",
            "FLUSHALL",
            "FLUSHDB",
            "SELECT x",
        ] {
            assert!(matches!(translated(wrong), Err(End::Failed(_))), "{wrong}");
        }
        assert_eq!(translated("SELECT 1").unwrap(), None);
        assert_eq!(translated("SET a:1 x").unwrap(), None, "another database");
        assert_eq!(translated("FLUSHDB").unwrap(), None);
    }
}
