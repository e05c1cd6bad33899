//! Reads the snapshot that Redis and Valkey send to a replica (RDB, versions 2 to 13), as it comes in.
//!
//! Strings, hashes, lists, sets and sorted sets are taken, with their expiry. Whatever else a key may hold is read past, for which
//! its layout has to be known: a layout that is not ends the reading with an error, since nothing behind it could be found.

use bytes::Bytes;
use data::Kind;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::packed;

/// The longest string that is taken or read past.
const STRING_BYTES: u64 = 512 << 20;
/// A string is read in pieces of this size, so that a wrong length takes no more memory than there are bytes.
const PIECE_BYTES: usize = 1 << 20;

/// What stands in a snapshot.
#[derive(Debug, PartialEq, Eq)]
pub enum Item {
    /// The keys that follow are of this database.
    Database(u64),
    /// A key that holds a string; when it expires, in wall clock milliseconds.
    String { key: Bytes, value: Bytes, expires_at_ms: Option<u64> },
    /// A key that holds a collection. Of a hash: fields and values in turn; of a sorted set: members and scores.
    Collection { key: Bytes, kind: Kind, parts: Vec<Bytes>, expires_at_ms: Option<u64> },
    /// A key that holds something else, and what.
    Other { key: Bytes, kind: &'static str },
}

/// Reads one snapshot.
pub struct Reader<R> {
    input: R,
}

/// The snapshot is not one, or is of a kind that is not known; or the connection broke.
#[derive(Debug)]
pub enum Error {
    /// The connection.
    Broken(std::io::Error),
    /// What is wrong with the bytes.
    Malformed(String),
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        Error::Broken(error)
    }
}

fn malformed<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::Malformed(text.into()))
}

/// A length, or how a string is encoded in its place.
enum Length {
    Of(u64),
    Encoded(u8),
}

mod opcode {
    pub const SLOT_INFO: u8 = 0xf4;
    pub const FUNCTION: u8 = 0xf5;
    pub const MODULE: u8 = 0xf7;
    pub const IDLE: u8 = 0xf8;
    pub const FREQUENCY: u8 = 0xf9;
    pub const AUXILIARY: u8 = 0xfa;
    pub const SIZES: u8 = 0xfb;
    pub const EXPIRE_MS: u8 = 0xfc;
    pub const EXPIRE_S: u8 = 0xfd;
    pub const DATABASE: u8 = 0xfe;
    pub const END: u8 = 0xff;
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Begins to read: the header.
    ///
    /// # Errors
    /// It is not one.
    pub async fn begin(mut input: R) -> Result<Reader<R>, Error> {
        let mut header = [0; 9];
        input.read_exact(&mut header).await?;
        let version = std::str::from_utf8(&header[5..]).ok().and_then(|text| text.parse::<u32>().ok());
        match version {
            Some(2..=13) if header.starts_with(b"REDIS") => Ok(Reader { input }),
            // Valkey 9 has a header and numbers of its own.
            _ => malformed(format!(
                "no snapshot of a version that is known: {:?}",
                header.escape_ascii().to_string()
            )),
        }
    }

    /// The next item; `None` at the end.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn next(&mut self) -> Result<Option<Item>, Error> {
        let mut expires_at_ms = None;
        loop {
            match self.input.read_u8().await? {
                opcode::END => {
                    // A checksum, or zeros. The connection has checksums of its own.
                    self.input.read_u64_le().await?;
                    return Ok(None);
                }
                opcode::DATABASE => return Ok(Some(Item::Database(self.length().await?))),
                opcode::EXPIRE_MS => expires_at_ms = Some(self.input.read_u64_le().await?),
                opcode::EXPIRE_S => {
                    expires_at_ms = Some(u64::from(self.input.read_u32_le().await?).saturating_mul(1000));
                }
                opcode::SIZES => self.lengths(2).await?,
                opcode::SLOT_INFO => self.lengths(3).await?,
                opcode::IDLE => self.lengths(1).await?,
                opcode::FREQUENCY => self.skip(1).await?,
                opcode::AUXILIARY => self.strings(2).await?,
                opcode::FUNCTION => self.strings(1).await?,
                opcode::MODULE => return malformed("data of a module, whose layout only that knows"),
                0 => {
                    let (key, value) = (self.string().await?, self.string().await?);
                    return Ok(Some(Item::String { key, value, expires_at_ms }));
                }
                code => {
                    let key = self.string().await?;
                    return Ok(Some(match kind_of(code) {
                        Some(kind) => {
                            let parts = self.collection(code).await?;
                            Item::Collection { key, kind, parts, expires_at_ms }
                        }
                        None => {
                            let kind = self.read_past(code, &key).await?;
                            Item::Other { key, kind }
                        }
                    }));
                }
            }
        }
    }

    /// The parts of a collection that is written so.
    async fn collection(&mut self, code: u8) -> Result<Vec<Bytes>, Error> {
        let mut parts = Vec::new();
        match code {
            1 | 2 => {
                for _ in 0..self.length().await? {
                    parts.push(self.string().await?);
                }
            }
            4 => {
                for _ in 0..self.length().await?.saturating_mul(2) {
                    parts.push(self.string().await?);
                }
            }
            3 | 5 => {
                for _ in 0..self.length().await? {
                    parts.push(self.string().await?);
                    parts.push(match code {
                        5 => score(f64::from_bits(self.input.read_u64_le().await?))?,
                        _ => self.old_score().await?,
                    });
                }
            }
            14 => {
                for _ in 0..self.length().await? {
                    parts.extend(unpacked(packed::ziplist, &self.string().await?)?);
                }
            }
            18 => {
                for _ in 0..self.length().await? {
                    let form = self.length().await?;
                    let node = self.string().await?;
                    match form {
                        1 => parts.push(node),
                        2 => parts.extend(unpacked(packed::listpack, &node)?),
                        _ => return malformed(format!("a part of a list in the unknown form {form}")),
                    }
                }
            }
            11 => parts = unpacked(packed::intset, &self.string().await?)?,
            10 | 12 | 13 => parts = unpacked(packed::ziplist, &self.string().await?)?,
            _ => parts = unpacked(packed::listpack, &self.string().await?)?,
        }
        match kind_of(code) {
            Some(Kind::Hash | Kind::SortedSet) if parts.len() % 2 == 1 => {
                malformed("a collection of pairs with half a pair")
            }
            _ => Ok(parts),
        }
    }

    /// The value of a key that holds no string and none of the collections that are taken.
    async fn read_past(&mut self, code: u8, key: &Bytes) -> Result<&'static str, Error> {
        match code {
            9 => {
                self.strings(1).await?;
                Ok("a hash of the old kind")
            }
            15 | 19 | 21 => {
                self.stream(code).await?;
                Ok("a stream")
            }
            // When the first does, then a time for each.
            24 => {
                self.skip(8).await?;
                for _ in 0..self.length().await? {
                    self.length().await?;
                    self.strings(2).await?;
                }
                Ok("a hash with fields that end")
            }
            25 => {
                self.skip(8).await?;
                self.strings(1).await?;
                Ok("a hash with fields that end")
            }
            _ => {
                let key = key.escape_ascii();
                malformed(format!("the key '{key}' holds something of the unknown kind {code}"))
            }
        }
    }

    async fn old_score(&mut self) -> Result<Bytes, Error> {
        match self.input.read_u8().await? {
            253 => malformed("a score that is not a number"),
            254 => Ok(Bytes::from_static(b"inf")),
            255 => Ok(Bytes::from_static(b"-inf")),
            length => self.raw(u64::from(length)).await,
        }
    }

    async fn stream(&mut self, kind: u8) -> Result<(), Error> {
        let nodes = self.length().await?;
        self.strings(nodes.saturating_mul(2)).await?;
        self.lengths(if kind >= 19 { 8 } else { 3 }).await?;
        for _ in 0..self.length().await? {
            self.string().await?;
            self.lengths(if kind >= 19 { 3 } else { 2 }).await?;
            for _ in 0..self.length().await? {
                self.skip(16 + 8).await?;
                self.length().await?;
            }
            for _ in 0..self.length().await? {
                self.string().await?;
                self.skip(if kind >= 21 { 16 } else { 8 }).await?;
                let pending = self.length().await?;
                self.skip(pending.saturating_mul(16)).await?;
            }
        }
        Ok(())
    }

    async fn length(&mut self) -> Result<u64, Error> {
        match self.length_or_encoding().await? {
            Length::Of(length) => Ok(length),
            Length::Encoded(_) => malformed("an encoded string where a length ought to be"),
        }
    }

    async fn length_or_encoding(&mut self) -> Result<Length, Error> {
        let first = self.input.read_u8().await?;
        Ok(match (first >> 6, first) {
            (0, _) => Length::Of(u64::from(first)),
            (1, _) => Length::Of(u64::from(first & 0x3f) << 8 | u64::from(self.input.read_u8().await?)),
            (2, 0x80) => Length::Of(u64::from(self.input.read_u32().await?)),
            (2, 0x81) => Length::Of(self.input.read_u64().await?),
            (3, _) => Length::Encoded(first & 0x3f),
            _ => return malformed(format!("a length that begins with {first:#x}")),
        })
    }

    async fn lengths(&mut self, count: u64) -> Result<(), Error> {
        for _ in 0..count {
            self.length().await?;
        }
        Ok(())
    }

    async fn strings(&mut self, count: u64) -> Result<(), Error> {
        for _ in 0..count {
            self.string().await?;
        }
        Ok(())
    }

    async fn string(&mut self) -> Result<Bytes, Error> {
        let number = |number: i64| Ok(Bytes::from(number.to_string()));
        match self.length_or_encoding().await? {
            Length::Of(length) => self.raw(length).await,
            Length::Encoded(0) => number(i64::from(self.input.read_i8().await?)),
            Length::Encoded(1) => number(i64::from(self.input.read_i16_le().await?)),
            Length::Encoded(2) => number(i64::from(self.input.read_i32_le().await?)),
            Length::Encoded(3) => {
                let (packed, length) = (self.length().await?, self.length().await?);
                let packed = self.raw(packed).await?;
                unpack(&packed, length)
            }
            Length::Encoded(other) => malformed(format!("a string of the unknown encoding {other}")),
        }
    }

    async fn raw(&mut self, length: u64) -> Result<Bytes, Error> {
        if length > STRING_BYTES {
            return malformed(format!("a string of {length} bytes"));
        }
        let (length, mut bytes) = (length as usize, Vec::new());
        while bytes.len() < length {
            let from = bytes.len();
            bytes.resize(length.min(from + PIECE_BYTES), 0);
            self.input.read_exact(&mut bytes[from..]).await?;
        }
        Ok(bytes.into())
    }

    async fn skip(&mut self, mut bytes: u64) -> Result<(), Error> {
        let mut piece = [0; 4096];
        while bytes > 0 {
            let now = bytes.min(piece.len() as u64) as usize;
            self.input.read_exact(&mut piece[..now]).await?;
            bytes -= now as u64;
        }
        Ok(())
    }
}

/// The type that is written so, if it is one that is taken.
fn kind_of(code: u8) -> Option<Kind> {
    match code {
        1 | 10 | 14 | 18 => Some(Kind::List),
        2 | 11 | 20 => Some(Kind::Set),
        3 | 5 | 12 | 17 => Some(Kind::SortedSet),
        4 | 13 | 16 => Some(Kind::Hash),
        _ => None,
    }
}

fn unpacked(how: fn(&[u8]) -> Result<Vec<Bytes>, packed::Wrong>, bytes: &[u8]) -> Result<Vec<Bytes>, Error> {
    how(bytes).or_else(malformed)
}

fn score(score: f64) -> Result<Bytes, Error> {
    let mut text = [0; resp::DOUBLE_BYTES];
    match score.is_nan() {
        true => malformed("a score that is not a number"),
        false => Ok(Bytes::copy_from_slice(resp::format_double(score, &mut text).as_bytes())),
    }
}

/// Undoes LZF: literal runs, and copies of what came before.
fn unpack(packed: &[u8], length: u64) -> Result<Bytes, Error> {
    if length > STRING_BYTES {
        return malformed(format!("a packed string of {length} bytes"));
    }
    let mut plain: Vec<u8> = Vec::new();
    let mut bytes = packed.iter().copied();
    let mut next =
        || bytes.next().ok_or_else(|| Error::Malformed("a packed string that ends too early".into()));
    while (plain.len() as u64) < length {
        let control = usize::from(next()?);
        if control < 32 {
            for _ in 0..=control {
                plain.push(next()?);
            }
            continue;
        }
        let mut run = control >> 5;
        if run == 7 {
            run += usize::from(next()?);
        }
        let back = ((control & 0x1f) << 8 | usize::from(next()?)) + 1;
        let Some(from) = plain.len().checked_sub(back) else {
            return malformed("a packed string that refers to what is before it");
        };
        for place in from..from + run + 2 {
            plain.push(plain[place]);
        }
    }
    match plain.len() as u64 == length {
        true => Ok(plain.into()),
        false => malformed("a packed string that is longer than it says"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> Result<Vec<Item>, Error> {
        let mut reader = Reader::begin(bytes).await?;
        let mut items = Vec::new();
        while let Some(item) = reader.next().await? {
            items.push(item);
        }
        Ok(items)
    }

    fn block<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn snapshot(body: &[u8]) -> Vec<u8> {
        [b"REDIS0011", body, &[0xff], &[0; 8]].concat()
    }

    fn string(key: &str, value: &str, expires_at_ms: Option<u64>) -> Item {
        Item::String { key: key.to_owned().into(), value: value.to_owned().into(), expires_at_ms }
    }

    #[test]
    fn strings_in_all_their_forms_and_keys_of_other_kinds() {
        let body = [
            &b"\xfa\x03ver\x057.2.4"[..],
            b"\xfe\x00\xfb\x03\x01",
            b"\x00\x01a\x05hello",
            b"\xfc\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01b\xc0\xff",
            b"\xfd\x02\x00\x00\x00\x00\x01c\xc1\x00\x01",
            b"\xf8\x07\x00\x01d\xc2\xff\xff\xff\x7f",
            // LZF: "a", then a copy of ten of them from one back.
            b"\x00\x01e\xc3\x05\x0b\x00a\xe0\x01\x00",
            b"\x01\x01l\x02\x01x\x01y",
            b"\x12\x01q\x02\x01\x03abc\x02\x0b\0\0\0\0\0\0\x82hi\x03\xff",
            b"\x15\x01s\x01\x10aaaaaaaaaaaaaaaa\x03abc\x01\x01\x01\x01\x01\x00\x00\x01\x00",
            b"\x0b\x01i\x0a\x02\0\0\0\x01\0\0\0\x07\0",
            b"\x04\x01h\x01\x01f\x01v",
            b"\x05\x01z\x01\x01m\x00\x00\x00\x00\x00\x00\xf0\x3f",
            b"\xfe\x02\x00\x40\x01f\x80\x00\x00\x00\x01g",
        ]
        .concat();
        let read = block(read(&snapshot(&body))).unwrap();
        let other = |key: &'static str, kind| Item::Other { key: key.into(), kind };
        let collection = |key: &'static str, kind, parts: &[&'static str]| Item::Collection {
            key: key.into(),
            kind,
            parts: parts.iter().map(|part| Bytes::from(*part)).collect(),
            expires_at_ms: None,
        };
        let expected = [
            Item::Database(0),
            string("a", "hello", None),
            string("b", "-1", Some(1)),
            string("c", "256", Some(2000)),
            string("d", "2147483647", None),
            string("e", "aaaaaaaaaaa", None),
            collection("l", Kind::List, &["x", "y"]),
            collection("q", Kind::List, &["abc", "hi"]),
            other("s", "a stream"),
            collection("i", Kind::Set, &["7"]),
            collection("h", Kind::Hash, &["f", "v"]),
            collection("z", Kind::SortedSet, &["m", "1"]),
            Item::Database(2),
            string("f", "g", None),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_no_snapshot_is_said_to_be_none() {
        let packed = |bytes: &[u8]| [&b"\x00\x01e\xc3"[..], bytes].concat();
        for wrong in [
            b"REDIS9999".to_vec(),
            b"VALKEY080".to_vec(),
            snapshot(b"\xf7\x00"),
            snapshot(b"\x63\x01k"),
            snapshot(b"\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff"),
            snapshot(b"\x00\x01k\xc9"),
            snapshot(&packed(b"\x03\x09\x20\x05\x00")),
            snapshot(&packed(b"\x01\x09\x05")),
            snapshot(&packed(b"\x02\x00\x00a\x00")),
        ] {
            assert!(block(read(&wrong)).is_err(), "{}", wrong.escape_ascii());
        }
        let whole = snapshot(b"\x00\x01a\x05hello");
        for length in 0..whole.len() {
            assert!(matches!(block(read(&whole[..length])), Err(Error::Broken(_))), "cut at {length}");
        }
    }

    #[test]
    fn damaged_snapshots_end_the_reading_and_nothing_else() {
        let body = [
            &b"\xfa\x03ver\x057.2.4\xfe\x00\xfb\x03\x01\x00\x01a\x05hello\xfc\x01\x00\x00\x00\x00\x00\x00\x00"[..],
            b"\x00\x01b\xc0\xff\x00\x01e\xc3\x05\x0b\x00a\xe0\x01\x00\x01\x01l\x02\x01x\x01y\x12\x01q\x01\x01\x03abc",
            b"\x13\x01s\x01\x10aaaaaaaaaaaaaaaa\x03abc\x01\x01\x01\x01\x01\x00\x00\x01\x01\x01g\x01\x01\x01\x00\x00",
            b"\x18\x01h\x00\x00\x00\x00\x00\x00\x00\x00\x01\x05\x01f\x01v",
        ]
        .concat();
        let whole = snapshot(&body);
        assert_eq!(block(read(&whole)).unwrap().len(), 8);
        let mut state = 1u64;
        let mut draw = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let (mut good, mut bad) = (0, 0);
        for _ in 0..20_000 {
            let mut damaged = whole.clone();
            for _ in 0..=draw(3) {
                let place = draw(damaged.len());
                damaged[place] = draw(256) as u8;
            }
            match block(read(&damaged)) {
                Ok(_) => good += 1,
                Err(_) => bad += 1,
            }
        }
        assert!(good > 100 && bad > 100, "{good} of them could be read, {bad} not");
    }
}
