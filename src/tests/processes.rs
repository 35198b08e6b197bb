//! What needs children, signals, limits or standard input. Each test has a child process for
//! itself, and they take turns, so that no child holds what belongs to another test.

mod common;

use common::*;
use epollet::delayserver::DelayServer;
use epollet::ffi::{EPOLLHUP, EPOLLIN};
use epollet::{Events, Interest, Poll, Waker};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::raw::{c_int, c_long, c_ulong, c_void};
use std::os::unix::io::AsRawFd;
use std::process::Command;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{LockResult, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

const SIGKILL: i32 = 9;

static TURN: Mutex<()> = Mutex::new(());

/// Runs `test` in a child process, which has one thread.
fn in_child(test: impl FnOnce()) {
    let turn = TURN.lock();
    let status = wait_for_child(fork(test));
    drop(turn);
    assert_eq!(status, 0, "the child failed (see above), or took too long");
}

/// Returns the number of a new process that runs `child` and ends, at the latest with this thread.
fn fork(child: impl FnOnce()) -> i32 {
    const PR_SET_PDEATHSIG: i32 = 1;
    // SAFETY: the child goes on with a copy of this thread alone, and ends without returning.
    match unsafe { c::fork() } {
        0 => {
            unsafe { c::prctl(PR_SET_PDEATHSIG, SIGKILL as c_ulong) };
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            unsafe { c::_exit(result.is_err().into()) }
        }
        pid => pid,
    }
}

/// Returns the status of a child when it ends; one that does not is killed.
fn wait_for_child(pid: i32) -> i32 {
    const WNOHANG: i32 = 1;
    let mut status = -1;
    let start = Instant::now();
    // SAFETY: the kernel writes an int.
    while unsafe { c::waitpid(pid, &mut status, WNOHANG) } == 0 {
        if start.elapsed() > LONG {
            // SAFETY: no pointer.
            unsafe { c::kill(pid, SIGKILL) };
        }
        thread::sleep(Duration::from_millis(2));
    }
    status
}

fn sleep_for_ever() {
    loop {
        // SAFETY: no pointer.
        unsafe { c::pause() };
    }
}

#[test]
fn a_child_that_inherits_a_copy_keeps_the_registration_alive() {
    in_child(|| {
        let (ours, mut theirs) = pair();
        let mut poll = watch(&ours, EPOLLIN);
        let child = fork(sleep_for_ever);
        drop(ours);
        theirs.write_all(b"a").unwrap();
        assert_eq!(
            bits(&mut poll),
            EPOLLIN,
            "the child has the descriptor still"
        );
        // SAFETY: no pointer.
        unsafe { c::kill(child, SIGKILL) };
        wait_for_child(child);
        assert_eq!(bits(&mut poll), 0);
    });
}

#[test]
fn a_closed_original_can_be_removed_under_its_old_number_by_a_duplicate() {
    in_child(|| {
        let (ours, mut theirs) = pair();
        let mut poll = watch(&ours, EPOLLIN);
        let duplicate = ours.try_clone().unwrap();
        let number = ours.as_raw_fd();
        drop(ours);
        theirs.write_all(b"a").unwrap();
        assert_eq!(bits(&mut poll), EPOLLIN);
        // SAFETY: the number is free, for this process has one thread.
        let again = fd(unsafe { c::dup2(duplicate.as_raw_fd(), number) });
        poll.registry().deregister(&again).unwrap();
        assert_eq!(bits(&mut poll), 0);
    });
}

#[test]
fn no_descriptor_is_inherited_by_a_program_that_is_started() {
    in_child(|| {
        let poll = Poll::new().unwrap();
        let _registry = poll.registry().try_clone().unwrap();
        let _waker = Waker::new(poll.registry(), 0).unwrap();
        let open_here = fs::read_dir("/proc/self/fd").unwrap();
        let links = open_here.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        let names: Vec<String> = links
            .map(|link| link.to_string_lossy().into_owned())
            .collect();
        let count = |name: &str| names.iter().filter(|link| link.contains(name)).count();
        assert_eq!(
            (count("[eventpoll]"), count("[eventfd]")),
            (2, 1),
            "{names:?}"
        );
        let output = Command::new("ls")
            .args(["-l", "/proc/self/fd"])
            .output()
            .unwrap();
        let there = String::from_utf8(output.stdout).unwrap();
        assert!(there.contains("/proc/"), "{there}");
        assert!(
            !there.contains("eventpoll") && !there.contains("eventfd"),
            "{there}"
        );
    });
}

static SIGNALS: AtomicI32 = AtomicI32::new(0);
static WRITE_AT_FIFTY: AtomicI32 = AtomicI32::new(-1);

extern "C" fn count_signal(_signal: c_int) {
    let count = SIGNALS.fetch_add(1, Ordering::Relaxed) + 1;
    let fd = WRITE_AT_FIFTY.load(Ordering::Relaxed);
    if count == 50 && fd != -1 {
        // SAFETY: one byte is there, and write(2) is allowed in a signal handler.
        unsafe { c::write(fd, b"!".as_ptr() as *const c_void, 1) };
    }
}

/// A signal every millisecond from now on.
fn start_signal_storm() {
    const ITIMER_REAL: c_int = 0;
    const SIGALRM: c_int = 14;
    let every_millisecond: [c_long; 4] = [0, 1000, 0, 1000];
    // SAFETY: the handler calls what a handler may; then a `struct itimerval`, and no old one.
    unsafe {
        c::signal(SIGALRM, count_signal);
        assert_eq!(
            c::setitimer(ITIMER_REAL, every_millisecond.as_ptr(), ptr::null_mut()),
            0
        );
    }
}

/// A wait that signals stretch is too long each time; one that a busy machine holds up is not.
#[test]
fn a_signal_storm_neither_ends_a_timeout_early_nor_stretches_it() {
    for timeout in [Duration::from_millis(150), Duration::from_micros(150_500)] {
        in_child(|| {
            let mut poll = Poll::new().unwrap();
            let mut events = Events::with_capacity(1);
            start_signal_storm();
            let mut shortest = Duration::MAX;
            for _ in 0..5 {
                let start = Instant::now();
                poll.poll(&mut events, Some(timeout)).unwrap();
                shortest = shortest.min(start.elapsed());
                assert!(shortest >= timeout, "{shortest:?}");
                assert!(events.is_empty());
            }
            assert!(shortest < timeout * 3 / 2, "{shortest:?}");
            assert!(SIGNALS.load(Ordering::Relaxed) > 1, "there was a storm");
        });
    }
}

#[test]
fn a_wait_for_ever_goes_on_through_fifty_signals() {
    in_child(|| {
        let (reader, writer) = pipe();
        let mut poll = watch(&reader, EPOLLIN);
        WRITE_AT_FIFTY.store(writer.as_raw_fd(), Ordering::Relaxed);
        let mut events = Events::with_capacity(1);
        start_signal_storm();
        poll.poll(&mut events, None).unwrap();
        assert_eq!(tokens(&events), [1]);
        assert!(SIGNALS.load(Ordering::Relaxed) >= 50);
    });
}

#[test]
fn a_signalfd_can_be_watched() {
    const SIGUSR1: i32 = 10;
    const SIG_BLOCK: i32 = 0;
    const CLOEXEC: i32 = 0o2000000;
    in_child(|| {
        let mut mask = [0_u64; 16]; // sigset_t
        mask[0] = 1 << (SIGUSR1 - 1);
        let mask = mask.as_ptr() as *const c_void;
        // SAFETY: the mask outlives the calls.
        let signals = unsafe {
            assert_eq!(c::pthread_sigmask(SIG_BLOCK, mask, ptr::null_mut()), 0);
            fd(c::signalfd(-1, mask, CLOEXEC))
        };
        let mut poll = watch(&signals, Interest::READABLE);
        assert_eq!(bits(&mut poll), 0);
        // SAFETY: no pointer.
        unsafe { c::raise(SIGUSR1) };
        assert_eq!(bits(&mut poll), EPOLLIN);
        let mut info = [0; 128]; // struct signalfd_siginfo
        File::from(signals).read_exact(&mut info).unwrap();
        assert_eq!(info[0], SIGUSR1 as u8);
    });
}

#[test]
fn a_pidfd_gets_readable_when_its_process_ends() {
    const SYS_PIDFD_OPEN: c_long = 434;
    in_child(|| {
        let child = fork(sleep_for_ever);
        // SAFETY: no pointer.
        let pidfd = unsafe { c::syscall(SYS_PIDFD_OPEN, c_long::from(child), 0 as c_long) };
        let pidfd = fd(pidfd as i32);
        let mut poll = watch(&pidfd, Interest::READABLE);
        assert_eq!(bits(&mut poll), 0);
        // SAFETY: no pointer.
        unsafe { c::kill(child, SIGKILL) };
        let event = wait(&mut poll)[0];
        assert!(event.is_readable(), "{event:?}");
        assert_eq!(wait_for_child(child), SIGKILL);
    });
}

#[test]
fn standard_input_can_be_watched_if_it_is_a_pipe() {
    in_child(|| {
        let (reader, mut writer) = pipe();
        // SAFETY: both are open; standard input is this process's alone.
        assert_eq!(unsafe { c::dup2(reader.as_raw_fd(), 0) }, 0);
        let stdin = io::stdin();
        let mut poll = watch(&stdin, Interest::READABLE);
        assert_eq!(bits(&mut poll), 0);
        writer.write_all(b"a line\n").unwrap();
        assert_eq!(bits(&mut poll), EPOLLIN);
        let mut line = String::new();
        stdin.read_line(&mut line).unwrap();
        assert_eq!(line, "a line\n");
        drop(writer);
        assert_eq!(bits(&mut poll), EPOLLHUP);
    });
}

fn limit_descriptors(most: c_ulong) {
    const RLIMIT_NOFILE: c_int = 7;
    let limit = [most, most];
    // SAFETY: a `struct rlimit`.
    assert_eq!(unsafe { c::setrlimit(RLIMIT_NOFILE, limit.as_ptr()) }, 0);
}

#[test]
fn without_descriptors_there_is_an_error_and_no_panic() {
    const EMFILE: i32 = 24;
    in_child(|| {
        let poll = Poll::new().unwrap();
        limit_descriptors(64);
        let mut taken = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            taken.push(file);
        }
        let code = |error: io::Error| error.raw_os_error().unwrap();
        assert_eq!(code(Poll::new().unwrap_err()), EMFILE);
        assert_eq!(code(poll.registry().try_clone().unwrap_err()), EMFILE);
        assert_eq!(code(Waker::new(poll.registry(), 0).unwrap_err()), EMFILE);
        taken.pop();
        Waker::new(poll.registry(), 0).unwrap();
    });
}

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
