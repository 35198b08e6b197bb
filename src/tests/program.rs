//! The program as a process: what it prints, what it reports about odd servers, and its exit codes.

mod common;
#[path = "../program/delayserver.rs"]
mod delayserver;
#[path = "delayserver.rs"]
mod server;

use common::{LONG, await_state, c, refusing_listener, reset, take_all_descriptors, until};
use delayserver::DelayServer;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_epollet");

/// The program, which is killed if it takes too long.
fn program() -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["-s", "KILL", "15", PROGRAM])
        .stdin(Stdio::null());
    command
}

/// Runs the program against the server at `address`.
fn run(address: SocketAddr, delays: &[&str]) -> Output {
    program()
        .arg(address.to_string())
        .args(delays)
        .output()
        .unwrap()
}

/// The program itself, so that its process ID is known, with its output in pipes. Dropping it kills
/// it.
struct Running(Child);

fn spawn(address: SocketAddr, delays: &[&str]) -> Running {
    let mut command = Command::new(PROGRAM);
    command
        .arg(address.to_string())
        .args(delays)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Running(command.spawn().unwrap())
}

impl Running {
    /// Returns the lines of its output as they come.
    fn lines(&mut self) -> Receiver<String> {
        let mut lines = BufReader::new(self.0.stdout.take().unwrap()).lines();
        let (send, receiver) = mpsc::channel();
        thread::spawn(move || lines.try_for_each(|line| send.send(line.unwrap())));
        receiver
    }

    /// Waits for the end. Returns the output that the pipes still hold.
    fn finish(mut self) -> Output {
        let mut status = None;
        until("the program ends", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        if let Some(mut pipe) = self.0.stdout.take() {
            pipe.read_to_end(&mut stdout).unwrap();
        }
        self.0
            .stderr
            .take()
            .unwrap()
            .read_to_end(&mut stderr)
            .unwrap();
        Output {
            status: status.unwrap(),
            stdout,
            stderr,
        }
    }
}

fn await_line(lines: &Receiver<String>, text: &str) {
    until(text, || lines.try_iter().any(|line| line.contains(text)));
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn last_line(output: &Output) -> &str {
    stdout(output).lines().last().unwrap()
}

/// The messages after the events.
fn sorted_messages(output: &Output) -> Vec<&str> {
    let lines = stdout(output).lines();
    let events = lines.filter(|line| line.contains(" Event { token: "));
    let messages = events.filter_map(|line| line.split_once(" }  "));
    let mut messages: Vec<&str> = messages.map(|(_, message)| message).collect();
    messages.sort_unstable();
    messages
}

/// Returns the output that the README shows after a heading, the `number`-th one from 0.
fn readme_output(heading: &str, number: usize) -> &'static str {
    let (_, section) = include_str!("../../README.md").split_once(heading).unwrap();
    let output = section.split("```text\n").nth(number + 1).unwrap();
    output.split_once("```").unwrap().0
}

/// Leaves out what differs from run to run: numbers, the lengths of bars and spaces, and whether
/// the end of the answer is an event of its own.
fn masked(output: &str) -> String {
    let lines = output.lines().filter(|line| !line.ends_with(" }"));
    let output = lines.collect::<Vec<_>>().join("\n");
    let mut masked = String::new();
    for char in output.replace(" | EPOLLRDHUP", "").chars() {
        let char = if char.is_ascii_digit() { '#' } else { char };
        if !(masked.ends_with(char) && "#= ".contains(char)) {
            masked.push(char);
        }
    }
    masked.replace("= |", "=|").replace("| =", "|=")
}

/// A delay server on a thread that ends with the process.
fn delay_server() -> SocketAddr {
    take_all_descriptors();
    let server = DelayServer::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    thread::spawn(move || server.run(io::sink()));
    address
}

/// A server that hands each connection, once its request has arrived, to `answer` on a thread of
/// its own. It ends with the process.
fn server(answer: fn(TcpStream, &str)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer_request(stream, answer));
        }
    });
    address
}

/// Accepts a connection of the program.
fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let mut accepted = None;
    until("the program connects", || {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    accepted.unwrap().0
}

fn answer_request(stream: TcpStream, answer: impl FnOnce(TcpStream, &str)) {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    while !lines.next().unwrap().unwrap().is_empty() {}
    answer(stream, first.split(['/', ' ']).nth(3).unwrap());
}

/// Answers 200 with `body` and closes.
fn send_ok(mut stream: TcpStream, body: &str) {
    let answer = format!("HTTP/1.1 200 OK\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).unwrap();
}

// What it prints.

#[test]
fn each_answer_is_one_line_with_time_event_and_message() {
    let address = delay_server();
    let output = run(address, &["300", "200", "100"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        sorted_messages(&output),
        ["request-0", "request-1", "request-2"]
    );
    for token in 0..3 {
        let event = format!(" s  Event {{ token: {token}, events: EPOLLIN");
        assert!(stdout(&output).contains(&event));
    }
    let lines: Vec<&str> = stdout(&output).lines().collect();
    assert_eq!(lines[0], format!("Connecting to {address} ..."));
    let plan = "Requests sent: 3. One thread sleeps in poll; the last answer is due in 0.3 s.";
    assert_eq!(lines[1], plan);
    assert!(last_line(&output).starts_with("3 of 3 answered in "));
    assert!(last_line(&output).ends_with(" on one thread; one after another: 0.600 s"));
    assert!(output.stderr.is_empty());
}

/// The first connection takes a second: with a backlog of 0, one that is not accepted is enough to
/// keep the next waiting until its client tries again.
fn chart_of_a_slow_connection_and_a_short_request(pause: Duration) -> Vec<String> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // SAFETY: the call takes no pointer.
    assert_eq!(unsafe { c::listen(listener.as_raw_fd(), 0) }, 0);
    let address = listener.local_addr().unwrap();
    let before = TcpStream::connect(address).unwrap();
    let mut child = spawn(address, &["0", "0"]);
    let lines = child.lines();
    await_state(format!("/proc/{}/stat", child.0.id()), 'S');
    // From now on, the queue has room: for the first connection when it is tried again, and the second.
    // SAFETY: no pointer.
    assert_eq!(unsafe { c::listen(listener.as_raw_fd(), 16) }, 0);
    drop((accept(&listener), before));
    let first = accept(&listener);
    answer_request(accept(&listener), send_ok);
    await_line(&lines, "  request-1");
    thread::sleep(pause);
    answer_request(first, send_ok);
    child.finish();
    let lines = lines.iter().filter(|line| line.contains('|'));
    let chart: Vec<String> = lines.filter(|line| !line.contains("Event")).collect();
    let widths: Vec<usize> = chart.iter().map(String::len).collect();
    assert_eq!(
        widths,
        [71, 80, 80],
        "a header without a time at its end, two bars: {chart:#?}"
    );
    chart
}

/// Returns the bar of a request, and its time in seconds.
fn bar_and_time(row: &str) -> (&str, f64) {
    let (_label, row) = row.split_once('|').unwrap();
    let (bar, time) = row.split_once('|').unwrap();
    let time = time.strip_suffix(" s").unwrap();
    (bar, time.trim().parse().unwrap())
}

#[test]
fn the_chart_has_a_bar_for_each_request_from_its_beginning_to_its_end() {
    let chart = chart_of_a_slow_connection_and_a_short_request(Duration::from_millis(300));
    let (long, end) = bar_and_time(&chart[1]);
    assert!(long.starts_with('=') && long.ends_with('='), "{chart:#?}");
    let (short, earlier_end) = bar_and_time(&chart[2]);
    assert!(short.starts_with(' ') && short.ends_with(' '), "{chart:#?}");
    assert!(short.contains('='), "{chart:#?}");
    assert!(end - earlier_end > 0.298, "{chart:#?}"); // Both are rounded.
}

#[test]
fn a_request_at_the_very_end_has_its_bar_in_the_last_column() {
    let chart = chart_of_a_slow_connection_and_a_short_request(Duration::ZERO);
    let (last, _) = bar_and_time(&chart[2]);
    assert!(last.contains('='), "{chart:#?}");
}

#[test]
fn the_chart_has_room_for_the_longest_delay() {
    let longest = u64::MAX.to_string();
    let output = run(server(send_ok), &[longest.as_str(); 20]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let label = format!("request-19 {longest} ms |");
    let mut lines = stdout(&output).lines();
    let row = lines.find(|line| line.starts_with(&label)).unwrap();
    assert_eq!(row.len(), 80);
}

/// Something on this machine has the book's port already. The program would talk to that.
fn port_8080_is_taken() -> bool {
    let is_taken = TcpStream::connect("localhost:8080").is_ok();
    if is_taken {
        eprintln!("note: nothing is tested, because a server listens on port 8080");
    }
    is_taken
}

#[test]
fn a_run_without_arguments_fits_one_screen_and_needs_no_server() {
    if port_8080_is_taken() {
        return;
    }
    let output = program().output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines: Vec<&str> = stdout(&output).lines().collect();
    // One row is left for the prompt.
    assert!(lines.len() <= 23, "{lines:#?}");
    assert!(lines.iter().all(|line| line.len() <= 80), "{lines:#?}");
    assert_eq!(
        masked(stdout(&output)),
        masked(readme_output("## Run it", 0))
    );
}

/// The program and its server share the limit.
#[test]
fn with_few_descriptors_it_ends_with_the_answers_or_says_how_to_raise_the_limit() {
    if port_8080_is_taken() {
        return;
    }
    let programs = (8..=24).map(|limit| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {limit} && exec \"$0\""), PROGRAM]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(command.spawn().unwrap())
    });
    let mut answered = Vec::new();
    for mut program in programs.collect::<Vec<Running>>() {
        let lines = program.lines();
        // The first answer comes after a second. If descriptors are missing, it ends before.
        let mut has_answer = false;
        until("it has an answer, or ends", || {
            has_answer |= lines.try_iter().any(|line| line.ends_with("}  request-4"));
            has_answer || program.0.try_wait().unwrap().is_some()
        });
        answered.push(has_answer);
        if !has_answer {
            let output = program.finish();
            assert_eq!(output.status.code(), Some(1));
            assert!(
                stderr(&output).contains("Raise the limit: ulimit -n "),
                "{output:?}"
            );
        }
    }
    assert!(answered.is_sorted(), "{answered:?}");
    assert!(!answered[0] && answered[16], "{answered:?}");
}

#[test]
fn help_goes_to_standard_output_and_fits_one_screen() {
    for args in [&["--help"][..], &["-h"], &["localhost", "--help"]] {
        let output = program().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let lines: Vec<&str> = stdout(&output).lines().collect();
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("Usage: cargo run"))
        );
        assert!(lines.len() < 24 && lines.iter().all(|line| line.len() <= 80));
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn wrong_arguments_are_named_and_the_next_line_points_to_help() {
    const NO_SERVER: &str = "is not HOST or HOST:PORT, with a port from 1 to 65535";
    for (args, complaint) in [
        (&["--fast"][..], "unknown option '--fast'"),
        (&["300", "200"], "'300' is not a server"),
        (&["localhost", "1s"], "'1s' is not a delay"),
        (&["localhost", "-1"], "'-1' is not a delay"),
        (&["localhost", "+1"], "'+1' is not a delay"),
        (&["localhost", "18446744073709551616"], "is not a delay"),
        (&["localhost:0"], NO_SERVER),
        (&["127.0.0.1:99999"], NO_SERVER),
        (&["localhost:+80"], NO_SERVER),
        (&["localhost:"], NO_SERVER),
        (&[":8080"], NO_SERVER),
        (&["a:b"], NO_SERVER),
        (&["a:b:80"], NO_SERVER),
        (&["http://localhost:8080"], NO_SERVER),
        (&["[::1"], NO_SERVER),
        (&["[localhost]:80"], NO_SERVER),
        (&[""], "is not a server"),
    ] {
        let output = program().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let message = stderr(&output);
        assert!(
            message.starts_with("error: ") && message.contains(complaint),
            "{message}"
        );
        assert!(
            message.ends_with("\nTry: cargo run -- --help\n"),
            "{message}"
        );
        assert_eq!(message.lines().count(), 2);
        assert!(output.stdout.is_empty());
    }
}

// Servers that cannot be reached.

#[test]
fn a_refused_connection_is_reported_with_what_to_do() {
    let silent = refusing_listener();
    let address = silent.local_addr().unwrap();
    let output = run(address, &[]);
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    let start = format!("error: cannot connect to {address}: Connection refused");
    assert!(message.starts_with(&start), "{message}");
    let command = format!("cargo run --example delayserver {address}\n");
    assert!(message.ends_with(&command), "{message}");
}

#[test]
fn another_failure_to_connect_is_reported_with_advice_to_check_the_server() {
    // A link-local address without the name of an interface: EINVAL.
    let output = program().args(["fe80::1", "0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    let start = "error: cannot connect to [fe80::1]:8080: ";
    assert!(message.starts_with(start), "{message}");
    assert!(
        message.ends_with("\nCheck the name and the port.\n"),
        "{message}"
    );
}

/// In a new network namespace the loopback interface is off.
#[test]
fn without_a_network_it_starts_no_server_and_says_how_to_switch_loopback_on() {
    const CLONE_NEWUSER_AND_NEWNET: i32 = 0x5000_0000;
    let mut command = program();
    // SAFETY: the call takes no pointer.
    let unshare = || match unsafe { c::unshare(CLONE_NEWUSER_AND_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: the closure makes one system call.
    let output = match unsafe { command.pre_exec(unshare) }.output() {
        Ok(output) => output,
        Err(error) => return eprintln!("skipped: unshare: {error}"),
    };
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "Connecting to localhost:8080 ...\n");
    let message = stderr(&output);
    assert!(message.contains("ip link set lo up"), "{message}");
}

#[test]
fn a_host_that_does_not_resolve_is_named() {
    let host = "a".repeat(64); // A part of a name has at most 63 characters.
    let output = program().args([&host, "1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with(&format!("error: cannot find {host}:8080: ")));
}

#[test]
fn the_port_is_8080_unless_given_and_an_ipv6_address_needs_brackets_only_before_a_port() {
    for (arg, server) in [
        ("127.0.0.1", "127.0.0.1:8080"),
        ("[::1]:1", "[::1]:1"),
        ("::1", "[::1]:8080"),
        ("[::1]", "[::1]:8080"),
    ] {
        let output = program().args([arg, "0"]).output().unwrap();
        let line = format!("Connecting to {server} ...\n");
        assert!(stdout(&output).starts_with(&line), "{output:?}");
    }
}

/// There is no connection that only finds out whether the server is there.
#[test]
fn a_server_that_takes_one_connection_gets_the_request_on_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let child = spawn(listener.local_addr().unwrap(), &["0"]);
    let stream = accept(&listener);
    drop(listener);
    answer_request(stream, send_ok);
    let output = child.finish();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn an_answer_that_is_overdue_is_reported_and_still_awaited() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut child = spawn(listener.local_addr().unwrap(), &["0", "0"]);
    let lines = child.lines();
    answer_request(accept(&listener), |stream, message| {
        answer_request(accept(&listener), send_ok);
        await_line(&lines, "no event; overdue: 1.");
        send_ok(stream, message);
    });
    await_line(&lines, "  request-0");
    assert_eq!(child.finish().status.code(), Some(0));
}

// Requests.

#[test]
fn a_request_names_its_host_and_asks_the_server_to_close() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let child = spawn(address, &["7"]);
    let mut stream = accept(&listener);
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let expected =
        format!("GET /7/request-0 HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut request = vec![0; expected.len()];
    stream.read_exact(&mut request).unwrap();
    assert_eq!(String::from_utf8_lossy(&request), expected);
    send_ok(stream, "request-0");
    assert_eq!(child.finish().status.code(), Some(0));
}

#[test]
fn its_streams_are_registered_edge_triggered_to_be_read() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let child = spawn(listener.local_addr().unwrap(), &["0"]);
    let stream = accept(&listener);
    let list = || {
        let files = fs::read_dir(format!("/proc/{}/fdinfo", child.0.id())).unwrap();
        let files = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
        files.collect::<String>()
    };
    // EPOLLET, EPOLLRDHUP, EPOLLIN; the kernel adds EPOLLERR and EPOLLHUP.
    until("the interest is 80002019", || {
        list().contains(" events: 80002019 ")
    });
    answer_request(stream, send_ok);
    assert_eq!(child.finish().status.code(), Some(0));
}

#[test]
fn a_host_without_delays_gets_five_requests() {
    let output = run(server(send_ok), &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(last_line(&output).starts_with("5 of 5 answered "));
    assert!(last_line(&output).ends_with(" one after another: 15.000 s"));
}

#[test]
fn a_connection_that_has_its_answer_is_closed_while_others_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let child = spawn(listener.local_addr().unwrap(), &["0", "0"]);
    answer_request(accept(&listener), |mut first, message| {
        let answer = format!("HTTP/1.1 200 OK\r\n\r\n{message}");
        first.write_all(answer.as_bytes()).unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        assert_eq!(first.read(&mut [0]).expect("the program closes"), 0);
    });
    answer_request(accept(&listener), send_ok);
    assert_eq!(child.finish().status.code(), Some(0));
}

/// The server resets each connection as soon as it can, so some are reset before the program writes.
#[test]
fn a_connection_that_breaks_before_its_request_is_sent_fails_alone() {
    for _ in 0..8 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut child = spawn(address, &["0"; 100]);
        let start = Instant::now();
        while child.0.try_wait().unwrap().is_none() && start.elapsed() < LONG {
            let _ = listener.accept().map(|(stream, _)| reset(stream));
        }
        let output = child.finish();
        assert_eq!(output.status.code(), Some(1));
        match stderr(&output) {
            "" => assert!(last_line(&output).starts_with("0 of 100 answered ")),
            // It was reset even before `connect` returned.
            message => assert!(
                message.starts_with("error: cannot connect to "),
                "{message}"
            ),
        }
    }
}

// Answers.

#[test]
fn an_answer_may_arrive_in_pieces_and_end_later() {
    let slowly = |mut stream: TcpStream, message: &str| {
        stream.set_nodelay(true).unwrap();
        for byte in format!("HTTP/1.1 200 OK\r\n\r\n{message}").bytes() {
            stream.write_all(&[byte]).unwrap();
            thread::sleep(Duration::from_micros(200)); // so that most arrive alone
        }
        stream.shutdown(Shutdown::Write).unwrap();
        let _ = stream.read(&mut [0]); // until the program closes
    };
    let output = run(server(slowly), &["0", "0", "0"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        sorted_messages(&output),
        ["request-0", "request-1", "request-2"]
    );
}

/// The book's experiment with `WouldBlock` appends 100,000 bytes.
#[test]
fn an_answer_may_be_a_megabyte_long() {
    let long =
        |stream, message: &str| send_ok(stream, &(message.to_owned() + &"x".repeat(1_000_000)));
    let output = run(server(long), &["0"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(sorted_messages(&output), ["request-0 and 1000000 bytes"]);
}

#[test]
fn half_an_answer_keeps_nobody_waiting() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut child = spawn(listener.local_addr().unwrap(), &["0", "0"]);
    let lines = child.lines();
    answer_request(accept(&listener), |mut first, message| {
        first.write_all(b"HTTP/1.1 200 OK\r\n\r\nrequ").unwrap();
        await_line(&lines, " Event { token: 0,");
        answer_request(accept(&listener), send_ok);
        await_line(&lines, "  request-1");
        first.write_all(&message.as_bytes()[4..]).unwrap();
    });
    assert_eq!(child.finish().status.code(), Some(0));
}

/// Runs three requests, of which the middle one fails. Returns the lines that are printed about it.
fn failure_in_the_middle(odd: impl Fn(TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let child = spawn(listener.local_addr().unwrap(), &["0", "0", "0"]);
    for _ in 0..3 {
        let stream = accept(&listener);
        answer_request(stream, |stream, message| match message {
            "request-1" => odd(stream),
            _ => send_ok(stream, message),
        });
    }
    let output = child.finish();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let mut lines = stdout(&output).lines();
    let total = lines.find(|line| line.starts_with("2 of 3 answered"));
    assert!(
        total.is_some_and(|total| total.ends_with(" s on one thread")),
        "{output:?}"
    );
    assert_eq!(sorted_messages(&output).len(), 2, "{output:?}");
    assert!(stdout(&output).contains("|   failed\n"), "{output:?}");
    assert!(output.stderr.is_empty());
    let (_, reason) = stdout(&output).split_once("request-1 failed: ").unwrap();
    let rest = reason.lines().skip(1);
    let more = rest.take_while(|line| line.starts_with("           "));
    let lines = reason.lines().take(1).chain(more);
    lines.map(str::trim).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_reset_fails_one_request_and_the_others_continue() {
    let why = failure_in_the_middle(reset);
    assert!(why.contains("(os error 104)"), "{why}");
}

#[test]
fn a_connection_closed_without_an_answer_fails() {
    let why = failure_in_the_middle(drop);
    assert_eq!(why, "the server closed the connection without an answer");
}

#[test]
fn an_answer_is_right_if_it_is_200_and_begins_with_the_message() {
    for (answer, shown) in [
        ("HTTP/1.1 200 OK\r\n\r\n", ""),
        ("HTTP/1.1 200 OK\r\n\r\nrequest-2", "request-2"),
        ("HTTP/1.1 200 OK\r\n\r\nrequest-10", "request-10"),
        ("HTTP/1.1 200 OK\r\n\r\nreq", "req"),
        ("HTTP/1.0 200", ""),
        ("HTTP/1.1 404 No\r\n\r\nrequest-1", "HTTP/1.1 404 No"),
        ("HTTP/1.1 201 Yes\r\n\r\nrequest-1", "HTTP/1.1 201 Yes"),
        ("HTTP/banana 200\r\n\r\nrequest-1", "HTTP/banana 200"),
        ("SSH-2.0-\x1b[31m\r\n", "SSH-2.0-\\u{1b}[31m"),
        (&"long".repeat(20), &"long".repeat(20)[..50]),
    ] {
        let odd = |mut stream: TcpStream| stream.write_all(answer.as_bytes()).unwrap();
        assert_eq!(
            failure_in_the_middle(odd),
            format!("the answer is not \"request-1\", but\n\"{shown}\"")
        );
    }
}

#[test]
fn only_an_answer_of_another_server_leads_to_the_advice_to_start_a_delay_server() {
    let other = server(|mut stream, _| stream.write_all(b"HTTP/1.0 404 No\r\n\r\n").unwrap());
    let closes = server(|stream, _| drop(stream));
    for (address, is_advised) in [(other, true), (closes, false)] {
        let output = run(address, &["0"]);
        assert_eq!(output.status.code(), Some(1));
        let advice = "look like a delay server";
        assert_eq!(stdout(&output).contains(advice), is_advised, "{output:?}");
    }
}

// Signals, pipes, many requests.

#[test]
fn it_continues_after_being_stopped() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let child = spawn(listener.local_addr().unwrap(), &["0", "0"]);
    let streams = [accept(&listener), accept(&listener)];
    let pid = child.0.id().to_string();
    let stat = format!("/proc/{pid}/stat");
    for _ in 0..3 {
        for (signal, state) in [("-STOP", 'T'), ("-CONT", 'S')] {
            let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
            assert!(sent.success());
            await_state(&stat, state);
        }
    }
    for stream in streams {
        answer_request(stream, send_ok);
    }
    let output = child.finish();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(sorted_messages(&output), ["request-0", "request-1"]);
}

#[test]
fn a_reader_that_leaves_early_ends_it_without_a_message() {
    let mut child = spawn(delay_server(), &["100", "50"]);
    drop(child.0.stdout.take()); // as `| head` does
    let output = child.finish();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_thousand_requests_wait_on_one_thread() {
    let delays: Vec<String> = (0..1000).map(|i| (1000 + i / 4).to_string()).collect();
    let delays: Vec<&str> = delays.iter().map(String::as_str).collect();
    let mut child = spawn(delay_server(), &delays);
    let lines = child.lines();
    await_line(&lines, "Requests sent: 1000.");
    let tasks = fs::read_dir(format!("/proc/{}/task", child.0.id())).unwrap();
    assert_eq!(tasks.count(), 1);
    await_line(&lines, "1000 of 1000 answered in ");
    assert_eq!(child.finish().status.code(), Some(0));
}
