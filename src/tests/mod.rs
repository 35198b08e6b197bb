//! What the queue does, one fact a test, through the public API alone.
//!
//! No result hangs on how long something takes: each test waits for the event itself, or asks with
//! a timeout of zero for what must be there already. (Pipes and socket pairs deliver before the
//! call that sends returns.) Tests that need processes of their own are in `processes.rs` and
//! `program.rs`, so that no child here holds a copy of a descriptor which another test closes.

mod abi;
mod attack;
mod common;
mod delayserver;
mod edges;
mod guide;
mod misunderstandings;
mod poll;
mod readiness;
mod registration;
mod rules;
mod sources;
mod threads;
mod triggers;
