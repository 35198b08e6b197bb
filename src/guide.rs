//! Reference pages about epoll: its terms, its rules, and what follows from them in practice.
//!
//! There is no code in this module. Most facts about epoll are shown by tests in `src/tests/`,
//! which the pages name. Those about other systems and io_uring are not.
//!
//! | page | question |
//! |---|---|
//! | [`glossary`] | What does this word mean? |
//! | [`rules`] | What does the kernel do when you register, at a wakeup and in a poll? |
//! | [`edges`] | What causes a new edge, for each kind of source? |
//! | [`misunderstandings`] | Twenty things that people believe about epoll. What is true? |
//! | [`practice`] | Files, standard input, signals, `accept`, threads, workers: what should I know? |
//! | [`other_systems`] | What is this called in mio, kqueue and IOCP? Which other systems have epoll? |
//! | [`io_uring`] | What does io_uring change? |

#[doc = include_str!("guide/glossary.md")]
pub mod glossary {}

#[doc = include_str!("guide/rules.md")]
pub mod rules {}

#[doc = include_str!("guide/edges.md")]
pub mod edges {}

#[doc = include_str!("guide/misunderstandings.md")]
pub mod misunderstandings {}

#[doc = include_str!("guide/practice.md")]
pub mod practice {}

#[doc = include_str!("guide/other_systems.md")]
pub mod other_systems {}

#[doc = include_str!("guide/io_uring.md")]
pub mod io_uring {}
