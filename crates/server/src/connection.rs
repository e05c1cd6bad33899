//! One client connection: bytes to commands, and replies to bytes.
//!
//! [`Connection::poll`] is the whole life of a connection, called again whenever there is something to read, to flush or
//! to go on with: read everything there is, run every command in it, write every reply that is ready with one call. What
//! commands mean is in [`crate::dispatch`].
//!
//! Bounds: no more than a number of commands (and of their bytes) is under way at once, and none is taken while replies
//! of a size wait to be sent, the rest waits unread; replies to what was under way already may pile up to a limit while the
//! client does not read, then it is cut off; a request over a limit or not in RESP gets an
//! error and the connection closes.

use std::future::Future;
use std::net::TcpStream;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use resp::{Limits, RequestDecoder, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::dispatch::Dispatch;
use crate::driver::Worker;
use crate::pipeline::{Manner, Shared};
use crate::session::Session;

/// Half a request that is longer than this is read on in place; everything else goes through the worker's scratch buffer.
const LONG_REQUEST_BYTES: usize = 32 << 10;
/// The most room that is offered to a read, while a long request comes in.
const LARGE_READ_BYTES: usize = 1 << 20;
/// Reads in a row before other connections get their turn.
const READS_PER_TURN: usize = 8;
/// An output buffer that grew larger than this is given back once it is flushed.
const KEEP_OUTPUT_BYTES: usize = 64 << 10;
/// How long a client may take to close after it was told an error, and how much it may still send.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 1 << 20;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Everything was answered: the client closed, or said `QUIT`, or the node stops.
    Done,
    /// The input was not RESP or over a limit; the client was told.
    Protocol,
    /// The client does not read its replies.
    TooSlow,
    /// `CLIENT KILL`, or idle for too long.
    Killed,
    /// The network's doing.
    Broken,
}

struct Connection {
    stream: tokio::net::TcpStream,
    decoder: RequestDecoder,
    input: BytesMut,
    pipeline: Shared,
    dispatch: Dispatch,
    output_limit: usize,
    /// Nothing more will be read, and why.
    reading_ended: Option<End>,
}

/// Takes a connection out of the worker's books, however it ends.
struct Leaving {
    worker: Rc<Worker>,
    client: u64,
    pipeline: Shared,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Ok(mut pipeline) = self.pipeline.try_borrow_mut() {
            pipeline.abandon();
        }
        self.worker.forget(self.client);
    }
}

/// Serves a client until either side closes.
pub async fn serve(worker: Rc<Worker>, stream: TcpStream, session: Session, pipeline: Shared) {
    let client = session.client.id;
    let leaving = Leaving { worker, client, pipeline };
    match tokio::net::TcpStream::from_std(stream) {
        Ok(stream) => talk(&leaving.worker, stream, session, &leaving.pipeline).await,
        Err(error) => tracing::warn!(client, %error, "a connection cannot be served"),
    }
}

async fn talk(worker: &Rc<Worker>, stream: tokio::net::TcpStream, session: Session, pipeline: &Shared) {
    worker.informed_soon().await;
    let context = &worker.node.context;
    let client = session.client.clone();
    let limits = Limits {
        bulk_bytes: context.settings.bulk_bytes.get() as usize,
        request_bytes: context.config.limits.request_bytes,
        ..Limits::default()
    };
    let mut connection = Connection {
        stream,
        decoder: RequestDecoder::new(limits),
        input: BytesMut::new(),
        pipeline: pipeline.clone(),
        dispatch: Dispatch::new(worker.clone(), session, pipeline.clone()),
        output_limit: context.settings.output_buffer_bytes.get() as usize,
        reading_ended: None,
    };
    let mut killed = pin!(client.killed());
    let end = std::future::poll_fn(|cx| connection.poll(cx, killed.as_mut())).await;
    match end {
        End::Done | End::Killed | End::Broken => {}
        End::TooSlow => {
            context.stats.output_buffer_disconnections.add(1);
            tracing::info!(client = client.id, peer = %client.peer, "cut off: it does not read its replies");
        }
        End::Protocol => {
            let _ = tokio::time::timeout(LINGER, linger(&mut connection.stream)).await;
        }
    }
}

/// Lets the client read what it was told: closing with unread input would throw the reply away on its way.
async fn linger(stream: &mut tokio::net::TcpStream) {
    let _ = stream.shutdown().await;
    let mut scratch = [0; 4096];
    let mut left = LINGER_BYTES;
    while let Ok(count @ 1..) = stream.read(&mut scratch).await {
        left = left.saturating_sub(count);
        if left == 0 {
            return;
        }
    }
}

impl Connection {
    fn poll(&mut self, cx: &mut Context<'_>, killed: Pin<&mut impl Future<Output = ()>>) -> Poll<End> {
        if killed.poll(cx).is_ready() {
            return Poll::Ready(End::Killed);
        }
        self.pipeline.borrow_mut().set_waker(cx.waker());
        for _ in 0..READS_PER_TURN {
            let stopped = self.run_commands();
            let flushed = match self.poll_flush(cx) {
                Poll::Ready(Err(_)) => return Poll::Ready(End::Broken),
                flushed => flushed.is_ready(),
            };
            if !flushed && self.pipeline.borrow().reply_bytes() > self.output_limit {
                return Poll::Ready(End::TooSlow);
            }
            if stopped && self.dispatch.takes_more() {
                continue; // the flush made room, and nobody is going to wake us for what is in the input
            }
            if self.dispatch.is_draining() && self.reading_ended.is_none() {
                self.reading_ended = Some(End::Done);
            }
            if let Some(end) = self.reading_ended {
                let answered = flushed && self.pipeline.borrow().is_empty() && !self.dispatch.is_waiting();
                return if answered { Poll::Ready(end) } else { Poll::Pending };
            }
            // One that waits for an element may wait for ever: then only reading tells that the client is gone.
            let watches = self.dispatch.is_blocked() && self.input.len() < LONG_REQUEST_BYTES;
            if !self.dispatch.takes_more() && !watches {
                return Poll::Pending; // woken by the pipeline, or by the stream if that is not flushed
            }
            match ready!(self.poll_read(cx)) {
                Ok(0) if watches => return Poll::Ready(End::Broken),
                Ok(0) => self.reading_ended = Some(End::Done),
                Ok(_) => {}
                Err(_) => return Poll::Ready(End::Broken),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Runs the commands in the input, as many as may be under way. Returns whether that stopped it: there may be more.
    fn run_commands(&mut self) -> bool {
        if self.reading_ended.is_some_and(|end| end == End::Protocol) {
            return false;
        }
        let mut stopped = true;
        while self.dispatch.takes_more() {
            self.decoder.set_authenticated(self.dispatch.is_authenticated());
            match self.decoder.decode(&mut self.input) {
                Ok(Some(arguments)) => self.dispatch.run(arguments, !self.input.is_empty()),
                Ok(None) => {
                    stopped = false;
                    break;
                }
                Err(error) => {
                    self.dispatch.context().stats.protocol_errors.add(1);
                    let text = format!("ERR {error}");
                    let manner = Manner { protocol: self.dispatch.protocol(), silent: false };
                    self.pipeline.borrow_mut().ready(manner, Value::error(text));
                    self.input = BytesMut::new();
                    self.reading_ended = Some(End::Protocol);
                    stopped = false;
                    break;
                }
            }
        }
        if self.dispatch.is_closing() {
            self.input = BytesMut::new();
            self.reading_ended.get_or_insert(End::Done);
        }
        if self.input.is_empty() {
            // The commands under way share the memory; the next read gets its own.
            self.input = BytesMut::new();
        }
        self.dispatch.end_turn(self.input.len());
        stopped
    }

    /// Reads what there is. Through the worker's scratch buffer and into memory of exactly the right size: so idle
    /// connections hold no buffer, commands under way hold no more than they need, and no memory is taken fresh from the
    /// system for each read (which costs more than the copy).
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        let count = if self.input.len() < LONG_REQUEST_BYTES {
            let mut scratch = self.dispatch.scratch();
            let mut room = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room))?;
            self.input.extend_from_slice(room.filled());
            room.filled().len()
        } else {
            self.input.reserve(self.input.len().min(LARGE_READ_BYTES));
            ready!(pin!(self.stream.read_buf(&mut self.input)).poll(cx))?
        };
        self.dispatch.context().stats.client_bytes_in.add(count as u64);
        Poll::Ready(Ok(count))
    }

    /// Sends what is encoded and what can be encoded then; ready once nothing of that is left.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let mut pipeline = self.pipeline.borrow_mut();
        while !pipeline.output().is_empty() {
            let output = pipeline.output();
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, output))?;
            self.dispatch.context().stats.client_bytes_out.add(count as u64);
            output.advance(count);
            if output.is_empty() {
                pipeline.advance();
            }
        }
        let output = pipeline.output();
        if output.capacity() > KEEP_OUTPUT_BYTES {
            *output = BytesMut::new();
        } else {
            output.clear();
        }
        Poll::Ready(Ok(()))
    }
}
