//! Running `consort dev` and asking its nodes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

/// Waiting ends here with a failure; a healthy run needs a small part of it, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A temporary folder, removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    /// A new one.
    pub fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("consort-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a temporary folder can be made");
        Folder(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An entry of `nodes.json`.
#[derive(Deserialize)]
pub struct Listed {
    pub name: String,
    pub client: String,
    /// `None` while it is down.
    pub pid: Option<u32>,
    restart: String,
}

impl Listed {
    /// Starts it again with the command that was printed for that.
    pub fn restart(&self) -> Restarted {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec {}", self.restart)]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Restarted(command.spawn().expect("starts"))
    }
}

/// A node that was started by hand; killed when dropped.
pub struct Restarted(Child);

impl Restarted {
    /// Its process.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Asks it to stop; the exit code.
    pub fn stop(mut self) -> Option<i32> {
        signal("-TERM", self.id());
        self.0.wait().expect("can be waited for").code()
    }
}

impl Drop for Restarted {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running `consort dev`; killed when dropped, which its nodes do not survive.
pub struct Dev {
    child: Child,
    list: PathBuf,
}

impl Dev {
    /// The command that starts one.
    pub fn command(folder: &Folder, base_port: u16, nodes: u16) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_consort"));
        command.args(["dev", "--base-port", &base_port.to_string(), "--nodes", &nodes.to_string()]);
        command.arg("--data").arg(folder.path()).stdin(Stdio::null());
        command
    }

    /// Starts one.
    pub fn start(folder: &Folder, base_port: u16, nodes: u16) -> Dev {
        let mut command = Dev::command(folder, base_port, nodes);
        let child = command.stdout(Stdio::null()).spawn().expect("starts");
        Dev { child, list: folder.path().join("nodes.json") }
    }

    /// What `nodes.json` says, if it is there.
    pub fn nodes(&self) -> Option<Vec<Listed>> {
        let text = std::fs::read_to_string(&self.list).ok()?;
        Some(serde_json::from_str(&text).expect("nodes.json is whole whenever it is there"))
    }

    /// Waits for `nodes.json`.
    pub fn wait_until_ready(&self) -> Vec<Listed> {
        eventually("nodes.json is written", || self.list.exists());
        self.nodes().expect("is there")
    }

    /// Presses Ctrl-C; the exit code.
    pub fn stop(mut self) -> Option<i32> {
        signal("-INT", self.child.id());
        self.child.wait().expect("can be waited for").code()
    }

    /// Dies without a chance to do anything about its children.
    pub fn kill(mut self) {
        self.child.kill().expect("runs");
        self.child.wait().expect("can be waited for");
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to one process.
pub fn signal(name: &str, pid: u32) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status().expect("kill is there");
    assert!(status.success());
}

/// Waits until something is so.
///
/// # Panics
/// It is not so after a long time.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Asks a node on this machine: a status line as it stands, of a bulk string `$` and its content. `None`: no answer.
pub fn ask(port: u16, command: &[&str]) -> Option<String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut request = format!("*{}\r\n", command.len());
    command.iter().for_each(|word| request.push_str(&format!("${}\r\n{word}\r\n", word.len())));
    (&stream).write_all(request.as_bytes()).ok()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let line = line.strip_suffix("\r\n")?;
    match line.strip_prefix('$') {
        Some("-1") | None => Some(line.to_string()),
        Some(length) => {
            let mut content = vec![0; length.parse().ok()?];
            reader.read_exact(&mut content).ok()?;
            Some(format!("${}", String::from_utf8(content).ok()?))
        }
    }
}

/// A base port such that the ports of that many nodes are free, below those that systems give to outgoing connections.
pub fn free_base_port(nodes: u16) -> u16 {
    let begin = std::process::id() as u16 % 900;
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let all_free = |base: &u16| (1..=nodes).all(|i| is_free(base + i) && is_free(base + 1000 + i));
    (0..900).map(|i| 12_000 + (begin + i) % 900 * 20).find(all_free).expect("some ports are free")
}
