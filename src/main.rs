//! The program of the chapter: one thread sends requests to a delay server, and waits for all the
//! answers at once.
//!
//! Everything in this file is about the queue. The command line, the server to connect to, HTTP and
//! the chart are in `program/`.

mod program {
    pub mod answer;
    pub mod arguments;
    pub mod chart;
    pub mod server;
    pub mod timeline;
}

use epollet::{Event, Events, Interest, Poll, Registry, Token};
use program::answer::{Answer, Outcome};
use program::arguments::Arguments;
use program::chart;
use program::server::Server;
use program::timeline::Timeline;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;

fn main() -> ExitCode {
    let result = match Arguments::from_command_line() {
        Ok(arguments) => run(arguments),
        Err(exit_code) => return exit_code,
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // The reader of our output is gone, as in `| head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Sends a request for each delay and waits for the answers. Returns whether all were answered.
fn run(arguments: Arguments) -> io::Result<bool> {
    let n_events = arguments.delays.len();
    let mut timeline = Timeline::start();
    let mut server = Server::new(arguments.server);
    let mut poll = Poll::new()?;
    let mut streams = Vec::new();
    let mut answers = Vec::new();
    let mut handled_events = 0;

    for (i, delay) in arguments.delays.into_iter().enumerate() {
        timeline.begin(delay);
        let stream = match server.connect() {
            Err(error) if i == 0 => return Err(error),
            connected => connected,
        };
        let request = get_req(&format!("/{delay}/request-{i}"), &server.name);
        match stream.and_then(|stream| send(stream, &request, i, poll.registry())) {
            Ok(stream) => streams.push(Some(stream)),
            Err(error) => {
                timeline.failed(i, &error)?;
                handled_events += 1;
                streams.push(None);
            }
        }
        answers.push(Answer::default());
    }
    timeline.sent()?;

    let mut events = Events::with_capacity(64);
    while handled_events < n_events {
        poll.poll(&mut events, timeline.patience())?;
        if events.is_empty() {
            timeline.overdue()?; // The timeout elapsed.
        }
        handled_events += handle_events(&events, &mut streams, &mut answers, &mut timeline)?;
    }
    chart::draw(&timeline)
}

/// Writes request `i` and registers the stream with `i` as its token.
fn send(
    mut stream: TcpStream,
    request: &str,
    i: Token,
    registry: &Registry,
) -> io::Result<TcpStream> {
    stream.set_nonblocking(true)?;
    // This does not block: the buffer of a new connection has room for far more.
    stream.write_all(request.as_bytes())?;
    registry.register(&stream, i, Interest::READABLE | Interest::EDGE)?;
    Ok(stream)
}

fn get_req(path: &str, host: &str) -> String {
    // The server closes the connection after the answer to an HTTP/1.0 request.
    format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n")
}

/// Reads from the streams that have events. Returns how many requests have finished.
fn handle_events(
    events: &[Event],
    streams: &mut [Option<TcpStream>],
    answers: &mut [Answer],
    timeline: &mut Timeline,
) -> io::Result<usize> {
    let mut handled = 0;
    for event in events {
        let i = event.token();
        // This event is stale if the stream is finished. Skipping it keeps the request from being
        // counted twice.
        let Some(stream) = &mut streams[i] else {
            continue;
        };
        let outcome = drain(stream, &mut answers[i]);
        if outcome.is_some() {
            // Dropping the stream closes it, which removes it from the interest list: no
            // `deregister` is needed, because it has no duplicate.
            streams[i] = None;
            handled += 1;
        }
        timeline.event(event, outcome)?;
    }
    Ok(handled)
}

/// Reads until nothing is left to read. The stream is edge-triggered, so unread bytes would not be
/// reported until more arrives. Returns the outcome as soon as it is known.
fn drain(stream: &mut TcpStream, answer: &mut Answer) -> Option<Outcome> {
    let mut buffer = [0; 4096];
    while !answer.is_too_long() {
        match stream.read(&mut buffer) {
            Ok(0) => return answer.outcome(true), // end of file
            Ok(count) => answer.append(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break, // drained
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return answer.outcome(false).or(Some(Err(error.to_string()))),
        }
    }
    answer.outcome(false)
}
