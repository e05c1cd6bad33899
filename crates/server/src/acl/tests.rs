//! Users: rules, texts and checks.

use proptest::prelude::*;

use super::*;
use data::Command;

fn user(rules: &str) -> User {
    let mut user = User::new();
    for rule in rules.split(' ').filter(|rule| !rule.is_empty()) {
        user.set(rule.as_bytes()).unwrap_or_else(|reason| panic!("{rule}: {reason}"));
    }
    user
}

fn wrong(rules: &str) -> String {
    let mut user = User::new();
    let mut results = rules.split(' ').map(|rule| user.set(rule.as_bytes()));
    results.find_map(Result::err).expect("one of them is wrong")
}

fn may(user: &User, line: &str) -> Result<(), Denied> {
    let arguments: Vec<Bytes> = line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
    user.permits(Command::lookup(&arguments[0]).expect("it is a command"), &arguments)
}

fn key(key: &'static str) -> Result<(), Denied> {
    Err(Denied::Key(Bytes::from_static(key.as_bytes())))
}

#[test]
fn a_new_user_may_nothing_and_one_with_everything_is_unlimited() {
    assert_eq!(User::new().text(), "off resetchannels -@all");
    assert_eq!(may(&User::new(), "GET a"), Err(Denied::Command("get")));
    assert_eq!(may(&User::new(), "AUTH a"), Ok(()), "that is how another user is become");
    assert!(user("on nopass ~* +@all").is_unlimited());
    assert!(user("on nopass allkeys allcommands").is_unlimited());
    for limited in ["~* +@all -get", "~a* +@all", "%R~* +@all", "~* +@all -config|set", "~*"] {
        assert!(!user(limited).is_unlimited(), "{limited}");
    }
    assert!(user("~* +@all -get +get").is_unlimited());
}

#[test]
fn commands_are_allowed_by_name_subcommand_and_category() {
    let reader = user("~* +@read -mget");
    assert_eq!(may(&reader, "GET a"), Ok(()));
    assert_eq!(may(&reader, "MGET a b"), Err(Denied::Command("mget")));
    assert_eq!(may(&reader, "SET a 1"), Err(Denied::Command("set")));
    let some = user("~* +config|get +client -client|kill");
    assert_eq!(may(&some, "CONFIG GET x"), Ok(()));
    assert_eq!(may(&some, "config set x y"), Err(Denied::Command("config|set")));
    assert_eq!(may(&some, "CLIENT ID"), Ok(()));
    assert_eq!(may(&some, "CLIENT KILL x"), Err(Denied::Command("client|kill")));
    assert_eq!(may(&some, "CLIENT NOSUCH"), Ok(()), "it is for the command to say that there is none");
    let safe = user("~* +@all -@dangerous");
    assert_eq!(may(&safe, "FLUSHALL"), Err(Denied::Command("flushall")));
    assert_eq!(may(&safe, "KEYSPACE DROP a a"), Err(Denied::Command("keyspace|drop")));
    assert_eq!(may(&safe, "ACL SETUSER me +@all"), Err(Denied::Command("acl|setuser")));
    assert_eq!(may(&safe, "ACL WHOAMI"), Ok(()));
    assert_eq!(may(&safe, "INCR a"), Ok(()));
}

#[test]
fn keys_are_allowed_by_pattern_for_reading_and_for_writing() {
    let user = user("+@all ~own:* %R~shared:* %W~log:*");
    assert_eq!(may(&user, "SET own:1 x GET"), Ok(()));
    assert_eq!(may(&user, "GET shared:1"), Ok(()));
    assert_eq!(may(&user, "SET shared:1 x"), key("shared:1"));
    assert_eq!(may(&user, "SET log:1 x"), Ok(()));
    assert_eq!(may(&user, "GET log:1"), key("log:1"));
    assert_eq!(may(&user, "INCR log:1"), key("log:1"));
    assert_eq!(may(&user, "RPUSH log:1 x"), Ok(()));
    assert_eq!(may(&user, "COPY shared:1 own:1"), Ok(()));
    assert_eq!(may(&user, "COPY own:1 shared:1"), key("shared:1"));
    assert_eq!(may(&user, "MGET own:1 other"), key("other"));
    assert_eq!(may(&user, "SUNIONSTORE own:1 shared:1 shared:2"), Ok(()));
    assert_eq!(may(&user, "ZUNIONSTORE own:1 2 shared:1 log:2"), key("log:2"));
    assert_eq!(may(&user, "WATCH other"), key("other"));
    assert_eq!(may(&user, "DBSIZE"), Ok(()), "it names no key");
}

#[test]
fn reading_and_writing_may_not_be_put_together_from_two_patterns_as_in_redis() {
    assert_eq!(may(&user("+@all %R~a %W~a*"), "INCR a"), key("a"));
    assert_eq!(may(&user("+@all %R~a %W~a"), "INCR a"), Ok(()), "the same pattern is one");
}

#[test]
fn passwords_let_in() {
    let all = user("on >one >two");
    assert!(all.lets_in(&hash_of(b"one")) && all.lets_in(&hash_of(b"two")));
    assert!(!all.lets_in(&hash_of(b"three")) && !all.lets_in(&hash_of(b"")));
    assert!(!all.is_open());
    let mut some = all.clone();
    some.set(b"<one").expect("it has that");
    assert!(!some.lets_in(&hash_of(b"one")) && some.lets_in(&hash_of(b"two")));
    some.set(b"off").expect("a rule");
    assert!(!some.lets_in(&hash_of(b"two")), "it is off");
    let hash = all.passwords().remove(0);
    assert!(
        user(&format!("on #{hash}")).lets_in(&hash_of(b"one"))
            || user(&format!("on #{hash}")).lets_in(&hash_of(b"two"))
    );
    let open = user("on >one nopass");
    assert!(open.is_open() && open.lets_in(&hash_of(b"anything")) && open.passwords().is_empty());
    assert!(!user("on nopass >one").is_open());
    assert!(!user("on nopass resetpass").lets_in(&hash_of(b"x")));
}

/// One of them has to allow a command with all of its keys.
#[test]
fn a_selector_allows_what_the_user_itself_may_not() {
    let rules =
        rules(&["on", "+@read", "~own:*", "(+set", "%W~in:*)", "(+get ~a:* ~b:*)"]).expect("they are rules");
    let mut user = User::new();
    rules.iter().for_each(|rule| user.set(rule).expect("it is one"));
    let text = "on ~own:* resetchannels -@all +@read (%W~in:* resetchannels -@all +set) (~a:* ~b:* resetchannels -@all +get)";
    assert_eq!(user.text(), text);
    assert_eq!(User::of_text(text.as_bytes()), user);
    assert_eq!(may(&user, "GET own:1"), Ok(()));
    assert_eq!(may(&user, "GET a:1"), Ok(()));
    assert_eq!(may(&user, "MGET a:1 own:1"), key("a:1"), "no single one allows both");
    assert_eq!(may(&user, "SET in:1 x"), Ok(()));
    assert_eq!(may(&user, "SET in:1 x GET"), key("in:1"), "it would be read");
    assert_eq!(may(&user, "SET own:1 x"), key("own:1"), "the key is nearer than the command");
    assert_eq!(may(&user, "DEL in:1"), Err(Denied::Command("del")));
    assert!(!user.is_unlimited());
    user.set(b"clearselectors").expect("a rule");
    assert_eq!(user.text(), "on ~own:* resetchannels -@all +@read");
    user.set(b"(+@all ~*)").expect("a rule");
    assert!(user.is_unlimited() && may(&user, "FLUSHALL").is_ok());
    // Another version may know other commands; what it has said of those that this one knows holds.
    let newer = User::of_text(b"on resetchannels -@all (~k resetchannels -@all +get +novelty)");
    assert_eq!(may(&newer, "GET k"), Ok(()));
    assert_eq!(wrong("(on)"), "Syntax error");
    assert_eq!(wrong("(>password)"), "Syntax error");
    assert_eq!(wrong("(+nosuch)"), "Unknown command or category name in ACL");
    assert_eq!(wrong("(+get"), "Syntax error");
    assert_eq!(
        super::rules(&["(+get", "~x"]),
        Err("Unmatched parenthesis in acl selector starting at '(+get ~x'.".into())
    );
}

#[test]
fn a_profile_is_said_with_rules() {
    let user = user("consistency=bounded:100 ack=semi-sync:2 r=1 w=quorum");
    assert_eq!(user.text(), "off resetchannels -@all consistency=bounded:100 ack=semi-sync:2 r=1 w=quorum");
    assert_eq!(User::of_text(&user.text()), user);
    let mut none = user.clone();
    for rule in ["consistency=default", "ack=DEFAULT", "r=default", "w=default"] {
        none.set(rule.as_bytes()).expect("a rule");
    }
    assert_eq!(none, User::new());
    assert!(wrong("consistency=fresh").starts_with("consistency= takes strong, bounded:<ms>"));
    assert!(wrong("consistency=bounded").starts_with("consistency= takes"));
    assert!(wrong("ack=semi-sync").starts_with("ack= takes async"));
    assert!(wrong("w=0").starts_with("r= and w= take a number"));
    assert_eq!(wrong("x=1"), "Syntax error");
}

#[test]
fn what_is_no_rule_is_refused_with_the_reason() {
    assert_eq!(wrong("what"), "Syntax error");
    assert_eq!(wrong("+nosuch"), "Unknown command or category name in ACL");
    assert_eq!(wrong("+@nosuch"), "Unknown command or category name in ACL");
    assert_eq!(wrong("+config|nosuch"), "Unknown command or category name in ACL");
    assert!(wrong("~* ~a").starts_with("Adding a pattern after the * pattern"));
    assert!(wrong("&* &a").starts_with("Adding a pattern after the * pattern"));
    assert!(wrong("#12").starts_with("The password hash must be exactly 64 characters"));
    assert!(wrong("<nope").starts_with("The password you are trying to remove"));
    assert_eq!(wrong("%X~a"), "Syntax error");
    assert_eq!(wrong("%~a"), "Syntax error");
}

#[test]
fn a_text_of_another_version_gives_nothing_more_than_is_understood() {
    let user = User::of_text(b"on nopass ~* &* -@all +get +brandnew -othernew");
    assert_eq!((may(&user, "GET a"), may(&user, "SET a 1")), (Ok(()), Err(Denied::Command("set"))));
    assert_eq!(
        User::of_text(b"on nopass ~* +@all newrule=x"),
        User::new(),
        "not understood: it may do nothing"
    );
}

#[test]
fn the_registry_follows_the_catalogue() {
    let users = Users::new(Some("secret"));
    assert!(!users.is_open() && !users.is_loaded() && !users.governs_default());
    assert!(users.authenticate(DEFAULT, b"secret").is_some() && users.authenticate(DEFAULT, b"x").is_none());
    assert!(users.authenticate(b"alice", b"pw").is_none());
    let version = users.version();
    let texts = BTreeMap::from([(Bytes::from_static(b"alice"), user("on >pw ~a* +get").text())]);
    users.follow(&texts);
    assert!(users.version() > version && !users.is_loaded(), "these may be out of date");
    let version = users.version();
    users.confirm();
    assert!(users.version() > version && users.is_loaded());
    let version = users.version();
    users.follow(&texts);
    assert_eq!(users.version(), version, "nothing is new");
    let alice = users.authenticate(b"alice", b"pw").expect("she comes in");
    assert_eq!(may(&alice, "GET b"), key("b"));
    assert_eq!(users.all().len(), 2);
    users.follow(&BTreeMap::from([(Bytes::from_static(DEFAULT), user("off").text())]));
    assert!(users.governs_default() && users.authenticate(DEFAULT, b"secret").is_none());
    assert!(users.find(b"alice").is_none());
    assert!(users.authenticate(MYSELF, users.own_password()).is_some_and(|user| user.is_unlimited()));
    assert!(users.authenticate(MYSELF, b"secret").is_none());
}

#[test]
fn alike_refusals_are_one_entry_and_old_ones_go() {
    let users = Users::new(None);
    let entry = |object: String, now_ms: u64| LogEntry {
        id: 0,
        count: 1,
        reason: "command",
        context: "toplevel",
        object: object.into(),
        user: Bytes::from_static(b"alice"),
        client: format!("id={now_ms}"),
        created_ms: now_ms,
        updated_ms: now_ms,
    };
    users.note(entry("get".into(), 1));
    users.note(entry("set".into(), 2));
    users.note(entry("get".into(), 3));
    let log = users.log();
    assert_eq!((log.len(), log[0].count, log[0].created_ms, log[0].updated_ms), (2, 2, 1, 3));
    assert_eq!((&log[0].object[..], &log[0].client[..]), (&b"get"[..], "id=3"));
    users.note(entry("get".into(), 4 + LOG_TOGETHER_MS));
    assert_eq!(users.log().len(), 3, "it is long ago");
    (0..200).for_each(|number| users.note(entry(number.to_string(), 9)));
    assert_eq!(users.log().len(), LOG_ENTRIES);
    users.reset_log();
    assert!(users.log().is_empty());
}

fn any_rule() -> impl Strategy<Value = String> {
    let names = [
        "get",
        "set",
        "client",
        "client|kill",
        "client|id",
        "@read",
        "@all",
        "@write",
        "config|get",
        "@dangerous",
    ];
    let commands = (any::<bool>(), proptest::sample::select(names.to_vec()))
        .prop_map(|(allow, name)| format!("{}{name}", if allow { '+' } else { '-' }));
    let others = proptest::sample::select(vec![
        "on",
        "off",
        "nopass",
        "resetpass",
        ">a",
        ">b",
        "~a*",
        "~*",
        "%R~b",
        "%W~b",
        "resetkeys",
        "allkeys",
        "&x",
        "&*",
        "resetchannels",
        "consistency=session",
        "consistency=bounded:7",
        "consistency=default",
        "ack=sync",
        "r=all",
        "w=local-quorum",
        "reset",
        "nocommands",
        "allcommands",
    ])
    .prop_map(str::to_owned);
    prop_oneof![2 => commands, 1 => others]
}

proptest! {
    /// The text of a user makes the same user, and what it may do is what its rules say, one after the other.
    #[test]
    fn texts_make_the_same_user(rules in proptest::collection::vec(any_rule(), 0..30)) {
        let mut made = User::new();
        let mut allowed: BTreeMap<&str, bool> = BTreeMap::new();
        let lines = ["GET x", "SET x 1", "CLIENT KILL x", "CLIENT ID", "CONFIG GET x", "MGET x"];
        for rule in &rules {
            if made.set(rule.as_bytes()).is_err() {
                continue;
            }
            let rule = match &rule[..] {
                "reset" | "nocommands" => "-@all",
                "allcommands" => "+@all",
                rule => rule,
            };
            let (sign, target) = rule.split_at(1);
            if sign != "+" && sign != "-" {
                continue;
            }
            for line in lines {
                let words: Vec<Bytes> = line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
                let command = Command::lookup(&words[0]).expect("a command");
                let row = command.resolve(&words);
                let is_meant = target == "@all" || target == command.name || target == row.name
                    || target.strip_prefix('@').is_some_and(|category| row.category_names().contains(&category));
                if is_meant {
                    allowed.insert(line, sign == "+");
                }
            }
        }
        prop_assert_eq!(User::of_text(&made.text()), made.clone());
        for line in lines {
            let is_denied = matches!(may(&made, line), Err(Denied::Command(_)));
            prop_assert_eq!(!is_denied, allowed.get(line).copied().unwrap_or(false), "{} after {:?}", line, rules);
        }
    }
}
