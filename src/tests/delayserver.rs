//! The delay server: its answers, its limits, and what it does when it is short of something.

use super::common::*;
use super::delayserver::{DelayServer, Limits};
use epollet::Waker;
use std::env;
use std::ffi::c_ulong;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A server on a thread of its own, which ends with this value.
struct Server {
    address: SocketAddr,
    log: Log,
    stopper: Waker,
    thread: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Server {
    fn start() -> Server {
        Server::start_with(|_| {})
    }

    fn start_with(set: impl FnOnce(&mut Limits)) -> Server {
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

    /// Sends a request and waits until the server has read it.
    fn ask_and_wait(&self, path: &str) -> TcpStream {
        let lines = self.log.text().lines().count();
        let stream = ask(self.address, path);
        until("the request is logged", || {
            self.log.text().lines().count() > lines
        });
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopper.wake().unwrap();
        if !thread::panicking() {
            let thread = self.thread.take().unwrap();
            until("the server stops", || thread.is_finished());
            thread.join().expect("the server does not panic").unwrap();
        }
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

fn ask(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(&get(path)).unwrap();
    stream
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// Sends bytes and returns everything that arrives until the server closes.
fn answer_to(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(request).unwrap();
    read_to_end(&mut stream)
}

fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn status(answer: &str) -> &str {
    let line = answer.split("\r\n").next().unwrap();
    line.strip_prefix("HTTP/1.1 ").unwrap()
}

fn body(answer: &str) -> &str {
    answer.split("\r\n\r\n").nth(1).unwrap()
}

fn assert_nothing_to_read(stream: &mut TcpStream) {
    stream.set_nonblocking(true).unwrap();
    let result = stream.read(&mut [0]);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::WouldBlock);
}

// Answers.

#[test]
fn an_answer_has_these_lines() {
    let server = Server::start();
    assert_eq!(
        answer_to(server.address, &get("/0/hello")),
        "HTTP/1.1 200 OK\r\nAllow: GET, HEAD\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n\
         Connection: close\r\n\r\nhello"
    );
    assert_eq!(
        answer_to(server.address, b"HEAD /0/hello HTTP/1.1\r\n\r\n"),
        "HTTP/1.1 200 OK\r\nAllow: GET, HEAD\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n\
         Connection: close\r\n\r\n"
    );
    assert_eq!(
        answer_to(server.address, b"PUT /0/hello HTTP/1.1\r\n\r\n"),
        "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Length: 50\r\nConnection: close\r\n\r\n\
         405 Method Not Allowed: the method is GET or HEAD\n"
    );
}

#[test]
fn a_request_is_a_request_line_and_an_empty_line() {
    const BAD: &str = "400 Bad Request";
    const NO: &str = "404 Not Found";
    let server = Server::start();
    for (raw, expected, content) in [
        ("GET /0/a HTTP/1.0\r\n\r\n", "200 OK", "a"),
        ("GET /0/a HTTP/1.1\nHost: x\n\n", "200 OK", "a"),
        ("GET /0/a HTTP/1.1\r\nany line\r\n\r\nmore", "200 OK", "a"),
        ("GET /0/a?b HTTP/1.1\r\n\r\n", "200 OK", "a?b"),
        ("GET /0/a%20%c3%A9%2fb HTTP/1.1\r\n\r\n", "200 OK", "a é/b"),
        ("GET /007/é HTTP/1.1\r\n\r\n", "200 OK", "é"),
        ("GET /0/%ff HTTP/1.1\r\n\r\n", BAD, "percent-encoded"),
        ("GET /0/%4 HTTP/1.1\r\n\r\n", BAD, "percent-encoded"),
        ("GET /0/%+4 HTTP/1.1\r\n\r\n", BAD, "percent-encoded"),
        ("GET /0/a HTTP/1.2\r\n\r\n", BAD, "not HTTP"),
        ("GET /0/a HTTP/banana\r\n\r\n", BAD, "not HTTP"),
        ("GET  /0/a HTTP/1.1\r\n\r\n", BAD, "not HTTP"),
        ("GET /0/a\r\n\r\n", BAD, "not HTTP"),
        ("GET /0/a b HTTP/1.1\r\n\r\n", BAD, "not HTTP"),
        ("GET /0/\x1b[2J HTTP/1.1\r\n\r\n", BAD, "not HTTP"),
        ("\r\n\r\n", BAD, "not HTTP"),
        ("\x16\x03\x01", BAD, "not HTTP"),
        ("GET / HTTP/1.1\r\n\r\n", NO, "/{delay in ms}/{message}"),
        ("GET /0 HTTP/1.1\r\n\r\n", NO, "/{delay in ms}/{message}"),
        ("GET /0/ HTTP/1.1\r\n\r\n", NO, "/{delay in ms}/{message}"),
        ("GET 0/a HTTP/1.1\r\n\r\n", NO, "/{delay in ms}/{message}"),
        (
            "GET /0/a/b HTTP/1.1\r\n\r\n",
            NO,
            "/{delay in ms}/{message}",
        ),
        ("GET /+5/a HTTP/1.1\r\n\r\n", NO, "/{delay in ms}/{message}"),
        ("GET /-5/a HTTP/1.1\r\n\r\n", NO, "/{delay in ms}/{message}"),
        ("GET //a HTTP/1.1\r\n\r\n", NO, "/{delay in ms}/{message}"),
        (
            "GET /18446744073709551616/a HTTP/1.1\r\n\r\n",
            NO,
            "/{delay",
        ),
        (
            "get /0/a HTTP/1.1\r\n\r\n",
            "405 Method Not Allowed",
            "GET or HEAD",
        ),
    ] {
        let answer = answer_to(server.address, raw.as_bytes());
        assert_eq!(status(&answer), expected, "{raw:?}");
        let length = format!("\r\nContent-Length: {}\r\n", body(&answer).len());
        assert!(answer.contains(&length), "{answer}");
        let is_right = match expected {
            "200 OK" => body(&answer) == content,
            _ => body(&answer).contains(content),
        };
        assert!(is_right, "{raw:?}: {answer}");
    }
    let answer = answer_to(server.address, b"GET /0/\xff HTTP/1.1\r\n\r\n");
    assert_eq!(status(&answer), BAD, "not UTF-8");
    let answer = answer_to(server.address, b"HEAD / HTTP/1.1\r\n\r\n");
    assert_eq!((status(&answer), body(&answer)), (NO, ""));
}

#[test]
fn an_answer_comes_after_the_delay_and_a_shorter_delay_is_answered_first() {
    let server = Server::start();
    let mut slow = server.ask_and_wait("/60000/slow");
    let start = Instant::now();
    assert_eq!(body(&answer_to(server.address, &get("/30/fast"))), "fast");
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert_nothing_to_read(&mut slow);
}

#[test]
fn the_delay_begins_when_the_request_has_arrived() {
    let server = Server::start();
    let mut stream = connect(server.address);
    thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    stream.write_all(&get("/150/a")).unwrap();
    assert_eq!(body(&read_to_end(&mut stream)), "a");
    assert!(start.elapsed() >= Duration::from_millis(150));
}

#[test]
fn a_delay_of_half_a_billion_years_is_waited_for() {
    let server = Server::start();
    let mut stream = server.ask_and_wait(&format!("/{}/never", u64::MAX));
    assert_eq!(
        body(&answer_to(server.address, &get("/1/meanwhile"))),
        "meanwhile"
    );
    assert_nothing_to_read(&mut stream);
}

#[test]
fn a_request_may_arrive_in_one_byte_pieces() {
    let server = Server::start();
    let mut stream = connect(server.address);
    stream.set_nodelay(true).unwrap();
    for byte in get("/0/piecemeal") {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(body(&read_to_end(&mut stream)), "piecemeal");
}

#[test]
fn a_client_that_leaves_without_a_request_gets_no_answer() {
    let server = Server::start();
    let mut stream = connect(server.address);
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut stream), "");
}

#[test]
fn a_request_that_is_cut_off_is_400() {
    let server = Server::start();
    let mut stream = connect(server.address);
    stream.write_all(b"GET /0/a HTT").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(status(&read_to_end(&mut stream)), "400 Bad Request");
}

#[test]
fn a_client_that_only_shuts_down_its_sending_side_gets_its_answer() {
    let server = Server::start();
    let mut stream = ask(server.address, "/30/late");
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(body(&read_to_end(&mut stream)), "late");
}

/// Closing a connection with input unread resets it, and what is not sent yet is lost.
#[test]
fn an_answer_is_not_lost_to_input_that_is_not_read() {
    let server = Server::start();
    let (mut stream, message) = ask_for_a_long_answer(server.address, 20);
    stream.write_all(&[b'x'; 100_000]).unwrap();
    assert_eq!(stream.peek(&mut [0]).unwrap(), 1);
    set_socket_option(&stream, SO_RCVBUF, &[64 * 1024]);
    assert_eq!(body(&read_to_end(&mut stream)), message);
}

const SO_RCVBUF: i32 = 8;

/// Asks for an answer that does not fit into the buffer of this client. The window is offered when
/// a connection is made, so the buffer is small before.
fn ask_for_a_long_answer(address: SocketAddr, delay: u64) -> (TcpStream, String) {
    let mut stream = tcp_socket();
    set_socket_option(&stream, SO_RCVBUF, &[1]);
    let address = sockaddr_in(address);
    // SAFETY: the address is 16 bytes long.
    unsafe { c::connect(stream.as_raw_fd(), address.as_ptr().cast(), 16) };
    stream.set_nonblocking(false).unwrap(); // A write waits for the connection.
    stream.set_read_timeout(Some(LONG)).unwrap();
    let message = "x".repeat(7900);
    let request = get(&format!("/{delay}/{message}"));
    stream.write_all(&request).unwrap();
    (stream, message)
}

// The log.

#[test]
fn the_log_has_a_line_for_each_valid_request_and_escapes_what_could_forge_one() {
    let server = Server::start();
    let slow = server.ask_and_wait("/60000/slow");
    let bad = ask(server.address, "/no/request");
    // An escape sequence, a line feed, a bidirectional override, a zero-width space.
    let next = server.ask_and_wait("/1/%1B%5b2J%0a%e2%80%ae%e2%80%8b%C3%A9");
    let (slow, next) = (slow.local_addr().unwrap(), next.local_addr().unwrap());
    let expected = format!(
        "#1 - 60000ms: slow ({slow})\n\
         #2 - 1ms: \\u{{1b}}[2J\\n\\u{{202e}}\\u{{200b}}é ({next})\n"
    );
    assert_eq!(server.log.text(), expected);
    drop(bad);
}

#[test]
fn a_failing_log_does_not_end_the_server() {
    let server = DelayServer::bind("127.0.0.1:0").unwrap();
    let (address, stopper) = (server.local_addr().unwrap(), server.stopper().unwrap());
    let full = fs::File::create("/dev/full").unwrap();
    let thread = thread::spawn(move || server.run(full));
    for _ in 0..3 {
        assert_eq!(body(&answer_to(address, &get("/0/a"))), "a");
    }
    stopper.wake().unwrap();
    until("the server stops", || thread.is_finished());
    thread.join().unwrap().unwrap();
}

// Limits.

#[test]
fn these_are_the_limits_unless_a_program_sets_others() {
    let limits = DelayServer::bind("127.0.0.1:0").unwrap().limits;
    assert_eq!(limits.patience, Duration::from_secs(10));
    assert_eq!(limits.finish, Duration::from_secs(1));
    assert_eq!(limits.pause, Some(Duration::from_millis(100)));
}

#[test]
fn a_request_without_end_is_431_after_8000_bytes() {
    let server = Server::start();
    let request = |end: &str, length: usize| {
        let head = "GET /0/a HTTP/1.1\r\nX: ";
        let filler = "x".repeat(length - head.len() - end.len());
        [head, &filler, end].concat().into_bytes()
    };
    let answer = answer_to(server.address, &request("\r\n\r\n", 8000));
    assert_eq!(status(&answer), "200 OK");
    for length in [8000, 100_000] {
        let answer = answer_to(server.address, &request("", length));
        assert_eq!(status(&answer), "431 Request Header Fields Too Large");
    }
    let mut shorter = connect(server.address);
    shorter.write_all(&request("", 7999)).unwrap();
    assert_eq!(status(&answer_to(server.address, &get("/0/a"))), "200 OK");
    assert_nothing_to_read(&mut shorter);
}

#[test]
fn a_request_that_does_not_arrive_in_time_is_408_and_silence_has_no_answer() {
    let patience = Duration::from_millis(100);
    let server = Server::start_with(|limits| limits.patience = patience);
    let mut later = server.ask_and_wait("/60000/later");
    let mut silent = connect(server.address);
    let start = Instant::now();
    let answer = answer_to(server.address, b"GET /0/a HTTP/1.1\r\n");
    assert_eq!(status(&answer), "408 Request Timeout");
    assert!(start.elapsed() >= patience);
    assert_eq!(read_to_end(&mut silent), "");
    assert_nothing_to_read(&mut later);
}

#[test]
fn bytes_that_keep_arriving_do_not_extend_the_time_for_a_request() {
    let server = Server::start_with(|limits| limits.patience = Duration::from_millis(100));
    let mut stream = connect(server.address);
    stream.set_nonblocking(true).unwrap();
    let mut answer = [0; 12];
    until("it is answered", || {
        let _ = stream.write(b"G");
        stream.peek(&mut answer).is_ok()
    });
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[test]
fn a_client_that_does_not_close_after_its_answer_is_closed_after_the_limit() {
    let finish = Duration::from_millis(100);
    let server = Server::start_with(|limits| limits.finish = finish);
    let start = Instant::now();
    let mut stream = ask(server.address, "/0/a");
    assert_eq!(body(&read_to_end(&mut stream)), "a");
    // What the client sends is read until then. After that, it is answered with a reset.
    until("the connection is reset", || stream.write(b"x").is_err());
    assert!(start.elapsed() >= finish);
}

// A turn of the loop. The log is a gate at which the server waits for the test.

/// Sends each part of the log to the test and waits for a permit to go on.
struct Gate {
    lines: Sender<String>,
    permits: Receiver<()>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let _ = self.lines.send(text).map(|()| self.permits.recv());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts a server that waits at the gate after the first request.
fn gated_server() -> (SocketAddr, Receiver<String>, Sender<()>) {
    let server = DelayServer::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let (lines, read_lines) = mpsc::channel();
    let (permit, permits) = mpsc::channel();
    thread::spawn(move || server.run(Gate { lines, permits })); // ends with the process
    drop(ask(address, "/0/first"));
    assert!(read_lines.recv_timeout(LONG).unwrap().contains("first"));
    (address, read_lines, permit)
}

#[test]
fn new_connections_make_nobody_wait_for_all_of_them() {
    let (address, lines, permit) = gated_server();
    let clients: Vec<TcpStream> = (0..150).map(|_| ask(address, "/0/a")).collect();
    let mut turns = Vec::new();
    while turns.iter().sum::<usize>() < clients.len() {
        permit.send(()).unwrap();
        turns.push(lines.recv_timeout(LONG).unwrap().lines().count());
    }
    assert!(turns.iter().all(|requests| *requests <= 64), "{turns:?}");
}

#[test]
fn due_answers_make_nobody_wait_for_all_of_them() {
    // On a busy machine, some are due before all requests are read. Then it tries a longer delay.
    for delay in [200, 1000, 4000] {
        if answered_before_an_honest_client(delay).is_some_and(|count| count <= 2 * 64) {
            return;
        }
    }
    panic!("all came before the honest one, or the machine is too busy");
}

/// Makes 150 answers due at once, and then a client asks for one without delay. Returns how many of
/// the 150 come in the two turns that accept and read it; `None` if some have come before.
fn answered_before_an_honest_client(delay: u64) -> Option<usize> {
    let (address, lines, permit) = gated_server();
    let path = format!("/{delay}/a");
    let mut clients: Vec<TcpStream> = (0..150).map(|_| ask(address, &path)).collect();
    let mut logged = 0;
    while logged < clients.len() {
        permit.send(()).unwrap();
        logged += lines.recv_timeout(LONG).unwrap().lines().count();
    }
    thread::sleep(Duration::from_millis(delay)); // All are due, while the server is at the gate.
    let mut count_answered = || {
        let mut count = 0;
        for client in &mut clients {
            client.set_nonblocking(true).unwrap();
            count += usize::from(client.peek(&mut [0]).is_ok());
        }
        count
    };
    if count_answered() > 0 {
        return None;
    }
    let _honest = ask(address, "/0/honest");
    permit.send(()).unwrap();
    assert!(lines.recv_timeout(LONG).unwrap().contains("honest"));
    Some(count_answered())
}

// A server in a process of its own, whose descriptors, memory and sleep can be seen from outside.

struct ServerProcess {
    child: Child,
    address: SocketAddr,
    log: Log,
}

/// What a server process is given: its limit of descriptors, and its limits (times in ms).
#[derive(Clone, Copy)]
struct Setup {
    descriptors: u64,
    patience: u64,
    finish: u64,
    /// 0: it ends without descriptors.
    pause: u64,
    /// 1: an answer does not fit into the buffer of a socket.
    small_buffers: u64,
}

const HOUR: u64 = 3_600_000;
const SETUP: Setup = Setup {
    descriptors: 1024,
    patience: HOUR,
    finish: HOUR,
    pause: HOUR,
    small_buffers: 0,
};

/// Not a test: a server process runs this.
#[test]
#[ignore = "a part of other tests"]
fn serve() {
    let Ok(setup) = env::var("EPOLLET_SERVER") else {
        return;
    };
    let numbers = setup.split(' ').map(|number| number.parse().unwrap());
    let [descriptors, patience, finish, pause, small_buffers] = numbers.collect::<Vec<u64>>()[..]
    else {
        panic!("{setup}");
    };
    end_with_the_parent();
    let mut server = DelayServer::bind("127.0.0.1:0").unwrap();
    server.limits = Limits {
        patience: Duration::from_millis(patience),
        finish: Duration::from_millis(finish),
        pause: (pause > 0).then_some(Duration::from_millis(pause)),
    };
    if small_buffers == 1 {
        shrink_buffers();
    }
    limit_descriptors(descriptors as c_ulong);
    println!("listening on {}", server.local_addr().unwrap());
    let result = server.run(io::stdout());
    println!("ended: {result:?}");
}

/// Sets the smallest buffer for sending on all sockets of this process. Those that a listener
/// accepts inherit it.
fn shrink_buffers() {
    const SOL_SOCKET: i32 = 1;
    const SO_SNDBUF: i32 = 7;
    for fd in 3..64 {
        // SAFETY: the value has 4 bytes. What is no socket is left alone.
        unsafe { c::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, [1_i32].as_ptr().cast(), 4) };
    }
}

impl ServerProcess {
    fn start(setup: Setup) -> ServerProcess {
        let Setup {
            descriptors,
            patience,
            finish,
            pause,
            small_buffers,
        } = setup;
        let setup = format!("{descriptors} {patience} {finish} {pause} {small_buffers}");
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", "server::serve", "--nocapture"])
            .env("EPOLLET_SERVER", setup)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on ") {
            assert!(lines.read_line(&mut line).unwrap() > 0, "{line}");
        }
        let (_, address) = line.trim_end().split_once("listening on ").unwrap();
        let log = Log::default();
        let mut copy = log.clone();
        thread::spawn(move || io::copy(&mut lines, &mut copy));
        ServerProcess {
            child,
            address: address.parse().unwrap(),
            log,
        }
    }

    /// Waits until the server has printed `text`. Returns its output.
    fn await_text(&self, text: &str) -> String {
        until(text, || self.log.text().contains(text));
        self.log.text()
    }

    fn ask(&self, path: &str) -> TcpStream {
        ask(self.address, path)
    }

    /// Returns when the server has handled all events that were there before, as an answer shows.
    fn catch_up(&self) {
        read_to_end(&mut self.ask("/0/a"));
    }

    fn proc(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.child.id())
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// Counts those that a limit applies to.
    fn descriptors_below(&self, limit: usize) -> usize {
        let names = fs::read_dir(self.proc("fd")).unwrap();
        let names = names.map(|fd| fd.unwrap().file_name().into_string().unwrap());
        names
            .filter(|fd| fd.parse::<usize>().unwrap() < limit)
            .count()
    }

    fn await_descriptors(&self, expected: usize) {
        until(&format!("{expected} descriptors"), || {
            self.descriptors() == expected
        });
    }

    /// Returns a number from `status` in /proc.
    fn status(&self, name: &str) -> usize {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Fails if the server spins: then it does not go to sleep again and again.
    fn await_sleeps(&self) {
        let task = self.serving_task();
        let switches = || {
            let status = fs::read_to_string(format!("{task}/status")).unwrap();
            let (_, rest) = status.split_once("\nvoluntary_ctxt_switches:").unwrap();
            rest.split_whitespace()
                .next()
                .unwrap()
                .parse::<u64>()
                .unwrap()
        };
        let before = switches();
        until("the server sleeps", || switches() > before + 5);
    }

    fn await_sleep(&self) {
        await_state(format!("{}/stat", self.serving_task()), 'S');
    }

    /// The thread that runs the test `serve`: the newest one of the process.
    fn serving_task(&self) -> String {
        let tasks = fs::read_dir(self.proc("task")).unwrap();
        let tasks = tasks.map(|task| task.unwrap().file_name().into_string().unwrap());
        let newest = tasks.max_by_key(|task| task.parse::<u32>().unwrap());
        format!("{}/{}", self.proc("task"), newest.unwrap())
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn a_client_that_waits_makes_no_work_whatever_it_has_sent() {
    let server = ServerProcess::start(SETUP);
    for more in [0, 100_000] {
        let mut client = server.ask("/3600000/late");
        client.write_all(&vec![b'x'; more]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        server.catch_up();
        server.await_sleep();
        drop(client);
    }
}

#[test]
fn a_reset_frees_the_slot_at_once() {
    let server = ServerProcess::start(Setup {
        small_buffers: 1,
        ..SETUP
    });
    let empty = server.descriptors();
    let half_closed = server.ask("/3600000/late");
    half_closed.shutdown(Shutdown::Write).unwrap();
    let mut sends_more = server.ask("/3600000/late");
    sends_more.write_all(&[b'x'; 100_000]).unwrap();
    let silent = connect(server.address);
    let (reads_slowly, _) = ask_for_a_long_answer(server.address, 0);
    let waiting = server.ask("/3600000/late");
    let clients = [silent, waiting, half_closed, sends_more, reads_slowly];
    server.await_descriptors(empty + clients.len());
    server.catch_up();
    clients.into_iter().for_each(reset);
    server.await_descriptors(empty);
}

#[test]
fn a_client_that_closes_after_its_answer_frees_the_slot_at_once() {
    let server = ServerProcess::start(SETUP);
    let empty = server.descriptors();
    for more in [0, 100_000] {
        let mut client = server.ask("/20/a");
        client.write_all(&vec![b'x'; more]).unwrap();
        assert_eq!(body(&read_to_end(&mut client)), "a");
        client.write_all(b"more").unwrap();
        server.catch_up();
        server.await_descriptors(empty + 1);
        drop(client);
        server.await_descriptors(empty);
    }
}

#[test]
fn a_client_that_closes_during_the_delay_is_freed_when_its_answer_is_due() {
    let server = ServerProcess::start(SETUP);
    let empty = server.descriptors();
    let (late, soon) = (server.ask("/3600000/late"), server.ask("/50/soon"));
    drop((late, soon));
    server.await_descriptors(empty + 1);
    server.catch_up();
    server.await_descriptors(empty + 1);
}

#[test]
fn an_answer_that_does_not_fit_is_sent_as_the_client_reads() {
    let server = ServerProcess::start(Setup {
        small_buffers: 1,
        ..SETUP
    });
    let (mut client, message) = ask_for_a_long_answer(server.address, 0);
    assert_eq!(client.peek(&mut [0]).unwrap(), 1);
    server.catch_up();
    server.await_sleep();
    set_socket_option(&client, SO_RCVBUF, &[64 * 1024]);
    assert_eq!(body(&read_to_end(&mut client)), message);
}

#[test]
fn a_client_that_does_not_read_its_answer_is_freed_after_the_limit() {
    let server = ServerProcess::start(Setup {
        patience: 500,
        small_buffers: 1,
        ..SETUP
    });
    let empty = server.descriptors();
    let (client, _) = ask_for_a_long_answer(server.address, 0);
    assert_eq!(client.peek(&mut [0]).unwrap(), 1);
    server.await_descriptors(empty);
    drop(client);
}

#[test]
fn a_client_takes_about_16_kib_at_most() {
    const CLIENTS: usize = 100;
    let server = ServerProcess::start(SETUP);
    server.catch_up();
    let before = server.status("VmRSS:");
    // The longest request that has not ended yet, and the longest answer that waits.
    let endless = format!("GET /0/{}", "x".repeat(7990));
    let waiting = format!("/3600000/{}", "x".repeat(7900));
    let mut clients = Vec::new();
    for _ in 0..CLIENTS / 2 {
        let mut client = connect(server.address);
        client.write_all(endless.as_bytes()).unwrap();
        clients.push(client);
        clients.push(server.ask(&waiting));
    }
    server.catch_up();
    server.await_sleep();
    let grown = server.status("VmRSS:").saturating_sub(before);
    assert!(grown < CLIENTS * 18, "{grown} kB for {CLIENTS} clients");
}

#[test]
fn memory_does_not_grow_with_the_number_of_clients_so_far() {
    let server = ServerProcess::start(SETUP);
    let empty = server.descriptors();
    for _ in 0..100 {
        server.catch_up();
    }
    let memory = server.status("VmRSS:");
    for number in 0..5000 {
        let client = connect(server.address);
        if number % 2 == 0 {
            reset(client);
        }
    }
    server.catch_up();
    server.await_descriptors(empty);
    let grown = server.status("VmRSS:").saturating_sub(memory);
    assert!(grown < 300, "{grown} kB after 5,000 clients");
}

/// The server is stopped while one client leaves and the next one connects, so both are events of
/// one turn, and the second one has the descriptor of the first.
#[test]
fn a_token_that_is_used_again_in_one_turn_is_the_next_clients() {
    const SIGSTOP: i32 = 19;
    const SIGCONT: i32 = 18;
    let server = ServerProcess::start(SETUP);
    // SAFETY: the call takes no pointer.
    let signal = |signal| unsafe { c::kill(server.child.id() as i32, signal) };
    let empty = server.descriptors();
    for _ in 0..10 {
        let leaving = server.ask("/3600000/first");
        server.catch_up();
        server.await_descriptors(empty + 1);
        signal(SIGSTOP);
        await_state(server.proc("stat"), 'T');
        reset(leaving);
        let mut next = server.ask("/20/next");
        signal(SIGCONT);
        assert_eq!(body(&read_to_end(&mut next)), "next");
        drop(next);
        server.await_descriptors(empty);
    }
}

#[test]
fn a_server_without_descriptors_sleeps_between_two_attempts() {
    let server = ServerProcess::start(Setup {
        descriptors: 40,
        pause: 5,
        ..SETUP
    });
    let clients: Vec<TcpStream> = (0..40).map(|_| connect(server.address)).collect();
    until("no descriptor is free", || {
        server.descriptors_below(40) == 40
    });
    server.await_sleeps();
    drop(clients);
}

#[test]
fn a_server_with_forty_descriptors_serves_a_hundred_and_twenty_clients() {
    let server = ServerProcess::start(Setup {
        descriptors: 40,
        pause: 1,
        ..SETUP
    });
    // Each has a slot until the answer is there, so two thirds of them have to wait for one.
    let clients: Vec<TcpStream> = (0..120).map(|_| server.ask("/100/a")).collect();
    for mut client in clients {
        assert_eq!(body(&read_to_end(&mut client)), "a");
    }
    let log = server.await_text("#120 - 100ms: a (127.0.0.1:");
    assert_eq!(
        log.matches("cannot accept a client now: ").count(),
        1,
        "{log}"
    );
}

/// accept(2) takes a descriptor before it looks for a connection.
#[test]
fn a_server_whose_last_descriptor_is_taken_has_nobody_to_complain_about() {
    let server = ServerProcess::start(Setup {
        descriptors: 40,
        pause: 0,
        ..SETUP
    });
    let empty = server.descriptors();
    let free = 40 - server.descriptors_below(40);
    let clients: Vec<TcpStream> = (0..free).map(|_| server.ask("/100/a")).collect();
    for mut client in clients {
        assert_eq!(body(&read_to_end(&mut client)), "a");
    }
    server.await_descriptors(empty); // The next client could come before the server notices these.
    server.catch_up();
}

#[test]
fn without_a_pause_a_server_without_descriptors_ends_with_the_error() {
    let server = ServerProcess::start(Setup {
        descriptors: 16,
        pause: 0,
        ..SETUP
    });
    let clients: Vec<_> = (0..16)
        .map(|_| TcpStream::connect(server.address))
        .collect();
    server.await_text("ended: Err(Os { code: 24,");
    drop(clients);
}

/// Std asks for a queue of 128. A client that finds the queue full tries again until the server
/// accepts, which this one does not.
#[test]
fn hundreds_of_clients_can_connect_before_the_server_accepts_any() {
    let most = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let most = 400.min(most.trim().parse().unwrap());
    take_all_descriptors();
    let server = DelayServer::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let (send, connected) = mpsc::channel();
    thread::spawn(move || (0..most).try_for_each(|_| send.send(TcpStream::connect(address))));
    let clients: Vec<_> = (0..most)
        .map_while(|_| connected.recv_timeout(LONG).ok())
        .collect();
    assert_eq!(clients.len(), most);
}
