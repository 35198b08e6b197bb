//! What does a process wait for? The interest lists of any of your processes.
//!
//! ```sh
//! cargo run -q --example peek
//! cargo run -q --example peek -- PID
//! ```
//!
//! Shows each epoll descriptor of the process, and below it its registrations: the number of the
//! descriptor, the interest, the token, and what kind of file it is. Without a PID, the tool makes
//! a queue of its own and shows that.
//!
//! The kernel shows this in `/proc/PID/fdinfo/FD`, one line per registration. The line also has the
//! inode of the file. If that is no longer the inode of the descriptor, the registration has
//! outlived its descriptor, because a duplicate keeps the file open; or another process has made
//! it, through a queue that both share. Most files that exist only in the kernel, such as eventfds
//! and timerfds, share one inode, so this cannot be detected if another such file now has the
//! descriptor's number.
//!
//! Looking is not free: the kernel holds the queue's lock while it writes the list. With thousands
//! of registrations, a `register` at that moment waits for several milliseconds.
//!
//! A tool, not a part of the path. Run it after `05_echo_server`.
//!
//! Change next (the answers are at the end of the file):
//! 1. In `sample`, drop `_duplicate` too.
//! 2. Deregister `closed` before you drop it.
//! 3. Look at a program of your own that seems to hang: is the source registered at all, for what,
//!    and is it disabled?

use epollet::{Events, Interest, Poll, Waker, ffi};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::{fs::MetadataExt, net::UnixStream};
use std::process::{self, ExitCode};
use std::{env, fs, time::Duration};

/// Describes every queue of a process.
fn peek(pid: u32) -> io::Result<String> {
    let files = open_files(pid)?;
    let sockets = sockets(pid);
    let name = fs::read_to_string(format!("/proc/{pid}/comm"))?;
    let mut text = format!("process {pid} ({})", name.trim_end());
    let mut known: Vec<(i32, Vec<Registration>)> = Vec::new();
    let (mut count, mut outlived) = (0, 0);
    for queue in &files {
        if queue.link != "anon_inode:[eventpoll]" {
            continue;
        }
        let fdinfo = fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", queue.fd))?;
        let mut list: Vec<_> = fdinfo.lines().filter_map(Registration::parse).collect();
        list.sort_by_key(|registration| registration.fd);
        let twin = known.iter().find(|(_, other)| *other == list);
        let shown = match twin {
            _ if list.is_empty() => String::from("no registrations"),
            Some((fd, _)) => format!("the same registrations as {fd}, so probably a duplicate"),
            None => {
                count += list.len();
                let lacks_descriptor = |it: &&Registration| it.file(&files).is_none();
                outlived += list.iter().filter(lacks_descriptor).count();
                table(&files, &sockets, &list)
            }
        };
        text += &format!("\n\nepoll descriptor {}: {shown}", queue.fd);
        known.push((queue.fd, list));
    }
    if known.is_empty() {
        return Ok(text + " has no epoll descriptor");
    }
    text += "\n\nEvery interest has ERR and HUP too, unless it is disabled.\n\n";
    text += "Takeaway: /proc/PID/fdinfo/FD shows what an epoll descriptor waits for;\n";
    text += &format!("registrations here: {count}, without their descriptor: {outlived}.");
    Ok(text)
}

/// One line of an interest list.
#[derive(PartialEq)]
struct Registration {
    fd: i32,
    interest: u32,
    token: u64,
    inode: u64,
    device: u64,
}

impl Registration {
    /// `tfd:        5 events:       19 data:               2a  pos:0 ino:1d5c sdev:9`. All but the
    /// first number are hexadecimal.
    fn parse(line: &str) -> Option<Registration> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [
            "tfd:",
            fd,
            "events:",
            events,
            "data:",
            data,
            _,
            inode,
            device,
        ] = fields[..]
        else {
            return None;
        };
        Some(Registration {
            fd: fd.parse().ok()?,
            interest: u32::from_str_radix(events, 16).ok()?,
            token: u64::from_str_radix(data, 16).ok()?,
            inode: u64::from_str_radix(inode.strip_prefix("ino:")?, 16).ok()?,
            device: u64::from_str_radix(device.strip_prefix("sdev:")?, 16).ok()?,
        })
    }

    fn is_of(&self, file: &OpenFile) -> bool {
        (self.inode, self.device) == (file.inode, file.device)
    }

    /// The registered file, unless its descriptor is closed or has become another file's.
    fn file<'a>(&self, files: &'a [OpenFile]) -> Option<&'a OpenFile> {
        let now = files.iter().find(|file| file.fd == self.fd);
        now.filter(|file| self.is_of(file))
    }

    /// The names of the bits without `EPOLL`. ERR and HUP, which every interest has, are left out.
    fn interest(&self) -> String {
        let always = ffi::EPOLLERR | ffi::EPOLLHUP;
        let names = format!("{:?}", Interest::from(self.interest & !always));
        let names = names.replace("EPOLL", "");
        if self.interest & always == 0 {
            return names + " (disabled)"; // after a one-shot report
        }
        names
    }

    /// Small numbers as they are; pointers in hexadecimal.
    fn token(&self) -> String {
        if self.token < 1_000_000 {
            return self.token.to_string();
        }
        format!("{:#x}", self.token)
    }
}

fn table(files: &[OpenFile], sockets: &Sockets, list: &[Registration]) -> String {
    let mut rows = vec![["fd", "interest", "token", "file"].map(String::from)];
    for registration in list {
        let file = kind(files, sockets, registration);
        let fd = registration.fd.to_string();
        rows.push([fd, registration.interest(), registration.token(), file]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (fd, interest, token) = (width(0), width(1), width(2));
    let mut text = String::from("interest list");
    for [a, b, c, d] in &rows {
        text += &format!("\n  {a:>fd$}  {b:interest$}  {c:>token$}  {d}");
    }
    text
}

/// What kind of file a registration is for, and whether it has outlived its descriptor.
fn kind(files: &[OpenFile], sockets: &Sockets, registration: &Registration) -> String {
    if let Some(file) = registration.file(files) {
        return file.kind(sockets);
    }
    let file = match files.iter().find(|file| registration.is_of(file)) {
        Some(file) if file.link.starts_with("anon_inode:") => String::from("eventfd or the like"),
        Some(file) => format!("{}, open as {}", file.kind(sockets), file.fd),
        None => match sockets.get(&registration.inode) {
            Some(socket) => socket.clone(),
            None => String::from("open in another process"),
        },
    };
    format!("OUTLIVED its fd: {file}")
}

/// A descriptor of the process, and what it refers to.
struct OpenFile {
    fd: i32,
    /// `socket:[7372]`, `anon_inode:[eventfd]`, `/dev/pts/0`
    link: String,
    inode: u64,
    device: u64,
}

fn open_files(pid: u32) -> io::Result<Vec<OpenFile>> {
    let directory = format!("/proc/{pid}/fd");
    let entries = fs::read_dir(&directory).map_err(|error| explain(pid, error))?;
    let names: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .collect();
    let mut files = Vec::new();
    for fd in names.iter().filter_map(|name| name.to_str()?.parse().ok()) {
        let path = format!("{directory}/{fd}");
        let link = match fs::read_link(&path) {
            Ok(link) => link.to_string_lossy().into_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => continue, // closed meanwhile
            Err(error) => return Err(explain(pid, error)),
        };
        if let Ok(metadata) = fs::metadata(&path) {
            files.push(OpenFile {
                fd,
                link,
                inode: metadata.ino(),
                device: kernel_device(metadata.dev()),
            });
        }
    }
    files.sort_by_key(|file| file.fd);
    Ok(files)
}

/// The number of a device as the kernel has it: 20 bits for the minor number. `stat` splits it.
fn kernel_device(device: u64) -> u64 {
    let major = (device >> 8) & 0xfff;
    let minor = (device & 0xff) | ((device >> 12) & 0xf_ff00);
    (major << 20) | minor
}

fn explain(pid: u32, error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::NotFound => io::Error::other(format!("there is no process {pid}")),
        ErrorKind::PermissionDenied => {
            io::Error::other(format!("no permission to look at process {pid} ({error})"))
        }
        _ => error,
    }
}

impl OpenFile {
    fn kind(&self, sockets: &Sockets) -> String {
        match self.link.as_str() {
            "anon_inode:[eventfd]" => String::from("eventfd, such as a waker"),
            "anon_inode:[eventpoll]" => String::from("epoll instance"),
            link if link.starts_with("pipe:") => String::from("pipe"),
            link if link.starts_with("socket:") => match sockets.get(&self.inode) {
                Some(socket) => socket.clone(),
                None => String::from("socket"),
            },
            link => match link.strip_prefix("anon_inode:") {
                Some(name) => name.trim_matches(['[', ']']).to_string(),
                None => link.to_string(),
            },
        }
    }
}

/// What each socket is, by its inode.
type Sockets = HashMap<u64, String>;

/// Reads the tables of the process's network namespace. They have an inode of 0 for a connection
/// that no process has open any more.
fn sockets(pid: u32) -> Sockets {
    let mut sockets = Sockets::new();
    for protocol in ["tcp", "tcp6", "udp", "udp6"] {
        let table = fs::read_to_string(format!("/proc/{pid}/net/{protocol}")).unwrap_or_default();
        for line in table.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, local, remote, state, _, _, _, _, _, inode, ..] = fields[..] else {
                continue;
            };
            let Ok(inode @ 1..) = inode.parse() else {
                continue;
            };
            let (Some(local), Some(remote)) = (address(local), address(remote)) else {
                continue;
            };
            let socket = match state {
                _ if protocol.starts_with("udp") => format!("UDP socket {local}"),
                "0A" => format!("listener on {local}"),
                _ => format!("connection :{} - {remote}", local.port()),
            };
            sockets.insert(inode, socket);
        }
    }
    let table = fs::read_to_string(format!("/proc/{pid}/net/unix")).unwrap_or_default();
    for line in table.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, flags, _, _, inode, ref path @ ..] = fields[..] else {
            continue;
        };
        let Ok(inode) = inode.parse() else {
            continue; // the heading
        };
        let listens = flags == "00010000"; // __SO_ACCEPTCON
        let kind = if listens {
            "Unix listener"
        } else {
            "Unix socket"
        };
        let socket = format!("{kind} {}", path.join(" "));
        sockets.insert(inode, socket.trim_end().to_string());
    }
    sockets
}

/// `0100007F:1F90`: the bytes of the address, in groups of four that are read as numbers.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let mut bytes = Vec::new();
    for start in (0..ip.len()).step_by(8) {
        let group = u32::from_str_radix(ip.get(start..start + 8)?, 16).ok()?;
        bytes.extend(group.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(bytes) => IpAddr::from(bytes),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(&bytes[..]).ok()?).to_canonical(),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// Makes a queue with several kinds of sources and describes it.
fn sample() -> io::Result<String> {
    let mut poll = Poll::new()?;
    let registry = poll.registry();
    let _waker = Waker::new(registry, 0)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    registry.register(&listener, 1, Interest::READABLE)?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (connection, _) = listener.accept()?;
    let both = Interest::READABLE | Interest::WRITABLE | Interest::EDGE;
    registry.register(&connection, 2, both)?;
    let inner = Poll::new()?;
    registry.register(&inner, 3, Interest::READABLE)?;
    // It is ready. The poll reports it, which disables it.
    registry.register(&client, 4, Interest::WRITABLE | Interest::ONESHOT)?;
    let (closed, _peer) = UnixStream::pair()?;
    let _duplicate = closed.try_clone()?;
    registry.register(&closed, 5, Interest::READABLE)?;
    drop(closed);
    poll.poll(&mut Events::with_capacity(8), Some(Duration::ZERO))?;
    peek(process::id())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let described = match &arguments[..] {
        [] => sample(),
        [pid] => match pid.parse() {
            Ok(pid) => peek(pid),
            Err(_) => return usage(),
        },
        _ => return usage(),
    };
    match described {
        Ok(text) => {
            // If the reader is gone, as in `| head`, there is nothing to report.
            let _ = writeln!(io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: cargo run -q --example peek [-- PID]");
    ExitCode::from(2)
}

// Answers:
// 1. The registration is gone: the kernel removes it with the last descriptor of the file.
// 2. It is gone, too, although `_duplicate` is open.
// 3. ONESHOT (disabled) is a registration that waits for `reregister`.
