//! What a million keys cost: memory, the time until all of them are served again after every process was killed, and the
//! time until a node that comes back with nothing holds all of them again.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use resp::Value;

use super::children::Nursery;
use super::keys::{Key, VALUE_BYTES, key_of_every_slot};
use super::report::{Footprint, Report};
use super::systems::{Keyspace, Peer, Route, System};
use super::wire::resp::Client;

const KEYS: u32 = 1_000_000;
/// How long a restart may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(300);

/// Measures Consort, and Redis if it is among the peers. Each runs alone.
///
/// # Errors
/// A system could not be started, or lost a key.
pub fn measure(
    folder: &Path,
    program: Option<&Path>,
    keyspaces: &[Keyspace],
    peers: &[Peer],
    report: &mut Report,
) -> Result<(), String> {
    println!("\nMemory and restart");
    for &keyspace in program.iter().flat_map(|_| keyspaces) {
        let Some(program) = program else { break };
        let nursery = Nursery::new(folder)?;
        let (name, ..) = keyspace.described();
        let system = System::consort(&nursery, name, program, Route::Leader, KEYS, keyspace)?;
        // Only of partitions is told how much a node holds while it is rebuilt.
        report.footprints.push(footprint(&nursery, system, keyspace == Keyspace::Raft)?);
    }
    if peers.contains(&Peer::Redis) {
        let nursery = Nursery::new(folder)?;
        let system = System::peer(&nursery, Peer::Redis, Route::Leader, KEYS)?;
        report.footprints.push(footprint(&nursery, system, true)?);
    }
    Ok(())
}

fn footprint(nursery: &Nursery, mut system: System, rebuilds: bool) -> Result<Footprint, String> {
    let before = system.resident_bytes()?;
    super::fill(&system, PATIENCE)?;
    let after = system.resident_bytes()?;
    let probes = key_of_every_slot(KEYS);
    let first = system.addresses().first().copied().ok_or("no address")?;
    served(first, &probes)?;
    let begin = Instant::now();
    system.restart(nursery)?;
    while let Err(error) = served(first, &probes) {
        system.check()?;
        if begin.elapsed() > PATIENCE {
            return Err(format!("{} does not serve after a restart: {error}", system.name));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let restart_ms = begin.elapsed().as_secs_f64() * 1000.0;
    let rebuild_ms = match rebuilds && system.can_rebuild() {
        true => Some(rebuild(nursery, &mut system)?.as_secs_f64() * 1000.0),
        false => None,
    };
    let each = |(after, before): (&u64, &u64)| (*after as f64 - *before as f64) / f64::from(KEYS);
    let bytes_per_key = after.iter().zip(&before).map(each).collect();
    let footprint = Footprint { system: system.name, keys: KEYS, bytes_per_key, restart_ms, rebuild_ms };
    print!("{}", footprint.line());
    Ok(footprint)
}

/// The last node loses its disk and comes back, while the others go on. Returns how long it takes until it is a member
/// of every partition and holds every key.
fn rebuild(nursery: &Nursery, system: &mut System) -> Result<Duration, String> {
    // Until the others have settled who leads, and have given back what the restart took.
    std::thread::sleep(Duration::from_secs(6));
    let address = system.addresses().last().copied().ok_or("no address")?;
    let begin = Instant::now();
    system.rebuild_last(nursery)?;
    loop {
        let reason = match holds_everything(address) {
            Ok(()) => return Ok(begin.elapsed()),
            Err(reason) => reason,
        };
        system.check()?;
        if begin.elapsed() > PATIENCE {
            return Err(format!("{} is not rebuilt: {reason}", system.name));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a node has a vote in every partition and all keys.
fn holds_everything(address: SocketAddr) -> Result<(), String> {
    let reply = Client::connect(address)?.call(&["INFO"])?;
    let (Value::Bulk(info) | Value::Verbatim(_, info)) = reply else {
        return Err(format!("INFO: {reply:?}"));
    };
    let info = String::from_utf8_lossy(&info).into_owned();
    let field = |row: &str, name: &str| {
        row.split([',', ':']).find_map(|field| field.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
    };
    let rows: Vec<&str> = info.lines().filter(|line| line.contains(":role=")).collect();
    let votes =
        rows.iter().filter(|row| matches!(field(row, "role").as_deref(), Some("leader" | "follower")));
    let keys: u64 = rows.iter().filter_map(|row| field(row, "keys")?.parse::<u64>().ok()).sum();
    let votes = votes.count();
    match votes == rows.len() && votes > 0 && keys == u64::from(KEYS) {
        true => Ok(()),
        false => Err(format!("a vote in {votes} of {} partitions, {keys} keys", rows.len())),
    }
}

/// Whether one node gives the values of a key in every slot.
fn served(address: SocketAddr, probes: &[Key]) -> Result<(), String> {
    let mut client = Client::connect(address)?;
    for keys in probes.chunks(512) {
        let commands: Vec<Vec<&[u8]>> = keys.iter().map(|key| vec![&b"GET"[..], &key[..]]).collect();
        for (reply, key) in client.pipeline(&commands)?.iter().zip(keys) {
            match reply {
                Value::Bulk(value) if value.len() == VALUE_BYTES => {}
                other => return Err(format!("{}: {other:?}", String::from_utf8_lossy(key))),
            }
        }
    }
    Ok(())
}
