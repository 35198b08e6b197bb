//! What the queue does: one fact, one test; one subject, one file.
//!
//! A new test goes into the file of its subject in the list below, or into `children.rs` if it forks,
//! limits or signals its process, `program.rs` or `delayserver.rs` if it is about these, `lessons.rs`
//! if it runs an example.
//!
//! No result depends on how long something takes. Each test waits for the event itself, no longer
//! than `LONG`, or asks with a timeout of zero for what must be there already: pipes and socket pairs
//! deliver before the call that sends returns.

mod abi;
mod book;
mod common;
mod connections;
mod datagrams;
mod edge_causes;
mod exclusive;
mod guide;
mod lost_bytes;
mod model;
mod pipes;
mod playground;
mod poll;
mod readiness;
mod ready_list;
mod registration;
mod scripted;
mod sources;
mod threads;
mod triggers;
