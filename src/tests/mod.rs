//! What the queue does: one fact per test.
//!
//! No result depends on how long something takes, except for one ignored test. Each test waits for
//! the event itself, or asks with a timeout of zero for what must be there already: pipes and
//! socket pairs deliver before the call that sends returns. Tests that fork are targets of their
//! own, so that no child process here holds a duplicate of a descriptor which another test closes.

mod abi;
mod common;
mod edges;
mod guide;
mod misunderstandings;
mod poll;
mod readiness;
mod registration;
mod rules;
mod scripted;
mod sources;
mod threads;
mod triggers;
