//! Programs that run beside the measuring: they die with it, and the system says what they cost.
//!
//! What a program has used is asked of the kernel's scheduler (`schedstat`, in nanoseconds), summed
//! over its threads and its children: ticks of ten milliseconds would be too coarse for a window of a
//! second.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running program.
pub(crate) struct Running(Child);

impl Running {
    /// Starts it, its output in a file.
    pub(crate) fn start(command: &mut Command, output: &Path) -> Result<Self, String> {
        let failed = |error| format!("{command:?}: {error}");
        let file = File::create(output).map_err(failed)?;
        let errors = file.try_clone().map_err(failed)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .map_err(|error| format!("{command:?}: {error}"))?;
        Ok(Self(child))
    }

    /// Asks it to end, as a supervisor would, and waits until it has.
    pub(crate) fn stop(mut self) -> Result<(), String> {
        let pid = self.0.id().to_string();
        crate::setup::run(Command::new("kill").args(["-TERM", &pid]))?;
        until(PATIENCE, || self.0.try_wait().ok().flatten())
            .map(drop)
            .ok_or(format!("process {pid} did not stop"))
    }

    /// Waits until it ends by itself, well.
    pub(crate) fn ends(&mut self) -> Result<(), String> {
        match until(LONGEST, || self.0.try_wait().ok().flatten()) {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("ended with {status}")),
            None => Err("did not end".to_owned()),
        }
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Processor time it has used, its threads and children too.
    pub(crate) fn cpu(&self) -> Duration {
        Duration::from_nanos(
            family(self.0.id())
                .into_iter()
                .map(|pid| threads(pid).map(|thread| nanos(pid, thread)).sum::<u64>())
                .sum(),
        )
    }

    /// Memory that is resident now, and the most that was, in kilobytes.
    pub(crate) fn memory(&self) -> (u64, u64) {
        family(self.0.id())
            .into_iter()
            .map(|pid| {
                let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
                (field(&status, "VmRSS:"), field(&status, "VmHWM:"))
            })
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A child that has been waited for is not killed again; its children end with it.
        if self.0.try_wait().is_ok_and(|status| status.is_none()) {
            let pid = self.0.id().to_string();
            let _ = Command::new("kill").args(["-TERM", &pid]).status();
            if until(PATIENCE, || self.0.try_wait().ok().flatten()).is_none() {
                let _ = self.0.kill();
                let _ = self.0.wait();
            }
        }
    }
}

/// Asks again and again until there is an answer, or time is up.
#[expect(
    clippy::disallowed_methods,
    reason = "a task has no runtime whose timer it could use; the pause is between two looks"
)]
pub(crate) fn until<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if began.elapsed() > limit {
            return None;
        }
        std::thread::sleep(LOOK);
    }
}

/// A program to be run on one processor core alone, where that can be said.
pub(crate) fn on_core(core: Option<usize>, program: &Path) -> Command {
    match core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &core.to_string()]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// A process and those it started.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(&pid) = all.get(at) {
        let children =
            fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        all.extend(
            children
                .split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
        at += 1;
    }
    all
}

fn threads(pid: u32) -> impl Iterator<Item = u32> {
    fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn nanos(pid: u32, thread: u32) -> u64 {
    fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat"))
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn field(status: &str, name: &str) -> u64 {
    status
        .lines()
        .find_map(|line| {
            line.strip_prefix(name)?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or(0)
}

/// Longer than the relay takes to drain, and valgrind to write what it counted.
const PATIENCE: Duration = Duration::from_secs(40);

/// Longer than anything that is counted takes.
const LONGEST: Duration = Duration::from_secs(120);

const LOOK: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_file_is_read() {
        let status = "Name:\tx\nVmHWM:\t    9000 kB\nVmRSS:\t    8123 kB\n";
        assert_eq!(field(status, "VmRSS:"), 8123);
        assert_eq!(field(status, "VmSwap:"), 0);
    }
}
