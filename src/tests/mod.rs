//! What the queue does: one fact, one test; one subject, one file.
//!
//! A new test goes into the file of its subject here if it can share its process, into `children.rs`
//! if it forks, limits or signals its process, into `program.rs` if it starts a program of this
//! package, and into `lessons.rs` if it starts a lesson; all of them lie under `src`, because the top
//! level of the repository stays as small as that of the book's examples.
//!
//! No result depends on how long something takes. Each test waits for the event itself, no longer
//! than `LONG`, or asks with a timeout of zero for what must be there already: pipes and socket pairs
//! deliver before the call that sends returns.

mod abi;
mod book;
mod common;
mod datagrams;
mod edge_causes;
mod exclusive;
mod guide;
mod model;
mod pipes;
mod poll;
mod readiness;
mod ready_list;
mod registration;
mod scripted;
mod sources;
mod threads;
mod triggers;
