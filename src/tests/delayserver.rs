//! The delay server over real sockets.

use super::common::{LONG, take_all_descriptors, until};
use crate::Waker;
use crate::delayserver::client::Client;
use crate::delayserver::{DelayServer, Limits};
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A server on a thread of its own, which ends with this value.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    log: Log,
    stopper: Waker,
    thread: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Server {
    pub(super) fn start() -> Server {
        Server::start_with(|_| {})
    }

    pub(super) fn start_with(set: impl FnOnce(&mut Limits)) -> Server {
        take_all_descriptors();
        let mut server = DelayServer::bind("127.0.0.1:0").unwrap();
        set(&mut server.limits);
        let log = Log::default();
        Server {
            address: server.local_addr().unwrap(),
            stopper: server.stopper().unwrap(),
            log: log.clone(),
            thread: Some(thread::spawn(move || server.run(log))),
        }
    }

    pub(super) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    /// Sends bytes and returns everything that arrives until the server closes.
    pub(super) fn answers(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        read_to_end(&mut stream)
    }

    pub(super) fn log(&self) -> String {
        String::from_utf8(self.log.0.lock().unwrap().clone()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopper.wake().unwrap();
        let result = self.thread.take().unwrap().join();
        if !thread::panicking() {
            result.expect("the server does not panic").unwrap();
        }
    }
}

pub(super) fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Reads one answer from a connection that stays open.
pub(super) fn read_answer(stream: &mut TcpStream) -> String {
    let head = read_head(stream);
    let length = head.split("Content-Length: ").nth(1).unwrap();
    let mut body = vec![0; length.split("\r\n").next().unwrap().parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    head + std::str::from_utf8(&body).unwrap()
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Returns a request that keeps the connection.
pub(super) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// Returns a request that is the last one on its connection.
pub(super) fn get_and_close(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").into_bytes()
}

pub(super) fn status(answer: &str) -> &str {
    answer.split("\r\n").next().unwrap()
}

pub(super) fn body(answer: &str) -> &str {
    answer.split("\r\n\r\n").nth(1).unwrap()
}

#[test]
fn answers_with_the_message_after_the_delay() {
    let server = Server::start();
    let start = Instant::now();
    let answer = server.answers(&get_and_close("/30/hello"));
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert_eq!(status(&answer), "HTTP/1.1 200 OK");
    assert_eq!(body(&answer), "hello");
}

#[test]
fn logs_each_request_with_its_client_when_it_arrives() {
    let server = Server::start();
    let mut slow = server.connect();
    slow.write_all(&get("/60000/slow")).unwrap();
    until("the request is logged", || !server.log().is_empty());
    let mut next = server.connect();
    for path in ["/0/%1B%5b2J%0a%c2%9bé", "/no/request", "/1/end"] {
        next.write_all(&get(path)).unwrap();
        read_answer(&mut next);
    }
    let (slow, next) = (slow.local_addr().unwrap(), next.local_addr().unwrap());
    let expected = format!(
        "#1 - 60000ms: slow ({slow})\n\
         #2 - 0ms: \u{fffd}[2J\u{fffd}\u{fffd}é ({next})\n\
         #3 - 1ms: end ({next})\n"
    );
    assert_eq!(server.log(), expected, "control characters are replaced");
}

#[test]
fn a_later_request_with_a_shorter_delay_is_answered_first() {
    let server = Server::start();
    let mut slow = server.connect();
    slow.write_all(&get("/60000/slow")).unwrap();
    until("the request is logged", || !server.log().is_empty());
    assert_eq!(body(&server.answers(&get_and_close("/1/fast"))), "fast");
}

#[test]
fn a_connection_takes_one_request_after_the_other() {
    let server = Server::start();
    let mut stream = server.connect();
    for path in ["/0/one", "/1/two", "/0/three"] {
        stream.write_all(&get(path)).unwrap();
        assert_eq!(body(&read_answer(&mut stream)), &path[3..]);
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start();
    let mut requests = Vec::new();
    for (i, delay) in [20, 0, 10, 0, 0].iter().enumerate() {
        requests.extend(get(&format!("/{delay}/{i}")));
    }
    requests.extend(get_and_close("/0/last"));
    let answers = server.answers(&requests);
    let bodies: Vec<&str> = answers.split("\r\n\r\n").skip(1).collect();
    assert_eq!(bodies.len(), 6);
    for (i, body) in bodies[..5].iter().enumerate() {
        assert!(body.starts_with(&format!("{i}HTTP/1.1 200 OK")), "{body}");
    }
    assert_eq!(bodies[5], "last");
}

#[test]
fn the_delay_of_a_pipelined_request_starts_after_the_answer_before_it() {
    let server = Server::start();
    let start = Instant::now();
    server.answers(&[get("/60/a"), get_and_close("/60/b")].concat());
    assert!(start.elapsed() >= Duration::from_millis(120));
}

#[test]
fn a_request_may_arrive_in_one_byte_pieces() {
    let server = Server::start();
    let mut stream = server.connect();
    stream.set_nodelay(true).unwrap();
    for byte in get_and_close("/0/piecemeal") {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(body(&read_to_end(&mut stream)), "piecemeal");
}

/// `http.rs` has the whole table.
#[test]
fn a_connection_is_kept_after_some_answers_and_closed_after_others() {
    let server = Server::start();
    for (raw, expected, kept) in [
        (
            "GET http://x/0/a HTTP/1.1\r\nHost: x\r\n\r\n",
            "200 OK",
            true,
        ),
        ("HEAD /0/a HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK", true),
        ("GET /0/a HTTP/1.1\nHost: x\n\n", "200 OK", true),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "404 Not Found", true),
        (
            "PUT / HTTP/1.1\r\nHost: x\r\n\r\n",
            "405 Method Not Allowed",
            true,
        ),
        ("GET /0/a HTTP/1.0\r\n\r\n", "200 OK", false),
        ("GET /0/a HTTP/1.1\r\n\r\n", "400 Bad Request", false),
        ("\x16\x03\x01", "400 Bad Request", false),
        (
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "505 HTTP Version Not Supported",
            false,
        ),
    ] {
        let mut stream = server.connect();
        stream.write_all(raw.as_bytes()).unwrap();
        let head = read_head(&mut stream);
        assert_eq!(status(&head), format!("HTTP/1.1 {expected}"), "{raw:?}");
        if !raw.starts_with("HEAD ") {
            let length = head.split("Content-Length: ").nth(1).unwrap();
            let mut content = vec![0; length.split("\r\n").next().unwrap().parse().unwrap()];
            stream.read_exact(&mut content).unwrap();
        }
        if kept {
            stream.write_all(&get_and_close("/0/next")).unwrap();
            assert_eq!(body(&read_to_end(&mut stream)), "next", "{raw:?}");
        } else {
            assert_eq!(read_to_end(&mut stream), "", "{raw:?}");
        }
    }
}

#[test]
fn a_client_that_expects_100_continue_gets_its_answer_after_the_delay() {
    let server = Server::start();
    let start = Instant::now();
    let answer = server.answers(
        b"GET /30/a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n",
    );
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert_eq!(status(&answer), "HTTP/1.1 200 OK");
}

#[test]
fn a_request_that_is_cut_off_is_400() {
    let server = Server::start();
    let mut stream = server.connect();
    stream.write_all(b"GET /0/a HTT").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let answer = read_to_end(&mut stream);
    assert_eq!(status(&answer), "HTTP/1.1 400 Bad Request");
}

#[test]
fn a_request_as_long_as_the_limit_is_answered_and_a_longer_one_is_refused() {
    let server = Server::start_with(|limits| limits.head = 5000); // more than one read
    let padded = |before: &str, after: &str, len: usize| {
        let filler = "x".repeat(len - before.len() - after.len());
        [before, &filler, after].concat().into_bytes()
    };
    let fields = |len| padded("GET /0/a HTTP/1.0\r\nX: ", "\r\n\r\n", len);
    let line = |len| padded("GET /0/", " HTTP/1.0\r\n\r\n", len);
    for (raw, expected) in [
        (fields(5000), "200 OK"),
        (line(5000), "200 OK"),
        (fields(5001), "431 Request Header Fields Too Large"),
        (fields(50_000), "431 Request Header Fields Too Large"),
        (line(5100), "414 URI Too Long"),
        (line(50_000), "414 URI Too Long"),
    ] {
        let answer = server.answers(&raw);
        assert_eq!(status(&answer), format!("HTTP/1.1 {expected}"));
    }
}

#[test]
fn these_are_the_limits_unless_a_program_sets_others() {
    let limits = DelayServer::bind("127.0.0.1:0").unwrap().limits;
    assert_eq!(limits.head, 8000);
    assert_eq!(limits.receive, Duration::from_secs(10));
    assert_eq!(limits.send, Duration::from_secs(10));
    assert_eq!(limits.close, Duration::from_secs(1));
    assert_eq!(limits.pause, Duration::from_millis(100));
}

#[test]
fn a_request_that_does_not_arrive_in_time_is_408() {
    let server = Server::start_with(|limits| limits.receive = Duration::from_millis(150));
    let mut later = server.connect();
    later.write_all(&get("/20000/later")).unwrap();
    let start = Instant::now();
    let answer = server.answers(b"GET /0/a HTTP/1.1\r\n");
    assert_eq!(status(&answer), "HTTP/1.1 408 Request Timeout");
    assert!(start.elapsed() >= Duration::from_millis(150));
    assert_nothing_to_read(&mut later);
}

fn assert_nothing_to_read(stream: &mut TcpStream) {
    stream.set_nonblocking(true).unwrap();
    let result = stream.read(&mut [0]);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_connection_without_a_request_is_closed_after_the_limit_without_an_answer() {
    let server = Server::start_with(|limits| limits.receive = Duration::from_millis(100));
    let start = Instant::now();
    let mut idle = server.connect();
    idle.write_all(&get("/50/a")).unwrap();
    let mut silent = server.connect();
    assert_eq!(read_to_end(&mut silent), "");
    assert!(start.elapsed() >= Duration::from_millis(100));
    assert_eq!(body(&read_answer(&mut idle)), "a");
    let rest = read_to_end(&mut idle);
    assert_eq!(rest, "", "a client would take it for its next answer");
    assert!(start.elapsed() >= Duration::from_millis(150));
}

#[test]
fn empty_lines_do_not_extend_the_time_to_send_a_request() {
    let server = Server::start_with(|limits| limits.receive = Duration::from_millis(100));
    let mut stream = server.connect();
    stream.set_nonblocking(true).unwrap();
    until("the connection is closed", || {
        let _ = stream.write(b"\r\n");
        match stream.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    });
}

#[test]
fn a_client_that_does_not_close_after_its_last_answer_is_closed_after_the_limit() {
    let server = Server::start_with(|limits| limits.close = Duration::from_millis(100));
    let mut later = server.connect();
    later.write_all(&get("/20000/later")).unwrap();
    let start = Instant::now();
    let mut stream = server.connect();
    stream.write_all(&get_and_close("/0/a")).unwrap();
    assert_eq!(body(&read_to_end(&mut stream)), "a");
    // What a client sends is read until then; after that, it is answered with a reset.
    until("the connection is reset", || stream.write(b"x").is_err());
    assert!(start.elapsed() >= Duration::from_millis(100));
    assert_nothing_to_read(&mut later);
}

#[test]
fn a_client_that_only_shuts_down_its_sending_side_gets_its_answers() {
    let server = Server::start();
    let mut stream = server.connect();
    stream.write_all(&get("/30/a")).unwrap();
    stream.write_all(&get("/30/late")).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let answers = read_to_end(&mut stream);
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2);
    assert!(answers.ends_with("\r\n\r\nlate"));
}

#[test]
fn a_delay_of_half_a_billion_years_is_waited_for() {
    let server = Server::start();
    let mut stream = server.connect();
    let path = format!("/{}/never", u64::MAX);
    stream.write_all(&get(&path)).unwrap();
    until("the request is logged", || !server.log().is_empty());
    let answer = server.answers(&get_and_close("/1/meanwhile"));
    assert_eq!(body(&answer), "meanwhile");
    assert_nothing_to_read(&mut stream);
}

#[test]
fn a_failing_log_does_not_end_the_server() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::Other.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let server = DelayServer::bind("127.0.0.1:0").unwrap();
    let (address, stopper) = (server.local_addr().unwrap(), server.stopper().unwrap());
    let thread = thread::spawn(move || server.run(Full));
    for _ in 0..3 {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&get_and_close("/0/a")).unwrap();
        assert_eq!(body(&read_to_end(&mut stream)), "a");
    }
    stopper.wake().unwrap();
    thread.join().unwrap().unwrap();
}

/// Std asks for a queue of 128. A client that finds the queue full has to try again after a second.
#[test]
fn hundreds_of_clients_can_connect_before_the_server_accepts_any() {
    let most = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let clients = 400.min(most.trim().parse().unwrap());
    take_all_descriptors();
    let server = DelayServer::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let connected: Vec<TcpStream> = (0..clients)
        .map(|_| TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap())
        .collect();
    assert_eq!(connected.len(), clients);
}

#[test]
fn a_connection_is_non_blocking_and_sends_each_answer_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, address) = listener.accept().unwrap();
    let mut client = Client::new(stream, address, &Limits::default()).unwrap();
    assert!(client.stream.nodelay().unwrap());
    let read = client.stream.read(&mut [0]);
    assert_eq!(read.unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_second_server_on_the_same_port_is_refused() {
    let server = DelayServer::bind("127.0.0.1:0").unwrap();
    let second = DelayServer::bind(server.local_addr().unwrap());
    assert_eq!(second.unwrap_err().kind(), ErrorKind::AddrInUse);
}
