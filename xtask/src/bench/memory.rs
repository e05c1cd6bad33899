//! What a million keys cost: memory, and the time until all of them are served again after every process was killed.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use resp::Value;

use super::children::Nursery;
use super::keys::{Key, VALUE_BYTES, key_of_every_slot};
use super::report::{Footprint, Report};
use super::systems::{Peer, Route, System};
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
    peers: &[Peer],
    report: &mut Report,
) -> Result<(), String> {
    println!("\nMemory and restart");
    if let Some(program) = program {
        let nursery = Nursery::new(folder)?;
        let system = System::consort(&nursery, "consort", program, Route::Leader, KEYS)?;
        report.footprints.push(footprint(&nursery, system)?);
    }
    if peers.contains(&Peer::Redis) {
        let nursery = Nursery::new(folder)?;
        let system = System::peer(&nursery, Peer::Redis, Route::Leader, KEYS)?;
        report.footprints.push(footprint(&nursery, system)?);
    }
    Ok(())
}

fn footprint(nursery: &Nursery, mut system: System) -> Result<Footprint, String> {
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
    let each = |(after, before): (&u64, &u64)| (*after as f64 - *before as f64) / f64::from(KEYS);
    let bytes_per_key = after.iter().zip(&before).map(each).collect();
    let footprint = Footprint { system: system.name, keys: KEYS, bytes_per_key, restart_ms };
    print!("{}", footprint.line());
    Ok(footprint)
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
