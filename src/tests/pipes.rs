//! Which bits say what about pipes, FIFOs and terminals.

use super::common::*;
use super::connections::bytes_ready;
use crate::Interest;
use crate::ffi::{EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT};
use std::ffi::c_int;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

#[test]
fn the_end_of_a_pipe_is_a_hang_up_without_epollin() {
    let (mut reader, writer) = pipe();
    let mut poll = queue_with(&reader, Interest::READABLE);
    drop(writer);
    let event = ready_now(&mut poll)[0];
    assert_eq!(event.bits(), EPOLLHUP);
    assert!(!event.is_readable() && event.is_read_closed());
    assert_eq!(reader.read(&mut [0]).unwrap(), 0, "the end of file");
}

#[test]
fn data_in_a_pipe_whose_writer_is_gone_is_reported_with_the_hup() {
    let (mut reader, mut writer) = pipe();
    let mut poll = queue_with(&reader, EPOLLIN);
    writer.write_all(b"left behind").unwrap();
    drop(writer);
    assert_eq!(ready_bits(&mut poll), EPOLLIN | EPOLLHUP);
    assert_eq!(drain(&mut reader), 11);
    assert_eq!(ready_bits(&mut poll), EPOLLHUP);
}

#[test]
fn the_reader_of_a_pipe_gone_is_err() {
    let (reader, mut writer) = pipe();
    let mut poll = queue_with(&writer, EPOLLOUT);
    drop(reader);
    let event = ready_now(&mut poll)[0];
    assert_eq!(event.bits(), EPOLLOUT | EPOLLERR);
    assert!(event.is_write_closed());
    assert_eq!(
        writer.write(b"x").unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
}

#[test]
fn the_reader_of_a_full_pipe_gone_is_err_alone() {
    let (reader, mut writer) = pipe();
    let mut poll = queue_with(&writer, EPOLLOUT);
    fill(&mut writer);
    assert_eq!(ready_bits(&mut poll), 0);
    drop(reader);
    let event = ready_now(&mut poll)[0];
    assert_eq!(event.bits(), EPOLLERR);
    assert!(event.is_write_closed());
}

#[test]
fn a_fifo_that_is_hung_up_can_be_opened_for_writing_again() {
    let (reader, writer) = pipe();
    // Opening a pipe in /proc makes a new open file description for it, as with a FIFO.
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    let mut poll = queue_with(&reader, Interest::READABLE);
    drop(writer);
    assert!(ready_now(&mut poll)[0].is_read_closed());
    let mut writer = OpenOptions::new().write(true).open(path).unwrap();
    assert_eq!(ready_bits(&mut poll), 0, "the hang-up is over");
    writer.write_all(b"a").unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
}

#[test]
fn a_fifo_reads_end_of_file_before_its_first_writer_without_a_hang_up() {
    let path = fifo();
    let mut options = OpenOptions::new();
    options.custom_flags(NONBLOCK);
    let mut reader = options.read(true).open(&path).unwrap();
    let mut poll = queue_with(&reader, Interest::READABLE);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    assert_eq!(ready_bits(&mut poll), 0);
    let writer = options.read(false).write(true).open(&path).unwrap();
    fs::remove_file(path).unwrap();
    let empty = reader.read(&mut [0]).unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::WouldBlock);
    drop(writer);
    assert_eq!(ready_bits(&mut poll), EPOLLHUP);
}

#[test]
fn a_non_blocking_open_of_a_fifo_for_writing_is_enxio_without_a_reader() {
    let path = fifo();
    let open = |options: &mut OpenOptions| options.custom_flags(NONBLOCK).open(&path);
    let too_early = os_code(open(OpenOptions::new().write(true)));
    let _reader = open(OpenOptions::new().read(true)).unwrap();
    let in_time = open(OpenOptions::new().write(true));
    fs::remove_file(&path).unwrap();
    assert_eq!(too_early, ENXIO);
    in_time.unwrap();
}

#[test]
fn after_ctrl_d_a_terminal_reads_zero_bytes_once_and_more_can_follow() {
    let (mut keyboard, mut terminal) = pseudoterminal();
    let mut poll = queue_with(&terminal, Interest::READABLE);
    keyboard.write_all(b"\x04").unwrap(); // Ctrl-D
    assert_eq!(await_events(&mut poll)[0].bits(), EPOLLIN);
    assert_eq!(terminal.read(&mut [0; 100]).unwrap(), 0);
    assert_eq!(ready_bits(&mut poll), 0);
    keyboard.write_all(b"more\n").unwrap();
    assert_eq!(await_events(&mut poll)[0].bits(), EPOLLIN);
    assert_eq!(terminal.read(&mut [0; 100]).unwrap(), 5);
}

#[test]
fn a_terminal_cuts_a_line_after_4095_bytes() {
    let (mut keyboard, mut terminal) = pseudoterminal();
    let mut line = vec![b'a'; 6000];
    line.push(b'\n');
    let mut typed = 0;
    until("the line is typed", || {
        typed += keyboard.write(&line[typed..]).unwrap_or(0);
        drain(&mut keyboard); // its echo
        typed == line.len()
    });
    await_bits(&terminal, EPOLLIN);
    let mut buffer = [0; 10_000];
    assert_eq!(terminal.read(&mut buffer).unwrap(), 4095 + 1);
    assert_eq!(buffer[4095], b'\n');
    let more = terminal.read(&mut buffer).unwrap_err();
    assert_eq!(more.kind(), ErrorKind::WouldBlock, "the rest is gone");
}

#[test]
fn a_terminal_whose_master_is_closed_reads_zero_bytes() {
    let (master, mut terminal) = pseudoterminal();
    let mut poll = queue_with(&terminal, Interest::READABLE | Interest::WRITABLE);
    drop(master);
    let all = EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP;
    await_bits(&terminal, all);
    assert_eq!(ready_bits(&mut poll), all);
    assert_eq!(terminal.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_master_whose_terminal_is_closed_reads_the_unread_output_and_then_eio() {
    let (mut master, mut terminal) = pseudoterminal();
    let mut poll = queue_with(&master, Interest::READABLE);
    terminal.write_all(b"last words").unwrap();
    drop(terminal);
    await_bits(&master, EPOLLIN | EPOLLHUP);
    assert_eq!(ready_bits(&mut poll), EPOLLIN | EPOLLHUP);
    assert_eq!(master.read(&mut [0; 100]).unwrap(), 10);
    assert_eq!(ready_bits(&mut poll), EPOLLHUP, "a loop spins");
    assert_eq!(os_code(master.read(&mut [0; 100])), EIO);
}

#[test]
fn a_terminal_can_take_bytes_before_it_is_reported_as_writable_again() {
    let (mut master, mut terminal) = pseudoterminal();
    until("buffers that stay full", || fill(&mut terminal) == 0);
    let mut poll = queue_with(&terminal, Interest::WRITABLE);
    assert_eq!(ready_bits(&mut poll), 0);
    assert_eq!(master.read(&mut [0; 1000]).unwrap(), 1000);
    until("room, as a new queue sees it", || {
        ready_bits(&mut queue_with(&terminal, EPOLLOUT)) == EPOLLOUT
    });
    assert_eq!(
        ready_bits(&mut poll),
        0,
        "the room has come without a wakeup"
    );
    terminal.write_all(b"x").unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLOUT, "our own write is a wakeup");
}

#[test]
fn a_short_read_of_a_terminal_leaves_the_next_line_unreported() {
    let (mut master, mut ours) = pseudoterminal();
    master.write_all(b"one\ntwo\n").unwrap();
    await_bits(&ours, EPOLLIN);
    let mut poll = queue_with(&ours, EPOLLIN | EPOLLET);
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    assert_eq!(ours.read(&mut [0; 100]).unwrap(), 4);
    assert_eq!(ready_bits(&mut poll), 0);
    assert_eq!(ours.read(&mut [0; 100]).unwrap(), 4);
}

#[test]
fn a_pseudoterminal_that_is_hung_up_can_be_opened_again() {
    const O_NOCTTY: i32 = 0o400;
    let (mut master, terminal) = pseudoterminal();
    let path = fs::read_link(format!("/proc/self/fd/{}", terminal.as_raw_fd())).unwrap();
    let mut poll = queue_with(&master, Interest::READABLE);
    assert_eq!(ready_bits(&mut poll), 0);
    drop(terminal);
    assert!(await_events(&mut poll)[0].is_read_closed());
    assert_eq!(os_code(master.read(&mut [0])), EIO, "not 0 bytes");
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(O_NOCTTY);
    let mut terminal = options.open(path).unwrap();
    assert_eq!(ready_bits(&mut poll), 0, "the hang-up is over");
    terminal.write_all(b"a").unwrap();
    assert_eq!(await_events(&mut poll)[0].bits(), EPOLLIN);
    drop(terminal);
    await_bits(&master, EPOLLHUP);
    master.write_all(b"a").unwrap();
}

#[test]
fn a_fifo_that_is_open_for_writing_too_has_no_hang_up() {
    let (reader, writer) = pipe();
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    let mut options = OpenOptions::new();
    options.custom_flags(NONBLOCK).read(true).write(true);
    let mut both = options.open(path).unwrap();
    let mut poll = queue_with(&both, Interest::READABLE);
    (&writer).write_all(b"a").unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    both.read_exact(&mut [0]).unwrap();
    drop(writer);
    assert_eq!(ready_bits(&mut poll), 0, "the last other writer is gone");
}

#[test]
fn a_short_read_of_a_pipe_in_packet_mode_leaves_the_next_packet_unreported() {
    const O_DIRECT: c_int = if cfg!(any(target_arch = "arm", target_arch = "aarch64")) {
        0o200000
    } else if IS_POWER {
        0o400000
    } else {
        0o40000
    };
    let mut fds = [-1; 2];
    // SAFETY: the kernel writes two descriptors.
    let made = unsafe { c::pipe2(fds.as_mut_ptr(), NONBLOCK | CLOEXEC | O_DIRECT) };
    assert_eq!(made, 0);
    let [mut reader, mut writer] = fds.map(|fd| File::from(owned_fd(fd)));
    let mut poll = queue_with(&reader, Interest::READABLE | Interest::EDGE);
    writer.write_all(b"one").unwrap();
    writer.write_all(b"two").unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    assert_eq!(reader.read(&mut [0; 100]).unwrap(), 3, "a short read");
    assert_eq!(ready_bits(&mut poll), 0, "no second event");
    assert_eq!(reader.read(&mut [0; 100]).unwrap(), 3);
}

#[test]
fn typed_input_that_was_reported_is_gone_after_ctrl_c() {
    let (mut keyboard, mut terminal) = pseudoterminal();
    let mut poll = queue_with(&terminal, Interest::READABLE);
    keyboard.write_all(b"hello\n").unwrap();
    assert_eq!(await_events(&mut poll)[0].bits(), EPOLLIN);
    keyboard.write_all(b"\x03").unwrap(); // Ctrl-C. No process has this terminal.
    let mut buffer = [0; 100];
    until("the input is gone", || ready_bits(&mut poll) == 0);
    let read = terminal.read(&mut buffer).unwrap_err();
    assert_eq!(read.kind(), ErrorKind::WouldBlock, "here, it could sleep");
}

/// Sets a terminal to raw mode: a read returns when there are `bytes`, not when there is a line.
#[cfg(not(any(target_arch = "powerpc", target_arch = "powerpc64")))] // another struct termios
fn set_raw_mode(terminal: &File, bytes: u8) {
    // struct termios: four words of flags, the local ones last; then a byte, and the characters.
    const ICANON_AND_ECHO: u32 = 0o12;
    let mut attributes = [0_u32; 32];
    // SAFETY: a `struct termios` is at most 60 bytes long.
    assert_eq!(
        unsafe { c::tcgetattr(terminal.as_raw_fd(), attributes.as_mut_ptr()) },
        0
    );
    attributes[3] &= !ICANON_AND_ECHO;
    let mut words = attributes.map(u32::to_ne_bytes);
    let characters = words.as_flattened_mut();
    const VTIME: usize = 5;
    const VMIN: usize = 6;
    characters[17 + VTIME] = 0;
    characters[17 + VMIN] = bytes;
    let attributes = words.map(u32::from_ne_bytes);
    // SAFETY: the C library reads a `struct termios`.
    assert_eq!(
        unsafe { c::tcsetattr(terminal.as_raw_fd(), 0, attributes.as_ptr()) },
        0
    );
}

#[test]
#[cfg(not(any(target_arch = "powerpc", target_arch = "powerpc64")))]
fn a_terminal_with_vmin_zero_reads_zero_bytes_and_with_vmin_five_waits_for_five() {
    let (mut keyboard, mut terminal) = pseudoterminal();
    set_raw_mode(&terminal, 0);
    assert_eq!(terminal.read(&mut [0; 100]).unwrap(), 0, "not WouldBlock");
    set_raw_mode(&terminal, 5);
    let mut poll = queue_with(&terminal, EPOLLIN);
    keyboard.write_all(b"abc").unwrap();
    until("three have arrived", || bytes_ready(&terminal) == 3);
    assert_eq!(ready_bits(&mut poll), 0);
    keyboard.write_all(b"de").unwrap();
    assert_eq!(await_events(&mut poll)[0].bits(), EPOLLIN);
    assert_eq!(terminal.read(&mut [0; 100]).unwrap(), 5);
}
