//! The program as a process: what it prints, what it reports about odd servers, and its exit codes.

mod common;

use common::{await_state, refusing_listener, reset, take_all_descriptors};
use epollet::delayserver::DelayServer;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_epollet");

/// The program, which is killed if it takes longer than a minute.
fn program() -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["-s", "KILL", "60", PROGRAM])
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

/// Starts the program itself, so that its process ID is known, with its output in a pipe.
fn spawn(address: SocketAddr, delays: &[&str]) -> Child {
    let mut command = Command::new(PROGRAM);
    command
        .arg(address.to_string())
        .args(delays)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Reads the output of a started program to its end.
fn finish(child: Child) -> Output {
    child.wait_with_output().unwrap()
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

/// The messages after the events, in the order in which they arrived.
fn messages(output: &Output) -> Vec<&str> {
    let lines = stdout(output)
        .lines()
        .filter(|line| line.contains(" Event { token: "));
    lines
        .filter_map(|line| line.split_once(" }  "))
        .map(|(_, message)| message)
        .collect()
}

/// The bar of a request in the chart.
fn bar<'a>(output: &'a Output, label: &str) -> &'a str {
    let mut lines = stdout(output).lines();
    let line = lines
        .find(|line| line.starts_with(label) && line.contains('|'))
        .unwrap();
    line.split('|').nth(1).unwrap()
}

/// Returns the output that the README shows after a heading, the `number`-th one from 0.
fn readme_output(heading: &str, number: usize) -> &'static str {
    let (_, section) = include_str!("../../README.md").split_once(heading).unwrap();
    let output = section.split("```text\n").nth(number + 1).unwrap();
    output.split_once("```").unwrap().0
}

/// Leaves out what differs from run to run: numbers, the lengths of bars and spaces, and whether
/// the server has closed its side when the program gets the event.
fn masked(output: &str) -> String {
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

fn answer_request(stream: TcpStream, answer: fn(TcpStream, &str)) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    while !lines.next().unwrap().unwrap().is_empty() {}
    answer(stream, first.split(' ').nth(1).unwrap());
}

fn send(mut stream: TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
}

fn message(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Waits until the program closes the connection.
fn await_close(mut stream: TcpStream) {
    let _ = stream.read(&mut [0]);
}

// What it prints.

#[test]
fn each_answer_is_one_line_with_time_event_and_message_and_the_fastest_comes_first() {
    let output = run(delay_server(), &["300", "200", "100"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(messages(&output), ["request-2", "request-1", "request-0"]);
    for token in 0..3 {
        let event = format!(" s  Event {{ token: {token}, events: EPOLLIN");
        assert_eq!(stdout(&output).matches(&event).count(), 1);
    }
    assert!(
        last_line(&output).starts_with("3 of 3 answered in "),
        "{output:?}"
    );
    assert!(last_line(&output).ends_with(" on one thread; one after another: 0.600 s"));
    assert!(output.stderr.is_empty());
}

#[test]
fn it_says_first_what_will_happen_and_how_long_that_takes() {
    let address = delay_server();
    let output = run(address, &["20", "10"]);
    let lines: Vec<&str> = stdout(&output).lines().collect();
    assert_eq!(lines[0], format!("Connecting to {address} ..."));
    let plan = "Requests sent: 2. One thread sleeps in poll; the last answer is due in 0.02 s.";
    assert_eq!(lines[1], plan);
}

#[test]
fn the_chart_has_a_bar_for_each_request_as_long_as_it_took() {
    let output = run(delay_server(), &["400", "200"]);
    let length = |label| bar(&output, label).matches('=').count();
    let (long, short) = (length("request-0 400 ms |"), length("request-1 200 ms |"));
    assert!(short < long, "{output:?}");
    assert_eq!(
        bar(&output, "request-0").len(),
        bar(&output, "request-1").len()
    );
}

/// The port of this test is fixed: the program has it from the book. If a server listens there
/// already, the program uses that, which this test accepts too.
#[test]
fn a_run_without_arguments_fits_one_screen_and_needs_no_server() {
    let is_served = TcpStream::connect("localhost:8080").is_ok();
    let output = program().output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines: Vec<&str> = stdout(&output).lines().collect();
    // One row is left for the prompt, and four for what cargo prints.
    assert!(lines.len() <= 19, "{lines:#?}");
    assert!(lines.iter().all(|line| line.len() <= 80), "{lines:#?}");
    assert_eq!(lines[0], "Connecting to localhost:8080 ...");
    let started = "Nothing listens there: started a delay server in this process (127.0.0.1:";
    assert_eq!(lines[1].starts_with(started), !is_served, "{lines:#?}");
    let expected = [
        "request-4",
        "request-3",
        "request-2",
        "request-1",
        "request-0",
    ];
    assert_eq!(messages(&output), expected);
    assert!(
        last_line(&output).starts_with("5 of 5 answered in "),
        "{lines:#?}"
    );
    assert!(
        last_line(&output).ends_with("one after another: 15.000 s"),
        "{lines:#?}"
    );
    if !is_served {
        assert_eq!(
            masked(stdout(&output)),
            masked(readme_output("## Run it", 0))
        );
    }
}

#[test]
fn both_terminals_show_what_the_readme_shows() {
    let example = Path::new(PROGRAM)
        .with_file_name("examples")
        .join("delayserver");
    let mut server = Command::new(example);
    let mut server = server
        .arg("127.0.0.1:0")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut server_output = BufReader::new(server.stdout.take().unwrap());
    let mut text = String::new();
    server_output.read_line(&mut text).unwrap();
    let address = text.trim().strip_prefix("listening on http://").unwrap();
    let output = run(address.parse().unwrap(), &["300", "200", "100"]);
    server.kill().unwrap();
    server.wait().unwrap();
    server_output.read_to_string(&mut text).unwrap();
    assert_eq!(
        masked(&text),
        masked(readme_output("### In two terminals", 0))
    );
    let shown = readme_output("### In two terminals", 1).replace("localhost", "127.0.0.1");
    assert_eq!(masked(stdout(&output)), masked(&shown));
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
        assert!(
            lines.len() < 24 && lines.iter().all(|line| line.len() <= 80),
            "{lines:#?}"
        );
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn wrong_arguments_are_named_and_the_usage_is_shown() {
    for (args, complaint) in [
        (&["--fast"][..], "unknown option '--fast'"),
        (&["300", "200"], "'300' is not a server"),
        (&["localhost", "1s"], "'1s' is not a delay"),
        (&["localhost", "-1"], "'-1' is not a delay"),
        (&["localhost", "18446744073709551616"], "is not a delay"),
        (&["localhost:0"], "'localhost:0' is not HOST or HOST:PORT"),
        (&["localhost:65536"], "is not HOST or HOST:PORT"),
        (&["localhost:"], "is not HOST or HOST:PORT"),
        (&[":8080"], "is not HOST or HOST:PORT"),
        (&["http://localhost"], "is not HOST or HOST:PORT"),
        (&["http://localhost:8080"], "is not HOST or HOST:PORT"),
        (&["[::1"], "is not HOST or HOST:PORT"),
        (&[""], "is not a server"),
    ] {
        let output = program().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let message = stderr(&output);
        assert!(
            message.starts_with("error: ") && message.contains(complaint),
            "{message}"
        );
        assert!(message.contains("Usage: cargo run"), "{message}");
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
    assert!(
        message.contains("cargo run --example delayserver"),
        "{message}"
    );
}

#[test]
fn a_host_that_does_not_resolve_is_named() {
    let output = program()
        .args(["no-such-host.invalid", "1"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("error: cannot find no-such-host.invalid:8080: "));
}

#[test]
fn an_ipv6_address_needs_brackets_only_before_a_port() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        return; // a machine without IPv6
    };
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    for (arg, server) in [
        (format!("[::1]:{port}"), format!("[::1]:{port}")),
        ("::1".to_owned(), "[::1]:8080".to_owned()),
        ("[::1]".to_owned(), "[::1]:8080".to_owned()),
    ] {
        let output = program().args([&arg, "0"]).output().unwrap();
        assert!(
            stdout(&output).starts_with(&format!("Connecting to {server} ...")),
            "{output:?}"
        );
    }
}

#[test]
fn it_says_that_it_connects_before_a_server_accepts_and_the_bar_begins_there() {
    // With a backlog of 0, one connection that is not accepted is enough to keep the next waiting,
    // until its client tries again after a second.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // SAFETY: the call takes no pointer.
    assert_eq!(unsafe { common::c::listen(listener.as_raw_fd(), 0) }, 0);
    let address = listener.local_addr().unwrap();
    let first = TcpStream::connect(address).unwrap();
    let mut child = spawn(address, &["0"]);
    let mut line = String::new();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, format!("Connecting to {address} ...\n"));
    await_state(format!("/proc/{}/stat", child.id()), 'S');
    drop(listener.accept().unwrap());
    drop(first);
    let (stream, _) = listener.accept().unwrap();
    answer_request(stream, |stream, path| send(stream, &ok(message(path))));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
    let bar = text
        .lines()
        .find(|line| line.starts_with("request-0 0 ms |="))
        .unwrap();
    assert_eq!(
        bar.split('|').nth(1).unwrap().trim_matches('='),
        "",
        "all of the time: {text}"
    );
}

#[test]
fn a_server_that_takes_one_connection_gets_the_request_on_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let child = spawn(address, &["0"]);
    let (stream, _) = listener.accept().unwrap();
    drop(listener);
    answer_request(stream, |stream, path| send(stream, &ok(message(path))));
    let output = finish(child);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn an_answer_that_is_overdue_is_reported_once_and_still_awaited() {
    let output = run(
        server(|stream, path| {
            thread::sleep(Duration::from_millis(2500));
            send(stream, &ok(message(path)));
        }),
        &["0"],
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        stdout(&output).matches("no event; 1 overdue").count(),
        1,
        "{output:?}"
    );
    assert_eq!(messages(&output), ["request-0"]);
}

// Servers that are not delay servers.

/// Runs three requests, of which the middle one fails. Returns what is printed about it.
fn failure_in_the_middle(answer: fn(TcpStream, &str)) -> String {
    let output = run(server(answer), &["0", "20", "0"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        last_line(&output).starts_with("2 of 3 answered"),
        "{output:?}"
    );
    assert_eq!(messages(&output).len(), 2, "{output:?}");
    assert!(
        stdout(&output)
            .lines()
            .any(|line| line.ends_with("|   failed")),
        "{output:?}"
    );
    assert!(output.stderr.is_empty());
    let (_, reason) = stdout(&output).split_once("request-1 failed: ").unwrap();
    let lines = reason.lines().enumerate();
    let lines = lines.take_while(|(i, line)| *i == 0 || line.starts_with("           "));
    lines
        .map(|(_, line)| line.trim())
        .collect::<Vec<_>>()
        .join("\n")
}

fn is_odd(path: &str) -> bool {
    path.ends_with("request-1")
}

fn good(stream: TcpStream, path: &str) {
    send(stream, &ok(message(path)));
}

#[test]
fn another_web_server_is_recognized_by_its_status_and_its_first_line_is_shown() {
    let why = failure_in_the_middle(|stream, path| match is_odd(path) {
        true => send(
            stream,
            "HTTP/1.0 404 Not Found\r\n\r\n<h1>\x1b No file\r\n<p>",
        ),
        false => good(stream, path),
    });
    assert_eq!(
        why,
        "HTTP/1.0 404 Not Found\n\
         This does not look like a delay server. It says \"<h1>\\u{1b} No file\""
    );
}

#[test]
fn a_400_with_an_explanation_is_shown_though_the_connection_stays_open() {
    let why = failure_in_the_middle(|mut stream, path| {
        if !is_odd(path) {
            return good(stream, path);
        }
        let answer = "HTTP/1.1 400 Bad Request\r\ncontent-length: 12\r\n\r\nHost missing";
        stream.write_all(answer.as_bytes()).unwrap();
        await_close(stream);
    });
    assert!(why.starts_with("HTTP/1.1 400 Bad Request\n"), "{why}");
    assert!(why.ends_with("It says \"Host missing\""), "{why}");
}

#[test]
fn an_answer_before_its_delay_is_not_taken_for_that_of_a_delay_server() {
    let output = run(
        server(|stream, _| send(stream, &ok("<html>\nHello"))),
        &["30000"],
    );
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = stdout(&output);
    assert!(text.contains("request-0 failed: answered after "), "{text}");
    assert!(
        text.contains("This does not look like a delay server. It says \"<html>\""),
        "{text}"
    );
}

#[test]
fn a_server_that_speaks_tls_is_recognized() {
    let alert = |stream, path: &str| match is_odd(path) {
        true => send(stream, "\x15\x03\x01\0\x02\x02\x16"),
        false => good(stream, path),
    };
    let handshake = |stream, path: &str| match is_odd(path) {
        true => send(stream, "\x16\x03\x01\0\x05"),
        false => good(stream, path),
    };
    for answer in [alert as fn(TcpStream, &str), handshake] {
        assert_eq!(
            failure_in_the_middle(answer),
            "the server speaks TLS (https) on this port"
        );
    }
}

#[test]
fn an_answer_that_is_not_http_fails_though_the_connection_stays_open() {
    let why = failure_in_the_middle(|mut stream, path| {
        if !is_odd(path) {
            return good(stream, path);
        }
        stream.write_all(b"SSH-2.0-\x1b[31m\r\n").unwrap();
        await_close(stream);
    });
    assert_eq!(
        why,
        "the answer is not HTTP, it starts with \"SSH-2.0-\\u{1b}[31m\""
    );
}

#[test]
fn a_reset_fails_one_request_and_the_others_continue() {
    let why = failure_in_the_middle(|stream, path| match is_odd(path) {
        true => reset(stream),
        false => good(stream, path),
    });
    assert!(why.starts_with("Connection reset by peer"), "{why}");
}

#[test]
fn a_request_without_a_descriptor_fails_and_it_says_how_to_raise_the_limit() {
    let address = delay_server().to_string();
    let mut limited = Command::new("sh");
    limited.args([
        "-c",
        "ulimit -n 10 && exec \"$0\" \"$@\"",
        PROGRAM,
        &address,
    ]);
    let output = limited.args(["10"; 20]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let expected = "failed: Too many open files (os error 24)
           Each request needs a descriptor. Raise the limit: ulimit -n 4096\n";
    assert!(stdout(&output).contains(expected), "{output:?}");
    assert!(!last_line(&output).starts_with("0 of"), "{output:?}");
}

#[test]
fn an_answer_that_is_cut_off_fails() {
    let why = failure_in_the_middle(|stream, path| match is_odd(path) {
        true => send(stream, "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nreq"),
        false => good(stream, path),
    });
    assert_eq!(why, "the server closed after 42 bytes of its answer");
}

#[test]
fn a_connection_closed_without_an_answer_fails() {
    let why = failure_in_the_middle(|stream, path| match is_odd(path) {
        true => drop(stream),
        false => good(stream, path),
    });
    assert_eq!(why, "the server closed after 0 bytes of its answer");
}

#[test]
fn a_chunked_answer_fails() {
    let why = failure_in_the_middle(|stream, path| match is_odd(path) {
        true => send(
            stream,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nrequest-1\r\n0\r\n\r\n",
        ),
        false => good(stream, path),
    });
    assert_eq!(why, "the answer is chunked, which HTTP/1.0 does not have");
}

#[test]
fn an_answer_without_end_fails() {
    let why = failure_in_the_middle(|mut stream, path| {
        if !is_odd(path) {
            return good(stream, path);
        }
        let mut text = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        while stream.write_all(&text).is_ok() {
            text = vec![b'x'; 4096];
        }
    });
    assert_eq!(why, "the answer is longer than 65536 bytes");
}

// Answers in all forms.

fn assert_all_answered(answer: fn(TcpStream, &str)) {
    let output = run(server(answer), &["0", "0", "0"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mut answered = messages(&output);
    answered.sort_unstable();
    assert_eq!(answered, ["request-0", "request-1", "request-2"]);
}

#[test]
fn an_answer_may_arrive_in_pieces() {
    assert_all_answered(|mut stream, path| {
        stream.set_nodelay(true).unwrap();
        for byte in ok(message(path)).bytes() {
            stream.write_all(&[byte]).unwrap();
            thread::sleep(Duration::from_micros(200)); // so that most arrive alone
        }
    });
}

#[test]
fn lines_may_end_in_lf_alone() {
    assert_all_answered(|stream, path| {
        let body = message(path);
        send(
            stream,
            &format!("HTTP/1.0 200 OK\nContent-Length: {}\n\n{body}", body.len()),
        );
    });
}

#[test]
fn an_answer_without_a_length_ends_with_the_connection() {
    assert_all_answered(|stream, path| {
        send(stream, &format!("HTTP/1.0 200 OK\r\n\r\n{}", message(path)));
    });
}

#[test]
fn an_answer_with_a_length_is_complete_though_the_connection_stays_open() {
    assert_all_answered(|mut stream, path| {
        stream.write_all(ok(message(path)).as_bytes()).unwrap();
        await_close(stream);
    });
}

#[test]
fn an_end_of_file_after_the_answer_is_not_counted_twice() {
    assert_all_answered(|mut stream, path| {
        stream.write_all(ok(message(path)).as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        await_close(stream);
    });
}

// Signals, pipes, many requests.

#[test]
fn it_continues_after_being_stopped() {
    let child = spawn(delay_server(), &["900", "700"]);
    let pid = child.id().to_string();
    let stat = format!("/proc/{pid}/stat");
    for _ in 0..3 {
        for (signal, state) in [("-STOP", 'T'), ("-CONT", 'S')] {
            assert!(
                Command::new("kill")
                    .args([signal, &pid])
                    .status()
                    .unwrap()
                    .success()
            );
            await_state(&stat, state);
        }
    }
    let output = finish(child);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(messages(&output), ["request-1", "request-0"]);
}

#[test]
fn a_reader_that_leaves_early_ends_it_without_a_message() {
    let mut child = spawn(delay_server(), &["100", "50"]);
    drop(child.stdout.take()); // as `| head` does
    let output = finish(child);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_thousand_requests_wait_on_one_thread() {
    let delays: Vec<String> = (0..1000).map(|i| (300 + i / 2).to_string()).collect();
    let delays: Vec<&str> = delays.iter().map(String::as_str).collect();
    let mut child = spawn(delay_server(), &delays);
    let mut text = String::new();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    while !text.contains("Requests sent: 1000.") {
        assert!(reader.read_line(&mut text).unwrap() > 0, "{text}");
    }
    let tasks = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    assert_eq!(tasks.count(), 1);
    reader.read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
    assert!(text.contains("\n1000 of 1000 answered in "), "{text}");
}
