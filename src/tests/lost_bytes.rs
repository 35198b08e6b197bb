//! Which calls of std lose bytes, or the count of them, on a non-blocking stream, and which do not.

use super::common::*;
use crate::Interest;
use crate::ffi::EPOLLIN;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
use std::net::UdpSocket;

/// More than a Unix stream holds.
const MUCH: usize = 1_000_000;

/// Asserts that a call has stopped with `WouldBlock`.
fn would_block<T: std::fmt::Debug>(result: io::Result<T>) {
    assert_eq!(result.unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn write_all_that_would_block_has_written_a_part_and_does_not_say_how_much() {
    let (mut ours, mut theirs) = unix_pair();
    would_block(ours.write_all(&[0; MUCH]));
    let arrived = drain(&mut theirs);
    assert!(arrived > 0 && arrived < MUCH, "{arrived}");
}

#[test]
fn write_all_of_a_few_bytes_to_an_empty_send_buffer_writes_all_of_them() {
    let (mut ours, mut theirs) = unix_pair();
    ours.write_all(&[0; 4096]).unwrap();
    assert_eq!(drain(&mut theirs), 4096);
    let (mut ours, _theirs) = tcp_pair();
    ours.write_all(&[0; 4096]).unwrap();
}

#[test]
fn write_fmt_uses_write_all_and_loses_the_count_too() {
    let (mut ours, mut theirs) = unix_pair();
    let text = "a".repeat(MUCH);
    would_block(write!(ours, "{text}"));
    let arrived = drain(&mut theirs);
    assert!(arrived > 0 && arrived < MUCH, "{arrived}");
}

#[test]
fn read_exact_that_would_block_has_taken_what_was_there() {
    let (mut ours, mut theirs) = unix_pair();
    theirs.write_all(b"abc").unwrap();
    would_block(ours.read_exact(&mut [0; 8]));
    theirs.write_all(b"defgh").unwrap();
    let mut rest = [0; 8];
    assert_eq!(ours.read(&mut rest).unwrap(), 5, "the first 3 are gone");
    assert_eq!(&rest[..5], b"defgh");
}

#[test]
fn lines_loses_the_half_of_a_line_that_came_first() {
    let (ours, mut theirs) = unix_pair();
    let mut lines = BufReader::new(ours).lines();
    theirs.write_all(b"first half, ").unwrap();
    would_block(lines.next().unwrap());
    theirs.write_all(b"second half\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "second half");
}

#[test]
fn read_line_into_the_same_string_loses_half_a_character() {
    let (ours, mut theirs) = unix_pair();
    let mut reader = BufReader::new(ours);
    let mut line = String::new();
    let umlaut = "ü".as_bytes();
    theirs.write_all(b"a").unwrap();
    would_block(reader.read_line(&mut line));
    assert_eq!(line, "a", "whole characters are kept");
    theirs.write_all(&umlaut[..1]).unwrap();
    let half = reader.read_line(&mut line).unwrap_err();
    assert_eq!(half.kind(), ErrorKind::WouldBlock);
    theirs.write_all(&umlaut[1..]).unwrap();
    theirs.write_all(b"\n").unwrap();
    let line = reader.read_line(&mut line);
    assert_eq!(line.unwrap_err().kind(), ErrorKind::InvalidData);
}

#[test]
fn read_until_into_the_same_vec_loses_nothing() {
    let (ours, mut theirs) = unix_pair();
    let mut reader = BufReader::new(ours);
    let mut line = Vec::new();
    for piece in ["first half, ü".as_bytes(), b"second half"] {
        for byte in piece {
            theirs.write_all(&[*byte]).unwrap();
            would_block(reader.read_until(b'\n', &mut line));
        }
    }
    theirs.write_all(b"\nnext").unwrap();
    reader.read_until(b'\n', &mut line).unwrap();
    assert_eq!(line, "first half, üsecond half\n".as_bytes());
}

#[test]
fn read_to_end_that_would_block_keeps_what_it_has_read() {
    let (mut ours, mut theirs) = unix_pair();
    theirs.write_all(b"abc").unwrap();
    let mut received = Vec::new();
    would_block(ours.read_to_end(&mut received));
    assert_eq!(received, b"abc");
}

#[test]
fn read_to_string_that_would_block_loses_all_if_it_ends_in_half_a_character() {
    let (mut ours, mut theirs) = unix_pair();
    let mut received = String::new();
    theirs.write_all(b"abc").unwrap();
    would_block(ours.read_to_string(&mut received));
    assert_eq!(received, "abc");
    theirs.write_all(&"deü".as_bytes()[..3]).unwrap();
    assert!(ours.read_to_string(&mut received).is_err());
    assert_eq!(received, "abc", "and what came now is gone");
    would_block(ours.read(&mut [0; 8]));
}

#[test]
fn read_to_string_of_a_buf_reader_into_a_string_that_has_text_loses_what_it_has_read() {
    let (ours, mut theirs) = unix_pair();
    let mut reader = BufReader::new(ours);
    let mut received = String::new();
    theirs.write_all(b"abc").unwrap();
    would_block(reader.read_to_string(&mut received));
    assert_eq!(received, "abc", "it was empty before");
    theirs.write_all(b"def").unwrap();
    would_block(reader.read_to_string(&mut received));
    assert_eq!(received, "abc");
    assert!(reader.buffer().is_empty());
    would_block(reader.read(&mut [0; 8]));
}

/// Gives zeros without end, and counts them.
struct Counted(usize);

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        buffer.fill(0);
        self.0 += buffer.len();
        Ok(buffer.len())
    }
}

#[test]
fn copy_loses_what_it_has_read_and_cannot_write() {
    let (mut ours, mut theirs) = unix_pair();
    let mut source = Counted(0);
    would_block(io::copy(&mut source, &mut ours));
    assert!(drain(&mut theirs) < source.0);
}

#[test]
fn copy_that_cannot_read_more_has_written_all_that_it_read() {
    let (mut ours, mut theirs) = unix_pair();
    theirs.write_all(b"abc").unwrap();
    let mut received = Vec::new();
    would_block(io::copy(&mut ours, &mut received));
    assert_eq!(received, b"abc");
}

#[test]
fn a_buf_writer_keeps_what_a_flush_could_not_write() {
    let (ours, mut theirs) = unix_pair();
    let mut writer = BufWriter::with_capacity(MUCH + 1, ours);
    writer.write_all(&[0; MUCH]).unwrap();
    let mut arrived = 0;
    while let Err(error) = writer.flush() {
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(!writer.buffer().is_empty());
        arrived += drain(&mut theirs);
    }
    assert_eq!(arrived + drain(&mut theirs), MUCH);
}

#[test]
fn a_buf_writer_that_is_dropped_loses_what_does_not_fit() {
    let (ours, mut theirs) = unix_pair();
    let mut writer = BufWriter::with_capacity(MUCH + 1, ours);
    writer.write_all(&[0; MUCH]).unwrap();
    drop(writer); // It flushes, and ignores the error.
    assert!(drain(&mut theirs) < MUCH);
}

#[test]
fn a_buf_writer_loses_the_count_of_a_message_that_is_not_smaller_than_its_buffer() {
    let (ours, mut theirs) = unix_pair();
    let mut writer = BufWriter::with_capacity(MUCH, ours);
    would_block(writer.write_all(&[0; MUCH]));
    assert!(writer.buffer().is_empty(), "it went around the buffer");
    let arrived = drain(&mut theirs);
    assert!(arrived > 0 && arrived < MUCH, "{arrived}");
}

#[test]
fn a_buf_writer_takes_a_message_that_is_smaller_than_its_buffer_whole_or_not_at_all() {
    let (ours, mut theirs) = unix_pair();
    let mut writer = BufWriter::with_capacity(64, ours);
    let mut accepted = 0;
    let result = loop {
        match writer.write_all(&[0; 63]) {
            Ok(()) => accepted += 63,
            error => break error,
        }
    };
    would_block(result);
    assert!(!writer.buffer().is_empty(), "these were accepted before");
    let arrived = drain(&mut theirs);
    writer.flush().unwrap();
    assert_eq!(arrived + drain(&mut theirs), accepted);
}

#[test]
fn write_fmt_to_a_buf_writer_can_lose_the_count_of_a_small_message() {
    let (mut ours, _theirs) = unix_pair();
    fill(&mut ours);
    let mut writer = BufWriter::with_capacity(64, ours);
    writer.write_all(&[b'-'; 40]).unwrap();
    let (first, second) = ("a".repeat(20), "b".repeat(20));
    would_block(writer.write_all((first.clone() + &second).as_bytes()));
    assert_eq!(writer.buffer().len(), 40, "it has taken nothing");
    would_block(write!(writer, "{first}{second}"));
    assert_eq!(writer.buffer().len(), 60, "it has taken half");
}

#[test]
fn flush_on_a_stream_does_nothing() {
    let (mut ours, _theirs) = unix_pair();
    fill(&mut ours);
    ours.flush().expect("though the peer has read nothing");
}

#[test]
fn an_empty_buffer_reads_zero_bytes_and_the_source_stays_ready() {
    let (mut ours, mut theirs) = unix_pair();
    theirs.write_all(b"abc").unwrap();
    let mut poll = queue_with(&ours, Interest::READABLE);
    let mut buffer = Vec::with_capacity(1024); // Its length is 0.
    assert_eq!(ours.read(&mut buffer).unwrap(), 0);
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    buffer.resize(1024, 0);
    assert_eq!(ours.read(&mut buffer).unwrap(), 3);
}

#[test]
fn take_reads_zero_bytes_at_its_limit_though_there_is_more() {
    let (ours, mut theirs) = unix_pair();
    theirs.write_all(b"abc").unwrap();
    let mut poll = queue_with(&ours, Interest::READABLE);
    let mut limited = (&ours).take(2);
    assert_eq!(limited.read(&mut [0; 8]).unwrap(), 2);
    assert_eq!(limited.read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
}

#[test]
fn a_datagram_that_does_not_fit_is_cut_and_its_rest_is_gone() {
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    ours.set_nonblocking(true).unwrap();
    ours.send_to(b"hello", ours.local_addr().unwrap()).unwrap();
    let mut buffer = [0; 2];
    assert_eq!(await_events(&mut queue_with(&ours, EPOLLIN)).len(), 1);
    assert_eq!(ours.recv(&mut buffer).unwrap(), 2);
    would_block(ours.recv(&mut buffer));
}

#[test]
fn two_writes_can_be_one_read_and_one_write_can_be_two() {
    let (mut ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, Interest::READABLE | Interest::EDGE);
    theirs.write_all(b"hello\n").unwrap();
    theirs.write_all(b"world\n").unwrap();
    assert_eq!(ready_now(&mut poll).len(), 1);
    let mut buffer = [0; 8];
    assert_eq!(ours.read(&mut buffer).unwrap(), 8);
    assert_eq!(&buffer, b"hello\nwo");
    assert_eq!(ours.read(&mut buffer).unwrap(), 4);
}
