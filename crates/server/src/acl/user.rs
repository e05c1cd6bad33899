//! One user: its rules as `ACL SETUSER` takes them, as one text, and what they allow.
//!
//! Rules are applied one after the other, each changing what those before it have made, as in Redis 7. Kept are the words of which the same user
//! can be made again ([`User::text`]), and what follows from them for checks: a bit for each command and subcommand.
//!
//! Beside the rules of Redis there are four that make a profile, for clients that can send no command that Redis has not: `consistency=`, `ack=`,
//! `r=` and `w=`, which hold for connections of this user that have not said `CLIENT CONSISTENCY`, `CLIENT ACK` or `CLIENT QUORUM`.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use bytes::Bytes;
use data::Command;
use data::command::access;
use data::glob::matches;
use sha2::{Digest, Sha256};

use crate::profile::Profile;

/// A password's SHA-256.
type Hash = [u8; 32];

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    enabled: bool,
    /// Any password will do, and none.
    no_password: bool,
    passwords: BTreeSet<Hash>,
    keys: Vec<KeyPattern>,
    /// There is no publish and subscribe; what is said about channels is kept for when there is.
    channels: Vec<Bytes>,
    /// What was said of commands, the first being `+@all` or `-@all`.
    said: Vec<(bool, String)>,
    /// Bit by bit what follows from that.
    allowed: Vec<u64>,
    profile: Profile,
    /// It may do everything.
    unlimited: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct KeyPattern {
    reads: bool,
    writes: bool,
    pattern: Bytes,
}

/// What a user may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// This command.
    Command(&'static str),
    /// Something with this key.
    Key(Bytes),
}

/// `>password` as it is kept.
pub fn hash_of(password: &[u8]) -> Hash {
    Sha256::digest(password).into()
}

/// A bit for each command and each subcommand: `first[number]` is that of a command, those of its subcommands follow.
struct Bits {
    first: Vec<usize>,
    count: usize,
}

fn bits() -> &'static Bits {
    static BITS: OnceLock<Bits> = OnceLock::new();
    BITS.get_or_init(|| {
        let mut count = 0;
        let place = |command: &Command| {
            let first = count;
            count += 1 + command.subcommands.len();
            first
        };
        let first = Command::all().iter().map(place).collect();
        Bits { first, count }
    })
}

fn bit_of(command: &'static Command, arguments: &[Bytes]) -> (usize, &'static str) {
    let first = bits().first[command.number()];
    let own_name = |row: &Command| row.name.rsplit('|').next().unwrap_or_default().as_bytes();
    let named = arguments
        .get(1)
        .and_then(|name| command.subcommands.iter().position(|row| own_name(row).eq_ignore_ascii_case(name)));
    match named {
        Some(at) => (first + 1 + at, command.subcommands[at].name),
        None => (first, command.name),
    }
}

/// Every command and subcommand with its bit.
fn rows() -> impl Iterator<Item = (usize, &'static Command)> {
    Command::all().iter().flat_map(|command| {
        let first = bits().first[command.number()];
        std::iter::once(command)
            .chain(command.subcommands)
            .enumerate()
            .map(move |(at, row)| (first + at, row))
    })
}

/// The categories that there are.
pub fn categories() -> BTreeSet<&'static str> {
    rows().flat_map(|(_, row)| row.category_names()).collect()
}

/// The commands and subcommands of a category.
pub fn commands_of(category: &str) -> Vec<&'static str> {
    let is_in = |row: &&Command| row.category_names().contains(&category);
    rows().map(|(_, row)| row).filter(is_in).map(|row| row.name).collect()
}

/// The bits that a rule is about; `None`: there is no such command or category.
fn bits_of(target: &str) -> Option<Vec<usize>> {
    if let Some(category) = target.strip_prefix('@') {
        let found: Vec<usize> = rows()
            .filter(|(_, row)| category == "all" || row.category_names().contains(&category))
            .map(|(bit, _)| bit)
            .collect();
        return (!found.is_empty()).then_some(found);
    }
    match target.split_once('|') {
        Some(_) => rows().find(|(_, row)| row.name == target).map(|(bit, _)| vec![bit]),
        None => {
            let command = Command::lookup(target.as_bytes())?;
            let first = bits().first[command.number()];
            Some((first..=first + command.subcommands.len()).collect())
        }
    }
}

impl User {
    /// A user as `ACL SETUSER` begins one: it is off and may do nothing.
    pub fn new() -> User {
        let mut user = User {
            enabled: false,
            no_password: false,
            passwords: BTreeSet::new(),
            keys: Vec::new(),
            channels: Vec::new(),
            said: Vec::new(),
            allowed: vec![0; bits().count.div_ceil(64)],
            profile: Profile::default(),
            unlimited: false,
        };
        user.say(false, "@all".into());
        user
    }

    /// The user `default` of a node with that password in its configuration.
    pub fn fallback(password: Option<&str>) -> User {
        match password {
            Some(password) => User::fallback_of(password.as_bytes()),
            None => User { no_password: true, passwords: BTreeSet::new(), ..User::fallback_of(b"") },
        }
    }

    /// A user that may do everything.
    pub fn fallback_of(password: &[u8]) -> User {
        let mut user = User::new();
        for word in [&b"on"[..], b"~*", b"&*", b"+@all"] {
            user.set(word).expect("these are rules");
        }
        user.passwords.insert(hash_of(password));
        user
    }

    /// The user of a [text](User::text). What another version has said of commands that this one has not says nothing here; a text that makes no
    /// sense gives a user who may do nothing.
    pub fn of_text(text: &[u8]) -> User {
        let mut user = User::new();
        for word in text.split(|byte| *byte == b' ').filter(|word| !word.is_empty()) {
            let is_of_command = matches!(word.first(), Some(b'+' | b'-'));
            if let Err(reason) = user.set(word)
                && !is_of_command
            {
                tracing::error!(reason, "a user of the catalogue is not understood and may do nothing");
                return User::new();
            }
        }
        user
    }

    /// The rules that make this user of a new one, on one line.
    pub fn text(&self) -> Bytes {
        let mut words: Vec<Vec<u8>> = vec![if self.enabled { b"on".to_vec() } else { b"off".to_vec() }];
        if self.no_password {
            words.push(b"nopass".to_vec());
        }
        words.extend(self.passwords.iter().map(|hash| format!("#{}", hexadecimal(hash)).into_bytes()));
        words.extend(self.keys.iter().map(KeyPattern::text));
        if self.channels.is_empty() {
            words.push(b"resetchannels".to_vec());
        }
        words.extend(self.channels.iter().map(|pattern| [b"&", &pattern[..]].concat()));
        words.push(self.commands_text().into_bytes());
        words.extend(self.profile.words().map(String::into_bytes));
        Bytes::from(words.join(&b' '))
    }

    /// The rules about commands.
    pub fn commands_text(&self) -> String {
        let words: Vec<String> = self
            .said
            .iter()
            .map(|(allow, target)| format!("{}{target}", if *allow { '+' } else { '-' }))
            .collect();
        words.join(" ")
    }

    /// The rules about keys.
    pub fn keys_text(&self) -> Bytes {
        let words: Vec<Vec<u8>> = self.keys.iter().map(KeyPattern::text).collect();
        Bytes::from(words.join(&b' '))
    }

    /// The rules about channels.
    pub fn channels_text(&self) -> Bytes {
        let words: Vec<Vec<u8>> = self.channels.iter().map(|pattern| [b"&", &pattern[..]].concat()).collect();
        Bytes::from(words.join(&b' '))
    }

    /// The words for what it is: `on`, `nopass`.
    pub fn flags(&self) -> Vec<&'static str> {
        let on = if self.enabled { "on" } else { "off" };
        if self.no_password { vec![on, "nopass"] } else { vec![on] }
    }

    /// The hashes of its passwords.
    pub fn passwords(&self) -> Vec<String> {
        self.passwords.iter().map(|hash| hexadecimal(hash)).collect()
    }

    /// What holds where a connection does not say anything else.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// May a connection be this user without a password?
    pub fn is_open(&self) -> bool {
        self.enabled && self.no_password
    }

    /// Does a password of that hash do?
    pub fn lets_in(&self, hash: &Hash) -> bool {
        let is_one = self.passwords.iter().fold(false, |found, known| {
            let differences = known.iter().zip(hash).fold(0, |all, (ours, theirs)| all | (ours ^ theirs));
            found | (differences == 0)
        });
        self.enabled && (self.no_password || is_one)
    }

    /// May it do everything?
    pub fn is_unlimited(&self) -> bool {
        self.unlimited
    }

    /// May it run this command?
    ///
    /// # Errors
    /// What it may not do. A command whose keys cannot be told is refused elsewhere.
    pub fn permits(&self, command: &'static Command, arguments: &[Bytes]) -> Result<(), Denied> {
        if self.unlimited || !crate::command::needs_authentication(command) {
            return Ok(());
        }
        let (bit, name) = bit_of(command, arguments);
        if !self.has(bit) {
            return Err(Denied::Command(name));
        }
        let keys = data::route::keys_of(command, arguments).unwrap_or_default();
        for (nth, place) in keys.into_iter().enumerate() {
            let (key, wanted) = (&arguments[place], access(command, arguments, nth));
            if !self.permits_key(key, wanted.reads, wanted.writes) {
                return Err(Denied::Key(key.clone()));
            }
        }
        Ok(())
    }

    /// One pattern has to allow all that is done to the key, as in Redis.
    fn permits_key(&self, key: &[u8], reads: bool, writes: bool) -> bool {
        self.keys.iter().any(|allowed| {
            (allowed.reads || !reads) && (allowed.writes || !writes) && matches(&allowed.pattern, key)
        })
    }

    fn has(&self, bit: usize) -> bool {
        self.allowed[bit / 64] & (1 << (bit % 64)) != 0
    }

    /// Applies one rule.
    ///
    /// # Errors
    /// Why it is none, in Redis' words where it has any.
    pub fn set(&mut self, rule: &[u8]) -> Result<(), String> {
        if rule.iter().any(|byte| byte.is_ascii_whitespace() || *byte == 0) {
            return Err("Syntax error".into());
        }
        match &rule.to_ascii_lowercase()[..] {
            b"on" => self.enabled = true,
            b"off" => self.enabled = false,
            b"nopass" => {
                self.no_password = true;
                self.passwords.clear();
            }
            b"resetpass" => {
                self.no_password = false;
                self.passwords.clear();
            }
            b"allkeys" => self.keys = vec![KeyPattern::all()],
            b"resetkeys" => self.keys.clear(),
            b"allchannels" => self.channels = vec![Bytes::from_static(b"*")],
            b"resetchannels" => self.channels.clear(),
            b"allcommands" => self.say(true, "@all".into()),
            b"nocommands" => self.say(false, "@all".into()),
            // There is no payload to be checked and there are no selectors to be cleared.
            b"sanitize-payload" | b"skip-sanitize-payload" | b"clearselectors" => {}
            b"reset" => *self = User::new(),
            _ => self.set_other(rule)?,
        }
        self.unlimited =
            self.keys.iter().any(KeyPattern::is_all) && (0..bits().count).all(|bit| self.has(bit));
        Ok(())
    }

    fn set_other(&mut self, rule: &[u8]) -> Result<(), String> {
        let (sign, rest) = rule.split_first().ok_or("Syntax error")?;
        match sign {
            b'>' => {
                self.no_password = false;
                self.passwords.insert(hash_of(rest));
            }
            b'#' => {
                self.no_password = false;
                self.passwords.insert(parse_hash(rest)?);
            }
            b'<' | b'!' => {
                let hash = if *sign == b'<' { hash_of(rest) } else { parse_hash(rest)? };
                if !self.passwords.remove(&hash) {
                    return Err("The password you are trying to remove from the user does not exist".into());
                }
            }
            b'~' | b'%' => self.add_keys(KeyPattern::parse(rule)?)?,
            b'&' => {
                if self.channels.iter().any(|known| &known[..] == b"*") && rest != b"*" {
                    return Err(
                        "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not \
                         have any effect. Try 'resetchannels' to start with an empty list of channels"
                            .into(),
                    );
                }
                match rest {
                    b"*" => self.channels = vec![Bytes::from_static(b"*")],
                    _ if self.channels.iter().any(|known| known == rest) => {}
                    _ => self.channels.push(Bytes::copy_from_slice(rest)),
                }
            }
            b'+' | b'-' => {
                const UNKNOWN: &str = "Unknown command or category name in ACL";
                let target = std::str::from_utf8(rest).map_err(|_| UNKNOWN)?.to_ascii_lowercase();
                if bits_of(&target).is_none() {
                    return Err(UNKNOWN.into());
                }
                self.say(*sign == b'+', target);
            }
            b'(' => return Err("Selectors are not supported: make a user for each".into()),
            _ => self.profile.set(rule)?,
        }
        Ok(())
    }

    fn add_keys(&mut self, pattern: KeyPattern) -> Result<(), String> {
        if pattern.is_all() {
            self.keys = vec![pattern];
            return Ok(());
        }
        if self.keys.iter().any(KeyPattern::is_all) {
            return Err("Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have \
                        any effect. Try 'resetkeys' to start with an empty list of patterns"
                .into());
        }
        match self.keys.iter_mut().find(|known| known.pattern == pattern.pattern) {
            Some(known) => {
                known.reads |= pattern.reads;
                known.writes |= pattern.writes;
            }
            None => self.keys.push(pattern),
        }
        Ok(())
    }

    /// A rule about commands. Those before it that are about nothing but what this one is about say nothing any more.
    fn say(&mut self, allow: bool, target: String) {
        let is_covered = |other: &str| {
            target == "@all"
                || other == target
                || other.strip_prefix(&target).is_some_and(|rest| rest.starts_with('|'))
        };
        self.said.retain(|(_, other)| other == "@all" && target != "@all" || !is_covered(other));
        for bit in bits_of(&target).unwrap_or_default() {
            let place = &mut self.allowed[bit / 64];
            *place = if allow { *place | 1 << (bit % 64) } else { *place & !(1 << (bit % 64)) };
        }
        self.said.push((allow, target));
    }
}

impl Default for User {
    fn default() -> User {
        User::new()
    }
}

impl KeyPattern {
    fn all() -> KeyPattern {
        KeyPattern { reads: true, writes: true, pattern: Bytes::from_static(b"*") }
    }

    fn is_all(&self) -> bool {
        self.reads && self.writes && &self.pattern[..] == b"*"
    }

    /// `~pattern`, `%R~pattern`, `%W~pattern`, `%RW~pattern`.
    fn parse(rule: &[u8]) -> Result<KeyPattern, String> {
        let tilde = rule.iter().position(|byte| *byte == b'~').ok_or("Syntax error")?;
        let pattern = Bytes::copy_from_slice(&rule[tilde + 1..]);
        let (mut reads, mut writes) = (tilde == 0, tilde == 0);
        for letter in rule[..tilde].iter().skip(1) {
            match letter.to_ascii_lowercase() {
                b'r' => reads = true,
                b'w' => writes = true,
                _ => return Err("Syntax error".into()),
            }
        }
        if !reads && !writes {
            return Err("Syntax error".into());
        }
        Ok(KeyPattern { reads, writes, pattern })
    }

    fn text(&self) -> Vec<u8> {
        let sign: &[u8] = match (self.reads, self.writes) {
            (true, true) => b"~",
            (true, false) => b"%R~",
            _ => b"%W~",
        };
        [sign, &self.pattern[..]].concat()
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_hash(text: &[u8]) -> Result<Hash, String> {
    const WRONG: &str =
        "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters";
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(WRONG),
    };
    let mut hash = [0; 32];
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != hash.len() || !rest.is_empty() {
        return Err(WRONG.into());
    }
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Ok(hash)
}
