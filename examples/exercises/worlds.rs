//! The world of each exercise: what its peers do, and what they expect.
//!
//! No result depends on who is faster. Where the order matters, the program is stopped for a moment
//! and finds everything in one batch.

use crate::peer::Peer;
use crate::stage::{Program, Seen, Verdict};
use std::net::TcpListener;

pub fn half_an_answer(program: &Program) -> Verdict {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let mut stage = program.start(&listener.local_addr()?.to_string())?;
    let mut server = Peer::accept("the server", &listener, &mut stage)?;
    // Each part is more than a buffer, and arrives as one event.
    stage.stopped(|| {
        server.send(&[b'a'; 40_000])?;
        server.arrived()
    })?;
    let pid = stage.pid();
    stage.until(|| match crate::look::unread(pid) {
        0 => Seen::Done,
        _ => Seen::Missing(String::from(
            "the first 40000 bytes of the answer were sent",
        )),
    })?;
    stage.rests("until the rest of the answer arrives")?;
    stage.stopped(|| {
        server.send(&[b'b'; 20_000])?;
        server.finish()?;
        server.arrived()
    })?;
    stage.ends_with("60000", "60000 bytes and end of file were sent")
}

pub fn one_client_left(program: &Program) -> Verdict {
    let (mut stage, address) = program.serve()?;
    stage.rests("until a client connects")?;
    let descriptors = stage.descriptors();
    let mut first = Peer::connect("client 1", address)?;
    first.ask("hello\n", "hello\n", &mut stage)?;
    let mut second = Peer::connect("client 2", address)?;
    second.ask("hello\n", "hello\n", &mut stage)?;
    drop(first);
    stage.rests("after client 1 has left")?;
    second.ask("still there?\n", "still there?\n", &mut stage)?;
    drop(second);
    stage.rests("after both clients have left")?;
    stage.leaves(descriptors)
}
