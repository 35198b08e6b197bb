//! Starts the learner's program.

use crate::diagnosis::Diagnosis;
use crate::process::Process;
use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A program to start.
pub struct Program {
    pub path: PathBuf,
    pub source: PathBuf,
}

impl Program {
    /// Starts it in a process group of its own.
    pub fn start(&self, arguments: &[&str]) -> io::Result<Process> {
        self.spawn(Command::new(&self.path).args(arguments))
    }

    /// Starts a server, and waits until it listens.
    pub fn serve(&self) -> Result<(Process, SocketAddr), Diagnosis> {
        let mut process = self.start(&[])?;
        let address = process.address()?;
        Ok((process, address))
    }

    /// The same, but the server can open only so many descriptors.
    pub fn serve_with_few(&self, descriptors: usize) -> Result<(Process, SocketAddr), Diagnosis> {
        let script = format!("ulimit -n {descriptors}; exec \"$0\"");
        let mut shell = Command::new("sh");
        let mut process = self.spawn(shell.args(["-c", &script]).arg(&self.path))?;
        let address = process.address()?;
        Ok((process, address))
    }

    fn spawn(&self, command: &mut Command) -> io::Result<Process> {
        let output = self.path.with_extension("out");
        let errors = self.path.with_extension("err");
        command
            .stdin(Stdio::null())
            .stdout(File::create(&output)?)
            .stderr(File::create(&errors)?)
            .process_group(0);
        // SAFETY: `prctl` is a plain system call, which is allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                prctl(PR_SET_PDEATHSIG, SIGKILL); // If this runner is killed, so is the program.
                Ok(())
            })
        };
        Ok(Process::new(command.spawn()?, output))
    }
}

const SIGKILL: c_int = 9;
const PR_SET_PDEATHSIG: c_int = 1;

unsafe extern "C" {
    fn prctl(option: c_int, ...) -> c_int;
}
