//! The crate's delay server beside one on actix-web that does the same job.
//!
//! ```sh
//! cargo run --release --manifest-path examples/benchmarks/Cargo.toml --bin delay
//! ```

use actix_web::{rt, web, App, HttpServer};
use epollet::delayserver::DelayServer;
use epollet::ffi::EPOLLIN;
use epollet::{Events, Poll};
use benchmarks::load::Load;
use benchmarks::scenario::{raise_descriptor_limit, want_descriptors};
use benchmarks::server::{announce, Server};
use slab::Slab;
use std::io::{self, Error, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// actix-web starts a worker thread for each core, unless told otherwise. The last one is not a delay
/// server: it shows what is left to save.
const SERVERS: [&str; 4] = ["epollet", "actix-web", "actix-web, 1 worker", "bare"];

const BUSY: Load = Load {
    connections: 64,
    requests: 100_000,
    request: b"GET /0/hello HTTP/1.1\r\nhost: localhost\r\n\r\n",
    is_answer: |bytes| bytes.starts_with(b"HTTP/1.1 200") && bytes.ends_with(b"\r\n\r\nhello"),
};
const CROWD: Load = Load {
    connections: 8_000,
    ..BUSY
};
const WAITING: Load = Load {
    connections: 8_000,
    requests: 8_000,
    request: b"GET /1000/hello HTTP/1.1\r\nhost: localhost\r\n\r\n",
    is_answer: BUSY.is_answer,
};

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => measure()?,
        ["serve", "epollet"] => on_epollet()?,
        ["serve", "actix-web"] => on_actix(None)?,
        ["serve", "actix-web, 1 worker"] => on_actix(Some(1))?,
        ["serve", "bare"] => on_nothing()?,
        _ => return Err(Error::other("usage: delay")),
    }
    Ok(())
}

fn measure() -> io::Result<()> {
    want_descriptors(8_100)?;
    let mut table = BUSY.compare(&SERVERS, 10)?;
    let mut row = vec!["peak kB, 8,000 connections waiting 1 s".to_string()];
    let mut first = None;
    for name in &SERVERS[..3] {
        eprintln!("8,000 connections: {name}");
        let server = Server::start(name)?;
        WAITING.run(server.address)?;
        let peak = server.peak_memory()?;
        let first = *first.get_or_insert(peak);
        row.push(format!("{peak}; {:.2}", peak as f64 / first as f64));
    }
    row.push("-".into());
    table.add_row(row);
    println!("{table}\n\n{}", CROWD.compare(&SERVERS, 5)?);
    Ok(())
}

fn on_epollet() -> io::Result<()> {
    raise_descriptor_limit();
    let server = DelayServer::bind("127.0.0.1:0")?;
    announce(server.local_addr()?)?;
    server.run(io::stdout())
}

/// Two system calls for each request, in which whatever has come is answered with the same bytes:
/// what no server can do without.
fn on_nothing() -> io::Result<()> {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\
        content-type: text/plain; charset=utf-8\r\nconnection: keep-alive\r\n\r\nhello";
    let listener = TcpListener::bind("127.0.0.1:0")?;
    announce(listener.local_addr()?)?;
    let mut poll = Poll::new()?;
    poll.registry().register(&listener, usize::MAX, EPOLLIN)?;
    let mut clients = Slab::new();
    let mut events = Events::with_capacity(1024);
    let mut bytes = [0; 1024];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            let Some(client) = clients.get_mut(event.token()) else {
                let (stream, _) = listener.accept()?;
                let place = clients.vacant_entry();
                poll.registry().register(&stream, place.key(), EPOLLIN)?;
                place.insert(stream);
                continue;
            };
            match client.read(&mut bytes) {
                Ok(1..) if client.write_all(ANSWER).is_ok() => {}
                _ => drop(clients.remove(event.token())),
            }
        }
    }
}

fn on_actix(workers: Option<usize>) -> io::Result<()> {
    static REQUESTS: AtomicUsize = AtomicUsize::new(1);
    async fn answer(path: web::Path<(u64, String)>) -> String {
        let (delay, message) = path.into_inner();
        let number = REQUESTS.fetch_add(1, Ordering::Relaxed);
        println!("#{number} - {delay}ms: {message}");
        // A sleep of 0 would last until the next tick of tokio's clock.
        if delay > 0 {
            rt::time::sleep(Duration::from_millis(delay)).await;
        }
        message
    }
    raise_descriptor_limit();
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
