//! Our side.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use data::merged::{Dot, HybridTime, Merge, MergedTable};
use data::{Command, Mutation, Pending, Stamp, Table, View};
use resp::Value;

/// Ours: a table, and writes that are under way to it; or one whose elements merge, of which this is the only replica.
pub struct Ours {
    pub table: Table,
    pub merged: MergedTable,
    pending: Pending,
    log: VecDeque<(u64, Mutation)>,
    position: u64,
    pub merges: bool,
}

impl Ours {
    pub fn new(merges: bool) -> Self {
        Ours {
            table: Table::new(),
            merged: MergedTable::new(),
            pending: Pending::default(),
            log: VecDeque::new(),
            position: 0,
            merges,
        }
    }

    /// Runs a write where changes merge: each is applied at once, from its bytes.
    pub fn merge(&mut self, run: impl FnOnce(&MergedTable, Dot, &Stamp) -> data::merged::Prepared) -> Value {
        let now_ms = now_ms();
        let dot = Dot { origin: 1 << 60, counter: self.position + 1 };
        let stamp = Stamp { time_ms: now_ms, ..Stamp::default() };
        let prepared = run(&self.merged, dot, &stamp);
        if !prepared.changes.is_empty() {
            let vector = [(dot.origin, self.position)].into_iter().collect();
            let time = HybridTime { ms: now_ms, logical: 0 };
            let merge = Merge { dot, time, vector, changes: prepared.changes };
            let merge = Merge::decode(&merge.encode()).expect("it was encoded just now");
            self.merged.apply(&merge);
            self.position += 1;
        }
        prepared.reply
    }

    pub fn prepare(&mut self, run: impl FnOnce(&View<'_>, &Stamp) -> data::Prepared) -> Value {
        let now_ms = now_ms();
        let stamp = Stamp { time_ms: now_ms, ..Stamp::default() };
        let view = View::new(&self.table, Some(&self.pending), now_ms);
        let prepared = run(&view, &stamp);
        if let Some(mutation) = prepared.mutation {
            self.position += 1;
            self.pending.record(self.position, &mutation);
            self.log.push_back((self.position, mutation));
        }
        prepared.reply
    }

    pub fn run(&mut self, arguments: &[Bytes]) -> Value {
        let command = command(arguments);
        if let Err(error) = command.check_arity(arguments) {
            return error;
        }
        if self.merges {
            return self
                .merge(|table, dot, stamp| data::prepare_merged(command, arguments, table, dot, stamp));
        }
        self.prepare(|view, stamp| data::prepare(command, arguments, view, stamp))
    }

    pub fn run_transaction(&mut self, commands: &[(&'static Command, Vec<Bytes>)]) -> Value {
        if self.merges {
            return self.merge(|table, dot, stamp| {
                data::prepare_merged_transaction(commands, &[], table, dot, stamp)
            });
        }
        self.prepare(|view, stamp| data::prepare_transaction(commands, &[], view, stamp))
    }

    /// Applies all but the last `left` mutations.
    pub fn apply_but(&mut self, left: usize) {
        while self.log.len() > left {
            let Some((position, mutation)) = self.log.pop_front() else { break };
            self.table.apply(&mutation).expect("our own mutations are well formed");
            self.pending.applied(position);
        }
        assert_eq!(self.pending.is_empty(), self.log.is_empty());
    }
}

pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

pub fn command(arguments: &[Bytes]) -> &'static Command {
    Command::lookup(&arguments[0]).expect("the generator knows only our commands")
}
