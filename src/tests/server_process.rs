//! The delay server as a process: what it holds, and what it frees, when clients misbehave.

mod common;

use common::*;
use epollet::delayserver::DelayServer;
use std::ffi::c_ulong;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{LockResult, MutexGuard};
use std::thread;
use std::time::Duration;

/// A delay server in a process of its own, which ends with this value.
struct ServerProcess {
    pid: i32,
    address: SocketAddr,
    _turn: LockResult<MutexGuard<'static, ()>>,
}

impl ServerProcess {
    fn start() -> ServerProcess {
        ServerProcess::start_with(|_| {}, io::sink())
    }

    /// Calls `prepare` in the new process.
    fn start_with(prepare: impl FnOnce(&mut DelayServer), log: impl Write) -> ServerProcess {
        let turn = TURN.lock();
        let mut server = DelayServer::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let pid = fork(move || {
            trim_heap();
            prepare(&mut server);
            server.run(log).unwrap()
        });
        ServerProcess {
            pid,
            address,
            _turn: turn,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    fn ask(&self, path: &str) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(get(path).as_bytes()).unwrap();
        stream
    }

    /// Returns when the server has handled all events that were there before, as an answer shows.
    fn catch_up(&self) {
        await_answer(&mut self.ask("/0/a"));
    }

    fn descriptors(&self) -> usize {
        let fds = fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap();
        fds.count()
    }

    fn await_descriptors(&self, expected: usize) {
        until(&format!("{expected} descriptors"), || {
            self.descriptors() == expected
        });
    }

    /// Returns a number from `status` in /proc.
    fn status(&self, name: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn resident_kb(&self) -> usize {
        self.status("VmRSS:")
    }

    /// Fails if the server spins, because it does not sleep then.
    fn await_sleep(&self) {
        await_state(format!("/proc/{}/stat", self.pid), 'S');
    }

    fn signal(&self, signal: i32) {
        // SAFETY: the call takes no pointer.
        assert_eq!(unsafe { c::kill(self.pid, signal) }, 0);
    }
}

/// Returns the memory that earlier tests have freed to the kernel. Otherwise the new process has a
/// copy of it and uses it first, and `resident_kb` does not grow.
fn trim_heap() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> i32;
        }
        // SAFETY: the call takes no pointer.
        unsafe { malloc_trim(0) };
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        kill(self.pid);
        wait_for_child(self.pid);
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// Waits for the first bytes of an answer.
fn await_answer(stream: &mut TcpStream) {
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_client_that_closes_during_the_delay_keeps_its_slot_until_the_answer_is_due() {
    let server = ServerProcess::start();
    let empty = server.descriptors();
    let late = server.ask("/3600000/late");
    let soon = server.ask("/50/soon");
    drop((late, soon));
    server.await_descriptors(empty + 1);
    server.catch_up();
    server.await_descriptors(empty + 1);
}

#[test]
fn a_reset_during_the_delay_frees_the_slot_at_once() {
    let server = ServerProcess::start();
    let empty = server.descriptors();
    let mut pipelining = server.ask("/3600000/late");
    // More than the server reads.
    let more = get("/0/a").repeat(2000);
    pipelining.write_all(more.as_bytes()).unwrap();
    let clients = [
        server.connect(),
        server.ask("/3600000/late"),
        half_closed(server.ask("/3600000/late")),
        pipelining,
    ];
    server.await_descriptors(empty + clients.len());
    server.catch_up();
    clients.into_iter().for_each(reset);
    server.await_descriptors(empty);
}

fn half_closed(stream: TcpStream) -> TcpStream {
    stream.shutdown(Shutdown::Write).unwrap();
    stream
}

/// The server cannot see its end of file, which comes after the input that it does not read.
#[test]
fn a_client_that_closes_behind_full_buffers_is_freed_when_its_answer_is_due() {
    let server = ServerProcess::start();
    let empty = server.descriptors();
    let mut client = server.ask("/300/late");
    client.set_nonblocking(true).unwrap();
    while fill(&mut client) > 0 {
        server.catch_up();
    }
    drop(client);
    server.await_descriptors(empty);
}

#[test]
fn a_client_that_does_not_close_after_its_last_answer_loses_its_slot() {
    let close = Duration::from_millis(50);
    let server = ServerProcess::start_with(|server| server.limits.close = close, io::sink());
    let empty = server.descriptors();
    let mut client = server.connect();
    client.write_all(b"GET /0/a HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\na"));
    server.await_descriptors(empty);
    drop(client);
}

#[test]
fn a_client_that_closes_after_its_last_answer_frees_the_slot_at_once() {
    let server = ServerProcess::start_with(|server| server.limits.close = HOUR, io::sink());
    let empty = server.descriptors();
    // The second one has sent more than the server holds.
    for more in [0, 100_000] {
        let mut client = server.connect();
        client.write_all(b"GET /50/a HTTP/1.0\r\n\r\n").unwrap();
        client.write_all(&vec![b'x'; more]).unwrap();
        client.read_to_string(&mut String::new()).unwrap();
        drop(client);
        server.await_descriptors(empty);
    }
}

#[test]
fn a_client_that_waits_makes_no_work_whatever_it_has_sent() {
    let server = ServerProcess::start();
    let mut full = server.ask("/3600000/late");
    let more = get("/0/a").repeat(2000);
    full.write_all(more.as_bytes()).unwrap();
    server.catch_up();
    server.await_sleep();
    let full = half_closed(full);
    server.catch_up();
    server.await_sleep();
    let ended = half_closed(server.ask("/3600000/late"));
    server.catch_up();
    server.await_sleep();
    drop((full, ended));
}

#[test]
fn hundreds_of_clients_wait_on_one_thread() {
    let server = ServerProcess::start();
    let empty = server.descriptors();
    let clients: Vec<TcpStream> = (0..300).map(|_| server.ask("/3600000/late")).collect();
    server.await_descriptors(empty + clients.len());
    assert_eq!(server.status("Threads:"), 1);
    server.await_sleep();
}

#[test]
fn pipelined_requests_that_nobody_reads_take_neither_memory_nor_time_and_none_is_lost() {
    const SO_SNDBUF: i32 = 7;
    const SO_RCVBUF: i32 = 8;
    let server = ServerProcess::start();
    server.catch_up();
    let before = server.resident_kb();
    let mut client = server.connect();
    set_socket_option(&client, SO_SNDBUF, &[64 * 1024]);
    set_socket_option(&client, SO_RCVBUF, &[64 * 1024]);
    client.set_nonblocking(true).unwrap();
    let message = "x".repeat(4000);
    // All buffers on the way are full when nothing more goes out, though the server has caught up.
    let mut rest = Vec::new();
    let mut requests = 0;
    let mut stuck = 0;
    while stuck < 10 {
        if rest.is_empty() {
            rest = get(&format!("/0/{requests}-{message}")).into_bytes();
            requests += 1;
            assert!(requests < 20_000, "the server reads without limit");
        }
        match client.write(&rest) {
            Ok(count) => {
                rest.drain(..count);
                stuck = 0;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                server.catch_up();
                stuck += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    server.await_sleep();
    let grown = server.resident_kb().saturating_sub(before);
    assert!(grown < 256, "{grown} kB more for {requests} requests");

    // Now the rest goes out, while the answers come in.
    client.set_nonblocking(false).unwrap();
    let mut writer = client.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| writer.write_all(&rest).unwrap());
        let mut answers = BufReader::new(&client);
        for number in 0..requests {
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                answers.read_line(&mut line).unwrap();
            }
            let expected = format!("{number}-{message}");
            let mut body = vec![0; expected.len()];
            answers.read_exact(&mut body).unwrap();
            assert!(body == expected.as_bytes(), "answer {number}");
        }
    });
}

/// The server's sockets inherit small buffers from its listener, so one answer does not fit.
#[test]
fn an_answer_that_does_not_fit_is_sent_as_the_client_reads() {
    const SO_SNDBUF: i32 = 7;
    const SO_RCVBUF: i32 = 8;
    let server = ServerProcess::start_with(|_| shrink_sockets(SO_SNDBUF), io::sink());
    let message = "x".repeat(7900);
    let first = get(&format!("/0/{message}"));
    let last = format!("GET /0/{message} HTTP/1.0\r\n\r\n");
    let many = first + &get("/0/b").repeat(300) + &last; // more than the server holds
    for (requests, count) in [(last, 1), (many, 302)] {
        // A window is offered when a connection is made, so the client's buffer must be small before.
        let mut client = tcp_socket();
        set_socket_option(&client, SO_RCVBUF, &[1]);
        let address = sockaddr_in(server.address);
        // SAFETY: the address is 16 bytes long.
        unsafe { c::connect(client.as_raw_fd(), address.as_ptr().cast(), 16) };
        client.set_nonblocking(false).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        client.write_all(requests.as_bytes()).unwrap();
        for _ in 0..2 {
            server.catch_up();
            server.await_sleep();
        }
        set_socket_option(&client, SO_RCVBUF, &[64 * 1024]);
        let mut answers = String::new();
        client.read_to_string(&mut answers).unwrap();
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), count);
        assert!(answers.ends_with(&format!("\r\n\r\n{message}")));
    }
}

/// Sets a buffer of all sockets of this process to the smallest size.
fn shrink_sockets(option: i32) {
    const SOL_SOCKET: i32 = 1;
    for fd in 3..64 {
        let size = [1_i32];
        // SAFETY: `size` has 4 bytes. What is no socket is left alone.
        unsafe { c::setsockopt(fd, SOL_SOCKET, option, size.as_ptr().cast(), 4) };
    }
}

#[test]
fn what_arrives_during_a_delay_is_limited_to_one_request_per_client() {
    const CLIENTS: usize = 100;
    let server = ServerProcess::start();
    server.catch_up();
    let before = server.resident_kb();
    let more = vec![b'x'; 100_000];
    // The message of the first request is as long as it may be.
    let path = format!("/3600000/{}", "x".repeat(7900));
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.ask(&path)).collect();
    for client in &mut clients {
        client.set_nonblocking(true).unwrap();
        assert!(client.write(&more).unwrap() > 16_384);
    }
    server.catch_up();
    server.await_sleep();
    let grown = server.resident_kb().saturating_sub(before);
    if cfg!(target_env = "gnu") {
        assert!(grown > CLIENTS * 12, "{grown} kB: it holds the requests");
    }
    assert!(grown < CLIENTS * 18, "{grown} kB for {CLIENTS} clients");
}

#[test]
fn a_slot_is_used_again() {
    let server = ServerProcess::start();
    for _ in 0..100 {
        server.catch_up();
    }
    let before = server.resident_kb();
    for _ in 0..5000 {
        drop(server.connect());
    }
    server.catch_up();
    let grown = server.resident_kb().saturating_sub(before);
    assert!(grown < 300, "{grown} kB after 5,000 clients, one at a time");
}

/// The server is stopped while one client leaves and the next one connects, so both are events of
/// one round.
#[test]
fn a_slot_that_is_freed_and_used_again_in_one_round_is_the_next_clients() {
    const SIGSTOP: i32 = 19;
    const SIGCONT: i32 = 18;
    let server = ServerProcess::start();
    let empty = server.descriptors();
    for _ in 0..10 {
        let leaving = server.ask("/3600000/first");
        server.await_descriptors(empty + 1);
        server.catch_up();
        server.await_descriptors(empty + 1);
        server.signal(SIGSTOP);
        await_state(format!("/proc/{}/stat", server.pid), 'T');
        reset(leaving);
        let mut next = server.ask("/20/next");
        server.signal(SIGCONT);
        await_answer(&mut next);
        assert_eq!(server.descriptors(), empty + 1);
        drop(next);
        server.await_descriptors(empty);
    }
}

const DESCRIPTORS: usize = 40;

#[test]
fn a_server_without_descriptors_sleeps_until_it_tries_again() {
    let server = ServerProcess::start_with(
        |server| {
            limit_descriptors(DESCRIPTORS as c_ulong);
            server.limits.pause = HOUR;
        },
        io::sink(),
    );
    let mut first = server.ask("/0/a");
    await_answer(&mut first);
    let clients: Vec<TcpStream> = (0..DESCRIPTORS).map(|_| server.connect()).collect();
    // The limit leaves no descriptor for the last of them. (Descriptors from before the fork may be
    // above the limit.)
    until("the server cannot accept", || {
        first.write_all(get("/0/a").as_bytes()).unwrap();
        let mut answer = [0; 1000];
        let count = first.read(&mut answer).unwrap();
        assert!(count > 0, "who has a slot is served");
        let fds = fs::read_dir(format!("/proc/{}/fd", server.pid)).unwrap();
        let numbers = fds.filter_map(|fd| fd.unwrap().file_name().to_str()?.parse().ok());
        numbers.filter(|fd: &usize| *fd < DESCRIPTORS).count() == DESCRIPTORS
    });
    first.write_all(get("/0/a").as_bytes()).unwrap();
    await_answer(&mut first);
    server.await_sleep();
    drop(clients);
}

#[test]
fn a_server_with_forty_descriptors_serves_a_hundred_and_twenty_clients() {
    let (mut lines, log) = pipe();
    let server = ServerProcess::start_with(
        |server| {
            limit_descriptors(DESCRIPTORS as c_ulong);
            server.limits.pause = Duration::from_millis(1);
        },
        log,
    );
    // Each has a slot until the answer is there, so two thirds of them have to wait for one.
    let clients: Vec<TcpStream> = (0..3 * DESCRIPTORS).map(|_| server.ask("/100/a")).collect();
    for mut client in clients {
        await_answer(&mut client);
    }
    drop(server);
    let mut log = String::new();
    lines.read_to_string(&mut log).unwrap();
    assert_eq!(log.matches(" - 100ms: a (127.0.0.1:").count(), 120);
    let complaint = "cannot accept a client now: Too many open files (os error 24)";
    assert_eq!(log.matches(complaint).count(), 1, "{log}");
}
