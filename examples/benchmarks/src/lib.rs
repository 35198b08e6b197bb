//! epollet compared with the bare system calls, mio, polling, rustix, tokio and actix-web.
//!
//! All figures of the guide's page `measured`, measured again (in ten minutes; it needs `valgrind` and `wrk`):
//!
//! ```sh
//! cd examples/benchmarks
//! for bin in count time grow delay hello; do cargo run --release --features servers --bin $bin; done
//! ```
//!
//! | program | what it measures |
//! |---|---|
//! | `count` | user-space instructions for each operation, under four conditions; with `--check`, as CI runs it, against limits |
//! | `time` | wall time of the same operations, and how late a timeout ends |
//! | `grow` | time and memory of an event and a registration as registrations grow in number |
//! | `delay` | the delay server compared with one on actix-web |
//! | `hello` | the smallest server on epollet, mio and tokio |
//!
//! | module | what it is |
//! |---|---|
//! | [`queue`] | one trait over the bare system calls, epollet, mio, polling and rustix |
//! | [`scenario`] | the operations that are measured, the same for each of them |
//! | [`server`] | a server in a child process, what it costs, and the load on it |
//! | [`report`] | the order of turns, quartiles, and tables of them |

pub mod queue;
pub mod report;
pub mod scenario;
#[cfg(feature = "servers")]
pub mod server;
