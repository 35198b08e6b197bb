//! The program of the book's chapter: one thread sends requests to a delay server, waits for all of
//! the answers at once, and draws what happened when.

use epollet::delayserver::{DelayServer, printable};
use epollet::{Event, Events, Interest, Poll, Registry, Token};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::num::NonZeroU16;
use std::os::raw::{c_int, c_ulong};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

const USAGE: &str = "\
Sends requests to a delay server, all at once, and waits for the answers on one thread.

Usage: cargo run                               5000 4000 3000 2000 1000 ms, to localhost:8080
       cargo run -- HOST[:PORT] [DELAY_MS...]  another server, port 8080 unless given, other delays
       cargo run -- --help

Without HOST, and with nothing listening on localhost:8080, it starts a delay server of its own.
To start one in another terminal: cargo run --example delayserver [ADDRESS:PORT]

Exit code: 0 if every request was answered, 1 if one was not, 2 for wrong arguments.";

const DELAYS: [u64; 5] = [5000, 4000, 3000, 2000, 1000];
/// The longest answer that is read, in bytes. A delay server's is far shorter.
const ANSWER_LIMIT: usize = 64 * 1024;

fn main() -> ExitCode {
    let args = std::env::args_os().skip(1);
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    let done = match parse(&args) {
        Ok(None) => writeln!(io::stdout(), "{USAGE}").map(|()| true),
        Ok(Some(Args {
            server: None,
            delays,
        })) => run_on_localhost(&delays),
        Ok(Some(Args {
            server: Some(server),
            delays,
        })) => run(&server, &delays),
        Err(message) => {
            let _ = writeln!(io::stderr(), "error: {message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // A broken pipe is `| head` that has read enough.
            if error.kind() != ErrorKind::BrokenPipe {
                let _ = writeln!(io::stderr(), "error: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

struct Args {
    /// `HOST:PORT`
    server: Option<String>,
    delays: Vec<u64>,
}

/// Returns `None` if help is wanted.
fn parse(args: &[String]) -> Result<Option<Args>, String> {
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        return Ok(None);
    }
    let mut args = args.iter();
    let server = args.next().map(|arg| parse_server(arg)).transpose()?;
    let mut delays = Vec::new();
    for arg in args {
        let not_a_delay = |_| format!("'{arg}' is not a delay in milliseconds");
        delays.push(arg.parse().map_err(not_a_delay)?);
    }
    if delays.is_empty() {
        delays.extend(DELAYS);
    }
    Ok(Some(Args { server, delays }))
}

/// Returns `HOST:PORT`.
fn parse_server(arg: &str) -> Result<String, String> {
    if arg.starts_with('-') {
        return Err(format!("there is no option '{arg}'"));
    }
    if arg.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "'{arg}' is not a server: HOST comes first, then the delays"
        ));
    }
    let server = match arg.contains(':') {
        true if arg.parse::<Ipv6Addr>().is_ok() => format!("[{arg}]:8080"),
        true if !arg.ends_with(']') => arg.to_owned(),
        _ => format!("{arg}:8080"),
    };
    match server.rsplit_once(':') {
        Some((host, port))
            if !host.is_empty()
                && !host.contains('/')
                && host.starts_with('[') == host.ends_with(']')
                && port.parse::<NonZeroU16>().is_ok() =>
        {
            Ok(server)
        }
        _ => Err(format!(
            "'{arg}' is not HOST or HOST:PORT, with a port from 1 to 65535"
        )),
    }
}

/// Runs against localhost:8080, as in the book; where nobody listens there, against a delay server
/// on another thread of this process.
fn run_on_localhost(delays: &[u64]) -> io::Result<bool> {
    let localhost = "localhost:8080";
    if TcpStream::connect(localhost).is_ok() {
        return run(localhost, delays);
    }
    let server = DelayServer::bind("127.0.0.1:0")?;
    let (address, stopper) = (server.local_addr()?, server.stopper()?);
    writeln!(
        io::stdout(),
        "Nothing listens on {localhost}: serving on {address} instead. To run a real server: \
         cargo run --example delayserver\n"
    )?;
    let serving = thread::spawn(move || server.run(io::sink()));
    let done = run(&address.to_string(), delays);
    stopper.wake()?;
    let _ = serving.join();
    done
}

/// Sends a request for each delay and waits for the answers. Returns whether all of them came.
fn run(server: &str, delays: &[u64]) -> io::Result<bool> {
    let cannot = |verb, error: io::Error| {
        let mut message = format!("cannot {verb} {server}: {error}");
        if error.kind() == ErrorKind::ConnectionRefused {
            message += "\nto start a delay server there: cargo run --example delayserver ";
            message += server;
        }
        io::Error::new(ErrorKind::Other, message)
    };
    let addresses: Vec<SocketAddr> = match server.to_socket_addrs() {
        Ok(addresses) => addresses.collect(),
        Err(error) => return Err(cannot("find", error)),
    };

    let mut poll = Poll::new()?;
    let mut requests = Vec::new();
    let mut waiting = 0;
    let start = Instant::now();
    for (token, &delay) in delays.iter().enumerate() {
        let sent = match TcpStream::connect(&addresses[..]) {
            Err(error) if token == 0 => return Err(cannot("connect to", error)),
            connected => {
                connected.and_then(|stream| send(stream, server, token, delay, poll.registry()))
            }
        };
        let mut request = Request::new(token, delay, start.elapsed());
        match sent {
            Ok(stream) => {
                request.stream = Some(stream);
                waiting += 1;
            }
            Err(error) => request.finish(Err(error.to_string()), request.sent, None)?,
        }
        requests.push(request);
    }

    writeln!(
        io::stdout(),
        "{waiting} requests sent to {server}; one thread waits"
    )?;

    let mut events = Events::with_capacity(64);
    while waiting > 0 {
        poll.poll(&mut events, None)?;
        waiting -= handle_events(&events, &mut requests, poll.registry(), start)?;
    }
    draw(&requests, start.elapsed())?;
    Ok(requests.iter().all(|request| !request.failed))
}

/// Writes the request and hands the stream to the queue.
fn send(
    mut stream: TcpStream,
    server: &str,
    token: Token,
    delay: u64,
    registry: &Registry,
) -> io::Result<TcpStream> {
    stream.set_nonblocking(true)?;
    // With HTTP/1.0 the answer comes in one piece and ends with the connection.
    let request = format!("GET /{delay}/request-{token} HTTP/1.0\r\nHost: {server}\r\n\r\n");
    // A new connection's buffer has room for far more than this.
    stream.write_all(request.as_bytes())?;
    registry.register(&stream, token, Interest::READABLE | Interest::EDGE)?;
    Ok(stream)
}

/// Reads what the events announce. Returns how many requests that has finished.
fn handle_events(
    events: &[Event],
    requests: &mut [Request],
    registry: &Registry,
    start: Instant,
) -> io::Result<usize> {
    let mut finished = 0;
    for event in events {
        let request = &mut requests[event.token()];
        let stream = match &mut request.stream {
            Some(stream) => stream,
            None => continue, // It is finished, and counts once.
        };
        if let Some(outcome) = drain(stream, &mut request.answer) {
            registry.deregister(stream)?;
            request.finish(outcome, start.elapsed(), Some(event))?;
            finished += 1;
        }
    }
    Ok(finished)
}

/// Status line and body of an answer, or the reason why there is none.
type Outcome = Result<String, String>;

/// Reads until there is nothing more to read now: the queue reports edges, so what is left here
/// would not be reported again. Returns the outcome as soon as it is known.
fn drain(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Option<Outcome> {
    let mut buffer = [0; 4096];
    while answer.len() <= ANSWER_LIMIT {
        match stream.read(&mut buffer) {
            Ok(0) => return outcome(answer, true),
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return outcome(answer, false),
            Err(error) => return outcome(answer, false).or_else(|| Some(Err(error.to_string()))),
        }
    }
    Some(Err(format!(
        "the answer is longer than {ANSWER_LIMIT} bytes"
    )))
}

/// Returns `None` if more of the answer has to come; after `ended` no more can.
fn outcome(mut answer: &[u8], ended: bool) -> Option<Outcome> {
    let closed_early = |what| Some(Err(format!("closed early, after {what}")));
    let (head, body) = loop {
        let magic = b"HTTP/";
        if !answer.starts_with(&magic[..answer.len().min(magic.len())]) {
            let start = String::from_utf8_lossy(&answer[..answer.len().min(40)]);
            return Some(Err(format!("the answer is not HTTP: {start}")));
        }
        let end = match answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            Some(position) => position + 4,
            None if ended => return closed_early(format!("{} bytes of the head", answer.len())),
            None => return None,
        };
        let (head, rest) = answer.split_at(end);
        if !head.starts_with(b"HTTP/1.1 1") {
            break (String::from_utf8_lossy(head), rest);
        }
        answer = rest; // An interim status: the final one follows.
    };
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Some(Err(format!("the server says {status}")));
    }
    let mut length = None;
    for (name, value) in head.lines().filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            let why = "the answer comes in chunks, which HTTP/1.0 does not know";
            return Some(Err(why.to_owned()));
        }
    }
    let body = match length {
        Some(length) if body.len() >= length => &body[..length],
        Some(length) if ended => return closed_early(format!("{} of {length} bytes", body.len())),
        None if ended => body,
        _ => return None,
    };
    Some(Ok(format!("{status}\n{}", String::from_utf8_lossy(body))))
}

struct Request {
    token: Token,
    delay: u64,
    /// Taken out when the request is finished, which closes it.
    stream: Option<TcpStream>,
    answer: Vec<u8>,
    /// Both since the start of the program.
    sent: Duration,
    received: Duration,
    failed: bool,
}

impl Request {
    fn new(token: Token, delay: u64, sent: Duration) -> Request {
        let (stream, answer) = (None, Vec::new());
        Request {
            token,
            delay,
            stream,
            answer,
            sent,
            received: sent,
            failed: false,
        }
    }

    fn finish(&mut self, outcome: Outcome, now: Duration, event: Option<&Event>) -> io::Result<()> {
        self.stream = None;
        self.answer = Vec::new();
        self.received = now;
        self.failed = outcome.is_err();
        let mut out = io::stdout();
        let event = event.map_or("no event".to_owned(), |event| format!("{event:?}"));
        writeln!(out, "{:7.3} s  {event}", now.as_secs_f64())?;
        let text = outcome.unwrap_or_else(|why| format!("request-{} failed: {why}", self.token));
        for line in text.lines() {
            writeln!(out, "           {}", printable(line))?;
        }
        Ok(())
    }
}

/// Draws a bar for each request, from sent to received, and compares with one request at a time.
fn draw(requests: &[Request], total: Duration) -> io::Result<()> {
    let seconds = |time: Duration| format!("{:.3} s", time.as_secs_f64());
    let total_text = seconds(total);
    let label = |request: &Request| format!("request-{} {} ms", request.token, request.delay);
    let label_width = requests
        .iter()
        .map(|request| label(request).len())
        .max()
        .unwrap_or(0);
    let width = columns()
        .saturating_sub(label_width + total_text.len() + 4)
        .max(10);
    let scale = width as f64 / total.as_secs_f64();
    let column = |time: Duration| (time.as_secs_f64() * scale).round() as usize;

    let mut out = io::stdout();
    writeln!(
        out,
        "\n{:label_width$} |0 s{total_text:>axis$}",
        "",
        axis = width - 3
    )?;
    let mut sum = Duration::ZERO;
    for request in requests {
        let (from, to) = (column(request.sent), column(request.received));
        let bar = format!(
            "{:from$}{:=<length$}",
            "",
            "=",
            length = to.saturating_sub(from).max(1)
        );
        let end = match request.failed {
            true => "failed".to_owned(),
            false => seconds(request.received),
        };
        writeln!(out, "{:label_width$} |{bar:width$}| {end}", label(request))?;
        if !request.failed {
            sum = sum.saturating_add(Duration::from_millis(request.delay));
        }
    }
    let failed = requests.iter().filter(|request| request.failed).count();
    let answered = requests.len() - failed;
    writeln!(
        out,
        "\n{answered} of {} answered in {total_text} on one thread; one after another: {}",
        requests.len(),
        seconds(sum),
    )
}

/// Returns the width of the terminal on standard output, 80 where it is none.
fn columns() -> usize {
    const TIOCGWINSZ: c_ulong = 0x5413; // ioctl_tty(2)
    unsafe extern "C" {
        fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    }
    // struct winsize
    let mut rows_columns_pixels = [0_u16; 4];
    // SAFETY: the kernel writes a `struct winsize`, or fails and writes nothing.
    let result = unsafe { ioctl(1, TIOCGWINSZ, rows_columns_pixels.as_mut_ptr()) };
    match rows_columns_pixels[1] {
        columns if result == 0 && columns > 0 => columns.into(),
        _ => 80,
    }
}
