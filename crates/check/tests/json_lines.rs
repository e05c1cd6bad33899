//! Our own format: a file as documented, every history through text and back, and what is refused.

use check::format::file::{Check, judge};
use check::format::json_lines::{read, write};
use check::model::{
    Counter, CounterInput, CounterOutput, Register, RegisterInput, RegisterOutput, Strings, StringsInput,
    StringsOutput,
};
use check::{Budget, Finding, History};

const HEADER: &str = "{\"history\":\"consort\",\"version\":1,\"model\":\"register\"}\n";

fn verdict(text: &str) -> Finding {
    let mut judged = judge(text, Budget::default()).unwrap_or_else(|error| panic!("{error}"));
    let (check, finding) = judged.pop().expect("one check");
    assert_eq!((check, judged.len()), (Check::Linearizable, 0));
    finding
}

/// Version 1 as it was first written; it must stay readable.
#[test]
fn a_file_of_version_1() {
    let text = format!(
        "{HEADER}{}",
        r#"{"event":"invoke","id":0,"process":3,"time":100,"key":"a","input":{"write":"x"}}
{"event":"done","id":0,"time":120,"output":"written"}
{"event":"invoke","id":1,"process":3,"time":130,"key":"a","input":"read"}
{"event":"done","id":1,"time":140,"output":{"value":"x"}}
{"event":"invoke","id":2,"process":4,"time":130,"key":"b","input":{"write":null}}
{"event":"refused","id":2,"time":150}
{"event":"invoke","id":3,"process":4,"time":151,"key":"b","input":{"compare_and_set":{"expected":null,"new":"y"}}}
{"event":"unknown","id":3,"time":160}
{"event":"invoke","id":4,"process":5,"time":151,"key":"b","input":{"compare_and_set":{"expected":"z","new":"y"}}}
{"event":"done","id":4,"time":160,"output":{"swapped":false}}
{"event":"invoke","id":5,"process":3,"time":170,"key":"b","input":"read"}
{"event":"done","id":5,"time":180,"output":{"value":null}}
{"event":"done","id":6,"ti"#
    );
    let history = read::<Register>(&text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(history.operations().len(), 6);
    assert!(verdict(&text).is_valid());
    let bad = text.replace(r#""time":140,"output":{"value":"x"}"#, r#""time":140,"output":{"value":null}"#);
    assert!(verdict(&bad).is_invalid());
}

#[test]
fn through_text_and_back() {
    let mut registers = History::new();
    let id = registers.invoke(
        1,
        "k\n",
        RegisterInput::CompareAndSet { expected: None, new: Some("\"é".into()) },
        1,
    );
    registers.done(id, 2, RegisterOutput::Swapped(true));
    let id = registers.invoke(1, "k", RegisterInput::Write(None), 3);
    registers.refused(id);
    let again = read::<Register>(&write::<Register>(&registers)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again.operations(), registers.operations());

    let mut strings = History::new();
    let id = strings.invoke(1, "k", StringsInput::Append("ab".into()), 1);
    strings.done(id, 2, StringsOutput::Length(2));
    strings.invoke(2, "k", StringsInput::Put("c".into()), 3);
    let again = read::<Strings>(&write::<Strings>(&strings)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again.operations(), strings.operations());

    let mut counters = History::new();
    let id = counters.invoke(1, "k", CounterInput::Add(-2), 1);
    counters.done(id, 2, CounterOutput(-2));
    let text = write::<Counter>(&counters);
    let again = read::<Counter>(&text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again.operations(), counters.operations());
    assert!(verdict(&text).is_valid());
}

#[test]
fn refused() {
    let invoke = r#"{"event":"invoke","id":0,"process":3,"time":1,"key":"a","input":"read"}"#;
    let table = [
        (String::new(), 1, "the header is missing"),
        ("{}\n".to_owned(), 1, "missing field"),
        (HEADER.replace('1', "2"), 1, "version 2, expected \"consort\" version 1"),
        (HEADER.replace("register", "queue"), 1, "unknown model \"queue\""),
        (
            HEADER.replace('}', ",\"checks\":[\"monotonic\"]}"),
            1,
            "sums only grow is no check of the model \"register\"",
        ),
        (format!("{HEADER}{{\n"), 2, "EOF"),
        (format!("{HEADER}{}\n", invoke.replace("read", "peek")), 2, "unknown variant `peek`"),
        (format!("{HEADER}{invoke}\n\n{invoke}\n"), 4, "operation 0 is under way already"),
        (
            format!("{HEADER}{}\n", r#"{"event":"refused","id":7,"time":1}"#),
            2,
            "operation 7 is not under way",
        ),
    ];
    for (text, line, reason) in table {
        let error = judge(&text, Budget::default()).expect_err(&text);
        assert_eq!(error.line, line, "{error}");
        assert!(error.reason.contains(reason), "{error}");
    }
    let error = read::<Counter>(HEADER).expect_err("another model");
    assert_eq!(error.to_string(), "line 1: the model is \"register\", expected \"counter\"");
}
