//! Commands that wait until there is something to pop: `BLPOP` and its like.
//!
//! Such a command is tried like any write. If it finds nothing, whoever leads the keys is asked to say when there is something
//! ([`Admin::Await`]), and it is tried again. So at most one of those who wait gets an element, whatever breaks: a try is done,
//! refused or unknown like any other write. While a client waits, nothing else of its connection runs.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use data::{Blocking, Homes};
use replication::contract::{Admin, Call, Reply};
use resp::Value;

use crate::clients::{Client, Unblock};
use crate::clock::monotonic_ms;
use crate::driver::Worker;
use crate::pipeline::{Place, Shared};

/// The leader is asked anew so often: it may have gone, or the keys may have moved.
const STEP_MS: u64 = 1000;
/// Who could not be asked is asked again after so long.
const PAUSE: Duration = Duration::from_millis(20);

/// A command that waits.
#[derive(Debug)]
pub struct Waiting {
    /// The command, as it is tried.
    pub call: Call,
    /// For what.
    pub blocking: Blocking,
}

/// Tries until there is something, the time is over, or the client is gone.
pub async fn run(worker: Rc<Worker>, client: Arc<Client>, pipeline: Shared, place: Place, waiting: Waiting) {
    let reply = wait(&worker, &client, &pipeline, &waiting).await;
    client.set_blocked(false);
    pipeline.borrow_mut().complete(place, 0, reply);
}

async fn wait(worker: &Worker, client: &Client, pipeline: &Shared, waiting: &Waiting) -> Reply {
    let Waiting { call, blocking } = waiting;
    let begun = monotonic_ms();
    loop {
        let nothing = match attempt(worker, call, blocking.keys.first()).await {
            Reply::Done(nothing @ (Value::Null | Value::NullArray)) => nothing,
            reply => return reply,
        };
        if !client.is_blocked() {
            client.set_blocked(true);
        }
        let waited = monotonic_ms().saturating_sub(begun);
        let left = blocking.timeout_ms.map_or(u64::MAX, |timeout_ms| timeout_ms.saturating_sub(waited));
        if left == 0 || worker.is_draining() {
            return Reply::Done(nothing);
        }
        // The leader answers after that time, so the request may take a little longer.
        let milliseconds =
            left.min(STEP_MS).min(worker.node.context.settings.request_timeout_ms.get() / 2).max(1);
        let ask = Call::Admin(Admin::Await {
            kind: blocking.kind,
            keys: blocking.keys.clone(),
            waited_ms: waited.min(u64::from(u32::MAX)) as u32,
            milliseconds: milliseconds as u32,
        });
        let mut told = pin!(attempt(worker, &ask, blocking.keys.first()));
        let mut unblocked = pin!(client.unblocked());
        let ended = std::future::poll_fn(|cx| {
            if let Poll::Ready(how) = unblocked.as_mut().poll(cx) {
                return Poll::Ready(Err(how));
            }
            told.as_mut().poll(cx).map(Ok)
        });
        match ended.await {
            Ok(Reply::Done(_)) => {}
            Ok(Reply::Refused(_) | Reply::Unknown(_)) => tokio::time::sleep(PAUSE).await,
            Err(Unblock::Timeout) => return Reply::Done(nothing),
            Err(Unblock::Error) => {
                let text = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
                return Reply::Refused(text.into());
            }
        }
        // Nobody would get what is popped for a client that is gone.
        if pipeline.borrow().is_abandoned() {
            return Reply::Done(nothing);
        }
    }
}

/// Asks whoever leads the key, as the placement is now.
async fn attempt(worker: &Worker, call: &Call, key: Option<&Bytes>) -> Reply {
    let placement = worker.placement();
    let home = key.map(|key| placement.home_of(key)).unwrap_or_default();
    worker.ask_and_wait(placement.at(home), call.clone(), worker.deadline()).await
}
