//! The delay server over real sockets.

use super::common::{LONG, take_all_descriptors, until};
use crate::Waker;
use crate::delayserver::{DelayServer, printable};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
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
        take_all_descriptors();
        let server = DelayServer::bind("127.0.0.1:0").unwrap();
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

    /// Sends bytes and returns all that comes until the server closes.
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
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    let head = String::from_utf8(answer.clone()).unwrap();
    let length = head.split("content-length: ").nth(1).unwrap();
    let mut body = vec![0; length.split("\r\n").next().unwrap().parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    head + std::str::from_utf8(&body).unwrap()
}

pub(super) fn get(path: &str) -> Vec<u8> {
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
    let answer = server.answers(&get("/30/hello"));
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert_eq!(
        answer,
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-type: text/plain; charset=utf-8\r\n\
         connection: close\r\n\r\nhello"
    );
}

#[test]
fn messages_are_percent_decoded() {
    let server = Server::start();
    assert_eq!(body(&server.answers(&get("/0/a%20b%2Fc%c3%A9"))), "a b/cé");
    assert_eq!(body(&server.answers(&get("/0/a+b?query"))), "a+b");
}

#[test]
fn logs_each_request_when_it_comes_in_and_keeps_the_terminal_safe() {
    let server = Server::start();
    let mut slow = server.connect();
    slow.write_all(&get("/60000/slow")).unwrap();
    until("the request is logged", || !server.log().is_empty());
    server.answers(&get("/0/%1B%5b2J%0a"));
    server.answers(&get("/no/request"));
    server.answers(&get("/1/end"));
    let expected = "#1 - 60000ms: slow\n#2 - 0ms: \\u{1b}[2J\\n\n#3 - 1ms: end\n";
    until("three lines", || server.log().lines().count() == 3);
    assert_eq!(server.log(), expected);
}

#[test]
fn a_later_request_with_a_shorter_delay_is_answered_first() {
    let server = Server::start();
    let mut slow = server.connect();
    slow.write_all(&get("/60000/slow")).unwrap();
    assert_eq!(body(&server.answers(&get("/1/fast"))), "fast");
}

#[test]
fn a_connection_takes_one_request_after_the_other() {
    let server = Server::start();
    let mut stream = server.connect();
    for path in ["/0/one", "/1/two", "/0/three"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let answer = read_answer(&mut stream);
        assert!(answer.contains("connection: keep-alive"));
        assert_eq!(body(&answer), &path[3..]);
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start();
    let mut requests = Vec::new();
    for (i, delay) in [20, 0, 10, 0, 0].iter().enumerate() {
        write!(
            requests,
            "GET /{delay}/{i} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        .unwrap();
    }
    requests.extend(get("/0/last"));
    let answers = server.answers(&requests);
    let bodies: Vec<&str> = answers.split("\r\n\r\n").skip(1).collect();
    assert_eq!(bodies.len(), 6);
    for (i, body) in bodies[..5].iter().enumerate() {
        assert!(body.starts_with(&format!("{i}HTTP/1.1 200 OK")), "{body}");
    }
    assert_eq!(bodies[5], "last");
}

#[test]
fn a_head_may_come_in_one_byte_pieces() {
    let server = Server::start();
    let mut stream = server.connect();
    stream.set_nodelay(true).unwrap();
    for byte in get("/0/piecemeal") {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(body(&read_to_end(&mut stream)), "piecemeal");
}

#[test]
fn http_1_0_closes_unless_asked_to_keep_alive() {
    let server = Server::start();
    assert_eq!(body(&server.answers(b"GET /0/a HTTP/1.0\r\n\r\n")), "a");
    let kept = b"GET /0/a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\nGET /0/b HTTP/1.0\r\n\r\n";
    assert!(server.answers(kept).ends_with("\r\n\r\nb"));
}

#[test]
fn typed_by_hand_with_bare_line_feeds_it_answers_too() {
    let server = Server::start();
    assert_eq!(body(&server.answers(b"\nGET /0/a HTTP/1.0\n\n")), "a");
}

#[test]
fn another_path_is_404_and_the_connection_goes_on() {
    let server = Server::start();
    for path in [
        "/",
        "/5",
        "/5/",
        "/5/a/b",
        "/x/a",
        "/-5/a",
        "/+5/a",
        "//a",
        "/18446744073709551616/a",
    ] {
        let mut stream = server.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        assert_eq!(
            status(&read_answer(&mut stream)),
            "HTTP/1.1 404 Not Found",
            "{path}"
        );
        stream.write_all(&get("/0/next")).unwrap();
        assert_eq!(body(&read_to_end(&mut stream)), "next");
    }
}

#[test]
fn another_method_is_405_and_says_which_is_allowed() {
    let server = Server::start();
    for method in ["POST", "HEAD", "PUT", "DELETE", "OPTIONS"] {
        let answer =
            server.answers(format!("{method} /0/a HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        assert_eq!(status(&answer), "HTTP/1.1 405 Method Not Allowed");
        assert!(answer.contains("\r\nallow: GET\r\n"));
    }
}

#[test]
fn what_is_not_http_is_400() {
    let server = Server::start();
    for request in [
        &b"hello\r\n\r\n"[..],
        b"GET /0/a\r\n\r\n",
        b"GET  /0/a HTTP/1.1\r\n\r\n",
        b"GET /0/a HTTP/1.1 more\r\n\r\n",
        b"GET /0/a HTTX/1.1\r\n\r\n",
        b"G\xc3\xa9T /0/a HTTP/1.1\r\n\r\n",
        b"GET /0/\xff HTTP/1.1\r\n\r\n",
        b"GET /0/a HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /0/a HTTP/1.1\r\nspace : x\r\n\r\n",
        b"GET /0/a\rb HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /0/a\0 HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", // the start of TLS, and nothing after it
        b"GET /0/%zz HTTP/1.1\r\n\r\n",
        b"GET /0/%4 HTTP/1.0\r\n\r\n",
        b"GET /0/%ff HTTP/1.0\r\n\r\n",
    ] {
        let mut stream = server.connect();
        stream.write_all(request).unwrap();
        let answer = read_answer(&mut stream);
        assert_eq!(status(&answer), "HTTP/1.1 400 Bad Request", "{request:?}");
    }
}

#[test]
fn a_head_cut_off_by_the_client_is_400() {
    let server = Server::start();
    let mut stream = server.connect();
    stream.write_all(b"GET /0/a HTT").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(
        status(&read_to_end(&mut stream)),
        "HTTP/1.1 400 Bad Request"
    );
}

#[test]
fn a_head_over_8_kib_is_431_and_one_of_8_kib_is_not() {
    let server = Server::start();
    let head = |len: usize| {
        let start = b"GET /0/a HTTP/1.0\r\nX: ".to_vec();
        let filler = vec![b'x'; len - start.len() - 4];
        [start, filler, b"\r\n\r\n".to_vec()].concat()
    };
    assert_eq!(status(&server.answers(&head(8192))), "HTTP/1.1 200 OK");
    let refused = "HTTP/1.1 431 Request Header Fields Too Large";
    assert_eq!(status(&server.answers(&head(8193))), refused);
    assert_eq!(status(&server.answers(&head(100_000))), refused);
}

#[test]
fn a_head_that_does_not_end_within_ten_seconds_is_408() {
    let server = Server::start();
    let start = Instant::now();
    let answer = server.answers(b"GET /0/a HTTP/1.1\r\n");
    assert_eq!(status(&answer), "HTTP/1.1 408 Request Timeout");
    assert!(start.elapsed() >= Duration::from_secs(10));
}

#[test]
fn a_connection_without_a_request_is_closed_after_ten_seconds_without_a_word() {
    let server = Server::start();
    let mut idle = server.connect();
    idle.write_all(b"GET /0/a HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(body(&read_answer(&mut idle)), "a");
    let mut silent = server.connect();
    assert_eq!(read_to_end(&mut silent), "");
    assert_eq!(
        read_to_end(&mut idle),
        "",
        "who expects an answer next would take it for one"
    );
}

#[test]
fn a_header_need_not_be_utf_8() {
    let server = Server::start();
    let answer = server.answers(b"GET /0/a HTTP/1.0\r\nUser-Agent: caf\xe9\r\n\r\n");
    assert_eq!(body(&answer), "a");
}

#[test]
fn a_request_with_a_body_is_answered_and_is_the_last_one() {
    let server = Server::start();
    let answer = server.answers(b"GET /0/a HTTP/1.1\r\nContent-Length: 4\r\n\r\nGET ");
    assert!(answer.contains("connection: close\r\n"));
    assert_eq!(body(&answer), "a");
    let answer =
        server.answers(b"GET /0/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert!(answer.contains("connection: close\r\n"));
}

#[test]
fn a_client_that_only_ends_its_sending_side_gets_its_answer() {
    let server = Server::start();
    let mut stream = server.connect();
    stream.write_all(&get("/30/late")).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let answer = read_to_end(&mut stream);
    assert_eq!(
        (status(&answer), body(&answer)),
        ("HTTP/1.1 200 OK", "late")
    );
}

#[test]
fn a_delay_of_half_a_billion_years_is_waited_for() {
    let server = Server::start();
    let mut stream = server.connect();
    stream
        .write_all(&get(&format!("/{}/never", u64::MAX)))
        .unwrap();
    assert_eq!(body(&server.answers(&get("/1/meanwhile"))), "meanwhile");
    stream.set_nonblocking(true).unwrap();
    assert_eq!(
        stream.read(&mut [0]).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
}

#[test]
fn a_failing_log_does_not_end_the_server() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::Other.into())
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
        stream.write_all(&get("/0/a")).unwrap();
        assert_eq!(body(&read_to_end(&mut stream)), "a");
    }
    stopper.wake().unwrap();
    thread.join().unwrap().unwrap();
}

#[test]
fn control_characters_are_escaped_for_the_terminal() {
    assert_eq!(printable("a\tb\x1b[2J\u{9b}é"), "a\\tb\\u{1b}[2J\\u{9b}é");
}
