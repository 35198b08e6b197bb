//! The delay server as a process: what it holds, and what it leaves, when clients misbehave.

mod common;

use common::*;
use epollet::delayserver::DelayServer;
use std::ffi::c_ulong;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
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
        ServerProcess::start_with(|| {})
    }

    fn start_with(prepare: impl FnOnce()) -> ServerProcess {
        let turn = TURN.lock();
        let server = DelayServer::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let pid = fork(move || {
            prepare();
            server.run(io::sink()).unwrap()
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
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        stream
    }

    /// Returns when the server has read and done all that there is, as an answer shows.
    fn catch_up(&self) {
        let mut answer = [0; 12];
        self.ask("/0/a").read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }

    fn descriptors(&self) -> usize {
        self.descriptors_below(usize::MAX)
    }

    fn descriptors_below(&self, end: usize) -> usize {
        let fds = fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap();
        let numbers = fds.filter_map(|fd| fd.unwrap().file_name().to_str()?.parse().ok());
        numbers.filter(|number: &usize| *number < end).count()
    }

    fn resident_kb(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Processor time so far, in ticks of 10 ms.
    fn ticks(&self) -> usize {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap();
        let behind_name = stat.rsplit(')').next().unwrap();
        let times = behind_name.split_whitespace().skip(11).take(2);
        times.map(|ticks| ticks.parse::<usize>().unwrap()).sum()
    }

    /// A server that spins would take all of the half second, which is 50 ticks.
    fn assert_rests(&self) {
        let before = self.ticks();
        thread::sleep(Duration::from_millis(500));
        let taken = self.ticks() - before;
        assert!(taken < 25, "{taken} ticks in half a second");
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // SAFETY: no pointer.
        unsafe { c::kill(self.pid, SIGKILL) };
        wait_for_child(self.pid);
    }
}

/// Waits until the server has as many descriptors as `expected`.
fn await_descriptors(server: &ServerProcess, expected: usize) {
    until(&format!("{expected} descriptors"), || {
        server.descriptors() == expected
    });
}

#[test]
fn two_thousand_clients_that_leave_before_their_answer_free_their_places_at_once() {
    let server = ServerProcess::start();
    let empty = server.descriptors();
    for _ in 0..4 {
        let clients: Vec<TcpStream> = (0..500).map(|_| server.ask("/3600000/late")).collect();
        await_descriptors(&server, empty + 500);
        drop(clients);
        await_descriptors(&server, empty);
    }
    server.catch_up();
}

#[test]
fn a_client_that_leaves_with_more_in_the_pipeline_than_is_read_frees_its_place_at_once() {
    let server = ServerProcess::start();
    let empty = server.descriptors();
    let mut client = server.ask("/3600000/late");
    client
        .write_all(&b"GET /0/a HTTP/1.1\r\n\r\n".repeat(2000))
        .unwrap();
    await_descriptors(&server, empty + 1);
    drop(client);
    await_descriptors(&server, empty);
}

/// Its end of stream cannot reach a server whose buffers it has filled; but it leaves with the head of
/// its answer unread, and that makes its end a reset.
#[test]
fn a_client_that_leaves_with_all_buffers_full_frees_its_place_at_once() {
    let server = ServerProcess::start();
    let empty = server.descriptors();
    let mut client = server.ask("/3600000/late");
    client.set_nonblocking(true).unwrap();
    while fill(&mut client) > 0 {
        server.catch_up();
    }
    await_descriptors(&server, empty + 1);
    drop(client);
    await_descriptors(&server, empty);
}

#[test]
fn a_client_that_does_not_close_after_its_last_answer_is_closed() {
    let server = ServerProcess::start();
    let empty = server.descriptors();
    let mut client = server.connect();
    client.write_all(b"GET /0/a HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\na"));
    await_descriptors(&server, empty);
    drop(client);
}

#[test]
fn a_client_that_ends_its_sending_side_and_waits_makes_no_work() {
    let server = ServerProcess::start();
    let mut full = server.ask("/3600000/late");
    full.write_all(&b"GET /0/a HTTP/1.1\r\n\r\n".repeat(2000))
        .unwrap();
    full.shutdown(Shutdown::Write).unwrap();
    let empty = server.ask("/3600000/late");
    empty.shutdown(Shutdown::Write).unwrap();
    server.catch_up();
    server.assert_rests();
}

#[test]
fn ten_thousand_pipelined_requests_that_nobody_reads_take_neither_memory_nor_time_and_lose_nothing()
{
    let server = ServerProcess::start();
    server.catch_up();
    let before = server.resident_kb();
    let mut client = server.connect();
    client.set_nonblocking(true).unwrap();
    let message = "x".repeat(4000);
    let mut requests = Vec::new();
    for number in 0..10_000 {
        write!(requests, "GET /0/{number}-{message} HTTP/1.1\r\n\r\n").unwrap();
    }
    // All buffers on the way are full when nothing more goes out, though the server has caught up.
    let mut sent = 0;
    let mut stuck = 0;
    while stuck < 10 {
        match client.write(&requests[sent..]) {
            Ok(count) => {
                sent += count;
                stuck = 0;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                server.catch_up();
                stuck += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(
        sent < requests.len(),
        "the server takes no more than it can answer"
    );
    server.assert_rests();
    let grown = server.resident_kb().saturating_sub(before);
    assert!(grown < 512, "{grown} kB more");

    // Now the rest goes out, while the answers come in.
    client.set_nonblocking(false).unwrap();
    let mut writer = client.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| writer.write_all(&requests[sent..]).unwrap());
        let mut answers = BufReader::new(&client);
        for number in 0..10_000 {
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

#[test]
fn out_of_descriptors_a_server_rests_and_accepts_again_when_a_client_leaves() {
    const LIMIT: usize = 40;
    let server = ServerProcess::start_with(|| limit_descriptors(LIMIT as c_ulong));
    let mut clients: Vec<TcpStream> = (0..LIMIT).map(|_| server.ask("/3600000/late")).collect();
    until("the server takes what it can", || {
        server.descriptors_below(LIMIT) == LIMIT
    });
    let mut waiting = server.ask("/0/a");
    server.assert_rests();
    // The oldest ones have places, the newest ones wait with the one that wants an answer.
    for client in clients.drain(..LIMIT / 2) {
        drop(client);
    }
    let mut answer = [0; 12];
    waiting.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[test]
fn a_reset_while_the_delay_runs_frees_the_place_at_once() {
    let server = ServerProcess::start();
    let empty = server.descriptors();
    let client = server.ask("/3600000/late");
    await_descriptors(&server, empty + 1);
    reset(client);
    await_descriptors(&server, empty);
}

#[test]
fn what_comes_while_a_delay_runs_is_held_to_one_head_for_each_client() {
    let server = ServerProcess::start();
    server.catch_up();
    let before = server.resident_kb();
    let more = vec![b'x'; 100_000];
    let mut clients: Vec<TcpStream> = (0..100).map(|_| server.ask("/3600000/late")).collect();
    for client in &mut clients {
        client.set_nonblocking(true).unwrap();
        assert!(client.write(&more).unwrap() > 16_384);
    }
    server.catch_up();
    let grown = server.resident_kb().saturating_sub(before);
    assert!(grown < 100 * 16, "{grown} kB for 100 clients");
}
