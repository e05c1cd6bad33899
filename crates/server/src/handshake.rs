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
//! Either side may say `Refused` with its reason instead, so that both can log it. A node that wants to become a member
//! says `Join` instead of `Hello`, proves that it knows the secret, and is told the members once it is one of them. Proofs are HMAC-SHA256 with the shared `peer_secret`; without a secret they are
//! empty. A refusal which says that the other side's disk was wiped ends that process, so it carries a proof of its own;
//! without a secret it is believed only by a dialer, of the address that its configuration gives. The beginning of every frame (length, magic, versions)
//! is the same in all versions of the protocol; a CRC-32 of all but the length ends it, so that damage on the way is no opinion of the peer.

use std::fmt;
use std::io;

use bytes::{BufMut, BytesMut};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::identity::{Identity, Layout};
use crate::node::Node;
use crate::random;
use crate::roster::{Content, Stranger};

const MAGIC: &[u8; 8] = b"consort\0";
/// The versions of the peer protocol that this program speaks.
const VERSIONS: (u16, u16) = (8, 8);
const FRAME_BYTES: usize = 64 << 10;
/// The list of members may be longer; it is taken only from whom this node asked for it.
const JOINED_BYTES: usize = 16 << 20;

/// Who somebody is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The content of the sender's `node.toml`.
    pub identity: Identity,
    /// Drawn anew at each start of the sender.
    pub incarnation: u64,
    /// Drawn anew for each connection.
    pub nonce: [u8; 32],
}

/// Who wants to become a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The name of the cluster.
    pub cluster: String,
    /// Its name.
    pub name: String,
    /// Its id.
    pub node: u64,
    /// What its data folder was formatted with.
    pub format: u64,
    /// Where it takes clients.
    pub client: String,
    /// Where it takes its peers.
    pub peer: String,
    /// Its zone.
    pub zone: String,
    /// Its share.
    pub weight: u32,
    /// It takes the place of the member that has its name, whose disk is gone.
    pub rebuilds: bool,
}

/// What a new member is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// What names the cluster.
    pub layout: Layout,
    /// The members.
    pub members: Content,
}

/// What came of a dialer's introduction.
#[derive(Debug)]
pub enum Introduced {
    /// A member.
    Peer(Box<Hello>),
    /// A node that knows the secret and wants to become a member. To be answered with [`answer_join`].
    Joins(Box<JoinRequest>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Frame {
    Hello(Hello),
    Welcome(Hello, Vec<u8>),
    Proof(Vec<u8>),
    Accepted,
    Join {
        request: Box<JoinRequest>,
        nonce: [u8; 32],
    },
    Challenge {
        nonce: [u8; 32],
    },
    Joined(Box<Joined>),
    /// With `wiped`: the other side's disk was wiped, and this proves who says so.
    Refused {
        wiped: Option<Vec<u8>>,
        reason: String,
    },
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
    Hello { identity: node.identity.clone(), incarnation: node.context.incarnation, nonce }
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
        let proof = make_proof(secret, Side::DialerRefuses, &transcript);
        return Err(refuse(stream, refusal, proof).await);
    }
    write(stream, &Frame::Proof(make_proof(secret, Side::Dialer, &transcript))).await?;
    match read(stream).await? {
        Frame::Accepted => Ok(theirs),
        // We dialed the address that the configuration gives, and whoever is there knows the secret, if there is one.
        other => Err(refused(other, |proof| {
            check_proof(secret, Side::AcceptorRefuses, &transcript, proof).is_ok()
        })),
    }
}

/// Takes a dialer's introduction.
///
/// # Errors
/// See [`Rejection`].
pub async fn accept(stream: &mut TcpStream, node: &Node) -> Result<Introduced, Rejection> {
    let secret = node.context.config.peer_secret.as_deref();
    let theirs = match read(stream).await? {
        Frame::Hello(theirs) => theirs,
        Frame::Join { request, nonce } => return hear_join(stream, node, secret, request, nonce).await,
        other => return Err(unexpected(other)),
    };
    let ours = hello(node);
    let transcript = transcript(&theirs, &ours);
    let proof = make_proof(secret, Side::Acceptor, &transcript);
    write(stream, &Frame::Welcome(ours, proof)).await?;
    let proof = match read(stream).await? {
        Frame::Proof(proof) => proof,
        // Anybody can dial: without a secret there is no telling who refuses us.
        other => {
            return Err(refused(other, |proof| {
                secret.is_some() && check_proof(secret, Side::DialerRefuses, &transcript, proof).is_ok()
            }));
        }
    };
    let checked = check_proof(secret, Side::Dialer, &transcript, &proof).and_then(|()| check(node, &theirs));
    if let Err(refusal) = checked {
        let proof = make_proof(secret, Side::AcceptorRefuses, &transcript);
        return Err(refuse(stream, refusal, proof).await);
    }
    write(stream, &Frame::Accepted).await?;
    Ok(Introduced::Peer(Box::new(theirs)))
}

/// Asks the node at the other end of `stream` to become a member.
///
/// # Errors
/// See [`Rejection`].
pub async fn join(
    stream: &mut TcpStream,
    request: JoinRequest,
    secret: Option<&str>,
) -> Result<Joined, Rejection> {
    let mut nonce = [0; 32];
    random::fill(&mut nonce);
    let asked = postcard::to_allocvec(&request).unwrap_or_default();
    write(stream, &Frame::Join { request: Box::new(request), nonce }).await?;
    let challenge = match read(stream).await? {
        Frame::Challenge { nonce } => nonce,
        other => return Err(unexpected(other)),
    };
    let transcript = [&nonce[..], &challenge, &asked].concat();
    write(stream, &Frame::Proof(make_proof(secret, Side::Dialer, &transcript))).await?;
    match read_up_to(JOINED_BYTES, stream).await? {
        Frame::Joined(joined) => Ok(*joined),
        other => Err(unexpected(other)),
    }
}

async fn hear_join(
    stream: &mut TcpStream,
    node: &Node,
    secret: Option<&str>,
    request: Box<JoinRequest>,
    nonce: [u8; 32],
) -> Result<Introduced, Rejection> {
    let mut challenge = [0; 32];
    random::fill(&mut challenge);
    write(stream, &Frame::Challenge { nonce: challenge }).await?;
    let proof = match read(stream).await? {
        Frame::Proof(proof) => proof,
        other => return Err(unexpected(other)),
    };
    let asked = postcard::to_allocvec(&*request).unwrap_or_default();
    let transcript = [&nonce[..], &challenge, &asked].concat();
    let checked = check_proof(secret, Side::Dialer, &transcript, &proof).and_then(|()| {
        match request.cluster == node.identity.cluster {
            true => Ok(()),
            false => Err(Refusal::from(format!(
                "this is the cluster '{}', not '{}'",
                node.identity.cluster, request.cluster
            ))),
        }
    });
    match checked {
        Ok(()) => Ok(Introduced::Joins(request)),
        Err(refusal) => Err(refuse(stream, refusal, Vec::new()).await),
    }
}

/// Tells a node what came of its wish to become a member.
///
/// # Errors
/// The network's.
pub async fn answer_join(stream: &mut TcpStream, answer: Result<Joined, String>) -> Result<(), Rejection> {
    match answer {
        Ok(joined) => write(stream, &Frame::Joined(Box::new(joined))).await,
        Err(reason) => {
            refuse(stream, Refusal::from(reason), Vec::new()).await;
            Ok(())
        }
    }
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

/// Says why not; `proof` goes with it if it is the other side's disk that was wiped.
async fn refuse(stream: &mut TcpStream, refusal: Refusal, proof: Vec<u8>) -> Rejection {
    let frame = Frame::Refused { wiped: refusal.wiped.then_some(proof), reason: refusal.reason.clone() };
    let _ = write(stream, &frame).await;
    let _ = stream.shutdown().await;
    Rejection::WeRefused(refusal.reason)
}

/// A frame that ends the conversation. This process ends if it is told that its disk was wiped, so that is believed only
/// if `proves` accepts the proof that came with it; else it is a refusal like any other, tried again later.
fn refused(frame: Frame, proves: impl Fn(&[u8]) -> bool) -> Rejection {
    match frame {
        Frame::Refused { wiped: Some(proof), reason } if proves(&proof) => Rejection::WeAreWiped(reason),
        frame => unexpected(frame),
    }
}

/// A frame that ends the conversation before the sender could prove who it is.
fn unexpected(frame: Frame) -> Rejection {
    match frame {
        Frame::Refused { reason, .. } => Rejection::TheyRefused(reason),
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
    ours.layout().same(&identity.layout())?;
    if identity.name == ours.name || identity.node == ours.node {
        return Err(format!("two nodes say that they are '{}'", identity.name).into());
    }
    match node.roster.meet(identity) {
        Ok(_) => Ok(()),
        Err(Stranger::Wiped(reason) | Stranger::Removed(reason)) => Err(Refusal { wiped: true, reason }),
        Err(Stranger::Unknown(reason) | Stranger::Disk(reason)) => Err(reason.into()),
    }
}

/// Who proves what: a proof made for one purpose is none for another.
#[derive(Clone, Copy)]
enum Side {
    Dialer = 1,
    Acceptor = 2,
    DialerRefuses = 3,
    AcceptorRefuses = 4,
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
    let mut bytes = BytesMut::with_capacity(body.len() + 20);
    bytes.put_u32_le((body.len() + 16) as u32);
    bytes.put_slice(MAGIC);
    bytes.put_u16_le(VERSIONS.0);
    bytes.put_u16_le(VERSIONS.1);
    bytes.put_slice(&body);
    let sum = crc32fast::hash(&bytes[4..]);
    bytes.put_u32_le(sum);
    Ok(stream.write_all(&bytes).await?)
}

async fn read(stream: &mut TcpStream) -> Result<Frame, Rejection> {
    read_up_to(FRAME_BYTES, stream).await
}

async fn read_up_to(most: usize, stream: &mut TcpStream) -> Result<Frame, Rejection> {
    let length = stream.read_u32_le().await? as usize;
    if !(12..=most).contains(&length) {
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
    let (body, sum) = body.split_last_chunk::<4>().ok_or("a handshake frame is too short")?;
    if crc32fast::hash(&bytes[..bytes.len() - 4]) != u32::from_le_bytes(*sum) {
        return Err("a handshake frame is damaged".into());
    }
    postcard::from_bytes(body).map_err(|_| "a handshake frame is malformed".into())
}

/// The name of the node whose first bytes on a connection these are; `None` while more are needed. For who stands between
/// two nodes and wants to know whose connection it holds.
///
/// # Errors
/// This is not how a node of this version introduces itself.
pub fn dialer(bytes: &[u8]) -> Result<Option<String>, String> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length > FRAME_BYTES {
        return Err("this is not a Consort node".into());
    }
    let Some(frame) = rest.get(..length) else { return Ok(None) };
    match decode(frame)? {
        Frame::Hello(hello) => Ok(Some(hello.identity.name)),
        Frame::Join { request, .. } => Ok(Some(request.name)),
        _ => Err("a handshake frame out of turn".into()),
    }
}

#[cfg(test)]
mod tests;
