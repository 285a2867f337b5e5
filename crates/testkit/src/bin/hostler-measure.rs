//! `hostler-measure append DIR EVENTS BYTES`, `calls COUNT`, `number DIR FIRST COUNT`: what `cargo xtask bench` and `soak`
//! cannot do from outside. Prints `name value` lines.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use hostler_journal::{Durability, Journal, JournalSettings};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["append", dir, events, bytes] => append(Path::new(dir), events.parse()?, bytes.parse()?),
        ["number", dir, first, count] => number(Path::new(dir), first.parse()?, count.parse()?),
        ["calls", count] => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(calls(count.parse()?))
        }
        _ => bail!("usage: hostler-measure append DIR EVENTS BYTES | calls COUNT | number DIR FIRST COUNT"),
    }
}

/// Appends events of this size, encoded as the agent's, to its journal.
fn append(dir: &Path, events: u64, bytes: usize) -> Result<()> {
    use buffa::Message;
    // Larger than by default: nothing may be dropped before a gateway has read it.
    let settings = JournalSettings { max_bytes: 1 << 30, ..JournalSettings::new(dir) };
    let journal = Journal::open(settings)?;
    let mut event = hostler_api::v1::HostEvent {
        at_us: 1_795_305_248_000_000,
        kind: "bench.event".into(),
        severity: 1,
        subject: "event 000000".into(),
        ..Default::default()
    };
    event.message = "x".repeat(bytes.saturating_sub(event.encode_to_vec().len() + 2));
    let filler = event.encode_to_vec();
    let before = cpu_seconds()?;
    let clock = Instant::now();
    for _ in 1..events {
        journal.append(&filler, Durability::Buffered)?;
    }
    event.subject = format!("event {events}");
    journal.append(&event.encode_to_vec(), Durability::Flushed)?;
    let (wall, cpu) = (clock.elapsed().as_secs_f64(), cpu_seconds()? - before);
    journal.close();
    println!("bytes {}\nseconds {wall:.4}\ncpu_seconds {cpu:.4}", filler.len());
    Ok(())
}

/// Appends events `soak.event` whose subjects are numbers, and says so when they are on the disk.
fn number(dir: &Path, first: u64, count: u64) -> Result<()> {
    use buffa::Message;
    let journal = Journal::open(JournalSettings::new(dir))?;
    for number in first..first + count {
        let kind = "soak.event".to_owned();
        let event = hostler_api::v1::HostEvent { kind, severity: 1, subject: number.to_string(), ..Default::default() };
        let last = number + 1 == first + count;
        journal.append(&event.encode_to_vec(), if last { Durability::Flushed } else { Durability::Buffered })?;
    }
    journal.close();
    println!("through {}", first + count - 1);
    Ok(())
}

/// Time on a processor of this process with all its threads (`/proc/self/task/*/schedstat`).
fn cpu_seconds() -> Result<f64> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += text.split_ascii_whitespace().next().context("schedstat is empty")?.parse::<u64>()?;
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// Calls over a link on loopback, one after the other.
async fn calls(count: usize) -> Result<()> {
    let mut times = hostler_testkit::fleet::time_calls(count).await?;
    times.sort_unstable();
    let percentile = |p: usize| times[(times.len() * p / 100).min(times.len() - 1)].as_secs_f64() * 1000.0;
    println!("p50 {:.4}\np99 {:.4}", percentile(50), percentile(99));
    Ok(())
}
