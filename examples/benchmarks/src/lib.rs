//! What the programs of this package share.
//!
//! | module | what it is |
//! |---|---|
//! | [`queue`] | one trait over the bare system calls, epollet, mio, polling and rustix |
//! | [`scenario`] | the work that is measured, the same for each of them |
//! | [`server`] | a server in a child process, and what it costs |
//! | [`load`] | the client that loads it |
//! | [`report`] | the order of turns, quartiles, and tables of them |

pub mod load;
pub mod queue;
pub mod report;
pub mod scenario;
pub mod server;
