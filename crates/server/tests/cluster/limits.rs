//! Clients that misbehave hurt nobody but themselves.

use std::io::{Read, Write};

use resp::Value;

use crate::support::client::bulk;
use crate::support::{Client, Cluster, eventually, request, request_of};

/// Everything that the node says until it closes.
fn last_words(client: &mut Client) -> String {
    let mut words = Vec::new();
    let _ = client.stream.read_to_end(&mut words);
    String::from_utf8_lossy(&words).into_owned()
}

#[test]
fn malformed_oversized_and_half_sent_input_harms_nobody_else() {
    let cluster = Cluster::start(3, "[limits]\nbulk_bytes = \"1MiB\"\nrequest_bytes = \"4MiB\"");
    let mut other = cluster.client(0);
    assert_eq!(other.call("SET a 1"), Value::OK);
    let wrong: [&[u8]; 7] = [
        b"*1\r\n$x\r\n",
        b"*-7\r\nfoo\r\n*9999999999999\r\n",
        b"*2\r\n$3\r\nGET\r\n!3\r\nabc\r\n",
        b"*2\r\n$3\r\nGET\r\n$2000000\r\n",
        b"*2\r\n$3\r\nGETxx$1\r\na\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$-5\r\n",
        &[b'x'; 70_000],
    ];
    for bytes in wrong {
        let mut client = cluster.client(0);
        client.send(&request("GET a")).unwrap();
        let _ = client.send(bytes);
        let words = last_words(&mut client);
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        assert!(words.starts_with("$1\r\n1\r\n"), "the command before {shown:?} is answered: {words:?}");
        assert!(words.contains("-ERR Protocol error"), "{shown:?}: {words:?}");
        assert_eq!(other.call("GET a"), bulk("1"), "after {shown:?}");
    }
    // Half a command, then nothing; half a command, then gone.
    let mut half = cluster.client(0);
    half.send(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100\r\nabc").unwrap();
    let mut gone = cluster.client(0);
    gone.send(b"*3\r\n$3\r\nSET\r\n$1\r\na").unwrap();
    drop(gone);
    assert_eq!(other.call("GET a"), bulk("1"));
    half.send(&[b'x'; 97]).unwrap();
    half.send(b"\r\n").unwrap();
    assert_eq!(half.read().unwrap(), Value::OK, "a request may take its time");
}

#[test]
fn garbage_at_the_peer_port_harms_nobody() {
    let cluster = Cluster::start(3, "");
    let mut other = cluster.client(0);
    let text = std::fs::read_to_string(cluster.nodes[0].data().join("../consort.toml")).unwrap();
    let peer_port = text.lines().find_map(|line| line.strip_prefix("peer = \"127.0.0.1:")).unwrap();
    let peer_port: u16 = peer_port.trim_end_matches('"').parse().unwrap();
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 64],
        &[0; 64],
        b"\x20\0\0\0consort\0\x01\0\x01\0garbage garbage garbage",
    ] {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", peer_port)).unwrap();
        stream.set_read_timeout(Some(crate::support::LIMIT)).unwrap();
        let _ = stream.write_all(bytes);
        let _ = stream.read_to_end(&mut Vec::new());
        assert_eq!(other.call("PING"), Value::Simple("PONG".into()));
        assert_eq!(other.call("SET a 1"), Value::OK);
    }
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let cluster = Cluster::start(1, "[limits]\nbulk_bytes = \"1MiB\"\noutput_buffer_bytes = \"1MiB\"");
    let mut other = cluster.client(0);
    let value = vec![b'v'; 100_000];
    assert_eq!(other.call_of(&[b"SET", b"big", &value]), Value::OK);
    let mut slow = cluster.client(0);
    let commands = request("GET big").repeat(500);
    let sent = slow.send(&commands);
    eventually("the cut", || {
        let Value::Bulk(list) = other.call("CLIENT LIST") else { panic!("text") };
        (String::from_utf8_lossy(&list).lines().count() == 1).then_some(())
    });
    let read = last_words(&mut slow).len();
    assert!(sent.is_err() || read < 500 * value.len(), "it got {read} bytes");
    assert_eq!(other.call("STRLEN big"), Value::Integer(100_000));
}

#[test]
fn one_connection_too_many_is_told_so() {
    let cluster = Cluster::start(1, "[limits]\nmax_clients = 3");
    let mut clients: Vec<Client> = Vec::new();
    eventually("three connections", || {
        let mut client = Client::connect(cluster.nodes[0].port).ok()?;
        if client.try_call("PING").ok()? == Value::Simple("PONG".into()) {
            clients.push(client);
        }
        (clients.len() == 3).then_some(())
    });
    let mut fourth = cluster.client(0);
    assert_eq!(last_words(&mut fourth), "-ERR max number of clients reached\r\n");
    assert_eq!(clients[0].call("SET a 1"), Value::OK);
    clients.pop();
    eventually("room for another", || {
        let mut client = Client::connect(cluster.nodes[0].port).ok()?;
        (client.try_call("GET a").ok()? == bulk("1")).then_some(())
    });
}

#[test]
fn many_commands_under_way_wait_their_turn() {
    let cluster = Cluster::start(3, "[limits]\nin_flight = 4");
    let mut client = cluster.client(2);
    let commands: Vec<String> = (0..300).map(|number| format!("RPUSHX{}", number)).collect();
    assert!(client.pipeline(&commands).iter().all(Value::is_error), "unknown commands");
    let commands: Vec<String> = (0..300).map(|_| "INCR counter".to_string()).collect();
    let expected: Vec<Value> = (1..=300).map(Value::Integer).collect();
    assert_eq!(client.pipeline(&commands), expected);
}

#[test]
fn a_password_is_asked_for() {
    let cluster = Cluster::prepare(1, "password = \"secret\"");
    let mut cluster = cluster;
    cluster.nodes[0].start(server::Start::Bootstrap);
    let mut client = cluster.client(0);
    assert_eq!(client.call("GET a"), Value::error("NOAUTH Authentication required."));
    assert_eq!(client.call("MULTI"), Value::error("NOAUTH Authentication required."));
    assert!(client.call("AUTH wrong").is_error());
    assert_eq!(client.call("AUTH secret"), Value::OK);
    eventually("an answer", || (client.call("GET a") == Value::Null).then_some(()));
}

#[test]
fn large_values_come_through_whole_on_every_node() {
    let cluster = Cluster::start(3, "");
    let value: Vec<u8> = (0..5_000_000u32).map(|number| (number % 251) as u8).collect();
    for node in 0..3 {
        let mut client = cluster.client(node);
        let key = format!("large:{node}");
        client.send(&request_of(&[b"SET", key.as_bytes(), &value])).unwrap();
        assert_eq!(client.read().unwrap(), Value::OK);
        for reader in 0..3 {
            let reply = cluster.client(reader).call(&format!("GET {key}"));
            assert!(reply == Value::bulk(value.clone()), "written on {node}, read on {reader}");
        }
    }
}

#[test]
fn strangers_may_not_send_much() {
    let mut cluster = Cluster::prepare(1, "password = \"secret\"");
    cluster.nodes[0].start(server::Start::Bootstrap);
    let many: Vec<&[u8]> = vec![b"a"; 20];
    let long = vec![b'v'; 20 << 10];
    let wrong = [
        (request_of(&many), "-ERR Protocol error: unauthenticated multibulk length\r\n"),
        (request_of(&[b"SET", b"a", &long]), "-ERR Protocol error: unauthenticated bulk length\r\n"),
    ];
    for (bytes, words) in &wrong {
        let mut client = cluster.client(0);
        client.send(bytes).unwrap();
        assert_eq!(last_words(&mut client), *words);
    }
    let mut friend = cluster.client(0);
    let mut bytes = request("AUTH secret");
    wrong.iter().for_each(|(request, _)| bytes.extend_from_slice(request));
    friend.send(&bytes).unwrap();
    assert_eq!(friend.read().unwrap(), Value::OK);
    let said = format!("{:?}", (friend.read().unwrap(), friend.read().unwrap()));
    assert!(!said.contains("unauthenticated"), "the same requests behind AUTH: {said}");
}

/// The answers are far more than may wait to be sent at once: the connection stops and goes on, and loses nothing.
#[test]
fn a_long_pipeline_of_long_answers_comes_whole_and_in_order() {
    let cluster = Cluster::start(1, "");
    let mut client = cluster.client(0);
    let mut bytes = Vec::new();
    for number in 0..300 {
        bytes.extend(request("COMMAND"));
        bytes.extend(request(&format!("ECHO {number}")));
        bytes.extend(request("INCR counter"));
    }
    client.send(&bytes).unwrap();
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    for number in 0..300 {
        let Value::Array(table) = client.read().unwrap() else { panic!("the table of commands") };
        assert!(table.len() > 50);
        assert_eq!(client.read().unwrap(), bulk(&number.to_string()));
        assert_eq!(client.read().unwrap(), Value::Integer(number + 1));
    }
    assert_eq!(last_words(&mut client), "", "every answer, then the end");
}

/// One command waits for a partition without a leader; what is answered behind it must not pile up.
#[test]
fn answers_behind_a_command_that_waits_do_not_pile_up() {
    let mut cluster = Cluster::start(3, "");
    let mut client = cluster.client(0);
    assert_eq!(client.call("SET a 1"), Value::OK);
    cluster.nodes[1].kill();
    cluster.nodes[2].kill();
    let count = 500;
    let mut bytes = request("SET a 2");
    (0..count).for_each(|_| bytes.extend(request("COMMAND")));
    client.send(&bytes).unwrap();
    let mut other = cluster.client(0);
    let most = eventually("something that waits", || {
        let Value::Bulk(list) = other.call("CLIENT LIST") else { panic!("text") };
        let list = String::from_utf8_lossy(&list).into_owned();
        let waiting =
            list.split(" omem=").skip(1).map(|rest| rest.split(' ').next().unwrap().parse::<u64>().unwrap());
        waiting.max().filter(|most| *most > 0)
    });
    assert!(most < 4 << 20, "{most} bytes wait");
    assert!(client.read().unwrap().is_error(), "nobody can acknowledge it");
    for _ in 0..count {
        assert!(matches!(client.read().unwrap(), Value::Array(_)));
    }
}
