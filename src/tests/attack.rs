//! The delay server among clients that are broken, hostile, or just many. Those that need a server in
//! a process of its own are in `server_process.rs`.

use super::common::{LONG, reset, set_socket_option, until};
use super::delayserver::{Server, body, get, get_and_close, read_answer, read_to_end, status};
use crate::delayserver::http::Request;
use crate::{Events, Interest, Poll};
use std::collections::HashMap;
use std::io::{Read, Write};
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

const REQUESTS: [&[u8]; 7] = [
    b"GET /0/a HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /3/hello%20world HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"POST /0/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"HEAD /0/a HTTP/1.1\nHost: x\n\n",
    b"GET http://x/1/b?c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /0/%e2%82%ac HTTP/1.1\r\nHost: x\r\nConnection: close, x\r\nAccept: */*\r\n\r\n",
    b"\r\nGET /1/c HTTP/1.1\r\nHost: x\r\nX: y\r\n\r\n",
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

const LIMIT: usize = 8000;

/// Returns the requests in `bytes`, up to the last one that is answered.
fn requests_in(bytes: &[u8]) -> Vec<Request> {
    let mut input = bytes.to_vec();
    let mut requests: Vec<Request> = Vec::new();
    while requests.last().is_none_or(|request| !request.last) {
        match Request::take(&mut input, LIMIT, true) {
            Some(request) => requests.push(request),
            None => break,
        }
    }
    requests
}

#[test]
fn ten_thousand_mutated_inputs_give_valid_answers() {
    let mut random = Random(7);
    let mut seen = HashMap::new();
    for _ in 0..10_000 {
        for request in requests_in(&mutated(&mut random)) {
            let answer = String::from_utf8(request.answer()).unwrap();
            let (head, content) = answer.split_once("\r\n\r\n").unwrap();
            let length = format!("\r\nContent-Length: {}\r\n", content.len());
            assert!(request.head_only || head.contains(&length), "{head}");
            *seen.entry(status(head)[9..12].to_owned()).or_insert(0) += 1;
        }
    }
    for code in ["200", "400", "404", "405"] {
        assert!(seen[code] > 10, "{seen:?}");
    }
}

/// What arrives in pieces is answered like what arrives at once.
#[test]
fn a_thousand_mutated_inputs_over_sockets_get_the_same_answers() {
    let server = Server::start();
    thread::scope(|scope| {
        for seed in 1..=4 {
            let server = &server;
            scope.spawn(move || {
                let mut random = Random(seed);
                for _ in 0..250 {
                    one_mutated_input(server, &mut random);
                }
            });
        }
    });
    assert_eq!(body(&server.answers(&get_and_close("/1/alive"))), "alive");
}

fn one_mutated_input(server: &Server, random: &mut Random) {
    let bytes = mutated(random);
    let mut stream = server.connect();
    for piece in bytes.chunks(random.below(bytes.len().max(1)) + 1) {
        stream.write_all(piece).unwrap();
    }
    let requests = requests_in(&bytes);
    let soon = |request: &Request| !matches!(request.asked, Ok((delay, _)) if delay > 20);
    if bytes.len() > LIMIT || !requests.iter().all(soon) {
        return reset(stream);
    }
    match random.below(8) {
        0 => return reset(stream),
        1 => return, // closes
        _ => stream.shutdown(Shutdown::Write).unwrap(),
    }
    let expected = requests.iter().flat_map(Request::answer).collect();
    let expected = without_dates(String::from_utf8(expected).unwrap());
    let answers = without_dates(read_to_end(&mut stream));
    assert_eq!(answers, expected, "{:?}", String::from_utf8_lossy(&bytes));
}

fn without_dates(answers: String) -> String {
    let lines = answers.split_inclusive('\n');
    lines.filter(|line| !line.starts_with("Date: ")).collect()
}

#[test]
fn clients_that_send_byte_by_byte_get_408_and_delay_nobody() {
    let server = Server::start_with(|limits| limits.receive = Duration::from_millis(300));
    let start = Instant::now();
    let mut clients: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
    let mut bytes = b"GET /0/a HTTP/1.1\r\nX: "
        .iter()
        .chain([b'x'; 1000].iter());
    while start.elapsed() < Duration::from_millis(250) {
        let byte = [*bytes.next().unwrap()];
        for client in &mut clients {
            // It may have been refused already, if this machine is slow.
            let _ = client.write_all(&byte);
        }
        assert_eq!(body(&server.answers(&get_and_close("/0/others"))), "others");
    }
    for client in &mut clients {
        assert_eq!(status(&read_answer(client)), "HTTP/1.1 408 Request Timeout");
    }
    assert!(start.elapsed() >= Duration::from_millis(300));
}

/// A close with input left unread would reset the connection, and answers would be lost.
#[test]
fn answers_arrive_although_the_client_sends_more_after_its_last_request() {
    const ANSWERS: usize = 61;
    const SO_RCVBUF: i32 = 8;
    let server = Server::start();
    let mut client = server.connect();
    set_socket_option(&client, SO_RCVBUF, &[32 * 1024]); // The answers are eight times as long.
    let long = get(&format!("/0/{}", "x".repeat(4000)));
    client.write_all(&long.repeat(ANSWERS - 1)).unwrap();
    client.write_all(&get_and_close("/0/last")).unwrap();
    client.write_all(&[b'x'; 100_000]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    // The server has sent the last answer when it has logged it, and a round later it knows the rest.
    until("the last request is logged", || {
        server.log().contains("last")
    });
    server.answers(&get_and_close("/0/others"));
    let answers = read_to_end(&mut client);
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), ANSWERS);
    assert!(answers.ends_with("\r\n\r\nlast"));
}

#[test]
fn a_client_that_does_not_read_its_answers_is_closed_after_the_limit() {
    let server = Server::start_with(|limits| limits.send = Duration::from_millis(200));
    let mut client = server.connect();
    client.set_nonblocking(true).unwrap();
    let request = get(&format!("/0/{}", "x".repeat(7000)));
    let mut poll = Poll::new().unwrap();
    poll.registry()
        .register(&client, 0, Interest::WRITABLE)
        .unwrap();
    let mut events = Events::with_capacity(1);
    let mut sent = 0;
    let start = Instant::now();
    loop {
        poll.poll(&mut events, Some(LONG)).unwrap();
        assert!(!events.is_empty(), "the connection is not closed");
        if events[0].is_write_closed() {
            break;
        }
        while let Ok(count) = client.write(&request[sent..]) {
            sent = (sent + count) % request.len();
        }
    }
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert_eq!(body(&server.answers(&get_and_close("/0/others"))), "others");
}

/// On each connection, one request follows the other, with random delays. Checks every answer, and
/// returns how late each was.
fn random_schedule(connections: usize, requests: usize, longest: usize) -> Vec<Duration> {
    let server = Server::start();
    let mut random = Random(42);
    let mut poll = Poll::new().unwrap();
    let mut asked = HashMap::new();
    let mut streams = Vec::new();
    let mut ask = |stream: &mut TcpStream, token: usize, number: usize| {
        let delay = random.below(longest + 1) as u64;
        let request = get(&format!("/{delay}/{token}-{number}"));
        let due = Instant::now() + Duration::from_millis(delay);
        stream.write_all(&request).unwrap();
        (number, due)
    };
    for token in 0..connections {
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
            if number + 1 < requests {
                asked.insert(token, ask(stream, token, number + 1));
            }
        }
    }
    assert_eq!(late.len(), connections * requests);
    late.sort_unstable();
    late
}

#[test]
fn a_thousand_random_delays_are_kept_and_no_answer_is_lost_swapped_or_early() {
    random_schedule(100, 10, 60);
}

#[test]
#[ignore = "measures time: run it alone, on a machine that has nothing else to do"]
fn half_of_five_thousand_answers_are_less_than_50_ms_late() {
    let late = random_schedule(250, 20, 300);
    let median = late[late.len() / 2];
    println!("median {median:?}, worst {:?} late", late[late.len() - 1]);
    assert!(median < Duration::from_millis(50));
}
