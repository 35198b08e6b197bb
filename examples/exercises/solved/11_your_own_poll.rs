//! Symptom: FAILS
//! Hint: `Interest::READABLE` and `bits` come first, because many tests need them: which bits does
//!   the test of their names expect, and how many bits has a token?
//! Hint: The tests in `scripted` play the kernel: their names say what `poll` does after a signal,
//!   with a timeout that is not a whole number of milliseconds, and with a very long one.
//! Hint: Which flags do epoll_create1(2) and eventfd(2) have?
//! Hint: What does a waker need to be reported once for each wake, though nobody reads it?
//! Learned: A queue that works for a first program is short. What makes it robust are the cases that
//!   a first program never meets: signals, odd timeouts, child processes, a buffer without room.
//!
//! The solution is epollet's own file, `src/poll.rs`.
