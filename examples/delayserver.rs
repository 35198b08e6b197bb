//! The delay server in a terminal of its own, for `cargo run` in another one.
//!
//! ```sh
//! cargo run --example delayserver              # 127.0.0.1:8080, as in the book
//! cargo run --example delayserver 127.0.0.1:0  # a port that the kernel picks
//! ```
//!
//! You see a line for each request when it comes in: `#1 - 5000ms: request-0`. The answer goes out
//! after the delay, and one thread waits for all of them. Ctrl-C ends it.

use epollet::delayserver::DelayServer;
use std::io::{self, Write};
use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo run --example delayserver [ADDRESS:PORT]

Answers GET /{delay in ms}/{message} with the message after the delay.
Listens on 127.0.0.1:8080 unless told otherwise; with port 0 the kernel picks a port.";

fn main() -> ExitCode {
    let mut args = std::env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned());
    let address = args.next().unwrap_or_else(|| "127.0.0.1:8080".into());
    if address == "--help" || address == "-h" {
        let _ = writeln!(io::stdout(), "{USAGE}");
        return ExitCode::SUCCESS;
    }
    let complaint = match args.next() {
        Some(second) => format!("one address is enough, and '{second}' is a second"),
        None if !address.contains(':') => format!("'{address}' is not ADDRESS:PORT"),
        None => String::new(),
    };
    if !complaint.is_empty() {
        let _ = writeln!(io::stderr(), "error: {complaint}\n\n{USAGE}");
        return ExitCode::from(2);
    }
    let served = DelayServer::bind(&address).and_then(|server| {
        writeln!(io::stdout(), "listening on http://{}", server.local_addr()?)?;
        server.run(io::stdout())
    });
    if let Err(error) = served {
        let _ = writeln!(io::stderr(), "error: cannot serve on {address}: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
