//! The catalogue as `consort ctl` shows it.

use std::collections::BTreeMap;
use std::time::Duration;

use resp::Value;

use crate::ask::Connection;
use crate::status::{asked, field, list, number, text};
use crate::table;

/// What a node knows of the catalogue.
#[derive(Debug)]
pub struct Catalogue {
    /// Rises with every change.
    pub epoch: u64,
    members: Vec<Member>,
    keyspaces: Vec<(String, String)>,
    partitions: Vec<Partition>,
    readers: Vec<Reader>,
    /// How many there are to be.
    partitions_wanted: u64,
    split: Option<Split>,
}

/// The split under way.
#[derive(Debug)]
struct Split {
    partition: u64,
    child: u64,
    first_slot: u64,
}

#[derive(Debug)]
struct Member {
    name: String,
    id: String,
    /// As `NODE LIST` gives them, in the order of [`COLUMNS`].
    cells: Vec<String>,
}

#[derive(Debug)]
struct Partition {
    number: u64,
    slots: (u64, u64),
    replicas: Vec<String>,
    moving_to: Vec<String>,
}

/// A copy for reads alone.
#[derive(Debug)]
struct Reader {
    partition: u64,
    node: String,
    ready: bool,
}

/// What is shown of a member beside its name: the field, and the heading.
const COLUMNS: [(&str, &str); 9] = [
    ("state", "state"),
    ("zone", "zone"),
    ("weight", "weight"),
    ("partitions", "partitions"),
    ("leads", "leads"),
    ("arriving", "arriving"),
    ("leaving", "leaving"),
    ("catalogue", "catalogue"),
    ("client", "client"),
];

impl Catalogue {
    /// Asks a node.
    ///
    /// # Errors
    /// No answer, or one that is not understood.
    pub async fn ask(connection: &mut Connection, limit: Duration) -> Result<Catalogue, String> {
        asked(connection, "CATALOGUE", limit, Catalogue::parse).await
    }

    fn parse(reply: &Value) -> Option<Catalogue> {
        Some(Catalogue {
            epoch: number(field(reply, "epoch")?)?,
            members: list(field(reply, "members")?, Member::parse)?,
            keyspaces: list(field(reply, "keyspaces")?, |keyspace| {
                Some((text(field(keyspace, "prefix")?)?, text(field(keyspace, "strategy")?)?))
            })?,
            partitions: list(field(reply, "partitions")?, Partition::parse)?,
            readers: list(field(reply, "readers")?, Reader::parse)?,
            partitions_wanted: number(field(reply, "partitions_wanted")?)?,
            split: match field(reply, "split")? {
                Value::Null | Value::NullArray => None,
                split => Some(Split::parse(split)?),
            },
        })
    }

    /// For people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("epoch {}", self.epoch), String::new()];
        let headings: Vec<&str> = ["node"].into_iter().chain(COLUMNS.map(|(_, heading)| heading)).collect();
        let row = |member: &Member| [vec![member.name.clone()], member.cells.clone()].concat();
        lines.extend(table::table(&headings, &self.members.iter().map(row).collect::<Vec<_>>()));
        lines.push(String::new());
        let row = |(prefix, strategy): &(String, String)| {
            vec![if prefix.is_empty() { "(all other keys)".into() } else { prefix.clone() }, strategy.clone()]
        };
        lines.extend(table::table(
            &["keyspace", "strategy"],
            &self.keyspaces.iter().map(row).collect::<Vec<_>>(),
        ));
        lines.push(String::new());
        let names = self.names();
        let row = |partition: &Partition| {
            let (first, last) = partition.slots;
            vec![
                partition.number.to_string(),
                format!("{first}-{last}"),
                joined(&names, &partition.replicas),
                joined(&names, &partition.moving_to),
            ]
        };
        let rows: Vec<Vec<String>> = self.partitions.iter().map(row).collect();
        lines.extend(table::table(&["partition", "slots", "nodes", "moving to"], &rows));
        let row = |reader: &Reader| {
            let state = if reader.ready { "answers reads" } else { "is filled" };
            // Groups of keyspaces have the number of the keyspace in the upper half.
            vec![
                reader.partition.to_string(),
                joined(&names, std::slice::from_ref(&reader.node)),
                state.into(),
            ]
        };
        if !self.readers.is_empty() {
            lines.push(String::new());
            let rows: Vec<Vec<String>> = self.readers.iter().map(row).collect();
            lines.extend(table::table(&["partition or group", "copy for reads", "state"], &rows));
        }
        lines
    }

    /// What is under way, a line for each partition that moves, and for splits.
    pub fn moves(&self) -> Vec<String> {
        let names = self.names();
        let moving = self.partitions.iter().filter(|partition| !partition.moving_to.is_empty());
        let line = |partition: &Partition| {
            format!(
                "partition {}: {} -> {}",
                partition.number,
                joined(&names, &partition.replicas),
                joined(&names, &partition.moving_to)
            )
        };
        let mut lines: Vec<String> = moving.map(line).collect();
        lines.extend(self.split.as_ref().map(|split| {
            let Split { partition, child, first_slot } = split;
            format!(
                "partition {partition} is being split: slots from {first_slot} on become partition {child}"
            )
        }));
        let present = self.partitions.len() as u64;
        if present < self.partitions_wanted {
            lines.push(format!("{present} of {} partitions", self.partitions_wanted));
        }
        lines
    }

    fn names(&self) -> BTreeMap<&str, &str> {
        self.members.iter().map(|member| (member.id.as_str(), member.name.as_str())).collect()
    }
}

fn joined(names: &BTreeMap<&str, &str>, ids: &[String]) -> String {
    let name = |id: &String| names.get(id.as_str()).map_or_else(|| id.clone(), |name| (*name).to_string());
    ids.iter().map(name).collect::<Vec<_>>().join(" ")
}

impl Split {
    fn parse(value: &Value) -> Option<Split> {
        let number = |name: &str| number(field(value, name)?);
        Some(Split {
            partition: number("partition")?,
            child: number("child")?,
            first_slot: number("first_slot")?,
        })
    }
}

impl Member {
    fn parse(value: &Value) -> Option<Member> {
        let cell = |(name, _): (&str, &str)| {
            let value = field(value, name)?;
            text(value).or_else(|| number(value).map(|number| number.to_string()))
        };
        Some(Member {
            name: text(field(value, "name")?)?,
            id: text(field(value, "id")?)?,
            cells: COLUMNS.into_iter().map(cell).collect::<Option<_>>()?,
        })
    }
}

impl Reader {
    fn parse(value: &Value) -> Option<Reader> {
        Some(Reader {
            partition: number(field(value, "partition")?)?,
            node: text(field(value, "node")?)?,
            ready: matches!(field(value, "ready")?, Value::Boolean(true) | Value::Integer(1)),
        })
    }
}

impl Partition {
    fn parse(value: &Value) -> Option<Partition> {
        Some(Partition {
            number: number(field(value, "partition")?)?,
            slots: (number(field(value, "first_slot")?)?, number(field(value, "last_slot")?)?),
            replicas: list(field(value, "replicas")?, text)?,
            moving_to: list(field(value, "moving_to")?, text)?,
        })
    }
}
