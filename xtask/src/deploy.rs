//! `deploy/check.sh`: the configurations for proxies in front, run as they are in front of the relay.
//!
//! nginx is installed where that needs no questions, as for the benchmark. Caddy is taken if there is one:
//! Debian 12's ends a broken stream as if it were whole, and building a newer one takes longer than all the
//! rest. The script says when it leaves Caddy out, and why.

use crate::bench::needs;
use crate::clients::{self, Binaries};
use crate::setup;
use std::path::Path;
use std::process::Command;

/// Runs the script with the release programs.
pub(crate) fn check(root: &Path) -> Result<(), String> {
    if cfg!(windows) {
        return Err("deploy/check.sh needs a Unix shell; run this task where there is one".into());
    }
    needs::programs(&["nginx", "openssl", "curl", "python3"])?;
    let Binaries { relay, .. } = clients::build(root)?;
    let folder = relay.parent().ok_or("the programs are in no folder")?;
    setup::run(Command::new(root.join("deploy/check.sh")).arg(folder))
}
