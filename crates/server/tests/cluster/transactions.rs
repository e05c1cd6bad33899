//! `MULTI`, `EXEC`, `WATCH` on any node.

use resp::Value;

use crate::support::Cluster;
use crate::support::client::bulk;

fn queued() -> Value {
    Value::Simple("QUEUED".into())
}

#[test]
fn a_transaction_runs_whole_or_not_at_all() {
    let cluster = Cluster::start(3, "");
    for node in 0..3 {
        let mut client = cluster.client(node);
        let tag = format!("{{t{node}}}");
        assert_eq!(client.call("MULTI"), Value::OK);
        assert_eq!(client.call(&format!("SET {tag}a 1")), queued());
        assert_eq!(client.call("PING"), queued());
        assert_eq!(client.call(&format!("INCR {tag}a")), queued());
        assert_eq!(client.call(&format!("GET {tag}a")), queued());
        assert_eq!(client.call("ECHO last"), queued());
        let replies = [Value::OK, Value::Simple("PONG".into()), Value::Integer(2), bulk("2"), bulk("last")];
        assert_eq!(client.call("EXEC"), Value::Array(replies.into()));

        assert_eq!(client.call("MULTI"), Value::OK);
        assert_eq!(client.call(&format!("SET {tag}a 9")), queued());
        assert_eq!(client.call("DISCARD"), Value::OK);
        assert_eq!(client.call(&format!("GET {tag}a")), bulk("2"));
    }
}

#[test]
fn what_cannot_be_queued_spoils_the_transaction() {
    let cluster = Cluster::start(1, "");
    let mut client = cluster.client(0);
    for wrong in ["NOSUCHCOMMAND", "SET onlyakey", "SET {another}slot 1", "FLUSHALL", "SUBSCRIBE x", "SCAN 0"]
    {
        assert_eq!(client.call("MULTI"), Value::OK);
        assert_eq!(client.call("SET {slot}a 1"), queued());
        assert!(client.call(wrong).is_error(), "{wrong}");
        let Value::Error(text) = client.call("EXEC") else { panic!("EXEC after {wrong} went ahead") };
        assert!(text.starts_with("EXECABORT"), "{text}");
        assert_eq!(client.call("EXISTS {slot}a"), Value::Integer(0), "after {wrong}");
    }
    for (alone, text) in [("EXEC", "ERR EXEC without MULTI"), ("DISCARD", "ERR DISCARD without MULTI")] {
        assert_eq!(client.call(alone), Value::error(text));
    }
    assert_eq!(client.call("MULTI"), Value::OK);
    assert_eq!(client.call("MULTI"), Value::error("ERR MULTI calls can not be nested"));
    assert_eq!(client.call("WATCH a"), Value::error("ERR WATCH inside MULTI is not allowed"));
    assert_eq!(client.call("SET b 1"), queued());
    assert_eq!(client.call("EXEC"), Value::Array(vec![Value::OK]));
    assert_eq!(client.call("MULTI"), Value::OK);
    assert_eq!(client.call("EXEC"), Value::Array(Vec::new()));
}

#[test]
fn a_watched_key_that_changed_stops_the_transaction() {
    let cluster = Cluster::start(3, "");
    let (mut ours, mut theirs) = (cluster.client(0), cluster.client(2));
    assert_eq!(ours.call("SET {w}a 1"), Value::OK);

    assert_eq!(ours.call("WATCH {w}a {w}none"), Value::OK);
    assert_eq!(theirs.call("SET {w}none 1"), Value::OK);
    assert_eq!(ours.call("MULTI"), Value::OK);
    assert_eq!(ours.call("SET {w}a 2"), queued());
    assert!(matches!(ours.call("EXEC"), Value::Null | Value::NullArray));
    assert_eq!(ours.call("GET {w}a"), bulk("1"));

    // The watch is over; and one that nobody disturbs lets the transaction through, also in one pipeline.
    let commands = ["WATCH {w}a", "MULTI", "INCR {w}a", "EXEC"].map(String::from);
    let replies = [Value::OK, Value::OK, queued(), Value::Array(vec![Value::Integer(2)])];
    assert_eq!(ours.pipeline(&commands), replies);

    assert_eq!(ours.call("WATCH {w}a"), Value::OK);
    assert_eq!(theirs.call("SET {w}a 7"), Value::OK);
    assert_eq!(ours.call("UNWATCH"), Value::OK);
    assert_eq!(ours.call("MULTI"), Value::OK);
    assert_eq!(ours.call("INCR {w}a"), queued());
    assert_eq!(ours.call("EXEC"), Value::Array(vec![Value::Integer(8)]));
    assert!(ours.call("WATCH a b c d").is_error(), "several slots");
}

/// Increments by many clients through all nodes, each by WATCH and EXEC: none is lost.
#[test]
fn watch_makes_read_and_write_one() {
    let cluster = Cluster::start(3, "");
    const CLIENTS: usize = 6;
    const EACH: usize = 15;
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let mut client = cluster.client(number % 3);
            scope.spawn(move || {
                let mut done = 0;
                while done < EACH {
                    assert_eq!(client.call("WATCH counter"), Value::OK);
                    let before = match client.call("GET counter") {
                        Value::Bulk(bytes) => {
                            String::from_utf8_lossy(&bytes).parse::<u64>().expect("a number")
                        }
                        _ => 0,
                    };
                    assert_eq!(client.call("MULTI"), Value::OK);
                    assert_eq!(client.call(&format!("SET counter {}", before + 1)), queued());
                    match client.call("EXEC") {
                        Value::Array(replies) => {
                            assert_eq!(replies, [Value::OK]);
                            done += 1;
                        }
                        Value::Null | Value::NullArray => {}
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
    });
    assert_eq!(cluster.client(1).call("GET counter"), bulk(&(CLIENTS * EACH).to_string()));
}
