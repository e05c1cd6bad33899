//! Where commands go, how they are split, and how the replies of their parts are joined.

use super::*;

fn arguments(words: &str) -> Vec<Bytes> {
    words.split_ascii_whitespace().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect()
}

/// Routes with groups of 4096 slots.
fn routed(words: &str) -> Result<Route, Value> {
    let arguments = arguments(words);
    let command = Command::lookup(&arguments[0]).expect("a command");
    route(command, &arguments, &|slot: u16| u32::from(slot / 4096), 7)
}

fn slot(words: &str) -> u16 {
    match routed(words) {
        Ok(Route::Home(home)) => home.slot,
        other => panic!("{words}: {other:?}"),
    }
}

fn words_of(part: &Part) -> String {
    let words: Vec<_> = part.arguments.iter().map(|word| String::from_utf8_lossy(word)).collect();
    words.join(" ")
}

#[test]
fn one_key_one_slot() {
    assert_eq!(slot("GET foo"), 12182);
    assert_eq!(slot("set bar 1"), 5061);
    assert_eq!(slot("OBJECT ENCODING foo"), 12182);
    assert_eq!(slot("memory usage foo"), 12182);
    assert_eq!(slot("OBJECT HELP"), 0, "no key: any partition will do");
}

#[test]
fn the_server_answers_its_own() {
    for words in ["PING", "CLIENT ID", "MULTI", "WATCH a b", "IDEMPOTENT token SET a b", "INFO"] {
        assert!(matches!(routed(words), Ok(Route::Server)), "{words}");
    }
}

#[test]
fn several_slots_are_refused_where_one_is_needed() {
    for words in ["MSETNX foo 1 bar 2", "RENAME foo bar", "RENAMENX foo bar", "COPY foo bar"] {
        assert_eq!(routed(words).expect_err(words), errors::CROSS_SLOT);
    }
    assert_eq!(slot("RENAME {foo}1 {foo}2"), 12182);
    assert_eq!(slot("MSETNX {foo}1 x {foo}2 y"), 12182);
    // Slots 12182 and 12291 are in different groups, 13431 is in that of the second: one group is not one slot.
    assert!(routed("COPY foo hello").is_err());
}

#[test]
fn keys_of_one_group_stay_together() {
    // foo 12182, bar 5061, a 15495, hello 866, b 3300.
    assert_eq!(slot("DEL hello b"), 866, "two slots of one group");
    let Ok(Route::Scatter { parts, gather }) = routed("MSET foo 1 hello 2 a 3 b 4") else {
        panic!("scattered")
    };
    let parts: Vec<_> = parts.iter().map(|part| (part.group, part.home.slot, words_of(part))).collect();
    assert_eq!(
        parts,
        [
            (2, 12182, "MSET foo 1".to_owned()),
            (0, 866, "MSET hello 2 b 4".to_owned()),
            (3, 15495, "MSET a 3".to_owned()),
        ]
    );
    assert!(matches!(gather, Gather::AllOk));
}

#[test]
fn mget_is_put_back_in_order() {
    let Ok(Route::Scatter { parts, gather }) = routed("MGET foo hello foo b a") else { panic!("scattered") };
    let replies = parts
        .iter()
        .map(|part| Value::Array(part.arguments[1..].iter().map(|key| Value::Bulk(key.clone())).collect()));
    let joined = gather.join(replies.collect());
    let expected = ["foo", "hello", "foo", "b", "a"].map(Value::bulk);
    assert_eq!(joined, Value::Array(expected.to_vec()));
}

#[test]
fn replies_are_joined() {
    let integers = vec![Value::Integer(1), Value::Integer(2)];
    assert_eq!(Gather::Sum.join(integers.clone()), Value::Integer(3));
    assert_eq!(Gather::AllOk.join(vec![Value::OK, Value::OK]), Value::OK);
    let error = Value::error("ERR first");
    let failed = vec![Value::OK, error.clone(), Value::error("ERR second")];
    assert_eq!(Gather::AllOk.join(failed), error);
    let arrays = vec![Value::Array(integers.clone()), Value::Array(vec![]), Value::Array(integers)];
    let Value::Array(all) = Gather::Concatenate.join(arrays) else { panic!("an array") };
    assert_eq!(all.len(), 4);
    let keys = vec![Value::Null, Value::bulk("a"), Value::bulk("b")];
    let picked: Vec<_> = (0..4).map(|seed| Gather::PickOne { seed }.join(keys.clone())).collect();
    assert_eq!(picked, ["a", "b", "a", "b"].map(Value::bulk));
    assert_eq!(Gather::PickOne { seed: 1 }.join(vec![Value::Null]), Value::Null);
}

#[test]
fn a_scan_goes_where_its_cursor_stands() {
    assert_eq!(slot("SCAN 0"), 0);
    for wanted in [1, 8192, 16383] {
        let cursor = scan_cursor(Home { keyspace: 0, slot: wanted });
        assert!(cursor < 1 << 53, "a cursor is exact in floating point");
        assert_eq!(slot(&format!("SCAN {cursor}")), wanted);
        assert_eq!(slot(&format!("SCAN {}", cursor - 1)), wanted - 1);
    }
    for cursor in ["x", "-1", "", "9007199254740992", "18446744073709551616"] {
        let arguments = [Bytes::from("SCAN"), Bytes::from(cursor)];
        let command = Command::lookup(b"scan").expect("a command");
        assert!(
            matches!(route(command, &arguments, &|_| 0, 0), Err(error) if error == errors::INVALID_CURSOR)
                || cursor.is_empty()
        );
    }
}

#[test]
fn everywhere() {
    for words in ["DBSIZE", "FLUSHALL", "FLUSHDB", "KEYS *", "RANDOMKEY"] {
        assert!(matches!(routed(words), Ok(Route::Every { .. })), "{words}");
    }
}

#[test]
fn keys_are_found_for_getkeys() {
    let keys = |words: &str| get_keys(&arguments(words));
    assert_eq!(keys("MSET a 1 b 2"), Ok(vec!["a".into(), "b".into()]));
    assert_eq!(keys("OBJECT ENCODING k"), Ok(vec!["k".into()]));
    assert_eq!(keys("WATCH a b"), Ok(vec!["a".into(), "b".into()]));
    assert_eq!(keys("PING"), Err(errors::NO_KEYS));
    assert!(keys("NOSUCH a").is_err());
    assert!(keys("GET a b").is_err());
    assert!(keys("MSET a 1 b").is_err(), "a key without its value");
}

#[test]
fn a_half_pair_hides_the_keys() {
    for words in ["MSET a 1 b", "MSETNX a 1 b"] {
        let name = words[..words.find(' ').unwrap_or_default()].to_lowercase();
        assert_eq!(routed(words).expect_err(words), errors::wrong_arity(&name));
    }
}
