//! `ACL`: users of the whole cluster, and the profiles they carry for clients that can say nothing else.

use resp::Value;
use server::Start;

use crate::support::client::{bulk, elements, field};
use crate::support::{Client, Cluster, eventually};

fn error_of(reply: &Value) -> &str {
    match reply {
        Value::Error(text) => text,
        other => panic!("no error: {other:?}"),
    }
}

fn done(client: &mut Client, command: &str) {
    eventually(command, || (client.call(command) == Value::OK).then_some(()));
}

/// A connection as that user, which every node knows a moment after it was made.
fn login(cluster: &Cluster, node: usize, user: &str, password: &str) -> Client {
    let mut client = cluster.client(node);
    done(&mut client, &format!("AUTH {user} {password}"));
    client
}

#[test]
fn users_are_those_of_the_cluster_and_outlive_restarts() {
    let mut cluster = Cluster::start(3, "");
    let mut admin = cluster.client(0);
    done(&mut admin, "ACL SETUSER alice on >pw ~a:* %R~shared +@read +@write -del +acl|whoami +multi +exec");
    let reply = admin.call("ACL SETUSER bob +nosuch");
    assert_eq!(
        error_of(&reply),
        "ERR Error in ACL SETUSER modifier '+nosuch': Unknown command or category name in ACL"
    );
    assert_eq!(admin.call("ACL GETUSER bob"), Value::Null, "nothing was made of a wrong rule");
    done(&mut admin, "SET a:1 x");
    done(&mut admin, "SET shared s");

    let mut alice = login(&cluster, 2, "alice", "pw");
    assert_eq!(alice.call("ACL WHOAMI"), bulk("alice"));
    assert_eq!(alice.call("GET a:1"), bulk("x"));
    assert_eq!(alice.call("GET shared"), bulk("s"));
    assert_eq!(error_of(&alice.call("SET shared t")), "NOPERM No permissions to access a key");
    assert_eq!(error_of(&alice.call("GET b")), "NOPERM No permissions to access a key");
    let denied = "NOPERM User alice has no permissions to run the 'del' command";
    assert_eq!(error_of(&alice.call("DEL a:1")), denied);
    assert_eq!(alice.call("IDEMPOTENT t SET a:2 x"), Value::OK);
    assert_eq!(error_of(&alice.call("IDEMPOTENT u SET b x")), "NOPERM No permissions to access a key");
    assert_eq!(error_of(&alice.call("IDEMPOTENT v DEL a:1")), denied);
    let replies = alice.pipeline(&["MULTI", "SET a:1 y", "SET b y", "EXEC"].map(str::to_owned));
    assert_eq!(error_of(&replies[2]), "NOPERM No permissions to access a key");
    assert!(error_of(&replies[3]).starts_with("EXECABORT"), "{replies:?}");
    assert_eq!(admin.call("GET a:1"), bulk("x"));

    // What was refused is listed where it was refused.
    let log = cluster.client(2).call("ACL LOG");
    let newest = &elements(&log)[0];
    assert_eq!(field(newest, "username"), &bulk("alice"));
    assert_eq!(field(newest, "reason"), &bulk("key"));
    assert_eq!(field(newest, "context"), &bulk("multi"));
    assert!(elements(&log).iter().any(|entry| field(entry, "object") == &bulk("del")));
    assert_eq!(
        error_of(&cluster.client(1).call("AUTH alice no")),
        "WRONGPASS invalid username-password pair or user is disabled."
    );

    // A rule holds for connections that are there already, within a transaction, too.
    assert_eq!(alice.call("MULTI"), Value::OK);
    assert_eq!(alice.call("SET a:1 z"), Value::Simple("QUEUED".into()));
    done(&mut admin, "ACL SETUSER alice -set");
    eventually("the rule at the other node", || {
        let users = cluster.client(2).call("ACL GETUSER alice");
        matches!(field(&users, "commands"), Value::Bulk(text) if text.ends_with(b"-set")).then_some(())
    });
    assert_eq!(
        error_of(&alice.call("EXEC")),
        "NOPERM User alice has no permissions to run the 'set' command"
    );

    // All of it stays.
    for node in 0..3 {
        cluster.nodes[node].kill();
    }
    for node in 0..3 {
        cluster.nodes[node].start(Start::Normal);
    }
    let mut alice = login(&cluster, 1, "alice", "pw");
    assert_eq!(
        eventually("a read", || Some(alice.call("GET a:1")).filter(|reply| !reply.is_error())),
        bulk("x")
    );
    assert!(alice.call("SET a:1 y").is_error());

    // Who is deleted is out, at every node.
    let mut admin = cluster.client(0);
    assert_eq!(
        eventually("the user is gone", || Some(admin.call("ACL DELUSER alice nobody"))
            .filter(|reply| !reply.is_error())),
        Value::Integer(1)
    );
    eventually("its connection ends", || alice.try_call("PING").is_err().then_some(()));
    eventually("nobody comes in", || cluster.client(1).call("AUTH alice pw").is_error().then_some(()));
    assert_eq!(error_of(&admin.call("ACL DELUSER default")), "ERR The 'default' user cannot be removed");
}

#[test]
fn the_user_of_all_others_can_be_shut_out() {
    let mut cluster = Cluster::start(3, "");
    let mut admin = cluster.client(0);
    done(&mut admin, "ACL SETUSER root on >pw ~* &* +@all");
    let mut root = login(&cluster, 0, "root", "pw");
    let mut early = cluster.client(1);
    assert_eq!(early.call("PING"), Value::Simple("PONG".into()));
    done(&mut root, "ACL SETUSER default off");
    let out = |node: usize| {
        eventually("a stranger is out", || {
            let reply = cluster.client(node).call("GET a");
            matches!(&reply, Value::Error(text) if text.starts_with("NOAUTH")).then_some(())
        });
    };
    (0..3).for_each(out);
    assert_eq!(
        error_of(&root.call("CONFIG SET requirepass x")),
        "ERR CONFIG SET failed (possibly related to argument 'requirepass') - the user 'default' is one of ACL \
         SETUSER, and so is its password"
    );
    // Who came before stays, as in Redis; but not over a restart, after which a node does not let anybody in before it knows.
    assert_eq!(early.call("PING"), Value::Simple("PONG".into()));
    cluster.nodes[1].kill();
    cluster.nodes[1].start(Start::Normal);
    let mut first = eventually("the node is there", || Client::connect(cluster.nodes[1].port).ok());
    let reply = eventually("an answer", || first.try_call("GET a").ok());
    assert!(error_of(&reply).starts_with("NOAUTH"), "{reply:?}");
    let mut root = login(&cluster, 1, "root", "pw");
    done(&mut root, "ACL SETUSER default on nopass");
    assert_eq!(
        eventually("everybody is in", || Some(cluster.client(1).call("GET a"))
            .filter(|reply| !reply.is_error())),
        Value::Null
    );
}

#[test]
fn a_user_carries_levels_for_clients_that_can_say_none() {
    let cluster = Cluster::start(3, "");
    let mut admin = cluster.client(0);
    for create in
        ["p: STRATEGY primary-replica ACK async", "m: STRATEGY multi-primary", "l: STRATEGY leaderless"]
    {
        done(&mut admin, &format!("KEYSPACE CREATE {create}"));
    }
    done(&mut admin, "ACL SETUSER fresh on >pw ~* +@all consistency=strong ack=sync r=all");
    done(&mut admin, "ACL SETUSER near on >pw ~* +@all consistency=eventual");
    let mut fresh = login(&cluster, 1, "fresh", "pw");
    assert_eq!(fresh.call("CLIENT CONSISTENCY"), bulk("strong"));
    eventually("the keyspace", || (fresh.call("SET p:a 1") == Value::OK).then_some(()));
    eventually("its reads", || (fresh.call("GET p:a") == bulk("1")).then_some(()));
    // Of a level that the strategy has not the user is told as a connection is.
    let reply = fresh.call("GET m:a");
    assert!(error_of(&reply).starts_with("ERR a multi-primary keyspace has no strong reads"), "{reply:?}");
    let mut near = login(&cluster, 2, "near", "pw");
    assert_eq!(near.call("CLIENT CONSISTENCY"), bulk("eventual"));
    eventually("the read", || (near.call("GET p:a") == bulk("1")).then_some(()));
    // The connection's own word comes first, and then the user's again.
    assert_eq!(near.call("CLIENT CONSISTENCY session"), Value::OK);
    assert_eq!(near.call("CLIENT CONSISTENCY"), bulk("session"));
    assert_eq!(near.call("CLIENT CONSISTENCY default"), Value::OK);
    assert_eq!(near.call("CLIENT CONSISTENCY"), bulk("eventual"));
    // And it is the user's no more once the user is another.
    assert_eq!(near.call("RESET"), Value::Simple("RESET".into()));
    assert_eq!(near.call("CLIENT CONSISTENCY"), bulk("default"));
    assert_eq!(near.call("ACL WHOAMI"), bulk("default"));
}
