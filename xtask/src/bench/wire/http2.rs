//! As much of HTTP/2 (RFC 9113) as a gRPC client needs on a connection to one known server, without I/O.
//!
//! Written here rather than taken from a library since the load generator shares the machine with the servers that it
//! measures: every microsecond it saves is theirs, and a slow client would flatter nobody but ourselves. It sends
//! requests as one HEADERS and one DATA frame, with header fields that need no compression state, and reads bodies.
//! Header blocks of responses are not decoded: a call that succeeded has a body, one that failed has none.

use std::collections::VecDeque;

use bytes::{Buf, BytesMut};

const FRAME_HEADER_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

const SETTING_HEADER_TABLE_SIZE: u16 = 1;
const SETTING_ENABLE_PUSH: u16 = 2;
const SETTING_INITIAL_WINDOW_SIZE: u16 = 4;

const LARGEST_WINDOW: u32 = (1 << 31) - 1;
const FIRST_WINDOW: u32 = 65_535;

/// A connection with the streams that are open on it.
pub struct Http2 {
    /// Requests begun; the next stream is twice this, plus one.
    begun: u64,
    /// Bytes of bodies that the server takes now.
    window: i64,
    /// Bytes of bodies received since the server was last told that it may send more.
    unreported: u32,
    /// Bodies of the streams that are open, oldest first; closed ones stay until all before them are closed.
    open: VecDeque<Option<Vec<u8>>>,
}

impl Http2 {
    /// A connection on which nothing was said.
    pub fn new() -> Self {
        Http2 { begun: 0, window: i64::from(FIRST_WINDOW), unreported: 0, open: VecDeque::new() }
    }

    /// The preface: the server may send as much as it likes, and keeps no state about header fields.
    pub fn open(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let settings = [
            (SETTING_HEADER_TABLE_SIZE, 0),
            (SETTING_ENABLE_PUSH, 0),
            (SETTING_INITIAL_WINDOW_SIZE, LARGEST_WINDOW),
        ];
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(name, value): &(u16, u32)| {
                name.to_be_bytes().into_iter().chain(value.to_be_bytes()).collect::<Vec<u8>>()
            })
            .collect();
        frame(SETTINGS, 0, 0, &settings, out);
        frame(WINDOW_UPDATE, 0, 0, &(LARGEST_WINDOW - FIRST_WINDOW).to_be_bytes(), out);
    }

    /// Adds a request with a body.
    ///
    /// # Errors
    /// The server takes no more bytes now, or the connection ran out of streams.
    pub fn request(&mut self, headers: &[u8], body: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let stream = u32::try_from(self.begun * 2 + 1).map_err(|_| "no streams left".to_string())?;
        self.window -= body.len() as i64;
        if self.window < 0 {
            return Err("the server's flow control holds the load back".into());
        }
        self.begun += 1;
        self.open.push_back(Some(Vec::new()));
        frame(HEADERS, END_HEADERS, stream, headers, out);
        frame(DATA, END_STREAM, stream, body, out);
        Ok(())
    }

    /// Takes all complete frames from `input`. The body of each stream that the server closes goes to `closed`, empty if
    /// the call failed.
    ///
    /// # Errors
    /// The server broke the protocol or closes the connection.
    pub fn receive(
        &mut self,
        input: &mut BytesMut,
        out: &mut Vec<u8>,
        closed: &mut Vec<Vec<u8>>,
    ) -> Result<(), String> {
        while input.len() >= FRAME_HEADER_BYTES {
            let length = usize::from(input[0]) << 16 | usize::from(input[1]) << 8 | usize::from(input[2]);
            if input.len() < FRAME_HEADER_BYTES + length {
                break;
            }
            let (kind, flags) = (input[3], input[4]);
            let stream = u32::from_be_bytes([input[5] & 0x7f, input[6], input[7], input[8]]);
            input.advance(FRAME_HEADER_BYTES);
            let payload = input.split_to(length);
            self.on_frame(kind, flags, stream, &payload, out, closed)?;
        }
        Ok(())
    }

    fn on_frame(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
        out: &mut Vec<u8>,
        closed: &mut Vec<Vec<u8>>,
    ) -> Result<(), String> {
        match kind {
            DATA if flags & PADDED != 0 => return Err("the server pads its data".into()),
            DATA => {
                self.body(stream)?.extend_from_slice(payload);
                self.report(payload.len() as u32, out);
            }
            // A server that was done before it saw the end of the request closes a second time, which means nothing.
            RST_STREAM if self.body(stream).is_err() && u64::from(stream) < self.begun * 2 => return Ok(()),
            RST_STREAM => self.body(stream)?.clear(),
            SETTINGS if flags & ACK == 0 => frame(SETTINGS, ACK, 0, &[], out),
            PING if flags & ACK == 0 => frame(PING, ACK, 0, payload, out),
            WINDOW_UPDATE if stream == 0 => {
                let increment = payload.try_into().map(u32::from_be_bytes);
                self.window += i64::from(increment.map_err(|_| "a short WINDOW_UPDATE".to_string())?);
            }
            GOAWAY => return Err(format!("the server closes: {}", String::from_utf8_lossy(payload))),
            _ => {}
        }
        if kind == RST_STREAM || (matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0) {
            self.close(stream, closed)?;
        }
        Ok(())
    }

    fn body(&mut self, stream: u32) -> Result<&mut Vec<u8>, String> {
        let first = self.begun - self.open.len() as u64;
        let place = (u64::from(stream) / 2).checked_sub(first);
        let body = place.and_then(|place| self.open.get_mut(place as usize)).and_then(Option::as_mut);
        body.ok_or_else(|| format!("the server answers on stream {stream}, which is not open"))
    }

    fn close(&mut self, stream: u32, closed: &mut Vec<Vec<u8>>) -> Result<(), String> {
        let body = std::mem::take(self.body(stream)?);
        let first = self.begun - self.open.len() as u64;
        self.open[(u64::from(stream) / 2 - first) as usize] = None;
        while let Some(None) = self.open.front() {
            self.open.pop_front();
        }
        closed.push(body);
        Ok(())
    }

    /// Lets the server go on sending once it has used half of what it was allowed.
    fn report(&mut self, received: u32, out: &mut Vec<u8>) {
        self.unreported += received;
        if self.unreported > LARGEST_WINDOW / 2 {
            frame(WINDOW_UPDATE, 0, 0, &self.unreported.to_be_bytes(), out);
            self.unreported = 0;
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The header block of a gRPC call, in literal fields and the static table of HPACK (RFC 7541, appendix A) alone.
pub fn grpc_headers(authority: &str, path: &str) -> Vec<u8> {
    const METHOD_POST: u8 = 0x83;
    const SCHEME_HTTP: u8 = 0x86;
    let mut block = vec![METHOD_POST, SCHEME_HTTP];
    let mut text = |prefix: &[u8], text: &str| {
        block.extend_from_slice(prefix);
        // Below 127 a length is one byte; paths and addresses are.
        block.push(u8::try_from(text.len()).unwrap_or(126).min(126));
        block.extend_from_slice(&text.as_bytes()[..text.len().min(126)]);
    };
    text(&[0x04], path);
    text(&[0x01], authority);
    // `content-type` is entry 31: 15 in the first byte, 16 in the second.
    text(&[0x0f, 0x10], "application/grpc");
    text(b"\0\x02te", "trailers");
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(stream: u32, body: &[u8], out: &mut Vec<u8>) {
        frame(HEADERS, END_HEADERS, stream, b"h", out);
        frame(DATA, 0, stream, body, out);
        frame(HEADERS, END_HEADERS | END_STREAM, stream, b"t", out);
    }

    #[test]
    fn answers_come_in_any_order_and_in_pieces() {
        let (mut http, mut out) = (Http2::new(), Vec::new());
        for _ in 0..3 {
            http.request(b"h", b"body", &mut out).unwrap();
        }
        let mut bytes = Vec::new();
        answer(5, b"third", &mut bytes);
        answer(1, b"first", &mut bytes);
        frame(HEADERS, END_HEADERS | END_STREAM, 3, b"failed", &mut bytes);
        let (mut input, mut closed) = (BytesMut::new(), Vec::new());
        for byte in bytes {
            input.extend_from_slice(&[byte]);
            http.receive(&mut input, &mut out, &mut closed).unwrap();
        }
        assert_eq!(closed, [&b"third"[..], b"first", b""]);
        assert!(http.open.is_empty());
    }

    #[test]
    fn pings_are_answered_and_the_window_is_kept() {
        let (mut http, mut out, mut closed) = (Http2::new(), Vec::new(), Vec::new());
        assert!(http.request(b"h", &[0; 70_000], &mut out).is_err());
        let mut http = Http2::new();
        let mut bytes = Vec::new();
        frame(WINDOW_UPDATE, 0, 0, &100_000_u32.to_be_bytes(), &mut bytes);
        frame(PING, 0, 0, b"12345678", &mut bytes);
        out.clear();
        http.receive(&mut BytesMut::from(&bytes[..]), &mut out, &mut closed).unwrap();
        assert!(out.ends_with(b"12345678") && out[3] == PING && out[4] == ACK);
        assert!(http.request(b"h", &[0; 70_000], &mut out).is_ok());
    }

    #[test]
    fn a_stream_may_be_closed_twice() {
        let (mut http, mut bytes) = (Http2::new(), Vec::new());
        let (mut out, mut closed) = (Vec::new(), Vec::new());
        http.request(b"h", b"body", &mut out).unwrap();
        answer(1, b"done", &mut bytes);
        frame(RST_STREAM, 0, 1, &[0; 4], &mut bytes);
        http.receive(&mut BytesMut::from(&bytes[..]), &mut out, &mut closed).unwrap();
        assert_eq!(closed, [b"done"]);
        bytes.clear();
        frame(RST_STREAM, 0, 3, &[0; 4], &mut bytes);
        assert!(http.receive(&mut BytesMut::from(&bytes[..]), &mut out, &mut closed).is_err());
    }

    #[test]
    fn what_is_not_open_is_not_answered() {
        let (mut http, mut bytes) = (Http2::new(), Vec::new());
        answer(7, b"?", &mut bytes);
        assert!(http.receive(&mut BytesMut::from(&bytes[..]), &mut Vec::new(), &mut Vec::new()).is_err());
    }
}
