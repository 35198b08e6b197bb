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
