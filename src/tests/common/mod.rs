//! What the tests share, by subject.

#![allow(dead_code, unused_imports)] // No test target uses all of it.

mod kernel;
mod process;
mod queue;
mod sources;
mod wait;

pub use kernel::*;
pub use process::*;
pub use queue::*;
pub use sources::*;
pub use wait::*;

// Former names, for tests that still use them.
pub use kernel::owned_fd as fd;
pub use queue::{
    await_events as wait, queue_with as watch, ready_bits as bits, ready_now as now,
    sorted_tokens as tokens,
};
pub use sources::{refusing_listener as refusing, sockaddr_in as sockaddr, unix_pair as pair};
