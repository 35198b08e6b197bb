//! The delay server compared with the book's, which is on actix-web. Neither writes a log here.
//!
//! ```sh
//! cargo run --release --features servers --bin delay
//! cargo run --release --features servers --bin delay -- OLDER_DELAY   # and with an older build of this program
//! ```
//!
//! The load is `wrk` (a package in Debian and Ubuntu), with a new connection for each request. The
//! servers take turns of two seconds, and a ratio compares two turns of the same round, so that the
//! rest of the machine affects both.

#[path = "../../../../src/program/delayserver.rs"]
mod delayserver;

use actix_web::{App, HttpServer, rt, web};
use benchmarks::report::table;
use benchmarks::scenario::want_descriptors;
use benchmarks::server::{Server, announce, compare_under_load};
use delayserver::DelayServer;
use std::env;
use std::io::{self, Error};
use std::time::Duration;

/// actix-web starts a worker thread for each core unless told otherwise.
const SERVERS: [&str; 3] = ["epollet", "actix-web", "actix-web, 1 worker"];
const WAITING: usize = 8_000;

fn main() -> io::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => measure(None),
        [older] => measure(Some(older)),
        ["serve", "epollet"] => on_epollet(),
        ["serve", "actix-web"] => on_actix(None),
        ["serve", "actix-web, 1 worker"] => on_actix(Some(1)),
        _ => Err(Error::other("usage: delay [OLDER_DELAY]")),
    }
}

fn measure(older: Option<&str>) -> io::Result<()> {
    want_descriptors(WAITING + 100)?;
    let this = env::current_exe()?;
    let mut servers = Vec::new();
    for name in SERVERS {
        servers.push((name, Server::start(&this, name)?));
    }
    if let Some(older) = older {
        servers.push(("older epollet", Server::start(older, "epollet")?));
    }
    for connections in [64, 1_000] {
        let table = compare_under_load(&servers, "/0/hello", "close", connections, 10)?;
        println!("{table}\n");
    }

    let corner = format!("{WAITING} connections waiting 1 s");
    let mut table = table(&corner, servers.iter().map(|(name, _)| *name));
    let mut row = vec!["peak memory, kB".to_string()];
    for (name, server) in &servers {
        eprintln!("{WAITING} connections: {name}");
        let (answers, _) = server.load("/1000/hello", "close", WAITING, 5)?;
        if answers < WAITING as f64 {
            return Err(Error::other(format!("{name}: only {answers} answers")));
        }
        row.push(server.peak_memory()?.to_string());
    }
    table.add_row(row);
    println!("{table}");
    Ok(())
}

fn on_epollet() -> io::Result<()> {
    let server = DelayServer::bind("127.0.0.1:0")?;
    announce(server.local_addr()?)?;
    server.run(io::sink())
}

fn on_actix(workers: Option<usize>) -> io::Result<()> {
    async fn answer(path: web::Path<(u64, String)>) -> String {
        let (delay, message) = path.into_inner();
        // A sleep of 0 would last until the next tick of tokio's clock.
        if delay > 0 {
            rt::time::sleep(Duration::from_millis(delay)).await;
        }
        message
    }
    rt::System::new().block_on(async {
        let app = || App::new().route("/{delay}/{message}", web::get().to(answer));
        let mut server = HttpServer::new(app).bind("127.0.0.1:0")?;
        if let Some(workers) = workers {
            server = server.workers(workers);
        }
        announce(server.addrs()[0])?;
        server.run().await
    })
}
