//! What may be done: which commands, with which keys. A user has one such set of its own, and one for each of its selectors, of which one has to allow a
//! command with all of its keys.
//!
//! Rules are applied one after the other, each changing what those before it have made, as in Redis 7. Kept are the words of which the same can be made again,
//! and what follows from them for checks: a bit for each command and subcommand.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use bytes::Bytes;
use data::Command;
use data::command::access;
use data::glob::matches;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    keys: Vec<KeyPattern>,
    /// There is no publish and subscribe; what is said about channels is kept for when there is.
    channels: Vec<Bytes>,
    /// What was said of commands, the first being `+@all` or `-@all`.
    said: Vec<(bool, String)>,
    /// Bit by bit what follows from that.
    allowed: Vec<u64>,
    /// Everything may be done.
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

impl Permissions {
    /// None.
    pub fn none() -> Permissions {
        let (keys, channels, said) = (Vec::new(), Vec::new(), Vec::new());
        let allowed = vec![0; bits().count.div_ceil(64)];
        let mut none = Permissions { keys, channels, said, allowed, unlimited: false };
        none.say(false, "@all".into());
        none
    }

    /// Those of a selector, by the rules within its brackets. `lenient`: what another version has said of commands that this one has not says nothing.
    ///
    /// # Errors
    /// One of them is none, or none of a selector.
    pub fn of_selector(rules: &[u8], lenient: bool) -> Result<Permissions, String> {
        let mut permissions = Permissions::none();
        for word in rules.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
            let is_of_command = matches!(word.first(), Some(b'+' | b'-'));
            match permissions.set(word) {
                Ok(true) => {}
                Ok(false) => return Err("Syntax error".into()),
                Err(_) if lenient && is_of_command => {}
                Err(reason) => return Err(reason),
            }
        }
        Ok(permissions)
    }

    /// The rules that make it of none.
    pub fn words(&self) -> Vec<Vec<u8>> {
        let mut words: Vec<Vec<u8>> = self.keys.iter().map(KeyPattern::text).collect();
        if self.channels.is_empty() {
            words.push(b"resetchannels".to_vec());
        }
        words.extend(self.channels.iter().map(|pattern| [b"&", &pattern[..]].concat()));
        words.push(self.commands_text().into_bytes());
        words
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

    /// May everything be done?
    pub fn is_unlimited(&self) -> bool {
        self.unlimited
    }

    /// May this command be run?
    ///
    /// # Errors
    /// What may not be done. A command whose keys cannot be told is refused elsewhere.
    pub fn permits(&self, command: &'static Command, arguments: &[Bytes]) -> Result<(), Denied> {
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

    /// Applies one rule. `false`: it is about something else.
    ///
    /// # Errors
    /// Why it is none, in Redis' words where it has any.
    pub fn set(&mut self, rule: &[u8]) -> Result<bool, String> {
        match &rule.to_ascii_lowercase()[..] {
            b"allkeys" => self.keys = vec![KeyPattern::all()],
            b"resetkeys" => self.keys.clear(),
            b"allchannels" => self.channels = vec![Bytes::from_static(b"*")],
            b"resetchannels" => self.channels.clear(),
            b"allcommands" => self.say(true, "@all".into()),
            b"nocommands" => self.say(false, "@all".into()),
            _ => match rule.split_first() {
                Some((b'~' | b'%', _)) => self.add_keys(KeyPattern::parse(rule)?)?,
                Some((b'&', pattern)) => self.add_channel(pattern)?,
                Some((sign @ (b'+' | b'-'), target)) => {
                    const UNKNOWN: &str = "Unknown command or category name in ACL";
                    let target = std::str::from_utf8(target).map_err(|_| UNKNOWN)?.to_ascii_lowercase();
                    if bits_of(&target).is_none() {
                        return Err(UNKNOWN.into());
                    }
                    self.say(*sign == b'+', target);
                }
                _ => return Ok(false),
            },
        }
        self.unlimited =
            self.keys.iter().any(KeyPattern::is_all) && (0..bits().count).all(|bit| self.has(bit));
        Ok(true)
    }

    fn add_channel(&mut self, pattern: &[u8]) -> Result<(), String> {
        if self.channels.iter().any(|known| &known[..] == b"*") && pattern != b"*" {
            return Err(
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not \
                 have any effect. Try 'resetchannels' to start with an empty list of channels"
                    .into(),
            );
        }
        match pattern {
            b"*" => self.channels = vec![Bytes::from_static(b"*")],
            _ if self.channels.iter().any(|known| known == pattern) => {}
            _ => self.channels.push(Bytes::copy_from_slice(pattern)),
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
