//! 1,000 delayed requests, by a thread for each and by one thread on the queue. Then what a wait
//! costs among ever more idle sources: `poll(2)` looks at every one, epoll at the ready one.
//!
//! ```sh
//! cargo run --release --example threads_vs_epoll
//! ```
//!
//! You see a table and a bar chart. It belongs to the book's comparison ahead of chapter 4.
//! Change next: a delay of 0; 10,000 requests, after `ulimit -n 20000`; ten sources that are ready.

use epollet::delayserver::DelayServer;
use epollet::{Events, Poll, ffi::EPOLLIN};
use std::io::{self, ErrorKind, Read, Write};
use std::os::raw::{c_int, c_long, c_short, c_ulong};
use std::os::unix::{io::AsRawFd, net::UnixDatagram};
use std::{collections::HashMap, env, fs, net::TcpStream, process::Command, thread, time::Instant};

fn main() -> io::Result<()> {
    let args: Vec<String> = env::args().collect();
    if let [_, way, address, count] = &args[..] {
        return run_child(way, address, count.parse().unwrap());
    }
    let room = number_in("/proc/self/limits", "Max open files").saturating_sub(24);
    let count = room.min(1000).to_string();
    let server = DelayServer::bind("127.0.0.1:0")?;
    let (address, stopper) = (server.local_addr()?.to_string(), server.stopper()?);
    let server = thread::spawn(move || server.run(io::sink()));
    println!("{count} requests, delayed by 300 ms each (`ulimit -n` allows {room})\n");
    println!("              answers  seconds  peak memory (VmHWM)  voluntary context switches");
    for way in ["a thread each", "epoll"] {
        // In a process of its own, so that what the kernel counts is this way's alone.
        let mut child = Command::new(env::current_exe()?);
        assert!(child.args([way, &address, &count]).status()?.success());
    }
    stopper.wake()?;
    server.join().unwrap()?;
    println!("\nOne wait among idle sources, with 1 source ready; best of 100\n");
    compare_waits(room)
}

fn run_child(way: &str, address: &str, count: usize) -> io::Result<()> {
    let start = Instant::now();
    let by = if way == "epoll" { by_epoll } else { by_threads };
    let answers = by(address, count)?;
    let time = start.elapsed().as_secs_f64();
    // One after another they would take five minutes.
    assert!(answers < 100 || time < 0.3 * answers as f64);
    let mut usage = [0 as c_long; 64];
    // SAFETY: a `struct rusage` has room in it. Its number 16 is ru_nvcsw.
    unsafe { getrusage(0, usage.as_mut_ptr()) };
    let (memory, switches) = (number_in("/proc/self/status", "VmHWM:"), usage[16]);
    println!("{way:13} {answers:7} {time:8.3} {memory:17} kB {switches:27}");
    Ok(())
}

fn by_threads(address: &str, count: usize) -> io::Result<usize> {
    let spawn = |number| {
        let address = address.to_owned();
        let get = move || ask(&address)?.read_to_end(&mut Vec::new());
        let tell = |error| println!("(only {number} threads: {error})");
        thread::Builder::new().spawn(get).map_err(tell).ok()
    };
    let threads: Vec<_> = (0..count).map_while(spawn).collect();
    let lengths = threads.into_iter().map(|thread| thread.join().unwrap());
    let lengths = lengths.collect::<io::Result<Vec<usize>>>()?;
    assert!(lengths.iter().all(|&length| length > 0));
    Ok(lengths.len())
}

fn by_epoll(address: &str, count: usize) -> io::Result<usize> {
    let mut poll = Poll::new()?;
    let mut streams = HashMap::new();
    for token in 0..count {
        let stream = ask(address)?;
        stream.set_nonblocking(true)?;
        poll.registry().register(&stream, token, EPOLLIN)?;
        streams.insert(token, (stream, Vec::new()));
    }
    let mut events = Events::with_capacity(64);
    while !streams.is_empty() {
        poll.poll(&mut events, None)?;
        for event in &events {
            let (stream, answer) = streams.get_mut(&event.token()).unwrap();
            match stream.read_to_end(answer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                done => drop(done?),
            }
            assert!(answer.ends_with(b"hello"));
            streams.remove(&event.token()); // This deregisters it.
        }
    }
    Ok(count)
}

fn ask(address: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /300/hello HTTP/1.0\r\n\r\n")?;
    Ok(stream)
}

fn compare_waits(room: usize) -> io::Result<()> {
    let (ours, theirs) = UnixDatagram::pair()?;
    theirs.send(b"a")?; // Never read, so that each wait finds it.
    let mut queue = Poll::new()?;
    let (mut sockets, mut fds, mut times) = (vec![ours], Vec::new(), Vec::new());
    let mut events = Events::with_capacity(64);
    for idle in [10, 100, 1000, 5000].into_iter().filter(|&n| n <= room) {
        sockets.resize_with(idle + 1, || UnixDatagram::unbound().unwrap());
        for socket in &sockets[fds.len()..] {
            queue.registry().register(socket, fds.len(), EPOLLIN)?;
            fds.push(PollFd(socket.as_raw_fd(), EPOLLIN as c_short, 0)); // POLLIN is the same.
        }
        // SAFETY: there are as many as it says.
        let poll_2 = || unsafe { poll(fds.as_mut_ptr(), fds.len() as c_ulong, -1) as usize };
        let epoll = || queue.poll(&mut events, None).map_or(0, |()| events.len());
        times.push((idle, "poll(2)", best_of_100(poll_2)));
        times.push((idle, "epoll", best_of_100(epoll)));
    }
    let longest = times.iter().map(|time| time.2).fold(0.0, f64::max);
    for (idle, way, time) in times {
        let bar = "=".repeat((time / longest * 40.0).ceil() as usize);
        println!("{idle:5} idle  {way:7} {time:9.3} µs  |{bar}");
    }
    Ok(())
}

fn best_of_100(mut wait: impl FnMut() -> usize) -> f64 {
    let one = |_| {
        let start = Instant::now();
        assert_eq!(wait(), 1, "1 source is ready");
        start.elapsed().as_secs_f64() * 1e6
    };
    (0..100).map(one).fold(f64::MAX, f64::min)
}

fn number_in(file: &str, name: &str) -> usize {
    let text = fs::read_to_string(file).unwrap();
    let rest = text.split(name).nth(1).unwrap_or_default();
    rest.split(' ').find_map(|n| n.parse().ok()).unwrap_or(1024)
}

#[repr(C)]
struct PollFd(c_int, c_short, c_short); // struct pollfd: fd, events, revents

unsafe extern "C" {
    fn getrusage(who: c_int, usage: *mut c_long) -> c_int;
    fn poll(fds: *mut PollFd, count: c_ulong, timeout: c_int) -> c_int;
}
