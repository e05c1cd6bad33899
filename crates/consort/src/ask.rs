//! A small RESP client: one connection, one question at a time, everything within a time limit.

use std::time::Duration;

use bytes::BytesMut;
use resp::{Limits, Value, ValueDecoder, encode_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Who one is to a cluster.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Login {
    /// The user; without one: default
    #[arg(long, global = true, value_name = "NAME")]
    pub user: Option<String>,
    /// The password, if the cluster has one
    #[arg(long, global = true, env = "CONSORT_PASSWORD", hide_env_values = true, value_name = "PASSWORD")]
    pub password: Option<String>,
}

/// A connection that speaks RESP3.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    decoder: ValueDecoder,
    buffer: BytesMut,
}

impl Connection {
    /// Connects and says HELLO.
    ///
    /// # Errors
    /// Nobody there, no answer within `limit`, or the password is wrong; the text names the address.
    pub async fn open(address: &str, login: &Login, limit: Duration) -> Result<Connection, String> {
        let connecting = tokio::time::timeout(limit, TcpStream::connect(address));
        let stream = match connecting.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(format!("cannot connect to {address}: {error}")),
            Err(_) => return Err(format!("cannot connect to {address}: no answer within {limit:?}")),
        };
        let _ = stream.set_nodelay(true);
        let (decoder, buffer) = (ValueDecoder::new(Limits::default()), BytesMut::new());
        let mut connection = Connection { stream, decoder, buffer };
        let user = login.user.as_deref();
        let password = login.password.as_deref().filter(|password| user.is_some() || !password.is_empty());
        let hello: Vec<&str> = match (user, password) {
            (None, None) => vec!["HELLO", "3"],
            _ => vec!["HELLO", "3", "AUTH", user.unwrap_or("default"), password.unwrap_or_default()],
        };
        match connection.ask(&hello, limit).await? {
            Value::Error(text) => Err(format!("{address} answers: {text}")),
            _ => Ok(connection),
        }
    }

    /// Sends a command and waits for its reply, which may be an error of the command.
    ///
    /// # Errors
    /// The connection broke or the reply did not come in time; the connection is of no use any more.
    pub async fn ask(&mut self, command: &[&str], limit: Duration) -> Result<Value, String> {
        match tokio::time::timeout(limit, self.exchange(command)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer to {} within {limit:?}", command[0])),
        }
    }

    async fn exchange(&mut self, command: &[&str]) -> Result<Value, String> {
        let broken = |error: std::io::Error| format!("the connection broke: {error}");
        let mut request = BytesMut::new();
        encode_request(command, &mut request);
        self.stream.write_all(&request).await.map_err(broken)?;
        loop {
            match self.decoder.decode(&mut self.buffer) {
                Ok(Some(value)) => return Ok(value),
                Ok(None) => {}
                Err(error) => return Err(format!("the answer is not RESP: {error}")),
            }
            if self.stream.read_buf(&mut self.buffer).await.map_err(broken)? == 0 {
                return Err("the connection was closed".into());
            }
        }
    }
}
