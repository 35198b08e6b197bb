//! The wall time of the same operations on the bare system calls and on four libraries.
//!
//! ```sh
//! cargo run --release --bin time
//! ```
//!
//! All of it runs on one core: otherwise, the time of a wake would depend on where the scheduler
//! puts the two threads.
//!
//! The libraries take turns of some milliseconds. A ratio compares a turn with the bare turn of the
//! same round, so that the rest of the machine affects both; the table shows the median of the
//! rounds and, in parentheses, the quartiles.

use benchmarks::report::{Quartiles, compare, table, turns};
use benchmarks::scenario::{LIBRARIES, Run, Scenario, idle};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
use std::io;
use std::time::{Duration, Instant};

const ROUNDS: usize = 160;
const TURN: Duration = Duration::from_millis(5);
const TIMEOUTS: [Duration; 4] = [
    Duration::from_micros(50),
    Duration::from_micros(200),
    Duration::from_millis(1),
    Duration::from_micros(2500),
];

fn main() -> io::Result<()> {
    let mut core = CpuSet::new();
    core.set(sched_getcpu());
    sched_setaffinity(None, &core)?;
    println!("{} idle registrations\n", idle().len());

    let names = LIBRARIES.map(|library| library.name);
    let mut costs = table("ns each; ratio to bare", names);
    for scenario in Scenario::ALL {
        eprintln!("{}", scenario.name());
        costs.add_row([vec![scenario.name().to_string()], measure(scenario)?].concat());
    }
    println!("{costs}\n");

    let mut lateness = table("timeout; µs late", names);
    for timeout in TIMEOUTS {
        eprintln!("timeout of {timeout:?}");
        lateness.add_row([vec![format!("{timeout:?}")], wait(timeout)?].concat());
    }
    println!("{lateness}");
    Ok(())
}

/// Returns the cells of a scenario, one for each library.
fn measure(scenario: Scenario) -> io::Result<Vec<String>> {
    let mut runs = Vec::new();
    for library in &LIBRARIES {
        runs.push((library.prepare)(scenario)?);
    }
    let per_turn = calibrate(&mut runs[0])?;
    // One row for each library, one column for each round: nanoseconds for one time.
    let mut times = vec![Vec::new(); runs.len()];
    for round in 0..ROUNDS {
        for library in turns(round, runs.len()) {
            let start = Instant::now();
            runs[library](per_turn)?;
            times[library].push(start.elapsed().as_nanos() as f64 / per_turn as f64);
        }
    }
    Ok(compare(&times, 0))
}

/// Returns how often it runs in one turn.
fn calibrate(bare: &mut Run) -> io::Result<usize> {
    let mut times = 1;
    loop {
        let start = Instant::now();
        bare(times)?;
        if start.elapsed() >= TURN {
            return Ok(times);
        }
        times += times / 4 + 1;
    }
}

/// Returns how late the timeout ends, one cell for each library.
fn wait(timeout: Duration) -> io::Result<Vec<String>> {
    let mut late = vec![Vec::new(); LIBRARIES.len()];
    for _ in 0..ROUNDS {
        for (library, late) in LIBRARIES.iter().zip(&mut late) {
            late.push((library.late)(timeout)?.as_nanos() as f64 / 1000.0);
        }
    }
    let cell = |late: Vec<f64>| Quartiles::of(late).format(0);
    Ok(late.into_iter().map(cell).collect())
}
