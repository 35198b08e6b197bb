//! As much of HTTP/1.1 as the playground needs: one request, one answer, and the end.

use std::net::SocketAddr;

/// The longest request without its body, and the longest body.
const HEAD: usize = 8000;
const BODY: usize = 100;

pub struct Request {
    pub method: String,
    pub path: String,
    host: Option<String>,
    origin: Option<String>,
    /// `Sec-Fetch-Site`: where the page is that sends the request.
    site: Option<String>,
    pub body: String,
}

pub struct Answer {
    status: &'static str,
    /// More header fields.
    fields: String,
    body: String,
}

impl Request {
    /// Takes a request from what has arrived. `None`: it is not complete yet.
    pub fn parse(input: &[u8]) -> Result<Option<Request>, Answer> {
        let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") else {
            if input.len() > HEAD {
                let text = "The request is too long. Delete the cookies of this address.";
                return Err(refuse("431 Request Header Fields Too Large", text));
            }
            return Ok(None);
        };
        let (head, body) = (&input[..end], &input[end + 4..]);
        let bad = || {
            let text = "No browser sends such a request. Open the page in a browser.";
            refuse("400 Bad Request", text)
        };
        let mut lines = std::str::from_utf8(head).map_err(|_| bad())?.split("\r\n");
        let first: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        let [method, path, "HTTP/1.1"] = first[..] else {
            return Err(bad());
        };
        let mut request = Request {
            method: method.into(),
            path: path.into(),
            host: None,
            origin: None,
            site: None,
            body: String::new(),
        };
        let mut length = None;
        for line in lines {
            let (name, value) = line.split_once(':').ok_or_else(bad)?;
            let field = match name.to_ascii_lowercase().as_str() {
                "host" => &mut request.host,
                "origin" => &mut request.origin,
                "sec-fetch-site" => &mut request.site,
                "content-length" => &mut length,
                "transfer-encoding" => {
                    let text = "Send the body in one piece, with a Content-Length.";
                    return Err(refuse("411 Length Required", text));
                }
                _ => continue,
            };
            if field.replace(value.trim().to_owned()).is_some() {
                return Err(bad());
            }
        }
        let length: usize = match length {
            Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().unwrap_or(usize::MAX)
            }
            Some(_) => return Err(bad()),
            None => 0,
        };
        if length > BODY {
            let text = "No action is as long as this. Send a shorter one.";
            return Err(refuse("413 Content Too Large", text));
        }
        if body.len() < length {
            return Ok(None);
        }
        request.body = std::str::from_utf8(&body[..length])
            .map_err(|_| bad())?
            .into();
        Ok(Some(request))
    }

    /// Was the request sent to this server, and by its own page? The page of another site must not
    /// drive a bench. It could name this server (`Origin`), or be at a name that leads here
    /// (`Host`).
    pub fn is_own(&self, server: SocketAddr) -> bool {
        // On `[::]`, an IPv4 address arrives as `[::ffff:127.0.0.1]`.
        let server = SocketAddr::new(server.ip().to_canonical(), server.port());
        let mut hosts = vec![server.to_string()];
        if server.ip().is_loopback() {
            hosts.push(format!("localhost:{}", server.port()));
        }
        let Some(host) = &self.host else {
            return false;
        };
        // A browser leaves out the port 80, here and in `Origin`.
        if !hosts.contains(host) && !hosts.contains(&format!("{host}:80")) {
            return false;
        }
        let own = format!("http://{host}");
        let is_own_page = self.origin.as_ref().is_none_or(|origin| *origin == own)
            && self.site.as_ref().is_none_or(|site| site == "same-origin");
        // A link of another site may lead to the page, and an `<img>` has no `Origin`.
        is_own_page || (self.path == "/" && self.origin.is_none())
    }
}

impl Answer {
    pub fn new(status: &'static str, fields: &str, body: String) -> Answer {
        Answer {
            status,
            fields: fields.into(),
            body,
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let Answer {
            status,
            fields,
            body,
        } = self;
        let length = match *status {
            "204 No Content" => String::new(),
            _ => format!("Content-Length: {}\r\n", body.len()),
        };
        format!("HTTP/1.1 {status}\r\n{length}{fields}{ALWAYS}Connection: close\r\n\r\n{body}")
            .into_bytes()
    }
}

/// Answers with a sentence that says what to do.
pub fn refuse(status: &'static str, sentence: &str) -> Answer {
    Answer::new(status, TEXT, format!("{sentence}\n"))
}

/// The path exists, but not for the method of the request.
pub fn refuse_method(allowed: &str) -> Answer {
    let fields = format!("{TEXT}Allow: {allowed}\r\n");
    let sentence = format!("This path can only be used with {allowed}.\n");
    Answer::new("405 Method Not Allowed", &fields, sentence)
}

pub const TEXT: &str = "Content-Type: text/plain; charset=utf-8\r\n";
/// The page brings all it needs, and nobody puts it in a frame.
pub const HTML: &str = "Content-Type: text/html; charset=utf-8\r\n\
    Content-Security-Policy: default-src 'none'; script-src 'unsafe-inline'; \
    style-src 'unsafe-inline'; connect-src 'self'; img-src data:; frame-ancestors 'none'; \
    base-uri 'none'; form-action 'none'\r\n";
const ALWAYS: &str = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";

/// Begins an answer that has no end.
pub const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Cache-Control: no-store\r\nConnection: close\r\n\r\n";
