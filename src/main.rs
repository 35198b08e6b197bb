//! The program of the chapter: one thread sends requests to a delay server, and waits for all the
//! answers at once.
//!
//! Everything in this file is about the queue. The command line, the server to connect to and what
//! is printed are in `program/`.

mod program {
    pub mod answer;
    pub mod arguments;
    pub mod delayserver;
    pub mod report;
    pub mod server;
}

use epollet::{Event, Events, Interest, Poll}; // src/ffi.rs and src/poll.rs
use program::arguments::Arguments;
use program::report::{self, Report};
use program::server::Server;
use std::io::{ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments = Arguments::from_command_line();
    let mut server = Server::new(arguments.server);
    let result = run(&mut server, &arguments.delays);
    // If the server in this process has failed, that explains why requests failed.
    report::exit_code(server.stop().and(result))
}

/// Sends a request for each delay and waits for the answers. Returns whether all are right.
fn run(server: &mut Server, delays: &[u64]) -> Result<bool> {
    let mut poll = Poll::new()?;
    let n_events = delays.len();
    let mut streams = Vec::new();
    let mut answers = vec![Vec::new(); n_events];
    let mut report = Report::new();

    for (i, delay) in delays.iter().enumerate() {
        report.begin(*delay);
        let mut stream = server.connect()?; // blocks, as in the chapter
        stream.set_nonblocking(true)?;
        // The send buffer of a new connection is empty, so the request fits. If the write fails, the
        // connection is broken, and its answer ends too early.
        let _ = stream.write_all(&get_req(&format!("/{delay}/request-{i}"), &server.name));
        let interest = Interest::READABLE | Interest::EDGE;
        poll.registry().register(&stream, i, interest)?;
        streams.push(Some(stream));
    }
    let longest = Duration::from_millis(delays.iter().copied().max().unwrap_or(0));
    report.sent(longest)?;
    // If nothing happens for so long, the report says that answers are overdue.
    let patience = longest + Duration::from_secs(2);

    let mut handled_events = 0;
    let mut events = Events::with_capacity(64);
    while handled_events < n_events {
        poll.poll(&mut events, Some(patience))?;
        if events.is_empty() {
            report.overdue()?;
            continue;
        }
        handled_events += handle_events(&events, &mut streams, &mut answers, &mut report)?;
    }
    report.chart()?;
    Ok(report.is_all_answered())
}

/// The server closes the connection after the answer, so end of file ends the answer.
fn get_req(path: &str, host: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").into_bytes()
}

/// Reads from the streams that have events. Returns how many requests have finished.
fn handle_events(
    events: &[Event],
    streams: &mut [Option<TcpStream>],
    answers: &mut [Vec<u8>],
    report: &mut Report,
) -> Result<usize> {
    let mut handled_events = 0;
    for event in events {
        let index = event.token();
        let Some(stream) = &mut streams[index] else {
            continue; // finished: it must not be counted twice
        };
        let ended = drain(stream, &mut answers[index]);
        if let Ok(false) = ended {
            report.event(event)?;
            continue;
        }
        // Dropping the stream closes it, which removes it from the interest list: no `deregister` is
        // needed, because it has no duplicate.
        streams[index] = None;
        handled_events += 1;
        report.finished(event, &answers[index], ended.err())?;
    }
    Ok(handled_events)
}

/// Reads until nothing is left to read. The stream is edge-triggered, so unread bytes would not be
/// reported until more arrive. Returns true at end of file.
fn drain(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<bool> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false), // drained
            Err(error) => return Err(error),
        }
    }
}
