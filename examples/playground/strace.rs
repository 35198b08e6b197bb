//! System calls as strace prints them.

use epollet::{Interest, Token};
use std::io::{self, ErrorKind};

const ELOOP: i32 = 40;

/// How strace prints a `struct epoll_event`.
pub fn event_text(token: Token, bits: u32) -> String {
    let names = match bits {
        0 => "0".into(),
        _ => format!("{:?}", Interest::from(bits)).replace(' ', ""),
    };
    format!("{{events={names}, data={{u32={token}, u64={token}}}}}")
}

/// How strace prints what a call returned.
pub fn returned(result: Result<usize, &io::Error>) -> String {
    match result {
        Ok(number) => format!(" = {number}"),
        Err(error) => {
            let name = match error.kind() {
                ErrorKind::AlreadyExists => "EEXIST",
                ErrorKind::NotFound => "ENOENT",
                ErrorKind::WouldBlock => "EAGAIN",
                ErrorKind::BrokenPipe => "EPIPE",
                ErrorKind::ConnectionReset => "ECONNRESET",
                ErrorKind::InvalidInput => "EINVAL",
                _ if error.raw_os_error() == Some(ELOOP) => "ELOOP",
                _ => "an error",
            };
            // "File exists (os error 17)"
            let text = error.to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            format!(" = -1 {name} ({text})")
        }
    }
}

/// How strace prints bytes. (Before a digit it prints three octal digits. No eventfd here counts so far
/// that this happens.)
pub fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => text.push(char::from(*byte)),
            b'\t' => text += "\\t",
            b'\n' => text += "\\n",
            0x0b => text += "\\v",
            0x0c => text += "\\f",
            b'\r' => text += "\\r",
            _ => text += &format!("\\{byte:o}"),
        }
    }
    text + "\""
}
