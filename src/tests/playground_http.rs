//! The requests that the server of the playground takes, and those that it refuses.

#[path = "../../examples/playground/http.rs"]
mod http;

use http::{Answer, Request};

fn get(fields: &str) -> String {
    format!("GET /events HTTP/1.1\r\n{fields}\r\n")
}

fn parse(request: &str) -> Result<Option<Request>, Answer> {
    Request::parse(request.as_bytes())
}

#[test]
fn a_request_is_its_own_at_the_address_it_was_sent_to() {
    let is_own = |server: &str, host: &str, more: &str| {
        let request = parse(&get(&format!("Host: {host}\r\n{more}")));
        let Ok(Some(request)) = request else {
            panic!("refused: {host} {more}");
        };
        request.is_own(server.parse().unwrap())
    };
    for (server, host, origin) in [
        ("127.0.0.1:8000", "127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("127.0.0.1:8000", "localhost:8000", "http://localhost:8000"),
        ("[::1]:8000", "[::1]:8000", "http://[::1]:8000"),
        ("[::1]:8000", "localhost:8000", "http://localhost:8000"),
        // On `[::]`, with an IPv4 client.
        (
            "[::ffff:127.0.0.1]:8000",
            "127.0.0.1:8000",
            "http://127.0.0.1:8000",
        ),
        ("192.0.2.1:8000", "192.0.2.1:8000", "http://192.0.2.1:8000"),
        // A browser leaves out the port 80.
        ("127.0.0.1:80", "127.0.0.1", "http://127.0.0.1"),
        ("127.0.0.1:80", "localhost", "http://localhost"),
        ("[::1]:80", "[::1]", "http://[::1]"),
    ] {
        assert!(is_own(server, host, ""), "{server} {host}");
        let origin = format!("Origin: {origin}\r\nSec-Fetch-Site: same-origin\r\n");
        assert!(is_own(server, host, &origin), "{server} {origin}");
    }
    for (server, host) in [
        ("127.0.0.1:8000", "127.0.0.1"),
        ("127.0.0.1:8000", "127.0.0.1:80"),
        ("127.0.0.1:8000", "127.0.0.1:80000"),
        ("127.0.0.1:8000", "127.0.0.1:8000.example.org"),
        ("127.0.0.1:8000", "example.org@127.0.0.1:8000"),
        ("127.0.0.1:8000", "my-localhost:8000"),
        ("127.0.0.1:8000", ""),
        ("127.0.0.1:80", "example.org"),
        ("127.0.0.1:80", "127.0.0.1:8000"),
        // Only the loopback address has the name `localhost`.
        ("192.0.2.1:8000", "localhost:8000"),
    ] {
        assert!(!is_own(server, host, ""), "{server} {host}");
    }
    for field in [
        "Origin: null",
        "Origin: ",
        "Origin: http://127.0.0.1",
        "Origin: http://127.0.0.1:80",
        "Origin: http://127.0.0.1:80000",
        "Origin: http://127.0.0.1:8000.example.org",
        "Origin: http://example.org/http://127.0.0.1:8000",
        "Origin: https://127.0.0.1:8000",
        "Origin: http://localhost:8000",
        "Sec-Fetch-Site: same-site",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: none",
    ] {
        let field = format!("{field}\r\n");
        let server = "127.0.0.1:8000";
        assert!(!is_own(server, server, &field), "{field}");
    }
}

#[test]
fn a_refused_request_gets_a_sentence() {
    let post = |fields: &str, body: &str| format!("POST / HTTP/1.1\r\n{fields}\r\n{body}");
    let long = "x".repeat(8000);
    for (request, status) in [
        ("\r\n\r\n".into(), "400"),
        ("GET /\r\n\r\n".into(), "400"),
        ("GET / HTTP/1.0\r\n\r\n".into(), "400"),
        ("GET  / HTTP/1.1\r\n\r\n".into(), "400"),
        (get("Host\r\n"), "400"),
        (get("Host: a\r\nHost: a\r\n"), "400"),
        (get("Origin: a\r\norigin: b\r\n"), "400"),
        (post("Content-Length: +1\r\n", "x"), "400"),
        (post("Content-Length:\r\n", ""), "400"),
        (
            post("Content-Length: 1\r\nContent-Length: 1\r\n", "x"),
            "400",
        ),
        (post("Transfer-Encoding: chunked\r\n", ""), "411"),
        (post("Content-Length: 101\r\n", ""), "413"),
        (
            post("Content-Length: 99999999999999999999999\r\n", ""),
            "413",
        ),
        (format!("GET /{long}"), "431"),
    ] {
        let Err(answer) = parse(&request) else {
            panic!("taken: {request}");
        };
        let answer = String::from_utf8(answer.bytes()).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        let (_, sentence) = answer.split_once("\r\n\r\n").unwrap();
        assert!(sentence.ends_with(".\n") && sentence.len() > 20, "{answer}");
    }
    let not_utf8 = b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n";
    assert!(Request::parse(not_utf8).is_err());
}

#[test]
fn a_request_is_taken_when_it_is_complete() {
    let body = "x".repeat(100);
    let whole = format!("POST /bench/1 HTTP/1.1\r\ncontent-length: 100\r\n\r\n{body}");
    for end in 0..whole.len() {
        assert!(matches!(parse(&whole[..end]), Ok(None)), "{end} bytes");
    }
    let Ok(Some(request)) = parse(&whole) else {
        panic!("refused");
    };
    assert_eq!((&*request.method, &*request.path), ("POST", "/bench/1"));
    assert_eq!(request.body, body);
}
