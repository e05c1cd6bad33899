//! What the page of a local cluster can do beside looking: cut and heal the ways between nodes, kill nodes and start them again.
//!
//! It answers HTTP at port P + 2000 of this machine, to the pages of its own nodes alone: a page of anywhere else that a browser shows has another
//! `Origin`, and a name that leads here has another `Host`. Processes are the main loop's, which is asked through a channel; ways are cut by the
//! nodes themselves (`CONSORT FAULT`), and cut again when a node comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use resp::Value;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::layout::Layout;
use super::watch::{State, Watch};
use crate::ask::{Connection, Login};

/// How long a node may take to obey.
const LIMIT: Duration = Duration::from_millis(1000);

/// An order to the main loop, which has the processes.
#[derive(Debug)]
pub struct Order {
    /// Which node.
    pub node: usize,
    /// Start it, or kill it.
    pub starts: bool,
    /// What came of it.
    pub done: oneshot::Sender<Result<(), String>>,
}

/// What the requests share.
#[derive(Clone, Debug)]
pub struct Control {
    names: Arc<Vec<String>>,
    clients: Arc<Vec<String>>,
    /// Where the nodes' pages are.
    pages: Arc<Vec<u16>>,
    port: u16,
    login: Login,
    orders: mpsc::Sender<Order>,
    shown: Arc<Mutex<Shown>>,
}

#[derive(Debug, Default)]
struct Shown {
    /// Pairs of nodes, the lower one first, that do not hear one another.
    cut: BTreeSet<(usize, usize)>,
    /// How each node's process is, and under which id.
    nodes: Vec<(String, Option<u64>)>,
}

/// What a request says.
#[derive(Debug, Default, Deserialize)]
struct Asked {
    #[serde(default)]
    nodes: Vec<String>,
}

type Answer = Result<Json<serde_json::Value>, (StatusCode, String)>;

impl Control {
    /// Begins to answer. The orders come out of the other end.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn start(layout: &Layout) -> Result<(Control, mpsc::Receiver<Order>), String> {
        let port = layout.control_port;
        let (orders, received) = mpsc::channel(16);
        let control = Control {
            names: Arc::new(layout.nodes.iter().map(|node| node.name.clone()).collect()),
            clients: Arc::new(layout.nodes.iter().map(super::layout::NodeLayout::client).collect()),
            pages: Arc::new(layout.nodes.iter().map(|node| node.admin_port).collect()),
            port,
            login: layout.login(),
            orders,
            shown: Arc::default(),
        };
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await;
        let listener = listener.map_err(|error| format!("cannot listen on 127.0.0.1:{port}: {error}"))?;
        let router = Router::new()
            .route("/state", get(state))
            .route("/cut", post(async |shared, asked| change(shared, asked, true).await))
            .route("/heal", post(async |shared, asked| change(shared, asked, false).await))
            .route("/kill", post(async |shared, asked| process(shared, asked, false).await))
            .route("/start", post(async |shared, asked| process(shared, asked, true).await))
            .with_state(control.clone())
            .layer(axum::middleware::from_fn_with_state(control.clone(), guard));
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the page can do nothing any more");
            }
        });
        Ok((control, received))
    }

    /// Takes over how the nodes are; what is cut is cut again for those that were started anew.
    pub fn follow(&self, watch: &Watch) {
        let mut shown = self.lock();
        let before = std::mem::take(&mut shown.nodes);
        shown.nodes = watch.nodes().iter().map(|node| (describe(&node.state), node.pid)).collect();
        let is_up = |node: &super::watch::Seen| matches!(node.state, State::Up | State::Elsewhere);
        let known: BTreeMap<usize, Option<u64>> = before
            .iter()
            .enumerate()
            .filter(|(_, (state, _))| state == "up")
            .map(|(at, (_, pid))| (at, *pid))
            .collect();
        for (at, node) in watch.nodes().iter().enumerate().filter(|(_, node)| is_up(node)) {
            if known.get(&at) == Some(&node.pid) {
                continue;
            }
            let others: Vec<usize> = shown
                .cut
                .iter()
                .filter_map(
                    |&(one, other)| if one == at { Some(other) } else { (other == at).then_some(one) },
                )
                .collect();
            if !others.is_empty() {
                let control = self.clone();
                tokio::spawn(async move { control.order(at, &others, true).await });
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &str) -> Result<usize, (StatusCode, String)> {
        let found = self.names.iter().position(|known| known == name);
        found.ok_or_else(|| {
            (StatusCode::BAD_REQUEST, format!("no node '{name}'; there are {}\n", self.names.join(", ")))
        })
    }

    /// Has a node cut the ways to others, or heal them. One that is down is told when it is back.
    async fn order(&self, node: usize, others: &[usize], cut: bool) -> Result<(), String> {
        let names: Vec<&str> = others.iter().map(|other| self.names[*other].as_str()).collect();
        let words = [&["CONSORT", "FAULT", if cut { "CUT" } else { "HEAL" }][..], &names].concat();
        let mut connection = Connection::open(&self.clients[node], &self.login, LIMIT).await?;
        match connection.ask(&words, LIMIT).await? {
            Value::Error(text) => Err(text.into_owned()),
            _ => Ok(()),
        }
    }
}

fn describe(state: &State) -> String {
    match state {
        State::Starting => "starting".into(),
        State::Up | State::Elsewhere => "up".into(),
        State::Silent => "silent".into(),
        State::Down(how) => format!("down ({how})"),
    }
}

/// Whoever asks is a page of one of the nodes, or no page at all.
async fn guard(Shared(control): Shared<Control>, request: Request, next: Next) -> Response {
    let text = |headers: &HeaderMap, name: header::HeaderName| {
        headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let is_here =
        |host: &str, port: u16| host == format!("127.0.0.1:{port}") || host == format!("localhost:{port}");
    let host = text(request.headers(), header::HOST);
    if !host.is_some_and(|host| is_here(&host, control.port)) {
        return (StatusCode::FORBIDDEN, "only for this machine\n").into_response();
    }
    let Some(origin) = text(request.headers(), header::ORIGIN) else { return next.run(request).await };
    let page = origin.strip_prefix("http://").unwrap_or_default();
    if !control.pages.iter().any(|port| is_here(page, *port)) {
        return (StatusCode::FORBIDDEN, "only for the pages of this cluster\n").into_response();
    }
    let mut response = match *request.method() {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    if let Ok(origin) = HeaderValue::from_str(&origin) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    response
}

async fn state(Shared(control): Shared<Control>) -> Json<serde_json::Value> {
    let shown = control.lock();
    let node = |(at, name): (usize, &String)| {
        let state = shown.nodes.get(at).map_or("starting", |(state, _)| state.as_str());
        json!({ "name": name, "page": format!("http://127.0.0.1:{}/", control.pages[at]), "state": state })
    };
    let nodes: Vec<_> = control.names.iter().enumerate().map(node).collect();
    let cut: Vec<_> =
        shown.cut.iter().map(|(one, other)| json!([control.names[*one], control.names[*other]])).collect();
    Json(json!({ "nodes": nodes, "cut": cut }))
}

/// Cuts or heals all ways from the first node to the others that are named; from it to all, if there are none; all ways of all, if not even it is.
async fn change(Shared(control): Shared<Control>, Json(asked): Json<Asked>, cut: bool) -> Answer {
    let count = control.names.len();
    let named: Vec<usize> = asked.nodes.iter().map(|name| control.find(name)).collect::<Result<_, _>>()?;
    let pairs: BTreeSet<(usize, usize)> = match named[..] {
        [] => (0..count).flat_map(|one| (one + 1..count).map(move |other| (one, other))).collect(),
        [one] => (0..count)
            .map(|other| (one.min(other), one.max(other)))
            .filter(|(one, other)| one != other)
            .collect(),
        [one, ref others @ ..] => others
            .iter()
            .map(|other| (one.min(*other), one.max(*other)))
            .filter(|(one, other)| one != other)
            .collect(),
    };
    {
        let mut shown = control.lock();
        for pair in &pairs {
            match cut {
                true => shown.cut.insert(*pair),
                false => shown.cut.remove(pair),
            };
        }
    }
    for node in 0..count {
        let others: Vec<usize> = pairs
            .iter()
            .filter_map(
                |&(one, other)| if one == node { Some(other) } else { (other == node).then_some(one) },
            )
            .collect();
        if !others.is_empty() {
            // Whoever is down has nothing to cut; it is told when it is back.
            let _ = control.order(node, &others, cut).await;
        }
    }
    Ok(state(Shared(control)).await)
}

/// Kills nodes, or starts them.
async fn process(Shared(control): Shared<Control>, Json(asked): Json<Asked>, starts: bool) -> Answer {
    for name in &asked.nodes {
        let (done, outcome) = oneshot::channel();
        let order = Order { node: control.find(name)?, starts, done };
        let gone = |_| (StatusCode::SERVICE_UNAVAILABLE, "the cluster is stopping\n".to_owned());
        control.orders.send(order).await.map_err(|_| gone(()))?;
        outcome.await.map_err(|_| gone(()))?.map_err(|reason| (StatusCode::CONFLICT, reason + "\n"))?;
    }
    Ok(state(Shared(control)).await)
}
