//! The delay server, to run in one terminal for `cargo run` in another.
//!
//! ```sh
//! cargo run -q --example delayserver              # 127.0.0.1:8080, as in the book
//! cargo run -q --example delayserver 127.0.0.1:0  # a port that the kernel picks
//! ```
//!
//! It prints a line for each valid request when its delay begins: its number since the start of the
//! server, the delay, the message, and the address of the client. Ctrl-C ends it.

#[path = "../src/program/delayserver.rs"]
mod delayserver;

use delayserver::DelayServer;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo run -q --example delayserver [ADDRESS:PORT]

Answers GET /{delay in ms}/{message} with the message after the delay.
Listens on 127.0.0.1:8080 unless told otherwise; with port 0 the kernel picks
one. Ctrl-C ends it.";

fn main() -> ExitCode {
    let args = std::env::args_os().skip(1);
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let address = match args[..] {
        [] => "127.0.0.1:8080",
        ["--help" | "-h"] => {
            let _ = writeln!(io::stdout(), "{USAGE}");
            return ExitCode::SUCCESS;
        }
        [address] if is_address(address) => address,
        _ => {
            let got = args.join(" ");
            let error = format!("expected one ADDRESS:PORT, got \"{got}\"");
            let _ = writeln!(io::stderr(), "error: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match DelayServer::bind(address) {
        Ok(server) => match serve(server) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::FAILURE,
            Err(error) => {
                let _ = writeln!(io::stderr(), "error: {error}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: cannot serve on {address}: {error}");
            if error.kind() == ErrorKind::AddrInUse {
                let _ = writeln!(
                    io::stderr(),
                    "A server is already running there: use it, stop it, or choose another port:\n    \
                     cargo run -q --example delayserver 127.0.0.1:0"
                );
            }
            ExitCode::FAILURE
        }
    }
}

/// A name is possible, too: `localhost:8080`.
fn is_address(arg: &str) -> bool {
    let parts = arg.rsplit_once(':');
    parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

fn serve(server: DelayServer) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "listening on http://{}", server.local_addr()?)?;
    writeln!(
        out,
        "For each valid request: #number - delay: message (client). Ctrl-C ends."
    )?;
    server.run(out)
}
