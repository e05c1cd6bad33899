//! One user: its rules as `ACL SETUSER` takes them, as one text, and what they allow.
//!
//! Beside what it may do by itself it may do what one of its selectors allows (`(+get ~cache:*)`), as in Redis 7.
//!
//! Beside the rules of Redis there are four that make a profile, for clients that can send no command that Redis has not: `consistency=`, `ack=`,
//! `r=` and `w=`, which hold for connections of this user that have not said `CLIENT CONSISTENCY`, `CLIENT ACK` or `CLIENT QUORUM`.

use std::collections::BTreeSet;

use bytes::Bytes;
use data::Command;
use sha2::{Digest, Sha256};

use super::permissions::{Denied, Permissions};
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
    own: Permissions,
    selectors: Vec<Permissions>,
    profile: Profile,
}

/// The most selectors that a user has.
const MOST_SELECTORS: usize = 100;

/// `>password` as it is kept.
pub fn hash_of(password: &[u8]) -> Hash {
    Sha256::digest(password).into()
}

impl User {
    /// A user as `ACL SETUSER` begins one: it is off and may do nothing.
    pub fn new() -> User {
        User {
            enabled: false,
            no_password: false,
            passwords: BTreeSet::new(),
            own: Permissions::none(),
            selectors: Vec::new(),
            profile: Profile::default(),
        }
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
        let words: Vec<&[u8]> = text.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).collect();
        let made = rules(&words).and_then(|rules| {
            let mut user = User::new();
            for rule in rules {
                let is_of_command = matches!(rule.first(), Some(b'+' | b'-'));
                match user.apply(&rule, true) {
                    Err(reason) if !is_of_command => return Err(reason),
                    _ => {}
                }
            }
            Ok(user)
        });
        made.unwrap_or_else(|reason| {
            tracing::error!(reason, "a user of the catalogue is not understood and may do nothing");
            User::new()
        })
    }

    /// The rules that make this user of a new one, on one line.
    pub fn text(&self) -> Bytes {
        let mut words: Vec<Vec<u8>> = vec![if self.enabled { b"on".to_vec() } else { b"off".to_vec() }];
        if self.no_password {
            words.push(b"nopass".to_vec());
        }
        words.extend(self.passwords.iter().map(|hash| format!("#{}", hexadecimal(hash)).into_bytes()));
        words.extend(self.own.words());
        words.extend(self.selectors.iter().map(|selector| {
            let rules = selector.words().join(&b' ');
            [&b"("[..], &rules, b")"].concat()
        }));
        words.extend(self.profile.words().map(String::into_bytes));
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

    /// What it may do, and then what each of its selectors allows.
    pub fn permissions(&self) -> impl Iterator<Item = &Permissions> {
        std::iter::once(&self.own).chain(&self.selectors)
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
        self.permissions().any(Permissions::is_unlimited)
    }

    /// May it run this command?
    ///
    /// # Errors
    /// What it may not do. A command whose keys cannot be told is refused elsewhere.
    pub fn permits(&self, command: &'static Command, arguments: &[Bytes]) -> Result<(), Denied> {
        if !crate::command::needs_authentication(command) {
            return Ok(());
        }
        let mut denied = None;
        for permissions in self.permissions() {
            if permissions.is_unlimited() {
                return Ok(());
            }
            match (permissions.permits(command, arguments), &denied) {
                (Ok(()), _) => return Ok(()),
                // Who may run the command and not with that key is nearest to it.
                (Err(reason @ Denied::Key(_)), Some(Denied::Command(_))) | (Err(reason), None) => {
                    denied = Some(reason);
                }
                (Err(_), Some(_)) => {}
            }
        }
        denied.map_or(Ok(()), Err)
    }

    /// Applies one rule; a selector is one, with its brackets ([`rules`]).
    ///
    /// # Errors
    /// Why it is none, in Redis' words where it has any.
    pub fn set(&mut self, rule: &[u8]) -> Result<(), String> {
        self.apply(rule, false)
    }

    fn apply(&mut self, rule: &[u8], lenient: bool) -> Result<(), String> {
        if let Some(inner) = rule.strip_prefix(b"(") {
            let inner = inner.strip_suffix(b")").ok_or("Syntax error")?;
            if self.selectors.len() == MOST_SELECTORS {
                return Err(format!("a user has at most {MOST_SELECTORS} selectors"));
            }
            self.selectors.push(Permissions::of_selector(inner, lenient)?);
            return Ok(());
        }
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
            b"clearselectors" => self.selectors.clear(),
            // There is no payload to be checked.
            b"sanitize-payload" | b"skip-sanitize-payload" => {}
            b"reset" => *self = User::new(),
            _ if self.own.set(rule)? => {}
            _ => self.set_other(rule)?,
        }
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
            _ => self.profile.set(rule)?,
        }
        Ok(())
    }
}

impl Default for User {
    fn default() -> User {
        User::new()
    }
}

/// The rules that words are: a selector may come in many, from the one that opens its bracket to the one that closes it.
///
/// # Errors
/// It is never closed.
pub fn rules<W: AsRef<[u8]>>(words: &[W]) -> Result<Vec<Vec<u8>>, String> {
    let mut rules: Vec<Vec<u8>> = Vec::new();
    let mut open: Option<Vec<u8>> = None;
    for word in words.iter().map(AsRef::as_ref) {
        let text = match open.take() {
            Some(before) => [&before[..], b" ", word].concat(),
            None => word.to_vec(),
        };
        match text.starts_with(b"(") && !text.ends_with(b")") {
            true => open = Some(text),
            false => rules.push(text),
        }
    }
    match open {
        None => Ok(rules),
        Some(text) => {
            let begin = String::from_utf8_lossy(&text[..text.len().min(64)]).into_owned();
            Err(format!("Unmatched parenthesis in acl selector starting at '{begin}'."))
        }
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
