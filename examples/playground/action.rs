//! What a visitor can do on the bench, and how the page writes it: `register q1 s1 7 IN|ET`.

use super::bench::UNREAD;
use epollet::Token;
use epollet::ffi::{EPOLLET, EPOLLIN, EPOLLONESHOT, EPOLLOUT, EPOLLRDHUP};

/// Descriptors have names: `s1` and `s1_peer` are the two ends of a stream, `e1` is an eventfd,
/// `s1_dup` a duplicate, `q1` a queue.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Stream,
    Eventfd,
    Queue,
    Duplicate(String),
    Close(String),
    /// The queue, the source, the token, the interest.
    Register(String, String, Token, u32),
    Reregister(String, String, Token, u32),
    Deregister(String, String),
    /// So many bytes to a stream, or this number to an eventfd.
    Write(String, usize),
    /// At most so many bytes.
    Read(String, usize),
    /// Shuts down the sending side.
    Shutdown(String),
    /// The queue, and how many events there is room for.
    Poll(String, usize),
}

pub const MOST_READ: usize = 64;
pub const MOST_EVENTS: usize = 16;
pub const LARGEST_TOKEN: Token = 9999;

const BITS: [(&str, u32); 5] = [
    ("IN", EPOLLIN),
    ("OUT", EPOLLOUT),
    ("RDHUP", EPOLLRDHUP),
    ("ONESHOT", EPOLLONESHOT),
    ("ET", EPOLLET),
];

impl Action {
    /// The error is a sentence for the visitor.
    pub fn parse(line: &str) -> Result<Action, String> {
        let words: Vec<&str> = line.split(' ').collect();
        Ok(match words[..] {
            ["stream"] => Action::Stream,
            ["eventfd"] => Action::Eventfd,
            ["queue"] => Action::Queue,
            ["duplicate", source] => Action::Duplicate(source.into()),
            ["close", source] => Action::Close(source.into()),
            ["register", queue, source, token, bits] => {
                let (token, bits) = (number("token", token, 0, LARGEST_TOKEN)?, interest(bits)?);
                Action::Register(queue.into(), source.into(), token, bits)
            }
            ["reregister", queue, source, token, bits] => {
                let (token, bits) = (number("token", token, 0, LARGEST_TOKEN)?, interest(bits)?);
                Action::Reregister(queue.into(), source.into(), token, bits)
            }
            ["deregister", queue, source] => Action::Deregister(queue.into(), source.into()),
            ["write", source, count] => {
                Action::Write(source.into(), number("amount to write", count, 1, UNREAD)?)
            }
            ["read", source, count] => Action::Read(
                source.into(),
                number("amount to read", count, 1, MOST_READ)?,
            ),
            ["shutdown", source] => Action::Shutdown(source.into()),
            ["poll", queue, capacity] => Action::Poll(
                queue.into(),
                number("room for events", capacity, 1, MOST_EVENTS)?,
            ),
            _ => return Err("The bench has no such action. Use its buttons.".into()),
        })
    }

    /// The descriptors that it is about.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Action::Stream | Action::Eventfd | Action::Queue => Vec::new(),
            Action::Duplicate(name)
            | Action::Close(name)
            | Action::Write(name, _)
            | Action::Read(name, _)
            | Action::Shutdown(name)
            | Action::Poll(name, _) => vec![name],
            Action::Register(queue, source, ..)
            | Action::Reregister(queue, source, ..)
            | Action::Deregister(queue, source) => vec![queue, source],
        }
    }
}

/// `what` names the field in the error.
fn number(what: &str, text: &str, least: usize, most: usize) -> Result<usize, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("The {what} must be a number from {least} to {most}."))
}

/// `IN|OUT|ET`, or `none`.
fn interest(text: &str) -> Result<u32, String> {
    let mut interest = 0;
    if text != "none" {
        for name in text.split('|') {
            let Some((_, bit)) = BITS.iter().find(|(known, _)| *known == name) else {
                let known = BITS.map(|(name, _)| name).join(", ");
                return Err(format!(
                    "An interest is made of {known}, joined with |, or it is none."
                ));
            };
            interest |= bit;
        }
    }
    Ok(interest)
}
