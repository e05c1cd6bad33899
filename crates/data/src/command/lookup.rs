//! From a name to its row: a hash table with open addressing that the compiler makes.

use super::{
    Command, rows_bitmap, rows_conflict, rows_connection, rows_generic, rows_hash, rows_list, rows_server,
    rows_set, rows_sorted_set, rows_string, rows_transaction,
};

const THEMES: [&[Command]; 11] = [
    rows_bitmap::ROWS,
    rows_conflict::ROWS,
    rows_connection::ROWS,
    rows_generic::ROWS,
    rows_hash::ROWS,
    rows_list::ROWS,
    rows_server::ROWS,
    rows_set::ROWS,
    rows_sorted_set::ROWS,
    rows_string::ROWS,
    rows_transaction::ROWS,
];

const ROW_COUNT: usize = {
    let (mut count, mut theme) = (0, 0);
    while theme < THEMES.len() {
        count += THEMES[theme].len();
        theme += 1;
    }
    count
};

static ROWS: [Command; ROW_COUNT] = {
    let mut rows = [THEMES[0][0]; ROW_COUNT];
    let (mut at, mut theme) = (0, 0);
    while theme < THEMES.len() {
        let mut row = 0;
        while row < THEMES[theme].len() {
            rows[at] = THEMES[theme][row];
            at += 1;
            row += 1;
        }
        theme += 1;
    }
    rows
};

/// At least four times as many places as rows, so that a name is nearly always found at the first look.
const PLACES: usize = (4 * ROW_COUNT).next_power_of_two();

/// No row.
const EMPTY: u16 = u16::MAX;

static INDEX: [u16; PLACES] = {
    let mut index = [EMPTY; PLACES];
    let mut row = 0;
    while row < ROW_COUNT {
        let mut place = first_place(ROWS[row].name.as_bytes());
        while index[place] != EMPTY {
            place = (place + 1) % PLACES;
        }
        index[place] = row as u16;
        row += 1;
    }
    index
};

pub(super) fn all() -> &'static [Command] {
    &ROWS
}

pub(super) fn find(name: &[u8]) -> Option<&'static Command> {
    let mut place = first_place(name);
    while INDEX[place] != EMPTY {
        let row = &ROWS[usize::from(INDEX[place])];
        if row.name.as_bytes().eq_ignore_ascii_case(name) {
            return Some(row);
        }
        place = (place + 1) % PLACES;
    }
    None
}

/// The place where the search for a name begins. Upper and lower case begin at the same one (FNV-1a).
const fn first_place(name: &[u8]) -> usize {
    let mut hash = 0x811c_9dc5u32;
    let mut at = 0;
    while at < name.len() {
        hash = (hash ^ name[at].to_ascii_lowercase() as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    (hash ^ (hash >> 15)) as usize % PLACES
}
