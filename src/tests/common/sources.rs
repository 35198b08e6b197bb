//! Sockets and pipes, in the states that tests need.

use super::kernel::{CLOEXEC, NONBLOCK, c, owned_fd};
use std::ffi::{CStr, CString, c_void};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, process};

const AF_INET: i32 = 2;
const SOCK_STREAM: i32 = 1;
const SOL_SOCKET: i32 = 1;
const SO_LINGER: i32 = 13;

/// Returns two connected ends, both non-blocking.
pub fn unix_pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    (ours, theirs)
}

/// Returns two connected ends of a TCP connection on loopback, both non-blocking.
pub fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    (ours, theirs)
}

/// Returns a non-blocking TCP socket that is not connected.
pub fn tcp_socket() -> TcpStream {
    // SAFETY: the call takes no pointer.
    let socket = unsafe { c::socket(AF_INET, SOCK_STREAM | NONBLOCK | CLOEXEC, 0) };
    TcpStream::from(owned_fd(socket))
}

/// Returns the `struct sockaddr_in` of 127.0.0.1 with the port of `address`.
pub fn sockaddr_in(address: SocketAddr) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&(AF_INET as u16).to_ne_bytes());
    bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
    bytes[4..8].copy_from_slice(&[127, 0, 0, 1]);
    bytes
}

/// Returns a socket whose port refuses connections: it is bound, so that nothing else has the port,
/// but it does not listen.
pub fn refusing_listener() -> TcpListener {
    let socket = OwnedFd::from(tcp_socket());
    let any = sockaddr_in(([127, 0, 0, 1], 0).into());
    // SAFETY: the address is 16 bytes long.
    let bound = unsafe { c::bind(socket.as_raw_fd(), any.as_ptr() as *const c_void, 16) };
    assert_eq!(bound, 0);
    TcpListener::from(socket)
}

/// Returns two non-blocking UDP sockets on loopback that are connected to each other.
pub fn udp_pair() -> (UdpSocket, UdpSocket) {
    let [ours, theirs] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    ours.connect(theirs.local_addr().unwrap()).unwrap();
    theirs.connect(ours.local_addr().unwrap()).unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    (ours, theirs)
}

/// Makes a UDP socket unreachable for its peer, which gets an ICMP error for what it sends. Being
/// connected elsewhere, the socket takes no datagram, and keeps its port from others.
pub fn make_unreachable(socket: &UdpSocket) {
    socket.connect("127.0.0.1:9").unwrap();
}

/// Returns a regular file in memory.
pub fn memory_file() -> File {
    // SAFETY: the name ends in a zero byte.
    File::from(owned_fd(unsafe { c::memfd_create(c"epollet".as_ptr(), 0) }))
}

/// Returns the reading and the writing end of a non-blocking pipe.
pub fn pipe() -> (File, File) {
    let mut fds = [-1; 2];
    // SAFETY: the kernel writes two descriptors.
    assert_eq!(unsafe { c::pipe2(fds.as_mut_ptr(), NONBLOCK | CLOEXEC) }, 0);
    (File::from(owned_fd(fds[0])), File::from(owned_fd(fds[1])))
}

/// Returns the master of a pseudoterminal and its terminal, both non-blocking. A terminal emulator
/// holds the master.
pub fn pseudoterminal() -> (File, File) {
    const O_RDWR_NOCTTY: i32 = 0o402;
    let flags = O_RDWR_NOCTTY | NONBLOCK | CLOEXEC;
    // SAFETY: the call takes no pointer.
    let master = owned_fd(unsafe { c::posix_openpt(flags) });
    let mut name = [0_u8; 64];
    // SAFETY: the C library writes at most 64 bytes.
    unsafe {
        assert_eq!(c::unlockpt(master.as_raw_fd()), 0);
        let found = c::ptsname_r(master.as_raw_fd(), name.as_mut_ptr().cast(), name.len());
        assert_eq!(found, 0);
    }
    let name = CStr::from_bytes_until_nul(&name).unwrap().to_str().unwrap();
    let mut options = OpenOptions::new();
    let terminal = options.read(true).write(true).custom_flags(flags);
    (File::from(master), terminal.open(name).unwrap())
}

/// Returns the path of a new FIFO, which the caller removes.
pub fn fifo() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = env::temp_dir().join(format!("epollet-fifo-{}-{count}", process::id()));
    let c_path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the path ends in a zero byte.
    assert_eq!(unsafe { c::mkfifo(c_path.as_ptr(), 0o600) }, 0);
    path
}

/// Closes a connection with a reset.
pub fn reset(stream: TcpStream) {
    set_socket_option(&stream, SO_LINGER, &[1, 0]); // Linger for 0 s: close sends a reset.
}

/// Sets an option of `SOL_SOCKET` that consists of ints.
pub fn set_socket_option(stream: &TcpStream, name: i32, value: &[i32]) {
    let (pointer, len) = (value.as_ptr() as *const c_void, value.len() as u32 * 4);
    // SAFETY: `value` has `len` bytes, for an int has 4.
    let set = unsafe { c::setsockopt(stream.as_raw_fd(), SOL_SOCKET, name, pointer, len) };
    assert_eq!(set, 0);
}

/// Reads until `WouldBlock` or end of file. Returns the number of bytes.
pub fn drain(source: &mut impl Read) -> usize {
    let mut buffer = [0; 4096];
    let mut total = 0;
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return total,
            Ok(count) => total += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return total,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Writes until `WouldBlock`. Returns the number of bytes.
pub fn fill(sink: &mut impl Write) -> usize {
    let mut total = 0;
    loop {
        match sink.write(&[0; 4096]) {
            Ok(count) => total += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return total,
            Err(error) => panic!("{error}"),
        }
    }
}
