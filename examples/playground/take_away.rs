//! Writes what was done on a bench as a Rust program on the two files.

use super::action::Action;
use super::bench::{Step, first_name};
use epollet::Interest;

/// The program compiles without a warning, and each of its polls prints what the bench's did.
pub fn program(steps: &[Step]) -> String {
    let mut body = String::new();
    for (index, step) in steps.iter().enumerate() {
        body += &statement(step, &steps[..index], &steps[index + 1..]);
    }
    let imports = IMPORTS.iter().filter(|(word, _)| body.contains(word));
    let imports: String = imports.map(|(_, path)| format!("use {path};\n")).collect();
    let functions = FUNCTIONS.iter().filter(|(word, _)| body.contains(word));
    let functions: String = functions.map(|(_, function)| *function).collect();
    format!("{HEAD}{imports}\nfn main() -> io::Result<()> {{\n{body}    Ok(())\n}}\n{functions}")
}

fn statement(step: &Step, earlier: &[Step], later: &[Step]) -> String {
    // A variable that nothing uses has a name that begins with `_`.
    let new = |index: usize| {
        let name = &step.made[index];
        let used = later
            .iter()
            .any(|step| step.action.names().contains(&name.as_str()));
        if used {
            name.clone()
        } else {
            format!("_{name}")
        }
    };
    let (call, ends) = match &step.action {
        Action::Queue => {
            let name = &step.made[0];
            let mut actions = later.iter().map(|step| &step.action);
            let polled = actions.any(|it| matches!(it, Action::Poll(queue, _) if queue == name));
            let mutable = if polled { "mut " } else { "" };
            (format!("let {mutable}{} = Poll::new()", new(0)), "?")
        }
        Action::Stream => (format!("let ({}, {}) = stream_pair()", new(0), new(1)), "?"),
        Action::Eventfd => (format!("let {} = eventfd()", new(0)), ""),
        Action::Duplicate(name) => {
            let closed = earlier.iter().filter_map(|step| match &step.action {
                Action::Close(closed) if first_name(closed) == first_name(name) => Some(closed),
                _ => None,
            });
            let numbers: Vec<String> = closed.map(|closed| format!("{closed}_number")).collect();
            let call = match numbers.join(", ") {
                none if none.is_empty() => format!("{name}.try_clone()"),
                numbers => format!("duplicate(&{name}, &[{numbers}])"),
            };
            (format!("let {} = {call}", new(0)), "?")
        }
        Action::Close(name) => {
            let mut later = later.iter().map(|step| &step.action);
            let number_counts = later.any(|action| {
                matches!(action, Action::Duplicate(other) if first_name(other) == first_name(name))
            });
            let mut call = format!("drop({name})");
            if number_counts {
                call = format!("let {name}_number = {name}.as_raw_fd();\n    {call}");
            }
            (call, "")
        }
        Action::Register(queue, source, token, bits) => {
            let bits = interest(*bits);
            (
                format!("{queue}.registry().register(&{source}, {token}, {bits})"),
                "?",
            )
        }
        Action::Reregister(queue, source, token, bits) => {
            let bits = interest(*bits);
            (
                format!("{queue}.registry().reregister(&{source}, {token}, {bits})"),
                "?",
            )
        }
        Action::Deregister(queue, source) => {
            (format!("{queue}.registry().deregister(&{source})"), "?")
        }
        Action::Write(name, number) if name.starts_with('e') => (
            format!("(&{name}).write_all(&{number}_u64.to_ne_bytes())"),
            "?",
        ),
        Action::Write(name, count) => (
            format!("(&{name}).write_all(b\"{}\")", "x".repeat(*count)),
            "?",
        ),
        Action::Read(name, _) if name.starts_with('e') => {
            (format!("(&{name}).read(&mut [0; 8])"), "?")
        }
        Action::Read(name, count) => (format!("(&{name}).read(&mut [0; {count}])"), "?"),
        Action::Shutdown(name) => (format!("{name}.shutdown(Shutdown::Write)"), "?"),
        Action::Poll(queue, capacity) => (format!("report(&mut {queue}, {capacity})"), "?"),
    };
    match step.calls.last().and_then(|call| call.split_once(" = -1 ")) {
        Some((_, error)) => format!("    assert!({call}.is_err()); // {error}\n"),
        None => format!("    {call}{ends};\n"),
    }
}

fn interest(bits: u32) -> String {
    match bits {
        0 => "0_u32".into(),
        _ => format!("{:?}", Interest::from(bits)),
    }
}

const HEAD: &str = "\
//! Made on the playground of epollet. To run it:
//!
//!     cargo new taken && cd taken
//!     cp EPOLLET/src/ffi.rs EPOLLET/src/poll.rs src    # EPOLLET: its folder
//!     cargo run                                        # with this file as src/main.rs

mod ffi;
mod poll;

";

/// What a program imports if it contains the word.
const IMPORTS: [(&str, &str); 16] = [
    ("EPOLLET", "ffi::EPOLLET"),
    ("EPOLLIN", "ffi::EPOLLIN"),
    ("EPOLLONESHOT", "ffi::EPOLLONESHOT"),
    ("EPOLLOUT", "ffi::EPOLLOUT"),
    ("EPOLLRDHUP", "ffi::EPOLLRDHUP"),
    ("report(", "poll::Events"),
    ("", "poll::Poll"),
    ("eventfd()", "std::fs::File"),
    ("", "std::io"),
    (".read(", "std::io::Read"),
    (".write", "std::io::Write"),
    ("Shutdown::", "std::net::Shutdown"),
    ("eventfd()", "std::os::fd::FromRawFd"),
    (
        " = duplicate(",
        "std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd}",
    ),
    ("stream_pair()", "std::os::unix::net::UnixStream"),
    ("report(", "std::time::Duration"),
];

/// The same for functions of its own.
const FUNCTIONS: [(&str, &str); 4] = [
    ("report(", REPORT),
    ("stream_pair()", STREAM),
    ("eventfd()", EVENTFD),
    (" = duplicate(", DUPLICATE),
];

const REPORT: &str = "
fn report(queue: &mut Poll, capacity: usize) -> io::Result<()> {
    let mut events = Events::with_capacity(capacity);
    queue.poll(&mut events, Some(Duration::ZERO))?;
    println!(\"{events:?}\");
    Ok(())
}
";

const STREAM: &str = "
fn stream_pair() -> io::Result<(UnixStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    Ok((ours, theirs))
}
";

const EVENTFD: &str = "
fn eventfd() -> File {
    // SAFETY: the call takes no pointer.
    let fd = unsafe { ffi::eventfd(0, ffi::EFD_CLOEXEC | ffi::EFD_NONBLOCK) };
    assert_ne!(fd, -1, \"{}\", io::Error::last_os_error());
    // SAFETY: the descriptor is new, so nothing else owns it.
    unsafe { File::from_raw_fd(fd) }
}
";

const DUPLICATE: &str = "
/// Duplicates a source, but not to a number that it had before, because that may still be registered.
fn duplicate<T: AsFd + From<OwnedFd>>(source: &T, before: &[RawFd]) -> io::Result<T> {
    let mut passed = Vec::new();
    loop {
        let new = source.as_fd().try_clone_to_owned()?;
        if !before.contains(&new.as_raw_fd()) {
            return Ok(T::from(new));
        }
        passed.push(new);
    }
}
";
