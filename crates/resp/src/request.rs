//! What a client sends: arrays of bulk strings, or inline commands.
//!
//! The decoder walks over the buffer without taking anything out of it, and keeps its position between calls: a request
//! that arrives in a thousand pieces is still parsed once. When the request is complete, its bytes are split off the
//! front of the buffer once and the arguments are slices of them; nothing is copied. Invariant: every offset the decoder
//! keeps is relative to the front of the buffer, where the request being read begins. So the caller may append to the
//! buffer between calls and nothing else.
//!
//! The arguments share the memory of the read buffer: who stores a small one for long should copy it.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

use crate::inline::split_words;
use crate::limits::reservation;
use crate::line::{self, Length};
use crate::{Limits, ProtocolError};

/// The most arguments of a command before the client is authenticated (as Redis).
pub const UNAUTHENTICATED_ARGUMENTS: usize = 10;
/// The longest bulk string before the client is authenticated, in bytes (as Redis).
pub const UNAUTHENTICATED_BULK_BYTES: usize = 16384;

/// A list of spans larger than this is not kept for the next request.
const KEPT_SPANS: usize = 1024;

/// Reads commands from what a client sends.
#[derive(Debug)]
pub struct RequestDecoder {
    limits: Limits,
    authenticated: bool,
    /// What was read of the array at the front of the buffer; `None` between requests.
    array: Option<PartialArray>,
    /// Where each argument that was read stands: begin and end.
    spans: Vec<(usize, usize)>,
    /// Up to here the line being read was searched for its end.
    searched: usize,
    /// A connection that broke the protocol once has no next request.
    failure: Option<ProtocolError>,
}

/// An array of which the number of arguments is known.
#[derive(Clone, Copy, Debug)]
struct PartialArray {
    /// Everything before this offset was read.
    position: usize,
    /// Arguments still to come.
    missing: usize,
    /// The length of the bulk string at `position`, once its header was read.
    bulk: Option<usize>,
}

impl RequestDecoder {
    /// A decoder for one connection. It counts as authenticated until [`set_authenticated`](Self::set_authenticated)
    /// says otherwise.
    pub fn new(limits: Limits) -> Self {
        RequestDecoder {
            limits,
            authenticated: true,
            array: None,
            spans: Vec::new(),
            searched: 0,
            failure: None,
        }
    }

    /// Replaces the limits; they hold for every length read from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// While a client that has to authenticate has not, its requests are held to [`UNAUTHENTICATED_ARGUMENTS`] and
    /// [`UNAUTHENTICATED_BULK_BYTES`], so that strangers cannot make the server hold much memory.
    pub fn set_authenticated(&mut self, authenticated: bool) {
        self.authenticated = authenticated;
    }

    /// Memory that the decoder holds beside the buffer, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.spans.capacity() * size_of::<(usize, usize)>()
    }

    /// The next command in `buffer`, its arguments as slices of the buffer (no copies), or `None` when more bytes are
    /// needed. Empty commands are skipped. Between calls the caller may only append to the buffer.
    ///
    /// # Errors
    /// The input is not RESP or is over a limit. The connection cannot go on: every later call gives the same error.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let outcome = self.next_command(buffer);
        if let Err(failure) = &outcome {
            self.failure = Some(failure.clone());
        }
        outcome
    }

    fn next_command(&mut self, buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        loop {
            let array = match (self.array, buffer.first()) {
                (Some(array), _) => array,
                (None, None) => return Ok(None),
                (None, Some(b'*')) => match self.open_array(buffer)? {
                    Some(array) if array.missing > 0 => array,
                    Some(empty) => {
                        self.finish(buffer, empty.position);
                        continue;
                    }
                    None => return Ok(None),
                },
                (None, Some(_)) => match self.inline_command(buffer)? {
                    Some(words) if words.is_empty() => continue,
                    other => return Ok(other),
                },
            };
            return self.read_arguments(array, buffer);
        }
    }

    /// Reads the `*<count>` line; a count of zero or less stands for no command.
    fn open_array(&mut self, buffer: &[u8]) -> Result<Option<PartialArray>, ProtocolError> {
        match line::length(buffer, 0, &mut self.searched, self.limits.inline_bytes) {
            Length::Is(count, position) => {
                let missing = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
                if missing > self.limits.arguments {
                    Err(ProtocolError::new("invalid multibulk length"))
                } else if missing > UNAUTHENTICATED_ARGUMENTS && !self.authenticated {
                    Err(ProtocolError::new("unauthenticated multibulk length"))
                } else {
                    Ok(Some(PartialArray { position, missing, bulk: None }))
                }
            }
            Length::Incomplete => Ok(None),
            Length::TooLong => Err(ProtocolError::new("too big mbulk count string")),
            Length::Invalid => Err(ProtocolError::new("invalid multibulk length")),
        }
    }

    /// Reads on until the array is complete or the buffer is at its end.
    fn read_arguments(
        &mut self,
        mut array: PartialArray,
        buffer: &mut BytesMut,
    ) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        let bytes: &[u8] = buffer;
        while array.missing > 0 {
            let Some((length, begin)) = self.bulk_header(bytes, &array)? else {
                self.array = Some(array);
                return Ok(None);
            };
            let end = begin + length;
            let Some(terminator) = bytes.get(end..end + 2) else {
                self.array = Some(PartialArray { position: begin, bulk: Some(length), ..array });
                buffer.reserve(reservation(end + 2 - buffer.len(), buffer.len()));
                return Ok(None);
            };
            if terminator != b"\r\n" {
                return Err(ProtocolError::new("expected CRLF at the end of a bulk string"));
            }
            self.spans.push((begin, end));
            array = PartialArray { position: end + 2, missing: array.missing - 1, bulk: None };
        }
        let request = self.finish(buffer, array.position);
        Ok(Some(self.take_arguments(request)))
    }

    /// The length of the bulk string being read and the offset of its payload, or `None` when its header is not here.
    #[inline]
    fn bulk_header(
        &mut self,
        bytes: &[u8],
        array: &PartialArray,
    ) -> Result<Option<(usize, usize)>, ProtocolError> {
        if let Some(length) = array.bulk {
            return Ok(Some((length, array.position)));
        }
        match bytes.get(array.position) {
            Some(b'$') => {}
            Some(&other) => return Err(ProtocolError::unexpected('$', other)),
            None => return Ok(None),
        }
        match line::length(bytes, array.position, &mut self.searched, self.limits.inline_bytes) {
            Length::Is(length, begin) => self.check_bulk(length, begin).map(|length| Some((length, begin))),
            Length::Incomplete => Ok(None),
            Length::TooLong => Err(ProtocolError::new("too big bulk count string")),
            Length::Invalid => Err(ProtocolError::new("invalid bulk length")),
        }
    }

    fn check_bulk(&self, length: i64, begin: usize) -> Result<usize, ProtocolError> {
        match usize::try_from(length) {
            Ok(length) if length > self.limits.bulk_bytes => Err(ProtocolError::new("invalid bulk length")),
            Ok(length) if length > UNAUTHENTICATED_BULK_BYTES && !self.authenticated => {
                Err(ProtocolError::new("unauthenticated bulk length"))
            }
            Ok(length) if begin.saturating_add(length) > self.limits.request_bytes => {
                Err(ProtocolError::new("too big request"))
            }
            Ok(length) => Ok(length),
            Err(_) => Err(ProtocolError::new("invalid bulk length")),
        }
    }

    /// Takes the request that ends at `end` off the buffer and makes ready for the next one.
    fn finish(&mut self, buffer: &mut BytesMut, end: usize) -> BytesMut {
        self.array = None;
        self.searched = 0;
        buffer.split_to(end)
    }

    /// Slices the arguments out of a complete request.
    fn take_arguments(&mut self, request: BytesMut) -> Vec<Bytes> {
        let mut request = request.freeze();
        let mut arguments = Vec::with_capacity(self.spans.len());
        if let Some((&(last_begin, last_end), others)) = self.spans.split_last() {
            arguments.extend(others.iter().map(|&(begin, end)| request.slice(begin..end)));
            // The last one takes over the request's own reference instead of counting one up and one down.
            request.truncate(last_end);
            request.advance(last_begin);
            arguments.push(request);
        }
        self.spans.clear();
        if self.spans.capacity() > KEPT_SPANS {
            self.spans = Vec::new();
        }
        arguments
    }

    /// Reads a line of words; no words where the line is blank.
    fn inline_command(&mut self, buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        let longest = self.limits.inline_bytes;
        let window_end = buffer.len().min(longest.saturating_add(1));
        let Some(offset) = buffer.get(self.searched..window_end).and_then(|window| memchr(b'\n', window))
        else {
            self.searched = window_end;
            if buffer.len() > longest {
                return Err(ProtocolError::new("too big inline request"));
            }
            return Ok(None);
        };
        let line_feed = self.searched + offset;
        let mut line = self.finish(buffer, line_feed + 1).freeze();
        line.truncate(line_feed);
        if line.last() == Some(&b'\r') {
            line.truncate(line_feed - 1);
        }
        match split_words(&line) {
            Some(words) => Ok(Some(words)),
            None => Err(ProtocolError::new("unbalanced quotes in request")),
        }
    }
}
