//! The command line.

use std::io::{self, Write};
use std::net::Ipv6Addr;
use std::num::NonZeroU16;
use std::process::ExitCode;

const USAGE: &str = "\
Sends requests to a delay server, all at once, and waits for the answers on one
thread.

Usage: cargo run                               5000 4000 3000 2000 1000 ms,
                                               to localhost:8080
       cargo run -- HOST[:PORT] [DELAY_MS...]  another server (port 8080 unless
                                               given), other delays
       cargo run -- --help

Without HOST, if nothing listens on localhost:8080, the program starts its own
delay server. To start one in another terminal:

       cargo run --example delayserver [ADDRESS:PORT]

Exit code: 0 if every request was answered, 1 if any was not, 2 for wrong
arguments.";

pub struct Arguments {
    /// `HOST:PORT`
    pub server: Option<String>,
    /// In milliseconds.
    pub delays: Vec<u64>,
}

impl Arguments {
    /// Reads the command line. After `--help` or an error, prints the usage and returns the exit
    /// code.
    pub fn from_command_line() -> Result<Arguments, ExitCode> {
        let args = std::env::args_os().skip(1);
        let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
        // A failed write is ignored: no one reads the output.
        if args.iter().any(|arg| arg == "--help" || arg == "-h") {
            let _ = writeln!(io::stdout(), "{USAGE}");
            return Err(ExitCode::SUCCESS);
        }
        parse(&args).map_err(|message| {
            let _ = writeln!(io::stderr(), "error: {message}\n\n{USAGE}");
            ExitCode::from(2)
        })
    }
}

fn parse(args: &[String]) -> Result<Arguments, String> {
    let mut delays = vec![5000, 4000, 3000, 2000, 1000];
    let Some((server, rest)) = args.split_first() else {
        return Ok(Arguments {
            server: None,
            delays,
        });
    };
    if !rest.is_empty() {
        let not_a_delay = |arg| format!("'{arg}' is not a delay in milliseconds");
        let parsed = rest
            .iter()
            .map(|arg| arg.parse().map_err(|_| not_a_delay(arg)));
        delays = parsed.collect::<Result<_, _>>()?;
    }
    let server = Some(parse_server(server)?);
    Ok(Arguments { server, delays })
}

/// Returns `HOST:PORT`.
fn parse_server(arg: &str) -> Result<String, String> {
    if arg.starts_with('-') {
        return Err(format!("unknown option '{arg}'"));
    }
    if arg.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "'{arg}' is not a server: HOST comes first, then the delays"
        ));
    }
    let server = if arg.parse::<Ipv6Addr>().is_ok() {
        format!("[{arg}]:8080")
    } else if arg.contains(':') && !arg.ends_with(']') {
        arg.to_owned()
    } else {
        format!("{arg}:8080")
    };
    let (host, port) = server.rsplit_once(':').unwrap_or_default();
    let is_host =
        !host.is_empty() && !host.contains('/') && host.starts_with('[') == host.ends_with(']');
    if is_host && port.parse::<NonZeroU16>().is_ok() {
        Ok(server)
    } else {
        Err(format!(
            "'{arg}' is not HOST or HOST:PORT, with a port from 1 to 65535"
        ))
    }
}
