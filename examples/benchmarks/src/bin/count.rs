//! How many user-space instructions the same work takes: exact numbers, so CI can check them.
//!
//! ```sh
//! cargo run --release --manifest-path examples/benchmarks/Cargo.toml --bin count [-- --check]
//! ```
//!
//! It runs itself as `count LIBRARY SCENARIO N` under callgrind, with N and with 2 N: the
//! difference over N is what one time takes, without the set-up. With `--check` it fails unless
//! epollet stays within its budget.

use benchmarks::report::table;
use benchmarks::scenario::{Scenario, LIBRARIES};
use std::io::{self, Error};
use std::process::{Child, Command, ExitCode, Stdio};

const N: u64 = 1000;

fn main() -> io::Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => count(false),
        ["--check"] => count(true),
        [library, scenario, n] => run(library, scenario, n),
        _ => None.ok_or_else(usage),
    }
}

fn usage() -> Error {
    Error::other("usage: count [--check | LIBRARY SCENARIO N]")
}

fn run(library: &str, scenario: &str, n: &str) -> io::Result<ExitCode> {
    let mut libraries = LIBRARIES.into_iter();
    let library = libraries.find(|known| known.name == library);
    let mut scenarios = Scenario::ALL.into_iter();
    let scenario = scenarios.find(|known| known.name() == scenario);
    let prepare = library.ok_or_else(usage)?.prepare;
    prepare(scenario.ok_or_else(usage)?)?(n.parse().map_err(|_| usage())?)?;
    Ok(ExitCode::SUCCESS)
}

fn count(check: bool) -> io::Result<ExitCode> {
    let names = LIBRARIES.map(|library| library.name);
    let mut table = table(
        "instructions",
        names.into_iter().chain(["epollet's budget"]),
    );
    let mut within = true;
    for scenario in Scenario::ALL {
        eprintln!("{}", scenario.name());
        let mut children = Vec::new();
        for library in &LIBRARIES {
            let start = |n| start(library.name, scenario, n);
            children.push((start(N)?, start(2 * N)?));
        }
        let mut counts = Vec::new();
        for (once, twice) in children {
            let difference = instructions(twice)? - instructions(once)?;
            counts.push((difference + N / 2) / N);
        }
        let [bare, epollet, mio, ..] = counts[..] else {
            unreachable!("there are five libraries")
        };
        let budget = match scenario {
            // Above mio's by one reading of the clock, which keeps the deadline across signals.
            Scenario::FiniteTimeout => bare + 110,
            _ => (bare + 16 * scenario.calls()).min(mio + 2),
        };
        within &= epollet <= budget;
        let verdict = if epollet <= budget { "ok" } else { "OVER" };
        let mut row = vec![scenario.name().to_string()];
        row.extend(counts.iter().map(u64::to_string));
        row.push(format!("{budget} {verdict}"));
        table.add_row(row);
    }
    println!("{table}");
    Ok(match within || !check {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn start(library: &str, scenario: Scenario, n: u64) -> io::Result<Child> {
    Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args([library, scenario.name(), &n.to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Error::new(error.kind(), format!("valgrind: {error}")))
}

fn instructions(child: Child) -> io::Result<u64> {
    let output = child.wait_with_output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    let collected = log.lines().find_map(|line| line.split_once("Collected : "));
    match collected.and_then(|(_, count)| count.trim().parse().ok()) {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(Error::other(format!("it did not run: {log}"))),
    }
}
