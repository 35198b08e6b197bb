//! A server in a child process: the program starts itself once more, as `PROGRAM serve NAME`.

use rustix::param::clock_ticks_per_second;
use rustix::process::{set_parent_process_death_signal, Signal};
use std::io::{self, BufRead, BufReader, Error};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::{env, fs};

/// Dropped, it ends the process.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    pub fn start(name: &str) -> io::Result<Server> {
        let child = Command::new(env::current_exe()?)
            .args(["serve", name])
            .stdin(Stdio::null())
            .stdout(Stdio::null()) // For its log.
            .stderr(Stdio::piped())
            .spawn()?;
        let address = SocketAddr::from(([0; 4], 0));
        let mut server = Server { child, address }; // From here on, a failure ends the process.
        let mut line = String::new();
        BufReader::new(server.child.stderr.as_mut().expect("piped")).read_line(&mut line)?;
        server.address = line.trim().parse().map_err(|_| Error::other(line))?;
        Ok(server)
    }

    /// Returns the seconds of CPU time that it has taken, user and system.
    pub fn cpu_time(&self) -> io::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name, in brackets, may have anything in it; utime and stime are fields 14 and 15.
        let (_, fields) = stat.rsplit_once(") ").unwrap_or_default();
        let ticks = fields.split(' ').skip(11).take(2);
        let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(ticks as f64 / clock_ticks_per_second() as f64)
    }

    /// Returns the most memory that it has had resident, in kB.
    pub fn peak_memory(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let mut lines = status.lines();
        let peak = lines.find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
        peak.and_then(|peak| peak.trim().parse().ok())
            .ok_or_else(|| Error::other("no VmHWM"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In the child: tells the parent where it listens, and makes sure to end with it.
pub fn announce(address: SocketAddr) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    eprintln!("{address}");
    Ok(())
}
