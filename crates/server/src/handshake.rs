//! What two nodes say to one another before anything else, so that only nodes of one cluster, which understand each
//! other and are who they say, exchange messages.
//!
//! ```text
//! dialer                                   acceptor
//!   Hello(who, nonce)            ->          checks
//!          checks                <-        Welcome(who, nonce, proof over both hellos)
//!   Proof(over both hellos)      ->          checks
//!                                <-        Accepted
//! ```
//! Either side may say `Refused` with its reason instead, so that both can log it. A node that is about to be rebuilt
//! says `Ask` and is told the roster. Proofs are HMAC-SHA256 with the shared `peer_secret`; without a secret they are
//! empty. The beginning of every frame (magic, versions) is the same in all versions of the protocol.

use std::fmt;
use std::io;

use bytes::{BufMut, BytesMut};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::identity::Identity;
use crate::node::Node;
use crate::random;
use crate::roster::{Content, Stranger};

const MAGIC: &[u8; 8] = b"consort\0";
/// The versions of the peer protocol that this program speaks.
const VERSIONS: (u16, u16) = (1, 1);
const FRAME_BYTES: usize = 64 << 10;

/// Who somebody is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The content of the sender's `node.toml`.
    pub identity: Identity,
    /// Copies of a partition, as the sender is configured.
    pub replication_factor: u32,
    /// Drawn anew at each start of the sender.
    pub incarnation: u64,
    /// Drawn anew for each connection.
    pub nonce: [u8; 32],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Frame {
    Hello(Hello),
    Welcome(Hello, Vec<u8>),
    Proof(Vec<u8>),
    Accepted,
    Ask { cluster: String, nonce: [u8; 32] },
    Challenge { nonce: [u8; 32] },
    Roster(Content),
    Refused { wiped: bool, reason: String },
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The network's doing; worth another try.
    Network(String),
    /// The other side is not one to talk to.
    WeRefused(String),
    /// The other side does not want to talk.
    TheyRefused(String),
    /// The other side knows this node with another disk: this node must not go on.
    WeAreWiped(String),
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejection::Network(text) => f.write_str(text),
            Rejection::WeRefused(text) => write!(f, "refused: {text}"),
            Rejection::TheyRefused(text) | Rejection::WeAreWiped(text) => {
                write!(f, "refused by the peer: {text}")
            }
        }
    }
}

impl From<io::Error> for Rejection {
    fn from(error: io::Error) -> Rejection {
        Rejection::Network(error.to_string())
    }
}

/// What this node says of itself.
fn hello(node: &Node) -> Hello {
    let mut nonce = [0; 32];
    random::fill(&mut nonce);
    Hello {
        identity: node.identity.clone(),
        replication_factor: node.context.config.replication_factor as u32,
        incarnation: node.context.incarnation,
        nonce,
    }
}

/// Introduces this node to the node named `expected`, at the other end of `stream`. Returns who that is.
///
/// # Errors
/// See [`Rejection`].
pub async fn dial(stream: &mut TcpStream, node: &Node, expected: &str) -> Result<Hello, Rejection> {
    let ours = hello(node);
    write(stream, &Frame::Hello(ours.clone())).await?;
    let (theirs, proof) = match read(stream).await? {
        Frame::Welcome(theirs, proof) => (theirs, proof),
        other => return Err(unexpected(other)),
    };
    let secret = node.context.config.peer_secret.as_deref();
    let transcript = transcript(&ours, &theirs);
    let checked = check_proof(secret, Side::Acceptor, &transcript, &proof)
        .and_then(|()| check_name(&theirs, expected))
        .and_then(|()| check(node, &theirs));
    if let Err(refusal) = checked {
        return Err(refuse(stream, refusal).await);
    }
    write(stream, &Frame::Proof(make_proof(secret, Side::Dialer, &transcript))).await?;
    match read(stream).await? {
        Frame::Accepted => Ok(theirs),
        other => Err(unexpected(other)),
    }
}

/// Takes a dialer's introduction. `None`: it only asked for the roster.
///
/// # Errors
/// See [`Rejection`].
pub async fn accept(stream: &mut TcpStream, node: &Node) -> Result<Option<Hello>, Rejection> {
    let secret = node.context.config.peer_secret.as_deref();
    let theirs = match read(stream).await? {
        Frame::Hello(theirs) => theirs,
        Frame::Ask { cluster, nonce } => return answer(stream, node, secret, &cluster, nonce).await,
        other => return Err(unexpected(other)),
    };
    let ours = hello(node);
    let transcript = transcript(&theirs, &ours);
    let proof = make_proof(secret, Side::Acceptor, &transcript);
    write(stream, &Frame::Welcome(ours, proof)).await?;
    let proof = match read(stream).await? {
        Frame::Proof(proof) => proof,
        other => return Err(unexpected(other)),
    };
    let checked = check_proof(secret, Side::Dialer, &transcript, &proof).and_then(|()| check(node, &theirs));
    if let Err(refusal) = checked {
        return Err(refuse(stream, refusal).await);
    }
    write(stream, &Frame::Accepted).await?;
    Ok(Some(theirs))
}

/// Asks the node at the other end of `stream` whom it knows, without saying who is asking.
///
/// # Errors
/// See [`Rejection`].
pub async fn ask(stream: &mut TcpStream, cluster: &str, secret: Option<&str>) -> Result<Content, Rejection> {
    let mut nonce = [0; 32];
    random::fill(&mut nonce);
    write(stream, &Frame::Ask { cluster: cluster.to_string(), nonce }).await?;
    let challenge = match read(stream).await? {
        Frame::Challenge { nonce } => nonce,
        other => return Err(unexpected(other)),
    };
    let transcript = [nonce, challenge].concat();
    write(stream, &Frame::Proof(make_proof(secret, Side::Dialer, &transcript))).await?;
    match read(stream).await? {
        Frame::Roster(content) => Ok(content),
        other => Err(unexpected(other)),
    }
}

async fn answer(
    stream: &mut TcpStream,
    node: &Node,
    secret: Option<&str>,
    cluster: &str,
    nonce: [u8; 32],
) -> Result<Option<Hello>, Rejection> {
    let mut challenge = [0; 32];
    random::fill(&mut challenge);
    write(stream, &Frame::Challenge { nonce: challenge }).await?;
    let proof = match read(stream).await? {
        Frame::Proof(proof) => proof,
        other => return Err(unexpected(other)),
    };
    let checked = check_proof(secret, Side::Dialer, &[nonce, challenge].concat(), &proof)
        .and_then(|()| same("cluster", &node.identity.cluster.as_str(), &cluster));
    if let Err(refusal) = checked {
        return Err(refuse(stream, refusal).await);
    }
    let mut content = node.roster.content();
    let identity = &node.identity;
    let known = crate::roster::Known {
        node: identity.node,
        format: identity.format,
        created_ms: identity.created_ms,
    };
    content.nodes.insert(identity.name.clone(), known);
    write(stream, &Frame::Roster(content)).await?;
    Ok(None)
}

struct Refusal {
    wiped: bool,
    reason: String,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Refusal {
        Refusal { wiped: false, reason }
    }
}

async fn refuse(stream: &mut TcpStream, refusal: Refusal) -> Rejection {
    let frame = Frame::Refused { wiped: refusal.wiped, reason: refusal.reason.clone() };
    let _ = write(stream, &frame).await;
    let _ = stream.shutdown().await;
    Rejection::WeRefused(refusal.reason)
}

fn unexpected(frame: Frame) -> Rejection {
    match frame {
        Frame::Refused { wiped: true, reason } => Rejection::WeAreWiped(reason),
        Frame::Refused { wiped: false, reason } => Rejection::TheyRefused(reason),
        _ => Rejection::WeRefused("a handshake frame out of turn".into()),
    }
}

fn check_name(theirs: &Hello, expected: &str) -> Result<(), Refusal> {
    if theirs.identity.name == expected {
        return Ok(());
    }
    let name = &theirs.identity.name;
    Err(format!("the address of node '{expected}' is that of node '{name}'; correct the addresses").into())
}

/// May we talk to them? What is new about them is durable afterwards.
fn check(node: &Node, theirs: &Hello) -> Result<(), Refusal> {
    let (ours, identity) = (&node.identity, &theirs.identity);
    same("cluster", &ours.cluster, &identity.cluster)?;
    same("partitions", &ours.partitions, &identity.partitions)?;
    let factor = node.context.config.replication_factor as u32;
    same("replication_factor", &factor, &theirs.replication_factor)?;
    if identity.name == ours.name || identity.node == ours.node {
        return Err(format!("two nodes say that they are '{}'", identity.name).into());
    }
    match node.roster.meet(identity) {
        Ok(_) => Ok(()),
        Err(Stranger::Wiped(reason) | Stranger::Replaced(reason)) => Err(Refusal { wiped: true, reason }),
        Err(Stranger::Unnamed(reason) | Stranger::Disk(reason)) => Err(reason.into()),
    }
}

fn same<T: PartialEq + fmt::Display>(field: &str, ours: &T, theirs: &T) -> Result<(), Refusal> {
    if ours == theirs {
        return Ok(());
    }
    Err(format!("`{field}` differs: {ours} on one node and {theirs} on the other").into())
}

#[derive(Clone, Copy)]
enum Side {
    Dialer = 1,
    Acceptor = 2,
}

fn transcript(dialer: &Hello, acceptor: &Hello) -> Vec<u8> {
    postcard::to_allocvec(&(dialer, acceptor)).unwrap_or_default()
}

fn keyed(secret: &str, side: Side, transcript: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(&[side as u8]);
    mac.update(transcript);
    Some(mac)
}

fn make_proof(secret: Option<&str>, side: Side, transcript: &[u8]) -> Vec<u8> {
    let mac = secret.and_then(|secret| keyed(secret, side, transcript));
    mac.map(|mac| mac.finalize().into_bytes().to_vec()).unwrap_or_default()
}

fn check_proof(secret: Option<&str>, side: Side, transcript: &[u8], proof: &[u8]) -> Result<(), Refusal> {
    let right = match secret {
        None => proof.is_empty(),
        Some(secret) => keyed(secret, side, transcript).is_some_and(|mac| mac.verify_slice(proof).is_ok()),
    };
    if right { Ok(()) } else { Err("`peer_secret` differs".to_string().into()) }
}

async fn write(stream: &mut TcpStream, frame: &Frame) -> Result<(), Rejection> {
    let body = postcard::to_allocvec(frame).map_err(|error| Rejection::Network(error.to_string()))?;
    let mut bytes = BytesMut::with_capacity(body.len() + 16);
    bytes.put_u32_le((body.len() + 12) as u32);
    bytes.put_slice(MAGIC);
    bytes.put_u16_le(VERSIONS.0);
    bytes.put_u16_le(VERSIONS.1);
    bytes.put_slice(&body);
    Ok(stream.write_all(&bytes).await?)
}

async fn read(stream: &mut TcpStream) -> Result<Frame, Rejection> {
    let length = stream.read_u32_le().await? as usize;
    if !(12..=FRAME_BYTES).contains(&length) {
        return Err(Rejection::WeRefused("this is not a Consort node".into()));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    decode(&bytes).map_err(Rejection::WeRefused)
}

fn decode(bytes: &[u8]) -> Result<Frame, String> {
    let (magic, rest) = bytes.split_at_checked(8).ok_or("a handshake frame is too short")?;
    if magic != MAGIC {
        return Err("this is not a Consort node".into());
    }
    let (versions, body) = rest.split_at_checked(4).ok_or("a handshake frame is too short")?;
    let low = u16::from_le_bytes([versions[0], versions[1]]);
    let high = u16::from_le_bytes([versions[2], versions[3]]);
    if high < VERSIONS.0 || low > VERSIONS.1 {
        return Err(format!(
            "the peer speaks versions {low} to {high} of the protocol, this node {} to {}",
            VERSIONS.0, VERSIONS.1
        ));
    }
    postcard::from_bytes(body).map_err(|_| "a handshake frame is malformed".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(magic: &[u8; 8], versions: (u16, u16), frame: &Frame) -> Vec<u8> {
        let mut bytes = magic.to_vec();
        bytes.extend_from_slice(&versions.0.to_le_bytes());
        bytes.extend_from_slice(&versions.1.to_le_bytes());
        bytes.extend(postcard::to_allocvec(frame).unwrap());
        bytes
    }

    fn frame() -> Frame {
        Frame::Refused { wiped: true, reason: "so it is".into() }
    }

    #[test]
    fn a_frame_is_read_by_every_version_that_shares_one() {
        assert_eq!(decode(&bytes(MAGIC, VERSIONS, &frame())), Ok(frame()));
        assert_eq!(decode(&bytes(MAGIC, (0, 9), &frame())), Ok(frame()), "a peer that speaks more");
        let newer = decode(&bytes(MAGIC, (8, 9), &frame())).unwrap_err();
        assert!(newer.contains("versions 8 to 9"), "{newer}");
        let stranger = decode(&bytes(b"GET / HT", VERSIONS, &frame())).unwrap_err();
        assert!(stranger.contains("not a Consort node"), "{stranger}");
    }

    #[test]
    fn damaged_frames_are_errors() {
        let whole = bytes(MAGIC, VERSIONS, &frame());
        for cut in 0..whole.len() {
            assert!(decode(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for kind in 8..=255 {
            let mut other = whole.clone();
            other[12] = kind;
            assert!(decode(&other).is_err(), "kind {kind}");
        }
    }

    #[test]
    fn a_proof_holds_for_one_secret_one_side_and_one_conversation() {
        let proof = make_proof(Some("secret"), Side::Dialer, b"conversation");
        let check =
            |secret, side, conversation: &[u8]| check_proof(secret, side, conversation, &proof).is_ok();
        assert!(check(Some("secret"), Side::Dialer, b"conversation"));
        assert!(!check(Some("other"), Side::Dialer, b"conversation"));
        assert!(!check(None, Side::Dialer, b"conversation"));
        assert!(!check(Some("secret"), Side::Acceptor, b"conversation"), "a proof cannot be sent back");
        assert!(!check(Some("secret"), Side::Dialer, b"another"), "nor used again");
        assert!(check_proof(Some("secret"), Side::Dialer, b"", b"").is_err());
        assert!(check_proof(None, Side::Dialer, b"", b"").is_ok());
    }
}
