//! HTTP/1.1 as far as a delay server needs it (RFC 9110 and RFC 9112): turns bytes into a request,
//! and a request into the bytes of its answer. There are no sockets here.

use super::date::http_date;
use std::{borrow::Cow, fmt::Write, mem, time::SystemTime};

/// What a client asked for, and how to answer.
#[derive(Debug, PartialEq)]
pub struct Request {
    /// The delay in milliseconds and the message, or why there is none.
    pub asked: Result<(u64, String), Refusal>,
    /// The answer has no content (HEAD).
    pub head_only: bool,
    /// The connection is closed after the answer.
    pub last: bool,
}

/// A status, and the text that goes with it.
pub type Refusal = (&'static str, &'static str);

/// The optional white space around a value.
const OWS: [char; 2] = [' ', '\t'];

const NOT_HTTP: Refusal = ("400 Bad Request", "this is not HTTP/1.1 or HTTP/1.0");
const BAD_HOST: Refusal = ("400 Bad Request", "a request has exactly one valid Host");
const BAD_LENGTH: Refusal = ("400 Bad Request", "the length of the content is unclear");
const BAD_ESCAPE: Refusal = ("400 Bad Request", "this is not percent-encoded UTF-8");
const NOT_FOUND: Refusal = ("404 Not Found", "the path is /{delay in ms}/{message}");
const ALLOW: &str = "Allow: GET, HEAD\r\n";
const NOT_ALLOWED: Refusal = ("405 Method Not Allowed", "the method is GET or HEAD");
pub const TIMEOUT: Refusal = ("408 Request Timeout", "the request took too long to arrive");
const LONG_TARGET: Refusal = ("414 URI Too Long", "the request line is too long");
const LONG_FIELDS: Refusal = ("431 Request Header Fields Too Large", "send fewer");
const BAD_VERSION: Refusal = ("505 HTTP Version Not Supported", "use 1.1 or 1.0");

impl Request {
    /// Refuses the request at the start of `input`. The connection is closed after that.
    pub fn refused(why: Refusal, input: &[u8]) -> Request {
        Request {
            asked: Err(why),
            head_only: input.starts_with(b"HEAD "),
            last: true,
        }
    }

    /// Takes the first request, of at most `limit` bytes, from `input`. If `ended`, no more will
    /// arrive. Returns `None` if the rest of the request has not arrived yet.
    pub fn take(input: &mut Vec<u8>, limit: usize, ended: bool) -> Option<Request> {
        // Empty lines before a request are ignored.
        let start = input.iter().position(|byte| !b"\r\n".contains(byte));
        input.drain(..start.unwrap_or(input.len()));
        if let Some(end) = end_of_head(input) {
            let rest = input.split_off(end);
            let head = mem::replace(input, rest);
            let request = parse(&String::from_utf8_lossy(&head));
            return Some(request.unwrap_or_else(|why| Request::refused(why, &head)));
        }
        let why = match input.first() {
            // A client that speaks TLS waits for an answer to its first byte, 0x16.
            Some(byte) if ended || byte.is_ascii_control() => NOT_HTTP,
            _ if input.len() < limit => return None,
            _ if input.contains(&b'\n') => LONG_FIELDS,
            _ => LONG_TARGET,
        };
        Some(Request::refused(why, input))
    }

    /// Returns the bytes of the answer.
    pub fn answer(&self) -> Vec<u8> {
        let (status, body) = match &self.asked {
            Ok((_, message)) => ("200 OK", Cow::from(message)),
            Err((status, why)) => (*status, Cow::from(format!("{status}: {why}\n"))),
        };
        let (date, length) = (http_date(SystemTime::now()), body.len());
        let allow = if status == NOT_ALLOWED.0 { ALLOW } else { "" };
        let connection = if self.last { "close" } else { "keep-alive" };
        let content = if self.head_only { "" } else { &body };
        let mut answer = String::with_capacity(200 + content.len()); // never has to grow
        let _ = write!(
            answer,
            "HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {length}\r\n{allow}Connection: {connection}\r\n\r\n{content}"
        );
        answer.into_bytes()
    }
}

/// Returns the length of the head: the lines through the first empty one. A line may end in just
/// LF.
fn end_of_head(input: &[u8]) -> Option<usize> {
    let mut end = 0;
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        end += line.len();
        if line == b"\r\n" || line == b"\n" {
            return Some(end);
        }
    }
    None
}

/// Reads a complete head.
fn parse(head: &str) -> Result<Request, Refusal> {
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(NOT_HTTP);
    };
    if !is_token(method) || !is_target(target) {
        return Err(NOT_HTTP);
    }
    let is_1_0 = match version.strip_prefix("HTTP/").map(str::as_bytes) {
        Some([b'1', b'.', minor]) if minor.is_ascii_digit() => *minor == b'0',
        Some([b'0'..=b'9', b'.', b'0'..=b'9']) => return Err(BAD_VERSION),
        _ => return Err(NOT_HTTP),
    };
    let fields = Fields::parse(lines)?;
    if fields.hosts > 1 || (fields.hosts == 0 && !is_1_0) {
        return Err(BAD_HOST);
    }
    if fields.chunked && (is_1_0 || fields.length.is_some()) {
        return Err(BAD_LENGTH);
    }
    // The content of a request is not read, so the next request cannot be found after it.
    let has_content = fields.chunked || fields.length.is_some_and(|length| length > 0);
    let last = (is_1_0 && !fields.keep_alive) || fields.close || has_content;
    let asked = match method {
        "GET" | "HEAD" => parse_target(target),
        _ => Err(NOT_ALLOWED),
    };
    Ok(Request {
        asked,
        head_only: method == "HEAD",
        last,
    })
}

/// The header fields that matter here.
#[derive(Default)]
struct Fields {
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    keep_alive: bool,
    close: bool,
}

impl Fields {
    fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Fields, Refusal> {
        let mut fields = Fields::default();
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').ok_or(NOT_HTTP)?;
            // The line's end is not part of it, but a CR elsewhere is.
            let is_control = |byte: u8| byte.is_ascii_control() && byte != b'\t';
            if !is_token(name) || value.bytes().any(is_control) {
                return Err(NOT_HTTP);
            }
            let is = |known| name.eq_ignore_ascii_case(known);
            if is("Host") {
                if !is_host(value.trim_matches(OWS)) {
                    return Err(BAD_HOST);
                }
                fields.hosts += 1;
            } else if is("Connection") {
                for option in value.split(',').map(|option| option.trim_matches(OWS)) {
                    fields.close |= option.eq_ignore_ascii_case("close");
                    fields.keep_alive |= option.eq_ignore_ascii_case("keep-alive");
                }
            } else if is("Content-Length") {
                for length in value.split(',').map(|length| length.trim_matches(OWS)) {
                    let digits = length.bytes().all(|byte| byte.is_ascii_digit());
                    let length = length.parse().ok().filter(|_| digits).ok_or(BAD_LENGTH)?;
                    if fields.length.replace(length).unwrap_or(length) != length {
                        return Err(BAD_LENGTH);
                    }
                }
            } else if is("Transfer-Encoding") {
                if fields.chunked || !value.trim_matches(OWS).eq_ignore_ascii_case("chunked") {
                    return Err(BAD_LENGTH);
                }
                fields.chunked = true;
            }
        }
        Ok(fields)
    }
}

/// Reads `/{delay}/{message}`. The client of a proxy sends `http://{host}` before it; a query may
/// follow.
fn parse_target(target: &str) -> Result<(u64, String), Refusal> {
    let path = match target.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case("http://") => {
            let (host, path) = target[7..].split_once('/').unwrap_or((&target[7..], ""));
            if host.is_empty() || !is_host(host) {
                return Err(BAD_HOST);
            }
            path
        }
        _ => target.strip_prefix('/').ok_or(NOT_FOUND)?,
    };
    let path = path.split('?').next().unwrap_or_default();
    let (delay, message) = path.split_once('/').ok_or(NOT_FOUND)?;
    if message.is_empty() || message.contains('/') {
        return Err(NOT_FOUND);
    }
    let delay = delay.parse().map_err(|_| NOT_FOUND)?;
    Ok((delay, percent_decode(message).ok_or(BAD_ESCAPE)?))
}

/// Returns `None` for a `%` without two hex digits, and for bytes that are not UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        decoded.push(match byte {
            b'%' => (digit()? * 16 + digit()?) as u8,
            _ => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

/// Bytes that are not UTF-8 have become U+FFFD.
fn is_target(target: &str) -> bool {
    !target.is_empty()
        && !target.contains(|char: char| char.is_ascii_control() || char == '\u{fffd}')
}

/// The syntax of a method and of a field name.
fn is_token(name: &str) -> bool {
    !name.is_empty() && is_made_of(name, b"!#$%&'*+-.^_`|~")
}

/// The characters of a name or an IP address, and of a port.
fn is_host(host: &str) -> bool {
    is_made_of(host, b"-._~!$&'()*+,;=%[]:")
}

fn is_made_of(text: &str, marks: &[u8]) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || marks.contains(&byte))
}
