//! How many user-space instructions each operation takes. The numbers are exact and repeat, so CI
//! can hold epollet to them.
//!
//! ```sh
//! cargo run --release --bin count             # needs valgrind
//! cargo run --release --bin count -- --check  # fails if epollet exceeds a limit
//! ```
//!
//! There are four conditions: timeouts that the compiler knows (`poll(&mut events, None)`) or that
//! it does not know, each in a release build and in one with fat LTO and one codegen unit.
//!
//! The program runs itself under callgrind, with N repetitions and with 2 N: the difference divided
//! by N is the cost of one operation, without the set-up. It is written by hand because iai-callgrind
//! compares a benchmark with its own past, not with another library, and under one build profile.

use benchmarks::report::table;
use benchmarks::scenario::{LIBRARIES, Scenario};
use std::env;
use std::io::{self, Error};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const N: u64 = 1000;

/// To a process, the idle registrations of `Scenario::AmongIdle` make no difference.
const SCENARIOS: [Scenario; 7] = [
    Scenario::RoundTrip,
    Scenario::EmptyPoll,
    Scenario::FiniteTimeout,
    Scenario::ManyEvents,
    Scenario::Register,
    Scenario::Reregister,
    Scenario::Wake,
];

#[derive(Clone, Copy)]
struct Condition {
    name: &'static str,
    lto: bool,
    unknown: bool,
}

const CONDITIONS: [Condition; 4] = [
    condition("as users write it", false, false),
    condition("unknown timeouts", false, true),
    condition("LTO", true, false),
    condition("LTO, unknown timeouts", true, true),
];

const fn condition(name: &'static str, lto: bool, unknown: bool) -> Condition {
    Condition { name, lto, unknown }
}

/// The most instructions that epollet may take: on x86-64 and with Rust 1.95, which they were
/// measured with. Another compiler may need other numbers. The column of the bare calls then changes,
/// too.
const fn limits(scenario: Scenario) -> [u64; CONDITIONS.len()] {
    match scenario {
        Scenario::RoundTrip => [136, 148, 83, 105],
        Scenario::EmptyPoll => [23, 42, 23, 45],
        Scenario::FiniteTimeout => [222, 235, 173, 192],
        Scenario::ManyEvents => [256, 269, 182, 202],
        Scenario::Register => [61, 61, 33, 33],
        Scenario::Reregister => [32, 32, 18, 18],
        Scenario::Wake => [368, 368, 283, 283],
        Scenario::AmongIdle => unreachable!(),
    }
}

fn main() -> io::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => count(false),
        ["--check"] => count(true),
        ["run", library, scenario, timeouts, n] => run(library, scenario, timeouts, n),
        _ => Err(usage()),
    }
}

fn usage() -> Error {
    Error::other("usage: count [--check]")
}

fn count(check: bool) -> io::Result<()> {
    let release = env::current_exe()?;
    let lto = build_with_lto(&release)?;
    let mut within = true;
    for (column, condition) in CONDITIONS.into_iter().enumerate() {
        let names = LIBRARIES.map(|library| library.name);
        let mut table = table(
            condition.name,
            names.into_iter().chain(["limit for epollet"]),
        );
        for scenario in SCENARIOS {
            eprintln!("{}: {}", condition.name, scenario.name());
            let program = if condition.lto { &lto } else { &release };
            let counts = instructions_of_each(program, scenario, condition)?;
            let epollet = counts[1]; // in the order of `LIBRARIES`
            let limit = limits(scenario)[column];
            within &= epollet <= limit;
            let verdict = if epollet <= limit { "ok" } else { "EXCEEDED" };
            let mut row = vec![scenario.name().to_string()];
            row.extend(counts.iter().map(u64::to_string));
            row.push(format!("{limit} {verdict}"));
            table.add_row(row);
        }
        println!("{table}\n");
    }
    if check && !within {
        return Err(Error::other("epollet takes more instructions than allowed"));
    }
    Ok(())
}

/// Builds this program again with the profile `lto`. Cargo puts it into a directory beside that of
/// the release build.
fn build_with_lto(release: &Path) -> io::Result<PathBuf> {
    let cargo = env::var_os("CARGO").ok_or_else(|| Error::other("start this with `cargo run`"))?;
    let status = Command::new(cargo)
        .args(["build", "--locked", "--profile", "lto", "--bin", "count"])
        .args([
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ])
        .status()?;
    if !status.success() {
        return Err(Error::other("the build with LTO failed"));
    }
    let target = release.ancestors().nth(2).expect("target/release/count");
    Ok(target.join("lto/count"))
}

fn instructions_of_each(
    program: &Path,
    scenario: Scenario,
    condition: Condition,
) -> io::Result<Vec<u64>> {
    let timeouts = if condition.unknown {
        "unknown"
    } else {
        "known"
    };
    let mut children = Vec::new();
    for library in &LIBRARIES {
        let start = |n: u64| {
            let n = n.to_string();
            start(
                program,
                ["run", library.name, scenario.name(), timeouts, &n],
            )
        };
        children.push((start(N)?, start(2 * N)?));
    }
    let mut counts = Vec::new();
    for (once, twice) in children {
        let difference = instructions(twice)? - instructions(once)?;
        counts.push((difference + N / 2) / N);
    }
    Ok(counts)
}

fn start(program: &Path, args: [&str; 5]) -> io::Result<Child> {
    Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(args)
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
        _ => Err(Error::other(format!("valgrind failed: {log}"))),
    }
}

/// In the child: repeats one operation `n` times.
fn run(library: &str, scenario: &str, timeouts: &str, n: &str) -> io::Result<()> {
    let library = LIBRARIES.iter().find(|known| known.name == library);
    let scenario = SCENARIOS.into_iter().find(|known| known.name() == scenario);
    let (library, scenario) = library.zip(scenario).ok_or_else(usage)?;
    let mut run = match timeouts {
        "known" => (library.prepare)(scenario)?,
        "unknown" => (library.prepare_unknown)(scenario)?,
        _ => return Err(usage()),
    };
    run(n.parse().map_err(|_| usage())?)?;
    Ok(())
}
