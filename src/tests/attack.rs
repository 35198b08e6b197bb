//! The delay server among clients that are broken, hostile, or just many. Those that need a server in
//! a process of its own are in `processes.rs`.

use super::common::{LONG, reset, set_socket_option, until};
use super::delayserver::{Server, body, get, read_answer, read_to_end, status};
use crate::{Events, Interest, Poll};
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// A seeded generator (xorshift64*): each run tries the same.
struct Random(u64);

impl Random {
    /// Returns a number below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    fn pick<'a>(&mut self, from: &[&'a [u8]]) -> &'a [u8] {
        from[self.below(from.len())]
    }
}

const REQUESTS: [&[u8]; 6] = [
    b"GET /0/a HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /3/hello%20world HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"POST /0/a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
    b"HEAD /0/a HTTP/1.1\nX: y\n\n",
    b"GET http://localhost/1/b?c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /0/%e2%82%ac HTTP/1.1\r\nConnection: close, x\r\nAccept: */*\r\n\r\n",
];

const PIECES: [&[u8]; 12] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"%",
    b"/",
    b":",
    b"\xff",
    b"HTTP/1.1",
    b"\r\n\r\n",
    b"99999999999999999999",
];

/// One to three requests in a row, in which up to five places are changed, and which may be cut off.
fn mutated(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=random.below(3) {
        bytes.extend_from_slice(random.pick(&REQUESTS));
    }
    for _ in 0..random.below(6) {
        let at = random.below(bytes.len());
        match random.below(4) {
            0 => bytes[at] = random.below(256) as u8,
            1 => drop(bytes.remove(at)),
            2 => drop(bytes.splice(at..at, random.pick(&PIECES).iter().copied())),
            _ => bytes.extend_from_within(at..),
        }
    }
    if random.below(4) == 0 {
        bytes.truncate(random.below(bytes.len()));
    }
    bytes
}

#[test]
fn ten_thousand_mutated_requests_get_a_status_or_a_close_and_the_server_lives_on() {
    let server = Server::start();
    thread::scope(|scope| {
        for seed in 1..=4 {
            let server = &server;
            scope.spawn(move || {
                let mut random = Random(seed);
                for _ in 0..2500 {
                    one_mutated_request(server, &mut random);
                }
            });
        }
    });
    assert_eq!(body(&server.answers(&get("/1/alive"))), "alive");
}

fn one_mutated_request(server: &Server, random: &mut Random) {
    let bytes = mutated(random);
    let mut stream = server.connect();
    for piece in bytes.chunks(random.below(bytes.len().max(1)) + 1) {
        if stream.write_all(piece).is_err() {
            return; // It has refused what came before, and closed.
        }
    }
    match random.below(4) {
        0 => return reset(stream),
        1 => return, // closes
        _ => {}
    }
    if stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    // However long the delay, the head of an answer comes at once to who has ended its sending side.
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => head.push(byte[0]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) => panic!("{error}, after {:?}", String::from_utf8_lossy(&bytes)),
        }
    }
    let known = ["200", "400", "404", "405"];
    let head = String::from_utf8(head).unwrap();
    let nothing_sent = bytes.iter().all(|byte| b"\r\n".contains(byte));
    assert!(
        known
            .iter()
            .any(|code| head.starts_with(&format!("HTTP/1.1 {code} ")))
            || nothing_sent,
        "{head:?} for {:?}",
        String::from_utf8_lossy(&bytes)
    );
}

#[test]
fn five_hundred_clients_that_drip_get_408_and_hold_nobody_up() {
    let server = Server::start();
    let start = Instant::now();
    let mut clients: Vec<TcpStream> = (0..500).map(|_| server.connect()).collect();
    let mut drips = b"GET /0/a HTTP/1.1\r\nX: ".iter().chain([b'x'; 10].iter());
    while start.elapsed() < Duration::from_millis(9500) {
        let byte = [*drips.next().unwrap()];
        for client in &mut clients {
            client.write_all(&byte).unwrap();
        }
        assert_eq!(body(&server.answers(&get("/0/others"))), "others");
        thread::sleep(Duration::from_secs(1));
    }
    for client in &mut clients {
        assert_eq!(status(&read_answer(client)), "HTTP/1.1 408 Request Timeout");
    }
    assert!(start.elapsed() >= Duration::from_secs(10));
}

#[test]
fn answers_on_their_way_outlive_what_the_client_sends_behind_its_last_request() {
    const ANSWERS: usize = 61;
    const SO_RCVBUF: i32 = 8;
    let server = Server::start();
    let mut client = server.connect();
    set_socket_option(&client, SO_RCVBUF, &[32 * 1024]); // The answers are eight times as long.
    let long = format!("GET /0/{} HTTP/1.1\r\n\r\n", "x".repeat(4000));
    client
        .write_all(long.repeat(ANSWERS - 1).as_bytes())
        .unwrap();
    client.write_all(&get("/0/last")).unwrap();
    client.write_all(&[b'x'; 100_000]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    // The server has sent the last answer when it has logged it, and a round later it knows the rest.
    until("the last answer is logged", || {
        server.log().contains("last")
    });
    server.answers(&get("/0/others"));
    let answers = read_to_end(&mut client);
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), ANSWERS);
    assert!(answers.ends_with("\r\n\r\nlast"));
}

/// With more behind a request than the server takes, the head of its answer goes out ahead of the
/// body. A client in a conversation acknowledges it after 40 ms, which the body must not wait for.
#[test]
fn an_answer_in_two_pieces_is_not_held_up_between_them() {
    let server = Server::start();
    let mut client = server.connect();
    for _ in 0..30 {
        client.write_all(b"GET /0/a HTTP/1.1\r\n\r\n").unwrap();
        read_answer(&mut client);
    }
    let long = format!("GET /0/b HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(8000));
    let requests = ["GET /10/a HTTP/1.1\r\n\r\n", &long, &long].concat();
    let mut shortest = Duration::MAX;
    for _ in 0..10 {
        let start = Instant::now();
        client.write_all(requests.as_bytes()).unwrap();
        assert_eq!(body(&read_answer(&mut client)), "a");
        shortest = shortest.min(start.elapsed());
        assert_eq!(body(&read_answer(&mut client)), "b");
        assert_eq!(body(&read_answer(&mut client)), "b");
    }
    assert!(shortest < Duration::from_millis(35), "{shortest:?}");
}

#[test]
fn a_client_that_does_not_take_its_answers_is_cut_off_after_ten_seconds() {
    let server = Server::start();
    let mut client = server.connect();
    client.set_nonblocking(true).unwrap();
    let request = format!("GET /0/{} HTTP/1.1\r\n\r\n", "x".repeat(8000));
    let mut poll = Poll::new().unwrap();
    poll.registry()
        .register(&client, 0, Interest::WRITABLE)
        .unwrap();
    let mut events = Events::with_capacity(1);
    let mut sent = 0;
    let start = Instant::now();
    loop {
        poll.poll(&mut events, Some(LONG)).unwrap();
        let event = events[0];
        if event.is_write_closed() {
            break;
        }
        while let Ok(count) = client.write(&request.as_bytes()[sent..]) {
            sent = (sent + count) % request.len();
        }
    }
    assert!(start.elapsed() >= Duration::from_secs(10));
    assert_eq!(body(&server.answers(&get("/0/others"))), "others");
}

/// Each of 250 connections asks 20 times, one after the other, with random delays. Checks every
/// answer, and returns how late each was.
fn random_schedule() -> Vec<Duration> {
    const CONNECTIONS: usize = 250;
    const REQUESTS: usize = 20;
    let server = Server::start();
    let mut random = Random(42);
    let mut poll = Poll::new().unwrap();
    let mut asked = HashMap::new();
    let mut streams = Vec::new();
    let mut ask = |stream: &mut TcpStream, token: usize, number: usize| {
        let delay = random.below(301) as u64;
        let request = format!("GET /{delay}/{token}-{number} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let due = Instant::now() + Duration::from_millis(delay);
        stream.write_all(request.as_bytes()).unwrap();
        (number, due)
    };
    for token in 0..CONNECTIONS {
        let mut stream = server.connect();
        stream.set_nonblocking(true).unwrap();
        poll.registry()
            .register(&stream, token, Interest::READABLE)
            .unwrap();
        asked.insert(token, ask(&mut stream, token, 0));
        streams.push((stream, Vec::new()));
    }
    let mut late = Vec::new();
    let mut events = Events::with_capacity(64);
    while !asked.is_empty() {
        poll.poll(&mut events, Some(LONG)).unwrap();
        assert!(
            !events.is_empty(),
            "{} requests are not answered",
            asked.len()
        );
        let now = Instant::now();
        for event in &events {
            let token = event.token();
            let (stream, answer) = &mut streams[token];
            let mut buffer = [0; 1000];
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "the server closed a connection to keep alive");
            answer.extend_from_slice(&buffer[..count]);
            let (number, due) = asked[&token];
            let message = format!("{token}-{number}");
            let text = std::str::from_utf8(answer).unwrap();
            if !text.ends_with(&format!("\r\n\r\n{message}")) {
                continue; // A part of it; swapped with another, it would never be complete.
            }
            assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
            assert!(now >= due, "{message} came {:?} early", due - now);
            late.push(now - due);
            answer.clear();
            asked.remove(&token);
            if number + 1 < REQUESTS {
                asked.insert(token, ask(stream, token, number + 1));
            }
        }
    }
    assert_eq!(late.len(), CONNECTIONS * REQUESTS);
    late.sort_unstable();
    late
}

#[test]
fn five_thousand_random_delays_are_kept_and_no_answer_is_lost_swapped_or_early() {
    random_schedule();
}

/// CI runs this alone, for the machine decides with.
#[test]
#[ignore = "a matter of time: run it alone, on a machine that has nothing else to do"]
fn half_of_five_thousand_answers_are_less_than_50_ms_late() {
    let late = random_schedule();
    let median = late[late.len() / 2];
    println!("median {median:?}, worst {:?} late", late[late.len() - 1]);
    assert!(median < Duration::from_millis(50));
}
