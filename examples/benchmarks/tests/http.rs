//! The delay server and the book's, which is on actix-web, request by request: the status, the
//! message, and whether the connection is kept. Each difference has its reason.
//!
//! ```sh
//! cargo test --features servers --test http
//! ```

use benchmarks::server::Server;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

#[test]
fn each_request_is_answered_as_by_actix_or_for_a_reason() {
    let program = env!("CARGO_BIN_EXE_delay");
    let epollet = Server::start(program, "epollet").unwrap();
    let actix = Server::start(program, "actix-web, 1 worker").unwrap();
    let mut failures = Vec::new();
    for case in cases() {
        let ours = outcome(epollet.address, &case.request);
        let theirs = outcome(actix.address, &case.request);
        if (ours.as_str(), theirs.as_str()) != (case.epollet, case.actix) {
            let Case {
                what,
                epollet,
                actix,
                reason,
                ..
            } = case;
            failures.push(format!(
                "{what}: epollet: {ours} (expected: {epollet}), \
                 actix-web: {theirs} (expected: {actix}) {reason}"
            ));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

struct Case {
    what: &'static str,
    request: String,
    epollet: &'static str,
    actix: &'static str,
    reason: &'static str,
}

fn same(what: &'static str, request: impl Into<String>, outcome: &'static str) -> Case {
    Case {
        what,
        request: request.into(),
        epollet: outcome,
        actix: outcome,
        reason: "",
    }
}

/// The outcomes are those of epollet and of actix-web.
fn different(
    what: &'static str,
    request: impl Into<String>,
    [epollet, actix]: [&'static str; 2],
    reason: &'static str,
) -> Case {
    assert_ne!(epollet, actix, "{what}");
    Case {
        what,
        request: request.into(),
        epollet,
        actix,
        reason,
    }
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// A GET with these field lines after Host, and perhaps with content after an empty line.
fn get_with(fields: &str) -> String {
    format!("GET /0/hello HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")
}

fn cases() -> Vec<Case> {
    let mut cases = targets();
    cases.extend(methods());
    cases.extend(connections_and_versions());
    cases.extend(contents());
    cases.extend(lines());
    cases
}

#[rustfmt::skip] // a line for each request
fn targets() -> Vec<Case> {
    const STRICT: &str = "RFC 3986, 2.1: % and two hexadecimal digits; the message is UTF-8";
    const DIGITS: &str = "the path is /{delay in ms}/{message}, and a delay is digits";
    vec![
        same("plain", get("/0/hello"), "200 hello, kept"),
        same("a delay", get("/20/hello"), "200 hello, kept"),
        same("escapes", get("/0/%C3%BC%20a+b"), "200 ü a+b, kept"),
        same("an escaped slash", get("/0/a%2Fb"), "200 a/b, kept"),
        different("% without digits", get("/0/a%zz"), ["400, kept", "200 a%zz, kept"], STRICT),
        different("not UTF-8", get("/0/%ff"), ["400, kept", "200 \u{fffd}, kept"], STRICT),
        same("a query", get("/0/hello?a=b/c"), "200 hello, kept"),
        same("absolute-form", get("http://a/0/hello"), "200 hello, kept"),
        same("an unknown path", get("/"), "404, kept"),
        same("an empty message", get("/0/"), "404, kept"),
        same("a third segment", get("/0/a/b"), "404, kept"),
        same("a word for a delay", get("/x/hello"), "404, kept"),
        same("a signed delay", get("/+0/hello"), "200 hello, kept"),
        different("an escaped delay", get("/%30/hello"), ["404, kept", "200 hello, kept"], DIGITS),
    ]
}

#[rustfmt::skip] // a line for each request
fn methods() -> Vec<Case> {
    const HEAD: &str =
        "RFC 9110, 9.1: a server has to support HEAD; the route in the book is GET only";
    const NOT_ALLOWED: &str = "RFC 9110, 15.5.6: the target exists, the method is not allowed; \
        actix-web says that the route was not found";
    vec![
        different("HEAD", "HEAD /0/hello HTTP/1.1\r\nHost: a\r\n\r\n", ["200, kept", "404, kept"], HEAD),
        different("POST", "POST /0/hello HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", ["405, kept", "404, kept"], NOT_ALLOWED),
        different("POST with content", "POST /0/hello HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", ["405, closed", "404, closed"], NOT_ALLOWED),
        different("an unknown method", "BREW /0/hello HTTP/1.1\r\nHost: a\r\n\r\n", ["405, kept", "404, kept"], NOT_ALLOWED),
        different("OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", ["405, kept", "404, kept"], NOT_ALLOWED),
        different("CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", ["405, kept", "404, closed"], NOT_ALLOWED),
    ]
}

#[rustfmt::skip] // a line for each request
fn connections_and_versions() -> Vec<Case> {
    const MINOR: &str = "RFC 9110, 2.5: a higher minor version is handled as 1.1";
    const MAJOR: &str = "RFC 9110, 15.6.6: 505 says that the version is not supported";
    vec![
        same("two requests at once", get("/20/a") + &get("/0/b"), "200 a, 200 b, kept"),
        same("Connection: close", get_with("Connection: close"), "200 hello, closed"),
        same("HTTP/1.0", "GET /0/hello HTTP/1.0\r\n\r\n", "200 hello, closed"),
        same("HTTP/1.0, keep-alive", "GET /0/hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "200 hello, kept"),
        same("HTTP/0.9", "GET /0/hello\r\n\r\n", "400, closed"),
        different("HTTP/1.2", "GET /0/hello HTTP/1.2\r\nHost: a\r\n\r\n", ["200 hello, kept", "400, closed"], MINOR),
        different("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ["505, closed", "400, closed"], MAJOR),
        same("TLS", "\x16\x03\x01\x02\0\x01\0\x01\x7f\x03\x03\r\n\r\n", "400, closed"),
    ]
}

#[rustfmt::skip] // a line for each request
fn contents() -> Vec<Case> {
    const TWICE: &str = "RFC 9110, 8.6: the same length twice may be accepted or rejected";
    const CHUNKED: &str = "the server does not read content, so it closes after the answer";
    const CONTINUE: &str = "the server does not read content, so it does not ask for it with 100";
    vec![
        same("content", get_with("Content-Length: 3\r\n\r\nabc"), "200 hello, closed"),
        different("chunked content", get_with("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0"), ["200 hello, closed", "200 hello, kept"], CHUNKED),
        different("Expect: 100-continue", get_with("Content-Length: 3\r\nExpect: 100-continue\r\n\r\nabc"), ["200 hello, closed", "100, 200 hello, closed"], CONTINUE),
        same("no content", get_with("Content-Length: 0"), "200 hello, kept"),
        same("a length that is a word", get_with("Content-Length: abc"), "400, closed"),
        same("a signed length", get_with("Content-Length: +0"), "400, closed"),
        different("one length twice", get_with("Content-Length: 0\r\nContent-Length: 0"), ["200 hello, kept", "400, closed"], TWICE),
        same("two lengths", get_with("Content-Length: 0\r\nContent-Length: 3\r\n\r\nabc"), "400, closed"),
        same("a length and chunked", get_with("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0"), "400, closed"),
        same("an unknown coding", get_with("Transfer-Encoding: xyz"), "400, closed"),
    ]
}

#[rustfmt::skip] // a line for each request
fn lines() -> Vec<Case> {
    const LIMIT: &str = "a request has 8 KiB at most, so that a connection holds at most 16 KiB";
    const FIELDS: &str = "the size counts, not the number; actix-web allows 96 fields";
    let long = "a".repeat(9 << 10);
    vec![
        same("LF line ends", "GET /0/hello HTTP/1.1\nHost: a\n\n", "200 hello, kept"),
        same("empty lines first", "\r\n\r\n".to_string() + &get("/0/hello"), "200 hello, kept"),
        same("no Host", "GET /0/hello HTTP/1.1\r\n\r\n", "400, closed"),
        same("two Hosts", get_with("Host: b"), "400, closed"),
        same("a bare CR", get_with("A: b\rc"), "400, closed"),
        same("a NUL", get_with("A: b\0c"), "400, closed"),
        same("a space before the colon", get_with("A : b"), "400, closed"),
        same("a folded line", get_with("A: b\r\n c"), "400, closed"),
        same("a line without a colon", get_with("abc"), "400, closed"),
        same("two spaces", "GET  /0/hello HTTP/1.1\r\nHost: a\r\n\r\n", "400, closed"),
        different("a long request line", get(&format!("/0/{long}")), ["414, closed", "200 aaaaaaaaaa, kept"], LIMIT),
        different("a long field", get_with(&format!("A: {long}")), ["431, closed", "200 hello, kept"], LIMIT),
        same("50 fields", get_with(&["A: b"; 50].join("\r\n")), "200 hello, kept"),
        different("500 fields", get_with(&["A: b"; 500].join("\r\n")), ["200 hello, kept", "431, closed"], FIELDS),
    ]
}

/// Sends `request` and, after its first answer, another one. Returns the answers to the first, and
/// "kept" if the second was answered, too.
fn outcome(address: SocketAddr, request: &str) -> String {
    const PROBE: &[u8] = b"GET /0/probe HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut outcome = String::new();
    let mut probed = false;
    let mut to_head = request.starts_with("HEAD");
    loop {
        match read_answer(&mut reader, to_head) {
            Ok(answer) if answer == "200 probe" => return outcome + "kept",
            Ok(answer) => outcome += &format!("{answer}, "),
            // Closed, perhaps with something unread in its buffer, which resets the connection.
            Err(error) => match error.kind() {
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => return outcome + "closed",
                _ => return format!("{outcome}{error}"),
            },
        }
        to_head = false;
        if !probed && !outcome.ends_with("100, ") {
            probed = true;
            let _ = stream.write_all(PROBE); // It fails if the server has closed already.
        }
    }
}

/// Reads one answer. Returns its status and, if that is 200, the beginning of its content.
fn read_answer(reader: &mut impl BufRead, to_head: bool) -> io::Result<String> {
    let mut status = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        } else if status.is_empty() {
            let code = line
                .strip_prefix("HTTP/1.1 ")
                .or_else(|| line.strip_prefix("HTTP/1.0 "));
            status = code.unwrap_or(line).chars().take(3).collect();
        } else if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    if to_head {
        return Ok(status);
    }
    let mut content = vec![0; length];
    reader.read_exact(&mut content)?;
    if status == "200" {
        content.truncate(10);
        status += " ";
        status += &String::from_utf8_lossy(&content);
    }
    Ok(status)
}
