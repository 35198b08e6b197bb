//! The delay server, to run in one terminal for `cargo run` in another.
//!
//! ```sh
//! cargo run --example delayserver              # 127.0.0.1:8080, as in the book
//! cargo run --example delayserver 127.0.0.1:0  # a port that the kernel picks
//! ```
//!
//! It prints a line for each valid request when its delay begins: its number since the start of the
//! server, the delay, the message, and the address of the client. Ctrl-C ends it.

use epollet::delayserver::DelayServer;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo run --example delayserver [ADDRESS:PORT]

Answers GET /{delay in ms}/{message} with the message after the delay.
Listens on 127.0.0.1:8080 unless told otherwise; with port 0 the kernel picks
one. Ctrl-C ends it.";

fn main() -> ExitCode {
    let args = std::env::args_os().skip(1);
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        let _ = writeln!(io::stdout(), "{USAGE}");
        return ExitCode::SUCCESS;
    }
    let (address, complaint) = match &args[..] {
        [] => ("127.0.0.1:8080", None),
        [address] if address.contains(':') => (address.as_str(), None),
        [address] => ("", Some(format!("'{address}' is not ADDRESS:PORT"))),
        [_, second, ..] => ("", Some(format!("unexpected '{second}': give one address"))),
    };
    if let Some(complaint) = complaint {
        let _ = writeln!(io::stderr(), "error: {complaint}\n\n{USAGE}");
        return ExitCode::from(2);
    }
    let Err(error) = serve(address) else {
        return ExitCode::SUCCESS;
    };
    let _ = writeln!(io::stderr(), "error: cannot serve on {address}: {error}");
    if error.kind() == ErrorKind::AddrInUse {
        let _ = writeln!(
            io::stderr(),
            "A server is already running there: use it, stop it, or choose another port:\n    \
             cargo run --example delayserver 127.0.0.1:0"
        );
    }
    ExitCode::FAILURE
}

fn serve(address: &str) -> io::Result<()> {
    let server = DelayServer::bind(address)?;
    let mut out = io::stdout();
    writeln!(out, "listening on http://{}", server.local_addr()?)?;
    writeln!(
        out,
        "For each valid request: #number - delay: message (client). Ctrl-C ends."
    )?;
    server.run(out)
}
