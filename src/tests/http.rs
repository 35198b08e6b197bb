//! HTTP without sockets: which bytes are a request, and which bytes are its answer.

use crate::delayserver::date::http_date;
use crate::delayserver::http::{Request, TIMEOUT};
use std::time::{Duration, UNIX_EPOCH};

const LIMIT: usize = 8000;

/// Takes the only request in `raw`.
fn request(raw: &[u8]) -> Request {
    let mut input = raw.to_vec();
    let request = Request::take(&mut input, LIMIT, false);
    request.unwrap_or_else(|| panic!("no request in {:?}", String::from_utf8_lossy(raw)))
}

/// The parts of an answer.
struct Answer {
    status: String,
    fields: Vec<String>,
    content: String,
}

impl Answer {
    fn to(request: &Request) -> Answer {
        let answer = String::from_utf8(request.answer()).unwrap();
        let (head, content) = answer.split_once("\r\n\r\n").unwrap();
        let mut lines = head.split("\r\n").map(String::from);
        let status = lines.next().unwrap();
        Answer {
            status: status.strip_prefix("HTTP/1.1 ").unwrap().to_owned(),
            fields: lines.collect(),
            content: content.to_owned(),
        }
    }

    fn field(&self, name: &str) -> Option<&str> {
        let values = self.fields.iter().map(|field| field.split_once(": "));
        let mut values = values.flatten().filter(|field| field.0 == name);
        let value = values.next().map(|field| field.1);
        assert!(values.next().is_none(), "one {name} at most");
        value
    }
}

const KEPT: &str = "keep-alive";
const CLOSED: &str = "close";

/// A raw request, the status of its answer, whether the connection is kept, and the content.
type Row = (&'static str, &'static str, &'static str, &'static str);

fn check(table: &[Row]) {
    for &(raw, status, connection, content) in table {
        let answer = Answer::to(&request(raw.as_bytes()));
        let code = answer.status.split(' ').next().unwrap();
        assert_eq!(code, status, "{raw:?}");
        assert_eq!(answer.field("Connection"), Some(connection), "{raw:?}");
        let expected = match (status, content) {
            ("200", _) | (_, "") => content.to_owned(),
            _ => format!("{}: {content}\n", answer.status),
        };
        assert_eq!(answer.content, expected, "{raw:?}");
        if !raw.starts_with("HEAD ") {
            let length = answer.content.len().to_string();
            assert_eq!(answer.field("Content-Length"), Some(&*length), "{raw:?}");
        }
        let allow = (status == "405").then_some("GET, HEAD");
        assert_eq!(answer.field("Allow"), allow, "{raw:?}");
        assert_eq!(answer.field("Date").unwrap().len(), 29, "{raw:?}");
        let text = answer.field("Content-Type");
        assert_eq!(text, Some("text/plain; charset=utf-8"), "{raw:?}");
    }
}

const NOT_HTTP: &str = "this is not HTTP/1.1 or HTTP/1.0";
const BAD_HOST: &str = "a request has exactly one valid Host";
const BAD_LENGTH: &str = "the length of the content is unclear";
const BAD_ESCAPE: &str = "this is not percent-encoded UTF-8";
const BAD_PATH: &str = "the path is /{delay in ms}/{message}";
const BAD_METHOD: &str = "the method is GET or HEAD";
const BAD_VERSION: &str = "use 1.1 or 1.0";

#[test]
fn an_answer_has_these_lines() {
    let answer = request(b"GET /5/hello HTTP/1.1\r\nHost: localhost\r\n\r\n").answer();
    let answer = String::from_utf8(answer).unwrap();
    let (before, after) = answer.split_once("Date: ").unwrap();
    let (_, after) = after.split_once(" GMT\r\n").unwrap();
    assert_eq!(before, "HTTP/1.1 200 OK\r\n");
    assert_eq!(
        after,
        "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n\
         Connection: keep-alive\r\n\r\nhello"
    );
}

#[test]
fn a_request_asks_for_a_delay_and_a_message() {
    let asked = |target: &str| {
        let raw = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        request(raw.as_bytes()).asked.unwrap()
    };
    for (target, delay, message) in [
        ("/0/a", 0, "a"),
        ("/5000/request-0", 5000, "request-0"),
        ("/007/b", 7, "b"),
        ("/18446744073709551615/never", u64::MAX, "never"),
        ("/0/a%20b%2Fc%c3%A9", 0, "a b/cé"),
        ("/0/%00%1b", 0, "\0\x1b"),
        ("/0/a+b?query/of?any#kind", 0, "a+b"),
        ("/0/é", 0, "é"),
        ("http://localhost:8080/100/x", 100, "x"),
        ("HTTP://[::1]/1/x?y", 1, "x"),
    ] {
        assert_eq!(asked(target), (delay, message.to_owned()), "{target}");
    }
}

#[test]
fn what_is_legal_is_answered_and_keeps_the_connection_if_it_can() {
    check(&[
        (
            "GET /0/a HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "200",
            KEPT,
            "a",
        ),
        ("GET /0/a HTTP/1.1\nHost: localhost\n\n", "200", KEPT, "a"),
        (
            "\r\n\nGET /0/a HTTP/1.1\r\nHost: x\r\n\r\n",
            "200",
            KEPT,
            "a",
        ),
        (
            "GET http://x/0/a HTTP/1.1\r\nHost: x\r\n\r\n",
            "200",
            KEPT,
            "a",
        ),
        ("GET /0/a HTTP/1.1\r\nhOST:x\r\n\r\n", "200", KEPT, "a"),
        ("GET /0/a HTTP/1.1\r\nHost:\r\n\r\n", "200", KEPT, "a"),
        (
            "GET /0/a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
            "200",
            KEPT,
            "a",
        ),
        ("GET /0/a HTTP/1.2\r\nHost: x\r\n\r\n", "200", KEPT, "a"),
        (
            "GET /0/a HTTP/1.1\r\nHost: x\r\nX: \t ~\u{e9}\r\n\r\n",
            "200",
            KEPT,
            "a",
        ),
        (
            "GET /0/a HTTP/1.1\r\nHost: x\r\nX:\r\n!#$%&'*+-.^_`|~: \r\n\r\n",
            "200",
            KEPT,
            "a",
        ),
        (
            "GET /0/a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
            "200",
            KEPT,
            "a",
        ),
        (
            "GET /0/a HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
            "200",
            KEPT,
            "a",
        ),
        (
            "GET /0/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            "200",
            CLOSED,
            "a",
        ),
        (
            "GET /0/a HTTP/1.1\r\nHost: x\r\nConnection: TE , Close\r\n\r\n",
            "200",
            CLOSED,
            "a",
        ),
        (
            "GET /0/a HTTP/1.1\r\nHost: x\r\nConnection: closed\r\n\r\n",
            "200",
            KEPT,
            "a",
        ),
        ("GET /0/a HTTP/1.0\r\n\r\n", "200", CLOSED, "a"),
        ("GET /0/a HTTP/1.0\r\nHost: x\r\n\r\n", "200", CLOSED, "a"),
        (
            "GET /0/a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
            "200",
            KEPT,
            "a",
        ),
        (
            "GET /0/a HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n",
            "200",
            CLOSED,
            "a",
        ),
    ]);
}

#[test]
fn head_is_get_without_the_content() {
    check(&[
        ("HEAD /0/a HTTP/1.1\r\nHost: x\r\n\r\n", "200", KEPT, ""),
        ("HEAD /0/a HTTP/1.0\r\n\r\n", "200", CLOSED, ""),
        ("HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n", "404", KEPT, ""),
        ("HEAD /0/a HTTP/1.1\r\n\r\n", "400", CLOSED, ""),
        ("HEAD /0/a HTTP/3.0\r\n\r\n", "505", CLOSED, ""),
    ]);
    let answer = |method| request(format!("{method} /7/hello HTTP/1.0\r\n\r\n").as_bytes());
    let (get, head) = (answer("GET"), answer("HEAD"));
    assert_eq!(head.asked, Ok((7, "hello".to_owned())), "with the delay");
    assert_eq!(Answer::to(&head).field("Content-Length"), Some("5"));
    let names = |answer: Answer| -> Vec<String> {
        let names = answer.fields.iter();
        names
            .map(|field| field.split(':').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(Answer::to(&head)), names(Answer::to(&get)));
}

#[test]
fn exactly_one_valid_host_is_400_otherwise() {
    check(&[
        ("GET /0/a HTTP/1.1\r\n\r\n", "400", CLOSED, BAD_HOST),
        (
            "GET /0/a HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
            "400",
            CLOSED,
            BAD_HOST,
        ),
        (
            "GET /0/a HTTP/1.0\r\nHost: x\r\nhost: x\r\n\r\n",
            "400",
            CLOSED,
            BAD_HOST,
        ),
        (
            "GET /0/a HTTP/1.1\r\nHost: a b\r\n\r\n",
            "400",
            CLOSED,
            BAD_HOST,
        ),
        (
            "GET /0/a HTTP/1.1\r\nHost: user@x\r\n\r\n",
            "400",
            CLOSED,
            BAD_HOST,
        ),
        (
            "GET /0/a HTTP/1.1\r\nHost: x/y\r\n\r\n",
            "400",
            CLOSED,
            BAD_HOST,
        ),
        ("GET http://x/0/a HTTP/1.1\r\n\r\n", "400", CLOSED, BAD_HOST),
    ]);
}

#[test]
fn a_request_with_content_is_answered_and_is_the_last_one() {
    check(&[
        (
            "GET /0/a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            "200",
            KEPT,
            "a",
        ),
        (
            "GET /0/a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n",
            "200",
            CLOSED,
            "a",
        ),
        (
            "GET /0/a HTTP/1.1\r\nHost: x\r\nContent-Length: 4, 4\r\n\r\n",
            "200",
            CLOSED,
            "a",
        ),
        (
            "GET /0/a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n",
            "200",
            CLOSED,
            "a",
        ),
        (
            "GET /0/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n",
            "200",
            CLOSED,
            "a",
        ),
        (
            "POST /0/a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n",
            "405",
            CLOSED,
            BAD_METHOD,
        ),
        (
            "POST /0/a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n",
            "405",
            CLOSED,
            BAD_METHOD,
        ),
    ]);
}

#[test]
fn content_of_unclear_length_is_400() {
    for fields in [
        "Content-Length: x",
        "Content-Length: +4",
        "Content-Length: -4",
        "Content-Length: 4 4",
        "Content-Length: 0x4",
        "Content-Length:",
        "Content-Length: 4,",
        "Content-Length: 18446744073709551616",
        "Content-Length: 4, 5",
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 0\r\nContent-Length: 4",
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding:",
    ] {
        let raw = format!("GET /0/a HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
        let request = request(raw.as_bytes());
        assert_eq!(
            request.asked,
            Err(("400 Bad Request", BAD_LENGTH)),
            "{fields}"
        );
        assert!(request.last, "{fields}");
    }
    check(&[(
        "GET /0/a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "400",
        CLOSED,
        BAD_LENGTH,
    )]);
}

#[test]
fn what_is_not_http_is_400() {
    for raw in [
        &b"hello\r\n\r\n"[..],
        b"GET /0/a\r\n\r\n",
        b"GET  /0/a HTTP/1.1\r\n\r\n",
        b" GET /0/a HTTP/1.1\r\n\r\n",
        b"GET /0/a HTTP/1.1 \r\n\r\n",
        b"GET /0/a HTTP/1.1 more\r\n\r\n",
        b"GET /0/a  HTTP/1.1\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"GET\t/0/a HTTP/1.1\r\n\r\n",
        b"GET /0/a HTTX/1.1\r\n\r\n",
        b"GET /0/a http/1.1\r\n\r\n",
        b"GET /0/a HTTP/1.10\r\n\r\n",
        b"GET /0/a HTTP/1\r\n\r\n",
        b"GET /0/a HTTP/1.x\r\n\r\n",
        b"GET /0/a HTTP/x.1\r\n\r\n",
        b"GET /0/a HTTP/1-1\r\n\r\n",
        b"G\xc3\xa9T /0/a HTTP/1.1\r\n\r\n",
        b"G(T /0/a HTTP/1.1\r\n\r\n",
        b"GET /0/\xff HTTP/1.1\r\n\r\n",
        b"GET /0/a\rb HTTP/1.1\r\n\r\n",
        b"GET /0/a\tb HTTP/1.1\r\n\r\n",
        b"GET /0/a\0 HTTP/1.1\r\n\r\n",
        b"GET /0/a HTTP/1.1\r\r\n\r\n",
        b"GET /0/a HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        b"GET /0/a HTTP/1.1\r\nHost: x\r\n: nameless\r\n\r\n",
        b"GET /0/a HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /0/a HTTP/1.1\r\nHost: x\r\nX\xff: y\r\n\r\n",
        b"GET /0/a HTTP/1.1\r\n Host: x\r\n\r\n",
        b"GET /0/a HTTP/1.1\r\nHost: x\r\nX: y\r\n folded\r\n\r\n",
        b"GET /0/a HTTP/1.1\r\nHost: x\r\nX: y\r\n\tfolded: z\r\n\r\n",
        b"GET /0/a HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n",
        b"GET /0/a HTTP/1.1\r\nHost: x\rContent-Length: 4\r\n\r\n",
        b"GET /0/a HTTP/1.1\r\nHost: x\r\nX: a\r\r\n\r\n",
        b"GET /0/a HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
        b"GET /0/a HTTP/1.1\r\nHost: x\r\nX: \x7f\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", // the start of TLS, and nothing after it
        b"\0",
    ] {
        let request = request(raw);
        let raw = String::from_utf8_lossy(raw);
        assert_eq!(request.asked, Err(("400 Bad Request", NOT_HTTP)), "{raw:?}");
        assert!(request.last, "{raw:?}");
    }
}

#[test]
fn a_field_need_not_be_utf_8() {
    let request = request(b"GET /0/a HTTP/1.0\r\nUser-Agent: caf\xe9\r\n\r\n");
    assert_eq!(request.asked, Ok((0, "a".to_owned())));
}

#[test]
fn another_version_is_505() {
    check(&[
        (
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "505",
            CLOSED,
            BAD_VERSION,
        ),
        (
            "GET /0/a HTTP/2.0\r\nHost: x\r\n\r\n",
            "505",
            CLOSED,
            BAD_VERSION,
        ),
        ("GET /0/a HTTP/0.9\r\n\r\n", "505", CLOSED, BAD_VERSION),
    ]);
}

#[test]
fn another_method_is_405_and_says_which_are_allowed() {
    check(&[
        (
            "POST /0/a HTTP/1.1\r\nHost: x\r\n\r\n",
            "405",
            KEPT,
            BAD_METHOD,
        ),
        ("PUT /0/a HTTP/1.0\r\n\r\n", "405", CLOSED, BAD_METHOD),
        (
            "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
            "405",
            KEPT,
            BAD_METHOD,
        ),
        (
            "CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
            "405",
            KEPT,
            BAD_METHOD,
        ),
        (
            "get /0/a HTTP/1.1\r\nHost: x\r\n\r\n",
            "405",
            KEPT,
            BAD_METHOD,
        ),
    ]);
}

#[test]
fn another_path_is_404_and_keeps_the_connection() {
    for target in [
        "/",
        "/5",
        "/5/",
        "/5/?a",
        "/5/a/b",
        "/5/a/",
        "/x/a",
        "/-5/a",
        "/5.0/a",
        "/%35/a",
        "//a",
        "/18446744073709551616/a",
        "5/a",
        "*",
        "http://x",
        "http://x/5",
        "https://x/5/a",
        "ftp://x/5/a",
    ] {
        let raw = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        let request = request(raw.as_bytes());
        assert_eq!(request.asked, Err(("404 Not Found", BAD_PATH)), "{target}");
        assert!(!request.last, "{target}");
    }
}

#[test]
fn a_message_that_is_not_percent_encoded_utf_8_is_400() {
    for message in ["%", "a%4", "%zz", "%4z", "%+4", "%ff", "%c3", "%c3x"] {
        let raw = format!("GET /0/{message} HTTP/1.1\r\nHost: x\r\n\r\n");
        let request = request(raw.as_bytes());
        assert_eq!(
            request.asked,
            Err(("400 Bad Request", BAD_ESCAPE)),
            "{message}"
        );
        assert!(!request.last, "{message}");
    }
}

#[test]
fn a_request_is_taken_when_its_last_byte_is_there() {
    for end in ["\r\n", "\n"] {
        let lines = [
            "",
            "GET /0/a HTTP/1.1",
            "Host: localhost",
            "Accept: */*",
            "",
            "",
        ];
        let raw = lines.join(end);
        let mut input = Vec::new();
        for (i, byte) in raw.bytes().enumerate() {
            let taken = Request::take(&mut input, LIMIT, false);
            assert_eq!(taken, None, "after {:?}", &raw[..i]);
            input.push(byte);
        }
        let request = Request::take(&mut input, LIMIT, false).unwrap();
        assert_eq!(request.asked, Ok((0, "a".to_owned())));
        assert_eq!(input, b"");
    }
}

#[test]
fn pipelined_requests_are_taken_one_by_one() {
    let mut input = Vec::new();
    for i in 0..5 {
        input.extend(format!("GET /{i}/{i} HTTP/1.1\r\nHost: x\r\n\r\n").bytes());
    }
    input.extend(b"\r\nGET /5");
    for i in 0..5 {
        let request = Request::take(&mut input, LIMIT, false).unwrap();
        assert_eq!(request.asked, Ok((i, i.to_string())));
    }
    assert_eq!(Request::take(&mut input, LIMIT, false), None);
    assert_eq!(input, b"GET /5", "the rest stays");
    input.extend(b"/5 HTTP/1.0\n\n");
    let request = Request::take(&mut input, LIMIT, false).unwrap();
    assert_eq!(request.asked, Ok((5, "5".to_owned())));
}

#[test]
fn a_request_that_is_cut_off_is_400_and_empty_lines_are_no_request() {
    for raw in ["G", "GET /0/a HTTP/1.1\r\nHost: x\r\n"] {
        let mut input = raw.as_bytes().to_vec();
        let request = Request::take(&mut input, LIMIT, true).unwrap();
        assert_eq!(
            request,
            Request::refused(("400 Bad Request", NOT_HTTP), b"")
        );
    }
    for raw in ["", "\r\n", "\n\r\n\n"] {
        for ended in [false, true] {
            let mut input = raw.as_bytes().to_vec();
            assert_eq!(Request::take(&mut input, LIMIT, ended), None);
            assert_eq!(input, b"", "empty lines do not count for the limit");
        }
    }
}

#[test]
fn a_head_may_be_as_long_as_the_limit() {
    let padded = |before: &str, after: &str, len: usize| {
        let filler = "x".repeat(len - before.len() - after.len());
        [before, &filler, after].concat().into_bytes()
    };
    let fields = |len| padded("GET /0/a HTTP/1.0\r\nX: ", "\r\n\r\n", len);
    let line = |len| padded("GET /0/", " HTTP/1.0\r\n\r\n", len);
    for raw in [fields(LIMIT), line(LIMIT)] {
        assert!(request(&raw).asked.is_ok());
    }
    // The server reads no more than the limit.
    for (raw, status, why) in [
        (
            fields(LIMIT + 1),
            "431 Request Header Fields Too Large",
            "send fewer",
        ),
        (
            line(LIMIT + 100),
            "414 URI Too Long",
            "the request line is too long",
        ),
    ] {
        assert_eq!(
            Request::take(&mut raw[..LIMIT - 1].to_vec(), LIMIT, false),
            None
        );
        let refused = Request::take(&mut raw[..LIMIT].to_vec(), LIMIT, false).unwrap();
        assert_eq!(refused, Request::refused((status, why), b""));
        let answer = Answer::to(&refused);
        assert_eq!(answer.status, status);
        assert_eq!(answer.field("Connection"), Some(CLOSED));
    }
}

#[test]
fn a_timeout_is_408_and_closes() {
    let answer = Answer::to(&Request::refused(TIMEOUT, b""));
    assert_eq!(answer.status, "408 Request Timeout");
    assert_eq!(answer.field("Connection"), Some(CLOSED));
}

#[test]
fn a_refused_head_request_gets_no_content() {
    let long_line = format!("HEAD /0/{}", "x".repeat(LIMIT));
    let long_fields = format!("HEAD / HTTP/1.1\r\nX: {}", "x".repeat(LIMIT));
    for raw in [
        "HEAD /0",
        &long_line,
        &long_fields,
        "HEAD / HTTP/1.1\r\n\r\n",
        "HEAD  /\n\n",
    ] {
        let mut input = raw.as_bytes()[..raw.len().min(LIMIT)].to_vec();
        let refused = Request::take(&mut input, LIMIT, true).unwrap();
        assert!(refused.asked.is_err() && refused.head_only, "{raw:.20}");
        assert!(refused.answer().ends_with(b"\r\n\r\n"), "{raw:.20}");
    }
}

#[test]
fn an_absolute_target_has_a_valid_host() {
    for target in ["http:///1/x", "http://<>/1/x", "http://user:word@x/1/x"] {
        let raw = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(
            request(raw.as_bytes()).asked,
            Err(("400 Bad Request", BAD_HOST)),
            "{target}"
        );
    }
}

#[test]
fn only_spaces_and_tabs_surround_a_value() {
    for field in [
        "Host: x\u{a0}",
        "Content-Length: \u{3000}5",
        "Transfer-Encoding: \u{a0}chunked",
    ] {
        let raw = format!("GET /0/a HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n");
        let refused = request(raw.as_bytes()).asked.unwrap_err();
        assert_eq!(refused.0, "400 Bad Request", "{field}");
    }
    let raw = b"GET /0/a HTTP/1.1\r\nHost: \t x \t\r\n\r\n";
    assert!(request(raw).asked.is_ok());
}

fn date(seconds: u64) -> String {
    http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// The expected values are those of `date -u -d @SECONDS`.
#[test]
fn dates_are_right_at_leap_years_and_ends_of_centuries() {
    for (seconds, expected) in [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (68_169_600, "Tue, 29 Feb 1972 00:00:00 GMT"),
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (946_684_799, "Fri, 31 Dec 1999 23:59:59 GMT"),
        (946_684_800, "Sat, 01 Jan 2000 00:00:00 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (978_220_800, "Sun, 31 Dec 2000 00:00:00 GMT"),
        (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
        (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
        (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        (13_574_563_200, "Tue, 29 Feb 2400 00:00:00 GMT"),
        (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
    ] {
        assert_eq!(date(seconds), expected);
    }
    let before = http_date(UNIX_EPOCH - Duration::from_secs(1));
    assert_eq!(before, date(0), "a clock that is not set");
}

/// A calendar that counts day by day.
#[test]
fn every_day_until_2500_follows_the_day_before() {
    let weekdays = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let mut weekday = 3;
    let mut seconds = 0;
    for year in 1970..2500 {
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        for (month, length) in [
            ("Jan", 31),
            ("Feb", if is_leap { 29 } else { 28 }),
            ("Mar", 31),
            ("Apr", 30),
            ("May", 31),
            ("Jun", 30),
            ("Jul", 31),
            ("Aug", 31),
            ("Sep", 30),
            ("Oct", 31),
            ("Nov", 30),
            ("Dec", 31),
        ] {
            for day in 1..=length {
                let name = weekdays[weekday % 7];
                let start = format!("{name}, {day:02} {month} {year} ");
                let (first, last) = (date(seconds), date(seconds + 86_399));
                assert_eq!(first.strip_prefix(&start), Some("00:00:00 GMT"));
                assert_eq!(last.strip_prefix(&start), Some("23:59:59 GMT"));
                seconds += 86_400;
                weekday += 1;
            }
        }
    }
}
