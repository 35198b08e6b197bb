//! The command line.

use std::env;
use std::io::{self, Write};
use std::net::Ipv6Addr;
use std::process;

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
    /// Reads the command line. Ends the process after `--help` or an error.
    pub fn from_command_line() -> Arguments {
        let args = env::args_os().skip(1);
        let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
        // A failed write is ignored: no one reads the output.
        if args.iter().any(|arg| arg == "--help" || arg == "-h") {
            let _ = writeln!(io::stdout(), "{USAGE}");
            process::exit(0);
        }
        parse(&args).unwrap_or_else(|message| {
            let _ = writeln!(io::stderr(), "error: {message}\nTry: cargo run -- --help");
            process::exit(2);
        })
    }
}

fn parse(args: &[String]) -> Result<Arguments, String> {
    let mut delays = vec![5000, 4000, 3000, 2000, 1000];
    let Some((server, rest)) = args.split_first() else {
        let server = None;
        return Ok(Arguments { server, delays });
    };
    let server = Some(parse_server(server)?);
    if !rest.is_empty() {
        delays = rest
            .iter()
            .map(|arg| parse_delay(arg))
            .collect::<Result<_, _>>()?;
    }
    Ok(Arguments { server, delays })
}

fn parse_delay(arg: &str) -> Result<u64, String> {
    match arg.parse() {
        Ok(delay) if !arg.starts_with('+') => Ok(delay),
        _ => Err(format!("'{arg}' is not a delay in milliseconds")),
    }
}

/// Returns `HOST:PORT`.
fn parse_server(arg: &str) -> Result<String, String> {
    if arg.starts_with('-') {
        return Err(format!("unknown option '{arg}'"));
    }
    if arg.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "'{arg}' is not a server: HOST comes before the delays"
        ));
    }
    let (host, port) = match arg.rsplit_once(':') {
        _ if arg.parse::<Ipv6Addr>().is_ok() => (format!("[{arg}]"), "8080"),
        Some((host, port)) if !arg.ends_with(']') => (host.to_owned(), port),
        _ => (arg.to_owned(), "8080"),
    };
    let is_name = !host.is_empty() && !host.contains([':', '/', '[', ']']);
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_ipv6 = inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
    match port.parse::<u16>() {
        Ok(1..) if (is_name || is_ipv6) && !port.starts_with('+') => Ok(format!("{host}:{port}")),
        _ => Err(format!(
            "'{arg}' is not HOST or HOST:PORT, with a port from 1 to 65535"
        )),
    }
}
