//! Writes what comes from the source, through a connection of a client to this very node: commands take the way that all do, to
//! whichever node leads their keys.
//!
//! Commands go in batches in which no two write the same key, so that those of a batch may be done in any order and one that was refused
//! may be sent again. One whose outcome is not known may be sent again, too: it sets what it sets, or carries a token by which the
//! cluster knows it ([`crate::import`]).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use resp::{Limits, Value, ValueDecoder, encode_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{End, Import};
use crate::acl;
use crate::node::Node;

/// So many commands make a batch.
const COMMANDS: usize = 512;
/// Or so many bytes.
const BYTES: usize = 4 << 20;
/// Room for one read.
const READ_BYTES: usize = 64 << 10;
/// The first and the longest pause before what was refused is sent again.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// See the module.
pub struct Target {
    node: Arc<Node>,
    import: Arc<Import>,
    stream: Option<TcpStream>,
    batch: Vec<Vec<Bytes>>,
    keys: BTreeSet<Bytes>,
    bytes: usize,
}

/// The outcome of a command.
enum Outcome {
    Done,
    /// It is to be sent again.
    Again(String),
    /// It makes no sense here.
    Wrong(String),
}

impl Target {
    pub fn new(node: Arc<Node>, import: Arc<Import>) -> Target {
        Target { node, import, stream: None, batch: Vec::new(), keys: BTreeSet::new(), bytes: 0 }
    }

    /// Adds a command, after all that were added before with one of its keys.
    ///
    /// # Errors
    /// See [`Target::flush`].
    pub async fn write(&mut self, arguments: Vec<Bytes>, keys: &[Bytes]) -> Result<(), End> {
        let is_full = self.batch.len() >= COMMANDS || self.bytes >= BYTES;
        if is_full || keys.iter().any(|key| self.keys.contains(key)) {
            self.flush().await?;
        }
        self.bytes += arguments.iter().map(Bytes::len).sum::<usize>();
        self.keys.extend(keys.iter().cloned());
        self.batch.push(arguments);
        Ok(())
    }

    /// Returns once everything that was added is acknowledged.
    ///
    /// # Errors
    /// A command makes no sense to the cluster; or the import is to stop.
    pub async fn flush(&mut self) -> Result<(), End> {
        let mut rest = std::mem::take(&mut self.batch);
        self.keys.clear();
        self.bytes = 0;
        let mut pause = FIRST_PAUSE;
        while !rest.is_empty() {
            let outcomes = match self.send(&rest).await {
                Ok(outcomes) => outcomes,
                Err(error) => {
                    self.stream = None;
                    rest.iter().map(|_| Outcome::Again(error.clone())).collect()
                }
            };
            let (mut again, mut why) = (Vec::new(), None);
            for (arguments, outcome) in rest.into_iter().zip(outcomes) {
                match outcome {
                    Outcome::Done => {}
                    Outcome::Again(reason) => {
                        why = Some(reason);
                        again.push(arguments);
                    }
                    Outcome::Wrong(reason) => {
                        let name = arguments.iter().find(|word| !word.eq_ignore_ascii_case(b"idempotent"));
                        let name = name.map(|name| name.escape_ascii().to_string()).unwrap_or_default();
                        return Err(End::Failed(format!(
                            "the cluster does not take a command '{name}': {reason}"
                        )));
                    }
                }
            }
            rest = again;
            self.import.update(|progress| progress.waiting.clone_from(&why));
            if why.is_some() {
                if self.import.is_to_stop() {
                    return Err(End::Stopped);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        Ok(())
    }

    async fn send(&mut self, commands: &[Vec<Bytes>]) -> Result<Vec<Outcome>, String> {
        let mut out = BytesMut::new();
        let mut expected = commands.len();
        if self.stream.is_none() {
            let address = &self.node.context.config.myself().client;
            let stream = TcpStream::connect((address.host.as_str(), address.port)).await;
            self.stream = Some(stream.map_err(|error| format!("this node cannot reach itself: {error}"))?);
            encode_request(
                &[b"AUTH".as_slice(), acl::MYSELF, self.node.context.users.own_password()],
                &mut out,
            );
            expected += 1;
        }
        let Some(stream) = &mut self.stream else { return Err("no connection".into()) };
        let skipped = expected - commands.len();
        for command in commands {
            encode_request(command, &mut out);
        }
        // Both at once: the node reads no more while its answers are not taken.
        let (mut reader, mut writer) = stream.split();
        let write = async {
            writer.write_all(&out).await.map_err(|error| format!("this node's connection to itself: {error}"))
        };
        let read = async {
            let (mut decoder, mut buffer) = (ValueDecoder::new(Limits::default()), BytesMut::new());
            let mut replies = Vec::with_capacity(expected);
            while replies.len() < expected {
                match decoder.decode(&mut buffer).map_err(|error| error.to_string())? {
                    Some(reply) => replies.push(reply),
                    None => {
                        buffer.reserve(READ_BYTES);
                        match reader.read_buf(&mut buffer).await {
                            Ok(0) => return Err("this node closed its connection to itself".to_owned()),
                            Ok(_) => {}
                            Err(error) => return Err(format!("this node's connection to itself: {error}")),
                        }
                    }
                }
            }
            Ok(replies)
        };
        let (written, replies) = tokio::join!(write, read);
        written?;
        Ok(replies?.into_iter().skip(skipped).map(outcome_of).collect())
    }
}

fn outcome_of(reply: Value) -> Outcome {
    let Value::Error(text) = reply else { return Outcome::Done };
    let prefix = text.split(' ').next().unwrap_or_default();
    match prefix {
        "UNKNOWN" | "TRYAGAIN" | "CLUSTERDOWN" | "TIMEOUT" | "NOREPLICAS" | "DISKFULL" | "BUSY"
        | "NOAUTH" => Outcome::Again(text.into_owned()),
        _ => Outcome::Wrong(text.into_owned()),
    }
}
