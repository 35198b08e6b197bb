//! What an event and a registration cost as registrations grow in number: time, and memory in the
//! kernel.
//!
//! ```sh
//! cargo run --release --bin grow
//! ```

use benchmarks::queue::{Epollet, Queue};
use benchmarks::report::{Quartiles, compare, table, turns};
use benchmarks::scenario::{register, round_trip, streams, want_descriptors};
use epollet::{Interest, Poll};
use std::fs;
use std::io::{self, Error};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Instant;

const NUMBERS: [usize; 4] = [10, 100, 1_000, 10_000];
const ROUNDS: usize = 160;
const TIMES_A_ROUND: usize = 1_000;
/// Memory is measured over so many registrations: 10 in each of 2,000 queues, 10,000 in each of 2.
const MEASURED: usize = 20_000;
const CONNECTIONS: usize = 500;

fn main() -> io::Result<()> {
    want_descriptors(20_000)?;
    // Nothing happens on any of them.
    let sources = streams(NUMBERS[3])?;

    // Memory first, and nothing is freed meanwhile: the kernel would reuse it for the next ones.
    let mut kept = (Vec::new(), Vec::new());
    let mut memory = vec![Vec::new(); NUMBERS.len()];
    let mut connection = Vec::new();
    for _ in 0..3 {
        for (number, memory) in NUMBERS.iter().zip(&mut memory) {
            memory.push(registration_memory(&sources[..*number], &mut kept.0)?);
        }
        connection.push(connection_memory(&mut kept.1)?);
    }

    let names = NUMBERS.map(|number| format!("{number}"));
    let mut table = table("registrations", names.iter().map(String::as_str));
    let [round_trips, registrations] = times(&sources)?;
    table.add_row([vec!["ns for a round trip".into()], compare(&round_trips, 0)].concat());
    let first = "ns to register + deregister one more".to_string();
    table.add_row([vec![first], compare(&registrations, 0)].concat());
    let first = "bytes in the kernel for each".to_string();
    table.add_row([vec![first], compare(&memory, 0)].concat());
    println!("{table}\n");

    // The kernel lets registrations take 4 % of the memory.
    let watches = fs::read_to_string("/proc/sys/fs/epoll/max_user_watches")?;
    let watches: f64 = watches.trim().parse().map_err(Error::other)?;
    let figure = meminfo("MemTotal:")? / 25.0 / watches;
    println!("max_user_watches is {watches}: the kernel assumes {figure:.0} bytes for each");
    let connection = Quartiles::of(connection).format(0);
    println!("one end of an idle TCP connection, registered: {connection} bytes in the kernel");
    Ok(())
}

/// Returns nanoseconds for one round trip, and to register and deregister one more source: a row for
/// each number, a column for each round.
fn times(sources: &[UnixStream]) -> io::Result<[Vec<Vec<f64>>; 2]> {
    let mut queues = Vec::new();
    for number in NUMBERS {
        let queue = Epollet::new()?;
        for source in &sources[..number] {
            queue.register(source, 0)?;
        }
        queues.push(queue);
    }
    let (ours, theirs) = UnixStream::pair()?;
    let mut times = [(); 2].map(|()| vec![Vec::new(); NUMBERS.len()]);
    for round in 0..ROUNDS {
        for at in turns(round, NUMBERS.len()) {
            let queue = &mut queues[at];
            queue.register(&ours, 1)?;
            let start = Instant::now();
            round_trip::<_, false>(queue, &ours, &theirs, TIMES_A_ROUND)?;
            times[0][at].push(each(start));
            queue.deregister(&ours)?;
            let start = Instant::now();
            register(queue, &ours, TIMES_A_ROUND)?;
            times[1][at].push(each(start));
        }
    }
    Ok(times)
}

fn each(start: Instant) -> f64 {
    start.elapsed().as_nanos() as f64 / TIMES_A_ROUND as f64
}

/// Returns the bytes that the kernel uses for one registration of one of `sources`, and leaves the
/// queues that it makes for that in `kept`.
fn registration_memory(sources: &[UnixStream], kept: &mut Vec<Poll>) -> io::Result<f64> {
    let first = kept.len();
    for _ in 0..MEASURED / sources.len() {
        kept.push(Poll::new()?);
    }
    let before = meminfo("Slab:")?;
    for queue in &kept[first..] {
        for source in sources {
            queue.registry().register(source, 0, Interest::READABLE)?;
        }
    }
    Ok((meminfo("Slab:")? - before) / MEASURED as f64)
}

/// Returns the bytes that it uses for one end of a registered connection, and leaves the connections
/// in `kept`.
fn connection_memory(kept: &mut Vec<(Poll, Vec<TcpStream>)>) -> io::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (poll, mut ends) = (Poll::new()?, Vec::new());
    let before = meminfo("Slab:")?;
    for _ in 0..CONNECTIONS {
        ends.push(TcpStream::connect(listener.local_addr()?)?);
        ends.push(listener.accept()?.0);
        for end in &ends[ends.len() - 2..] {
            poll.registry().register(end, 0, Interest::READABLE)?;
        }
    }
    let used = (meminfo("Slab:")? - before) / ends.len() as f64;
    kept.push((poll, ends));
    Ok(used)
}

/// Returns a line of /proc/meminfo in bytes. "Slab" counts all objects in the kernel, whoever has
/// made them.
fn meminfo(name: &str) -> io::Result<f64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let mut lines = text.lines();
    let kb = lines.find_map(|line| line.strip_prefix(name)?.strip_suffix("kB"));
    let kb: Option<f64> = kb.and_then(|kb| kb.trim().parse().ok());
    kb.map(|kb| kb * 1024.0)
        .ok_or_else(|| Error::other(format!("no {name} in /proc/meminfo")))
}
