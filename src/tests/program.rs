//! The program as a process: what it prints, and its exit codes.

mod common;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use epollet::delayserver::DelayServer;

const PROGRAM: &str = env!("CARGO_BIN_EXE_epollet");

/// The program, which is killed if it takes longer than a minute.
fn program() -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["-s", "KILL", "60", PROGRAM])
        .stdin(Stdio::null());
    command
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Runs the program against the server at `address`.
fn run(address: SocketAddr, delays: &[&str]) -> Output {
    program()
        .arg(address.to_string())
        .args(delays)
        .output()
        .unwrap()
}

/// Starts a server that hands each connection, once a request has come, to `answer` on a thread of
/// its own. It ends with the process.
fn server(answer: fn(TcpStream, &str)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let first = lines.next().unwrap().unwrap();
                while !lines.next().unwrap().unwrap().is_empty() {}
                answer(stream, first.split(' ').nth(1).unwrap());
            });
        }
    });
    address
}

/// A delay server on a thread that ends with the process.
fn delay_server() -> SocketAddr {
    common::take_all_descriptors();
    let server = DelayServer::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    // The stopper lives as long as the server.
    thread::spawn(move || server.run(io::sink()));
    address
}

fn response(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The lines with a status or a body, in the order of their coming.
fn bodies(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| line.starts_with("request-") && !line.contains(' '))
        .collect()
}

fn last_line(output: &Output) -> &str {
    stdout(output).lines().last().unwrap()
}

#[test]
fn answers_come_fastest_first_with_event_status_and_body() {
    let output = run(delay_server(), &["900", "500", "100"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = stdout(&output);
    assert_eq!(bodies(text), ["request-2", "request-1", "request-0"]);
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 3);
    for token in 0..3 {
        assert_eq!(
            text.matches(&format!("Event {{ token: {token}, events: EPOLLIN"))
                .count(),
            1
        );
    }
    assert!(
        last_line(&output).starts_with("3 of 3 answered in "),
        "{text}"
    );
    assert!(output.stderr.is_empty());
}

#[test]
fn the_picture_has_a_bar_for_each_request_in_80_columns() {
    let output = run(delay_server(), &["1000", "100"]);
    let lines: Vec<&str> = stdout(&output).lines().collect();
    let bars: Vec<&str> = lines
        .iter()
        .filter(|line| line.starts_with("request-") && line.contains('='))
        .copied()
        .collect();
    assert_eq!(bars.len(), 2, "{lines:#?}");
    assert!(bars[0].starts_with("request-0 1000 ms |"));
    assert!(bars[1].starts_with("request-1 100 ms  |"));
    let length = |bar: &str| bar.matches('=').count();
    assert!(length(bars[0]) > length(bars[1]), "{bars:#?}");
    assert!(lines.iter().all(|line| line.len() <= 80), "{lines:#?}");
}

/// The only test that knows a port: the program has it from the book. Where something listens there
/// already, this has nothing to show.
#[test]
fn without_arguments_and_without_a_server_it_brings_its_own() {
    if TcpStream::connect("localhost:8080").is_ok() {
        eprintln!("skipped: something listens on localhost:8080");
        return;
    }
    let output = program().output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = stdout(&output);
    assert!(
        text.starts_with("Nothing listens on localhost:8080"),
        "{text}"
    );
    assert!(
        text.lines()
            .next()
            .unwrap()
            .contains("cargo run --example delayserver")
    );
    let expected = [
        "request-4",
        "request-3",
        "request-2",
        "request-1",
        "request-0",
    ];
    assert_eq!(bodies(text), expected);
    assert!(
        last_line(&output).starts_with("5 of 5 answered in "),
        "{text}"
    );
    assert!(
        last_line(&output).ends_with("one after another: 15.000 s"),
        "{text}"
    );
}

#[test]
fn a_refused_connection_names_the_address_and_the_remedy() {
    let silent = common::refusing();
    let address = silent.local_addr().unwrap();
    let output = run(address, &[]);
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(message.starts_with(&format!(
        "error: cannot connect to {address}: Connection refused"
    )));
    assert!(
        message.contains(&format!("cargo run --example delayserver {address}")),
        "{message}"
    );
}

#[test]
fn wrong_arguments_are_told_with_the_usage() {
    for (args, complaint) in [
        (&["--fast"][..], "there is no option '--fast'"),
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

#[test]
fn a_host_that_is_not_found_is_named() {
    let output = program()
        .args(["no-such-host.invalid", "1"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("error: cannot find no-such-host.invalid:8080: "));
}

#[test]
fn help_goes_to_standard_output() {
    for args in [&["--help"][..], &["-h"], &["localhost", "--help"]] {
        let output = program().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains("Usage: cargo run"));
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn an_ipv6_address_needs_brackets_only_before_a_port() {
    let listener = match TcpListener::bind("[::1]:0") {
        Ok(listener) => listener,
        Err(_) => return, // a machine without IPv6
    };
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let output = program().arg(format!("[::1]:{port}")).output().unwrap();
    assert!(stderr(&output).contains(&format!("cannot connect to [::1]:{port}")));
}

/// Runs three requests, of which the one in the middle goes wrong, and returns what is told of it.
fn failure_in_the_middle(answer: fn(TcpStream, &str)) -> String {
    let output = run(server(answer), &["10", "20", "30"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        last_line(&output).starts_with("2 of 3 answered"),
        "{output:?}"
    );
    assert_eq!(bodies(stdout(&output)).len(), 2, "{output:?}");
    let failures = stdout(&output)
        .lines()
        .filter(|line| line.contains("request-1 failed: "));
    let failures: Vec<&str> = failures.collect();
    assert_eq!(failures.len(), 1, "{output:?}");
    assert!(stdout(&output).contains("failed\n"), "in the picture, too");
    assert!(output.stderr.is_empty());
    failures[0].split("failed: ").nth(1).unwrap().to_owned()
}

fn send(mut stream: TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
}

fn good(stream: TcpStream, path: &str) {
    send(stream, &response(path.rsplit('/').next().unwrap()));
}

#[test]
fn a_reset_fails_one_request_and_the_others_go_on() {
    let why = failure_in_the_middle(|stream, path| {
        if path != "/20/request-1" {
            return good(stream, path);
        }
        common::reset(stream);
    });
    assert!(why.starts_with("Connection reset by peer"), "{why}");
}

#[test]
fn an_answer_closed_early_fails() {
    let why = failure_in_the_middle(|stream, path| match path {
        "/20/request-1" => send(stream, "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nreq"),
        _ => good(stream, path),
    });
    assert_eq!(why, "closed early, after 3 of 11 bytes");
}

#[test]
fn a_connection_closed_without_an_answer_fails() {
    let why = failure_in_the_middle(|stream, path| match path {
        "/20/request-1" => {}
        _ => good(stream, path),
    });
    assert_eq!(why, "closed early, after 0 bytes of the head");
}

#[test]
fn another_status_fails() {
    let why = failure_in_the_middle(|stream, path| match path {
        "/20/request-1" => send(
            stream,
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        ),
        _ => good(stream, path),
    });
    assert_eq!(why, "the server says HTTP/1.1 404 Not Found");
}

#[test]
fn another_status_fails_at_once_though_the_connection_stays_open() {
    let why = failure_in_the_middle(|mut stream, path| match path {
        "/20/request-1" => {
            let head = "HTTP/1.1 503 Service Unavailable\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            let _ = stream.read(&mut [0]); // until the program closes
        }
        _ => good(stream, path),
    });
    assert_eq!(why, "the server says HTTP/1.1 503 Service Unavailable");
}

#[test]
fn an_answer_in_chunks_fails_for_nobody_asked_for_them() {
    let why = failure_in_the_middle(|stream, path| match path {
        "/20/request-1" => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            send(stream, &format!("{head}9\r\nrequest-1\r\n0\r\n\r\n"));
        }
        _ => good(stream, path),
    });
    assert_eq!(
        why,
        "the answer comes in chunks, which HTTP/1.0 does not know"
    );
}

#[test]
fn an_interim_status_is_passed_over() {
    assert_all_answered(|stream, path| {
        let body = path.rsplit('/').next().unwrap();
        send(
            stream,
            &format!("HTTP/1.1 102 Processing\r\n\r\n{}", response(body)),
        );
    });
}

#[test]
fn thousands_of_interim_statuses_fail_and_do_no_harm() {
    let why = failure_in_the_middle(|stream, path| match path {
        "/20/request-1" => send(stream, &"HTTP/1.1 102 P\r\n\r\n".repeat(3000)),
        _ => good(stream, path),
    });
    assert_eq!(why, "closed early, after 0 bytes of the head");
}

#[test]
fn what_is_not_http_fails_even_if_the_connection_stays_open() {
    let why = failure_in_the_middle(|mut stream, path| match path {
        "/20/request-1" => {
            stream.write_all(b"SSH-2.0-\x1b[31m\r\n").unwrap();
            let _ = stream.read(&mut [0]); // until the program closes
        }
        _ => good(stream, path),
    });
    assert_eq!(why, "the answer is not HTTP: SSH-2.0-\\u{1b}[31m");
}

#[test]
fn an_answer_without_end_fails() {
    let why = failure_in_the_middle(|mut stream, path| match path {
        "/20/request-1" => {
            let mut text = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
            while stream.write_all(&text).is_ok() {
                text = vec![b'x'; 4096];
            }
        }
        _ => good(stream, path),
    });
    assert_eq!(why, "the answer is longer than 65536 bytes");
}

fn assert_all_answered(answer: fn(TcpStream, &str)) {
    let output = run(server(answer), &["10", "20", "30"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mut answered = bodies(stdout(&output));
    answered.sort_unstable();
    assert_eq!(answered, ["request-0", "request-1", "request-2"]);
}

#[test]
fn an_answer_may_come_in_one_byte_pieces() {
    assert_all_answered(|mut stream, path| {
        stream.set_nodelay(true).unwrap();
        for byte in response(path.rsplit('/').next().unwrap()).bytes() {
            stream.write_all(&[byte]).unwrap();
            thread::sleep(Duration::from_micros(200)); // so that most bytes come alone
        }
    });
}

#[test]
fn an_answer_without_a_length_ends_with_the_connection() {
    assert_all_answered(|stream, path| {
        let body = path.rsplit('/').next().unwrap();
        send(stream, &format!("HTTP/1.0 200 OK\r\n\r\n{body}"));
    });
}

#[test]
fn an_answer_with_a_length_is_complete_though_the_connection_stays_open() {
    assert_all_answered(|mut stream, path| {
        let body = path.rsplit('/').next().unwrap();
        stream.write_all(response(body).as_bytes()).unwrap();
        let _ = stream.read(&mut [0]); // until the program closes
    });
}

#[test]
fn an_end_of_file_that_comes_after_the_answer_is_not_counted_twice() {
    assert_all_answered(|mut stream, path| {
        let body = path.rsplit('/').next().unwrap();
        stream.write_all(response(body).as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let _ = stream.read(&mut [0]);
    });
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args([name, &pid])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn it_survives_being_stopped_and_continued() {
    let address = delay_server().to_string();
    let mut child = Command::new(PROGRAM)
        .args([&address, "3000", "2500"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stat = format!("/proc/{}/stat", child.id());
    for _ in 0..3 {
        signal(&child, "-STOP");
        common::await_state(&stat, 'T');
        signal(&child, "-CONT");
        common::await_state(&stat, 'S');
    }
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{text}");
    assert_eq!(bodies(&text), ["request-1", "request-0"]);
}

#[test]
fn a_reader_that_has_read_enough_ends_it_quietly() {
    let address = delay_server().to_string();
    let mut child = program()
        .args([&address, "100", "50"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take()); // as `| head` does
    let mut errors = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut errors)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(errors, "");
}

#[test]
fn a_thousand_requests_wait_on_one_thread() {
    let delays: Vec<String> = (100..1100).map(|delay| delay.to_string()).collect();
    let address = delay_server().to_string();
    let output = program().arg(address).args(&delays).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        last_line(&output).starts_with("1000 of 1000 answered"),
        "{}",
        last_line(&output)
    );
    assert_eq!(bodies(stdout(&output)).len(), 1000);
}
