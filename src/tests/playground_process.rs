//! What the playground does as a process: the programs that it writes, and its server.
//!
//! `cargo test` builds the server. `cargo test --test playground` does not: run
//! `cargo build --example playground` before it.

#![allow(dead_code)] // Some parts are only used by the server.

#[path = "../../examples/playground/action.rs"]
mod action;
#[path = "../../examples/playground/bench.rs"]
mod bench;
#[path = "common/built.rs"]
mod built;
#[path = "../../examples/model/mod.rs"]
mod model;
#[path = "playground_random.rs"]
mod random;
#[path = "../../examples/playground/scenes.rs"]
mod scenes;
#[path = "../../examples/playground/strace.rs"]
mod strace;
#[path = "../../examples/playground/take_away.rs"]
mod take_away;
#[path = "../../examples/playground/visitor.rs"]
mod visitor;

use built::built;
use epollet::{Interest, ffi}; // `ffi`: for the model
use random::{Random, begin};
use scenes::SCENES;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, thread};
use visitor::Visitor;

/// While a bench exists here, no process starts: until it executes its program, it holds a duplicate
/// of each descriptor, and a closed source would not end.
static TURN: Mutex<()> = Mutex::new(());

/// The programs of all scenes, and of some random benches: with errors, and with sources that
/// nothing uses.
#[test]
fn what_is_taken_away_compiles_without_a_warning_and_prints_the_same() {
    let programs = programs_and_reports();
    let numbered: Vec<_> = programs.iter().enumerate().collect();
    thread::scope(|scope| {
        for half in numbered.chunks(numbered.len().div_ceil(2)) {
            scope.spawn(move || {
                for (number, (program, reports)) in half {
                    assert_eq!(run(*number, program), *reports, "{program}");
                }
            });
        }
    });
}

/// Each program, and what it has to print.
fn programs_and_reports() -> Vec<(String, String)> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut visitors = vec![Visitor::new().unwrap()];
    for (number, scene) in SCENES.iter().enumerate() {
        let mut visitor = Visitor::new().unwrap();
        for (index, round) in scene.rounds.iter().enumerate() {
            visitor.act(&begin(number, index)).unwrap();
            visitor.act(round.poll).unwrap();
        }
        visitors.push(visitor);
    }
    // A duplicate must not get the number of a closed descriptor that is still registered.
    let mut visitor = Visitor::new().unwrap();
    for line in [
        "stream",
        "eventfd",
        "register q1 s1 1 IN",
        "register q1 e1 2 IN",
        "duplicate s1",
        "duplicate e1",
        "close s1",
        "close e1",
        "duplicate s1_dup",
        "duplicate e1_dup",
        "deregister q1 s1_dup2",
        "deregister q1 e1_dup2",
        "register q1 s1_dup2 3 IN",
        "write s1_peer 1",
        "write e1_dup 1",
        "poll q1 8",
        // Only the half-close makes it readable again.
        "read s1_dup 1",
        "poll q1 8",
        "shutdown s1_peer",
        "poll q1 8",
    ] {
        visitor.act(line).unwrap();
    }
    visitors.push(visitor);
    for seed in 1..=3 {
        let mut random = Random(seed);
        let mut visitor = Visitor::new().unwrap();
        while visitor.bench.steps.len() < 120 {
            let line = random.action(&visitor);
            let _refused = visitor.act(&line);
        }
        visitors.push(visitor);
    }
    visitors
        .iter()
        .map(|visitor| {
            let steps = &visitor.bench.steps;
            let mut reports = String::new();
            for report in steps.iter().filter_map(|step| step.report.as_ref()) {
                let events = report.iter().map(|(token, bits)| {
                    format!(
                        "Event {{ token: {token}, events: {:?} }}",
                        Interest::from(*bits)
                    )
                });
                let events: Vec<String> = events.collect();
                reports += &format!("[{}]\n", events.join(", "));
            }
            let program = take_away::program(steps);
            // A call that failed has to fail again.
            let failed = steps.iter().filter(|step| step.calls[0].contains(" = -1 "));
            let expected = program.matches(".is_err());").count();
            assert_eq!(failed.count(), expected, "{program}");
            (program, reports)
        })
        .collect()
}

/// Compiles a program with the two files, and runs it.
fn run(number: usize, program: &str) -> String {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("taken_{number}"));
    fs::create_dir_all(&directory).unwrap();
    for file in ["ffi.rs", "poll.rs"] {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
        fs::copy(source, directory.join(file)).unwrap();
    }
    fs::write(directory.join("main.rs"), program).unwrap();
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut compiler = Command::new(rustc);
    compiler.args(["--edition", "2024", "-D", "warnings", "main.rs"]);
    compiler.current_dir(&directory);
    let output = compiler.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\n{program}");
    let output = Command::new(directory.join("main")).output().unwrap();
    assert!(output.status.success(), "{output:?}\n{program}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_page_of_another_site_cannot_use_the_server() {
    let server = Process::start();
    let address = &server.address;
    let own = |more: &str| format!("GET / HTTP/1.1\r\nHost: {address}\r\n{more}\r\n");
    assert!(server.ask(&own("")).starts_with("HTTP/1.1 200 "));
    let port = address.rsplit(':').next().unwrap();
    let localhost = format!("GET / HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
    assert!(server.ask(&localhost).starts_with("HTTP/1.1 200 "));
    let link = own("Sec-Fetch-Site: cross-site\r\n");
    assert!(server.ask(&link).starts_with("HTTP/1.1 200 "));
    let own_origin = own(&format!("Origin: http://{address}\r\n"));
    assert!(server.ask(&own_origin).starts_with("HTTP/1.1 200 "));
    for request in [
        own("Origin: http://example.org\r\n"),
        own("Origin: null\r\n"),
        own(&format!("Origin: https://{address}\r\n")),
        own(&format!("Origin: http://localhost:{port}\r\n")),
        "GET / HTTP/1.1\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n".into(),
        format!("GET / HTTP/1.1\r\nHost: example.org:{port}\r\n\r\n"),
        own("Origin: http://example.org\r\n").replace("GET / ", "GET /events "),
        own("Sec-Fetch-Site: cross-site\r\n").replace("GET / ", "GET /events "),
        own("Origin: http://example.org\r\n").replace("GET / ", "POST /bench/0 "),
    ] {
        let answer = server.ask(&request);
        assert!(answer.starts_with("HTTP/1.1 403 "), "{request}: {answer}");
    }
}

#[test]
fn each_visitor_has_a_bench_that_ends_with_the_page() {
    let server = Process::start();
    let before = server.descriptors();
    let (mut one, mut other) = (server.visit(), server.visit());
    for line in ["scene 1", "poll q1 8"] {
        assert_eq!(server.post(&one.id, line), "HTTP/1.1 204 No Content");
    }
    one.wait_for("\"answered\":true");
    assert_eq!(
        server.post(&other.id, "poll q1 3"),
        "HTTP/1.1 204 No Content"
    );
    let state = other.wait_for("\"step\":2");
    assert!(state.contains("\"sources\":[]"), "{state}");
    for (line, sentence) in [
        ("poll q1 0", "The room for events must be a number"),
        ("poll q1 +1", "The room for events must be a number"),
        ("write s1_peer 99", "The amount to write must be a number"),
        ("read s1 99", "The amount to read must be a number"),
        ("register q1 s1  IN", "The token must be a number from 0"),
        ("register q1 s1 1 IN|EXCLUSIVE", "An interest is made of"),
        ("read s9 1", "No open descriptor has this name."),
        ("read q1 1", "q1 is a queue"),
        ("poll s1 1", "No queue has this name."),
        ("reboot", "The bench has no such action."),
        ("", "The bench has no such action."),
        ("scene 6", "No scene has this number."),
    ] {
        let answer = server.post(&one.id, line);
        assert!(answer.starts_with("HTTP/1.1 422 "), "{line}: {answer}");
        assert!(server.post_all(&one.id, line).contains(sentence), "{line}");
    }
    let program = server.ask(&server.get(&format!("/bench/{}", one.id)));
    assert!(program.contains("report(&mut q1, 8)?;"), "{program}");
    let gone = one.id.clone();
    drop(one);
    // No browser sends anything on this connection.
    let talker = b"GET / HTTP/1.1\r\n";
    other.events.get_ref().write_all(talker).unwrap();
    for id in [&gone, &other.id] {
        server.wait_until("the bench is gone", || {
            server.post(id, "poll q1 8") == "HTTP/1.1 404 Not Found"
        });
    }
    drop(other);
    server.wait_until("no descriptor is left", || server.descriptors() == before);
}

/// 10,000 mutated requests, 500 connections that send nothing, more visitors than there are
/// benches, and one who fills a bench: then a new visitor gets a clean one.
#[test]
fn hostile_clients_do_not_keep_a_visitor_out() {
    let server = Process::start();
    let mut guest = server.visit();
    let before = (server.descriptors(), server.kilobytes());
    let mut random = Random(1);
    let valid = [
        server.get("/"),
        server.get("/events"),
        server.get(&format!("/bench/{}", guest.id)),
        server.action(&guest.id, "scene 4"),
        server.action(&guest.id, "poll q1 8"),
    ];
    let mut answered = 0;
    for _ in 0..10_000 {
        let mut request = valid[random.below(valid.len())].clone().into_bytes();
        for _ in 0..=random.below(3) {
            random.mutate(&mut request);
        }
        let answer = server.exchange(&request);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 "),
            "{answer}"
        );
        answered += usize::from(!answer.is_empty());
    }
    assert!(answered > 1000, "{answered} answers");
    server.wait_until("the connections end", || {
        server.descriptors() <= before.0 + 10
    });

    // They are more than the server keeps, and it waits 10 s for a request. The oldest make room.
    let silent: Vec<TcpStream> = (0..500).map(|_| server.connect()).collect();
    let start = Instant::now();
    let mut slow = server.connect();
    slow.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    assert!(server.ask(&server.get("/")).starts_with("HTTP/1.1 200 "));
    let host = format!("Host: {}\r\n\r\n", server.address);
    slow.write_all(host.as_bytes()).unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    let descriptors = server.descriptors();
    assert!(descriptors < 300, "{descriptors} descriptors");

    let mut visitors = Vec::new();
    let refusal = loop {
        let mut stream = server.connect();
        stream.write_all(server.get("/events").as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if !line.starts_with("HTTP/1.1 200 ") {
            break line;
        }
        visitors.push(reader);
        assert!(visitors.len() <= 100);
    };
    assert!(refusal.starts_with("HTTP/1.1 503 "), "{refusal}");
    assert_eq!(visitors.len() + 1, 32, "benches");

    server.post(&guest.id, "new");
    let mut refused = String::new();
    for line in ["stream", "eventfd", "queue"].iter().cycle().take(40) {
        let status = server.post(&guest.id, line);
        if status != "HTTP/1.1 204 No Content" {
            refused = status;
        }
    }
    assert!(refused.starts_with("HTTP/1.1 422 "), "{refused}");
    guest.wait_for("\"e4\"");

    drop((silent, visitors, guest));
    server.wait_until("the connections end", || server.descriptors() < before.0);
    let mut next = server.visit();
    assert!(next.wait_for("\"step\":1,").contains("\"sources\":[]"));
    let grown = server.kilobytes().saturating_sub(before.1);
    assert!(grown < 8_000, "{grown} kB more");
    let ticks = server.ticks();
    thread::sleep(Duration::from_millis(300));
    let spent = server.ticks() - ticks;
    println!("{answered} of 10,000 answered; {grown} kB more; {spent} ticks in 300 ms");
    assert!(
        spent <= 3,
        "{spent} ticks of CPU time (10 ms) without a request"
    );
}

#[test]
fn every_refusal_says_what_to_do() {
    let server = Process::start();
    let own = |first: &str, more: &str| {
        let address = &server.address;
        format!("{first} HTTP/1.1\r\nHost: {address}\r\n{more}\r\n")
    };
    let half = server.exchange(b"GET / HTTP/1.1\r\n");
    assert!(half.starts_with("HTTP/1.1 400 "), "{half}");
    assert!(half.ends_with("Send all of it.\n"), "{half}");
    let mut visit = server.visit();
    let bench = format!("/bench/{}", visit.id);
    for (request, status) in [
        ("hello\r\n\r\n".into(), "400 Bad Request"),
        ("GET / HTTP/1.1\r\n\r\n".into(), "403 Forbidden"),
        (own("GET /nothing", ""), "404 Not Found"),
        (own("GET /bench/0", ""), "404 Not Found"),
        (own("POST /bench/0", ""), "404 Not Found"),
        (own("POST /", ""), "405 Method Not Allowed"),
        (own("HEAD /events", ""), "405 Method Not Allowed"),
        (
            own(&format!("DELETE {bench}"), ""),
            "405 Method Not Allowed",
        ),
        (
            own(&format!("POST {bench}"), "Transfer-Encoding: chunked\r\n"),
            "411 Length Required",
        ),
        (
            own(&format!("POST {bench}"), "Content-Length: 101\r\n"),
            "413 Content Too Large",
        ),
        (
            own(&format!("POST {bench}"), ""),
            "422 Unprocessable Content",
        ),
        (
            own("GET /", &format!("X: {}\r\n", "x".repeat(8000))).replace("\r\n\r\n", ""),
            "431 Request Header Fields Too Large",
        ),
    ] {
        let answer = server.ask(&request);
        let expected = format!("HTTP/1.1 {status}\r\n");
        assert!(answer.starts_with(&expected), "{request}: {answer}");
        let (head, sentence) = answer.split_once("\r\n\r\n").unwrap();
        assert!(sentence.ends_with(".\n") && sentence.len() > 20, "{answer}");
        assert!(head.contains("\r\nContent-Type: text/plain"), "{head}");
        assert_eq!(head.contains("\r\nAllow: GET"), status.starts_with("405"));
    }
    assert_eq!(
        server.post(&visit.id, "poll q1 1"),
        "HTTP/1.1 204 No Content"
    );
    visit.wait_for("\"step\":2,");
}

/// After 10 s without a whole request, and 1 s after an answer.
#[test]
#[ignore = "takes 10 s; CI runs it"]
fn who_is_late_is_not_waited_for() {
    let server = Process::start();
    let before = server.descriptors();
    let connect = |start: &str| {
        let mut stream = server.connect();
        let limit = Some(Duration::from_secs(20));
        stream.set_read_timeout(limit).unwrap();
        stream.write_all(start.as_bytes()).unwrap();
        stream
    };
    let answer = |stream: &mut TcpStream| {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    // A browser opens connections that it may use later.
    let (mut silent, mut half) = (connect(""), connect("GET / HTTP/1.1\r\n"));
    let mut whole = connect(&server.get("/"));
    assert!(answer(&mut whole).starts_with("HTTP/1.1 200 "));
    server.wait_until("the answered one is closed", || {
        server.descriptors() == before + 2
    });
    assert_eq!(answer(&mut silent), "");
    let answer = answer(&mut half);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.ends_with("Send all of it again.\n"), "{answer}");
    server.wait_until("all are closed", || server.descriptors() == before);
}

/// The events for it must not fill the memory.
#[test]
fn a_visitor_who_does_not_read_is_let_go() {
    let server = Process::start();
    let visit = server.visit();
    let mut posts = 0;
    while server.post(&visit.id, "scene 5") == "HTTP/1.1 204 No Content" {
        posts += 1;
        assert!(posts < 2000, "the server keeps everything");
    }
    assert_eq!(
        server.post(&visit.id, "scene 5"),
        "HTTP/1.1 404 Not Found",
        "after {posts} scenes"
    );
    println!("{posts} scenes, {} kB", server.kilobytes());
}

#[test]
fn without_a_free_descriptor_the_server_waits_for_one() {
    let server = Process::start_with_descriptors(20);
    let mut visit = server.visit();
    let waiting: Vec<TcpStream> = (0..40).map(|_| server.connect()).collect();
    server.wait_until("it is full", || server.descriptors() >= 20);
    let ticks = server.ticks();
    thread::sleep(Duration::from_millis(300));
    let spent = server.ticks() - ticks;
    assert!(spent <= 3, "{spent} ticks of CPU time (10 ms)");
    drop(waiting);
    server.wait_until("it is not full", || server.descriptors() < 20);
    // There is one for the request, but not for all that a bench can have.
    let mut refused = String::new();
    for _ in 0..6 {
        refused = server.post_all(&visit.id, "stream");
    }
    assert!(refused.starts_with("HTTP/1.1 422 "), "{refused}");
    assert!(
        refused.contains("cannot open another file now"),
        "{refused}"
    );
    // A scene has no room either, and then the bench stays as it was.
    for (line, status) in [
        ("close s1", "204 No Content"),
        ("scene 5", "422 Unprocessable Content"),
        ("read s1_peer 1", "204 No Content"),
        ("new", "204 No Content"),
    ] {
        let answer = server.post(&visit.id, line);
        assert_eq!(answer, format!("HTTP/1.1 {status}"), "{line}");
    }
    visit.wait_for("\"step\":1,");
}

/// The server as a process of its own.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    fn start() -> Process {
        Process::start_with_descriptors(1024)
    }

    fn start_with_descriptors(limit: u32) -> Process {
        let program = built("playground").unwrap();
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("ulimit -n {limit} && exec \"$0\""))
            .arg(program)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let address = line
            .strip_prefix("Open http://")
            .unwrap()
            .split('/')
            .next()
            .unwrap();
        let address = address.to_owned();
        Process { child, address }
    }

    fn get(&self, path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address)
    }

    fn action(&self, id: &str, line: &str) -> String {
        let (address, length) = (&self.address, line.len());
        format!(
            "POST /bench/{id} HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\n\
             Content-Length: {length}\r\n\r\n{line}"
        )
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream
    }

    /// Sends a request and nothing after it. Returns the answer, if one comes.
    fn exchange(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        let mut answer = Vec::new();
        // The server may have answered and closed already.
        let _ = stream.write_all(request);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = self.connect();
        let mut answer = String::new();
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Returns the status line.
    fn post(&self, id: &str, line: &str) -> String {
        let answer = self.post_all(id, line);
        answer.lines().next().unwrap_or_default().to_owned()
    }

    fn post_all(&self, id: &str, line: &str) -> String {
        self.ask(&self.action(id, line))
    }

    fn visit(&self) -> Visit {
        let mut stream = self.connect();
        stream.write_all(self.get("/events").as_bytes()).unwrap();
        let mut visit = Visit {
            id: String::new(),
            events: BufReader::new(stream),
        };
        let hello = visit.wait_for("data: {\"id\":");
        visit.id = hello.split('"').nth(3).unwrap().to_owned();
        visit
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .unwrap()
            .count()
    }

    fn kilobytes(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The CPU time so far.
    fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields = stat.rsplit(')').next().unwrap().split_whitespace();
        fields
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().unwrap())
            .sum()
    }

    fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(
                start.elapsed() < Duration::from_secs(5),
                "{what}: not after 5 s"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The events that a page receives.
struct Visit {
    id: String,
    events: BufReader<TcpStream>,
}

impl Visit {
    /// Reads until a line contains this.
    fn wait_for(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            let count = self.events.read_line(&mut line).expect(text);
            assert!(count > 0, "the events end before {text}");
            if line.contains(text) {
                return line;
            }
        }
    }
}
