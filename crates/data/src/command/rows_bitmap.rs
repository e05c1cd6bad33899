//! Strings as arrays of bits.

use super::argument::*;
use super::{Argument as A, ArgumentKind, Command};
use crate::commands::bit;

const UNIT: A = A::one_of("unit", &[A::word("byte", "BYTE"), A::word("bit", "BIT")]).optional();
const BIT: A = A::new("bit", ArgumentKind::Integer);

pub(super) const ROWS: &[Command] = &[
    Command::write("setbit", 4, bit::setbit)
        .flags("write denyoom", "bitmap")
        .key()
        .docs(
            "bitmap",
            "2.2.0",
            "O(1)",
            "Sets or clears a bit of the string in a key, and gives the bit before.",
        )
        .arguments(&[KEY, OFFSET, VALUE]),
    Command::read("getbit", 3, bit::getbit)
        .flags("readonly fast", "bitmap")
        .key()
        .docs("bitmap", "2.2.0", "O(1)", "Gives a bit of the string in a key.")
        .arguments(&[KEY, OFFSET]),
    Command::read("bitcount", -2, bit::bitcount)
        .flags("readonly", "bitmap")
        .key()
        .docs(
            "bitmap",
            "2.6.0",
            "O(N) with N bytes looked at",
            "Counts the bits that are set in a string or a part of it.",
        )
        .arguments(&[KEY, A::block("range", &[START, END, UNIT]).optional()]),
    Command::read("bitpos", -3, bit::bitpos)
        .flags("readonly", "bitmap")
        .key()
        .docs(
            "bitmap",
            "2.8.7",
            "O(N) with N bytes looked at",
            "Finds the first bit that is set, or that is clear.",
        )
        .arguments(&[
            KEY,
            BIT,
            A::block("range", &[START, A::block("end-unit-block", &[END, UNIT]).optional()]).optional(),
        ]),
];
