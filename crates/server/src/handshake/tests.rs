//! Frames, proofs, and who is believed.

use super::*;
use crate::config::Config;
use crate::format::Opened;
use crate::roster::{Content, Roster};
use crate::testing::Folder;
use tokio::net::TcpListener;

fn bytes(magic: &[u8; 8], versions: (u16, u16), frame: &Frame) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&versions.0.to_le_bytes());
    bytes.extend_from_slice(&versions.1.to_le_bytes());
    bytes.extend(postcard::to_allocvec(frame).unwrap());
    let sum = crc32fast::hash(&bytes).to_le_bytes();
    bytes.extend(sum);
    bytes
}

fn frame() -> Frame {
    Frame::Refused { wiped: Some(vec![7]), reason: "so it is".into() }
}

#[test]
fn a_frame_is_read_by_every_version_that_shares_one() {
    assert_eq!(decode(&bytes(MAGIC, VERSIONS, &frame())), Ok(frame()));
    assert_eq!(decode(&bytes(MAGIC, (0, VERSIONS.1 + 1), &frame())), Ok(frame()), "a peer that speaks more");
    let next = VERSIONS.1 + 1;
    let newer = decode(&bytes(MAGIC, (next, next + 1), &frame())).unwrap_err();
    assert!(newer.contains(&format!("versions {next} to {}", next + 1)), "{newer}");
    let stranger = decode(&bytes(b"GET / HT", VERSIONS, &frame())).unwrap_err();
    assert!(stranger.contains("not a Consort node"), "{stranger}");
}

#[test]
fn damaged_frames_are_errors() {
    let whole = bytes(MAGIC, VERSIONS, &frame());
    for cut in 0..whole.len() {
        assert!(decode(&whole[..cut]).is_err(), "cut at {cut}");
    }
    for bit in 0..8 * whole.len() {
        let mut other = whole.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&other).is_err(), "bit {bit}");
    }
    for kind in 8..=255 {
        let mut other = whole[..whole.len() - 4].to_vec();
        other[12] = kind;
        let sum = crc32fast::hash(&other).to_le_bytes();
        other.extend(sum);
        assert!(decode(&other).is_err(), "kind {kind}");
    }
}

#[test]
fn who_stands_between_learns_who_dials() {
    let folder = Folder::new();
    let hello = hello(&node(&folder, "n2", None));
    let frame = bytes(MAGIC, VERSIONS, &Frame::Hello(hello));
    let sent = [&(frame.len() as u32).to_le_bytes()[..], &frame].concat();
    for cut in 0..sent.len() {
        assert_eq!(dialer(&sent[..cut]), Ok(None), "cut at {cut}");
    }
    assert_eq!(dialer(&[&sent[..], b"more"].concat()), Ok(Some("n2".to_string())));
    assert!(dialer(b"GET / HTTP/1.1\r\n").is_err());
}

#[test]
fn a_proof_holds_for_one_secret_one_side_and_one_conversation() {
    let proof = make_proof(Some("secret"), Side::Dialer, b"conversation");
    let check = |secret, side, conversation: &[u8]| check_proof(secret, side, conversation, &proof).is_ok();
    assert!(check(Some("secret"), Side::Dialer, b"conversation"));
    assert!(!check(Some("other"), Side::Dialer, b"conversation"));
    assert!(!check(None, Side::Dialer, b"conversation"));
    assert!(!check(Some("secret"), Side::Acceptor, b"conversation"), "a proof cannot be sent back");
    assert!(!check(Some("secret"), Side::Dialer, b"another"), "nor used again");
    assert!(check_proof(Some("secret"), Side::Dialer, b"", b"").is_err());
    assert!(check_proof(None, Side::Dialer, b"", b"").is_ok());
}

/// The node of this name among n1, n2 and n3.
fn node(folder: &Folder, name: &str, secret: Option<&str>) -> Node {
    let mut config: Config = crate::testing::three_nodes();
    config.node = name.into();
    config.data = folder.path().to_path_buf();
    config.peer_secret = secret.map(str::to_string);
    let id = crate::identity::derived_id(&config.cluster, name);
    let identity = Identity::new(&config, id, 5);
    let roster = Roster::load(&config.data).unwrap();
    roster.replace(Content::founders(&config)).unwrap();
    let founding = Some(crate::format::founding_catalogue(&config).placement());
    let known = crate::known::Known::open(&config.data).unwrap();
    Node::new(config, Opened { identity, roster, founding, losses: 0, known })
}

/// Two ends of a connection: the dialer's and the acceptor's.
async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (dialer, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (dialer.unwrap(), accepted.unwrap().0)
}

fn wiped(proof: Vec<u8>) -> Frame {
    Frame::Refused { wiped: Some(proof), reason: "wiped".into() }
}

const SECRETS: [Option<&str>; 2] = [None, Some("secret")];

#[tokio::test]
async fn a_node_that_dials_learns_that_it_was_wiped_and_one_that_accepts_only_with_a_secret() {
    for secret in SECRETS {
        let folders = [Folder::new(), Folder::new()];
        let (knows, back) = (node(&folders[0], "n1", secret), node(&folders[1], "n2", secret));
        let before = Identity { format: back.identity.format ^ 1, ..back.identity.clone() };
        knows.roster.meet(&before).unwrap();

        let (mut ours, mut theirs) = connection().await;
        let (dialed, accepted) = tokio::join!(dial(&mut ours, &back, "n1"), accept(&mut theirs, &knows));
        assert!(matches!(dialed, Err(Rejection::WeAreWiped(_))), "{secret:?}: {dialed:?}");
        assert!(matches!(accepted, Err(Rejection::WeRefused(_))), "{accepted:?}");

        let (mut ours, mut theirs) = connection().await;
        let (dialed, accepted) = tokio::join!(dial(&mut ours, &knows, "n2"), accept(&mut theirs, &back));
        assert!(matches!(dialed, Err(Rejection::WeRefused(_))), "{dialed:?}");
        let believed = matches!(accepted, Err(Rejection::WeAreWiped(_)));
        assert_eq!(believed, secret.is_some(), "{accepted:?}");
    }
}

#[tokio::test]
async fn a_stranger_cannot_end_a_node() {
    for secret in SECRETS {
        let folder = Folder::new();
        let node = node(&folder, "n1", secret);
        // Whoever dials says it, at once or after the introduction.
        for introduced in [false, true] {
            let (mut stranger, mut theirs) = connection().await;
            let says = async {
                let mut proof = Vec::new();
                if introduced {
                    write(&mut stranger, &Frame::Hello(hello(&node))).await.unwrap();
                    let Frame::Welcome(_, theirs) = read(&mut stranger).await.unwrap() else {
                        panic!("no welcome")
                    };
                    proof = theirs;
                }
                write(&mut stranger, &wiped(proof)).await.unwrap();
            };
            let (accepted, ()) = tokio::join!(accept(&mut theirs, &node), says);
            assert_eq!(accepted.unwrap_err(), Rejection::TheyRefused("wiped".into()), "{secret:?}");
        }
        // Whoever has taken a peer's address says it before proving anything.
        let (mut ours, mut stranger) = connection().await;
        let says = async {
            read(&mut stranger).await.unwrap();
            write(&mut stranger, &wiped(Vec::new())).await.unwrap();
        };
        let (dialed, ()) = tokio::join!(dial(&mut ours, &node, "n2"), says);
        assert_eq!(dialed.unwrap_err(), Rejection::TheyRefused("wiped".into()), "{secret:?}");
    }
}

#[tokio::test]
async fn nodes_with_other_lists_of_nodes_refuse_one_another_with_the_reason() {
    let folders = [Folder::new(), Folder::new()];
    let (ours, mut grown) = (node(&folders[0], "n1", None), node(&folders[1], "n2", None));
    grown.identity.nodes.push("n4".into());
    let text = "`nodes` differs: n1, n2, n3 on one node and n1, n2, n3, n4 on the other";
    let (mut dialer, mut acceptor) = connection().await;
    let (dialed, accepted) = tokio::join!(dial(&mut dialer, &ours, "n2"), accept(&mut acceptor, &grown));
    assert_eq!(dialed.unwrap_err(), Rejection::WeRefused(text.into()));
    assert_eq!(accepted.unwrap_err(), Rejection::TheyRefused(text.into()));
}

#[tokio::test]
async fn who_wants_to_join_has_to_know_the_secret_and_the_cluster() {
    let folder = Folder::new();
    let node = node(&folder, "n1", Some("secret"));
    let request = JoinRequest {
        cluster: node.identity.cluster.clone(),
        name: "n4".into(),
        node: 4,
        format: 5,
        client: "h:1".into(),
        peer: "h:2".into(),
        zone: String::new(),
        weight: 1,
        rebuilds: false,
    };
    let other = JoinRequest { cluster: "other".into(), ..request.clone() };
    for (secret, request, refusal) in [
        (Some("wrong"), &request, "`peer_secret` differs"),
        (None, &request, "`peer_secret` differs"),
        (Some("secret"), &other, "this is the cluster 'consort', not 'other'"),
    ] {
        let (mut dialer, mut acceptor) = connection().await;
        let asks = join(&mut dialer, request.clone(), secret);
        let (asked, answered) = tokio::join!(asks, accept(&mut acceptor, &node));
        assert_eq!(asked.unwrap_err(), Rejection::TheyRefused(refusal.into()));
        assert_eq!(answered.unwrap_err(), Rejection::WeRefused(refusal.into()));
    }
    let (mut dialer, mut acceptor) = connection().await;
    let answers = async {
        let Ok(Introduced::Joins(asked)) = accept(&mut acceptor, &node).await else {
            panic!("it asks to join")
        };
        assert_eq!(*asked, request);
        let members = node.roster.content();
        let joined = Joined { layout: node.identity.layout(), members };
        answer_join(&mut acceptor, Ok(joined.clone())).await.unwrap();
        joined
    };
    let (asked, told) = tokio::join!(join(&mut dialer, request.clone(), Some("secret")), answers);
    assert_eq!(asked.unwrap(), told);
}
