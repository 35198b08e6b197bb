//! The playground: epoll on a page, with real kernel objects.
//!
//! ```sh
//! cargo run --example playground
//! ```
//!
//! Open the address that it prints. On the page, sources are registered, written, read and polled.
//! These are system calls of this program. The page shows the kernel's interest list and, from
//! the executable model of epoll in `examples/model`, the ready list, which the kernel does not
//! show. After each step, the program compares the kernel with the model.
//!
//! The program is itself built on the queue: `server.rs`.

use server::Server;
use std::env;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::process::ExitCode;

mod action;
mod bench;
mod http;
mod scenes;
mod server;
mod strace;
mod take_away;
mod visitor;

use epollet::ffi; // for the model
#[path = "../model/mod.rs"]
mod model;

const USAGE: &str = "\
Usage: cargo run --example playground [-- ADDRESS:PORT]

Serves the playground on 127.0.0.1, on a port that the kernel picks, or on
ADDRESS:PORT. Whoever reaches that address can use it. Ctrl-C ends it.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let address = match &arguments[..] {
        [] => "127.0.0.1:0",
        [help] if help == "--help" || help == "-h" => {
            let _ = io::stdout().write_all(USAGE.as_bytes());
            return ExitCode::SUCCESS;
        }
        [address] if address.contains(':') => address,
        _ => {
            eprintln!("playground: expected at most one argument, ADDRESS:PORT. See --help.");
            return ExitCode::from(2);
        }
    };
    let result = Server::bind(address).and_then(|server| {
        let mut address = server.local_addr()?;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into()); // or any other of this machine
        }
        let text = format!("Open http://{address}/ in a browser. Ctrl-C ends.\n");
        let _ = io::stdout().write_all(text.as_bytes());
        server.run()
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("playground: cannot serve on {address}: {error}");
            ExitCode::FAILURE
        }
    }
}
