//! What holds for the requests of a connection whatever their keyspaces say: how fresh reads are, by how much writes are acknowledged, how many
//! replicas of leaderless keyspaces are asked.
//!
//! A client says it with `CLIENT CONSISTENCY`, `CLIENT ACK` and `CLIENT QUORUM`. For one that can send no command that Redis has not, the number of a
//! database (`select.profiles`) or its user (`ACL SETUSER`) stands for it, as rules: `consistency=`, `ack=`, `r=` and `w=`. The client's own word
//! comes before the number's, and that before the user's.

use bytes::Bytes;
use replication::configuration::Acknowledgement;
use replication::consistency::Consistency;
use replication::primaries::{Level, Quorum};

/// What is to hold. What is `None` is as the keyspace says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// How fresh reads are.
    pub consistency: Option<Consistency>,
    /// By how much writes are acknowledged.
    pub acknowledgement: Option<Acknowledgement>,
    /// How many replicas of leaderless keyspaces are asked.
    pub quorum: Quorum,
}

impl Profile {
    /// The rules that make it.
    pub fn words(&self) -> impl Iterator<Item = String> {
        let spelled = |name: String| name.to_ascii_lowercase().replace(' ', ":");
        let consistency = self.consistency.map(|level| format!("consistency={}", spelled(level.name())));
        let acknowledgement = self.acknowledgement.map(|acknowledgement| {
            format!("ack={}", spelled(crate::command::keyspace::spelled(acknowledgement)))
        });
        let read = self.quorum.read.map(|level| format!("r={}", spelled(level.name())));
        let write = self.quorum.write.map(|level| format!("w={}", spelled(level.name())));
        [consistency, acknowledgement, read, write].into_iter().flatten()
    }

    /// The quorum, if it says anything.
    pub fn quorum(&self) -> Option<Quorum> {
        (self.quorum != Quorum::default()).then_some(self.quorum)
    }

    /// Takes one more rule.
    ///
    /// # Errors
    ///
    /// Why it is none.
    pub fn set(&mut self, rule: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(rule).map_err(|_| "Syntax error")?;
        let (name, value) = text.split_once('=').ok_or("Syntax error")?;
        let words: Vec<Bytes> =
            value.split(':').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        let is_default = value.eq_ignore_ascii_case("default");
        let count = || match Level::parse(value.as_bytes()) {
            _ if is_default => Ok(None),
            Some(level) => Ok(Some(level)),
            None => Err("r= and w= take a number of replicas, one, quorum, all, local-quorum or default"),
        };
        match &name.to_ascii_lowercase()[..] {
            "consistency" if is_default => self.consistency = None,
            "consistency" => match Consistency::parse(&words) {
                Some((level, taken)) if taken == words.len() => self.consistency = Some(level),
                _ => {
                    return Err(
                        "consistency= takes strong, bounded:<ms>, session, eventual or default".into()
                    );
                }
            },
            "ack" if is_default => self.acknowledgement = None,
            "ack" => match crate::command::keyspace::acknowledgement(&words) {
                Ok((acknowledgement, taken)) if taken == words.len() => {
                    self.acknowledgement = Some(acknowledgement)
                }
                _ => return Err("ack= takes async, semi-sync:<replicas>, sync or default".into()),
            },
            "r" => self.quorum.read = count()?,
            "w" => self.quorum.write = count()?,
            _ => return Err("Syntax error".into()),
        }
        Ok(())
    }

    /// What this one does not say, that one says.
    pub fn or(self, other: &Profile) -> Profile {
        Profile {
            consistency: self.consistency.or(other.consistency),
            acknowledgement: self.acknowledgement.or(other.acknowledgement),
            quorum: Quorum {
                read: self.quorum.read.or(other.quorum.read),
                write: self.quorum.write.or(other.quorum.write),
            },
        }
    }
}
