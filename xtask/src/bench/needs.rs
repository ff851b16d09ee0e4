//! The programs that are not made here: nginx to compare with, valgrind to count with, and what
//! `deploy/check.sh` needs.
//!
//! On a Debian where this runs as root they are installed; anybody else is told what to install.

use crate::say::say;
use crate::setup;
use std::process::{Command, Stdio};

/// Sees that these programs are there.
pub(crate) fn programs(wanted: &[&str]) -> Result<(), String> {
    let packages: Vec<&str> = wanted
        .iter()
        .filter(|program| !runs(program))
        .map(|program| {
            if *program == "nginx" {
                "nginx-light"
            } else {
                program
            }
        })
        .collect();
    if packages.is_empty() {
        return Ok(());
    }
    let install = format!("apt-get install -y {}", packages.join(" "));
    if !runs("apt-get") || !is_root() {
        return Err(format!(
            "{} needed and not here; on Debian: sudo {install}",
            packages.join(" and ")
        ));
    }
    say!("installing {}", packages.join(" and "));
    let mut command = Command::new("apt-get");
    command
        .args(["install", "-y", "--no-install-recommends"])
        .args(&packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(Stdio::null());
    setup::run(&mut command).or_else(|_| {
        setup::run(Command::new("apt-get").arg("update").stdout(Stdio::null()))?;
        setup::run(&mut command)
    })
}

/// Whether a program is on the path. `-v` is a question to all of them.
pub(crate) fn runs(program: &str) -> bool {
    Command::new(program)
        .arg(if program == "taskset" { "-V" } else { "-v" })
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
