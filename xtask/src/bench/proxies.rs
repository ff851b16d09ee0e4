//! Who is measured: the upstream itself, nginx in front of it, the relay in front of it.
//!
//! Each has one worker. Where there are cores to choose from and `taskset`, proxies run on the first
//! and the upstream and the load on the second, so that a proxy's time is its own.

use super::children::{Running, on_core, until};
use super::scratch::Scratch;
use super::{Built, needs};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A server and where it listens.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) running: Running,
}

/// Which core a program is put on.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) proxy: Option<usize>,
    pub(crate) rest: Option<usize>,
}

impl Cores {
    pub(crate) fn choose() -> Self {
        let several = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
        if several && needs::runs("taskset") {
            Self {
                proxy: Some(0),
                rest: Some(1),
            }
        } else {
            Self {
                proxy: None,
                rest: None,
            }
        }
    }
}

/// The upstream.
pub(crate) fn upstream(built: &Built, scratch: &Scratch, cores: Cores) -> Result<Server, String> {
    let output = scratch.path("upstream.log");
    let running = Running::start(on_core(cores.rest, &built.tools).arg("upstream"), &output)?;
    let address = until(STARTS, || {
        fs::read_to_string(&output).ok()?.trim().parse().ok()
    })
    .ok_or("the upstream does not start")?;
    Ok(Server { address, running })
}

/// The relay: tokens, log to a file, metrics and affinity on. `under` is a program to run it under.
pub(crate) fn relay(
    built: &Built,
    scratch: &Scratch,
    upstream: SocketAddr,
    core: Option<usize>,
    under: Option<&mut Command>,
) -> Result<Server, String> {
    let keys: String = (0..KEYS)
        .map(|number| {
            format!(
                r#"{{"value":"made-up-benchmark-key-{number}","project":"project-{}"}},"#,
                number / 2
            )
        })
        .collect();
    // The relay watches the folder of its keys and the one it is started in: its log goes elsewhere.
    let keys = scratch.write(
        "relay/keys.json",
        &format!("[{}]", keys.trim_end_matches(',')),
    )?;
    let tokens = scratch.write("relay/tokens.txt", &format!("bench={TOKEN}\n"))?;
    let log = scratch.path("relay.log");
    let mut plain = on_core(core, &built.relay);
    let command = match under {
        Some(under) => under.arg(&built.relay),
        None => &mut plain,
    };
    command
        .args(["--listen", "127.0.0.1:0", "--workers", "1"])
        .arg("--upstream")
        .arg(format!("http://{upstream}"))
        .arg("--keys")
        .arg(&keys)
        .arg("--tokens-file")
        .arg(&tokens)
        .args(["--proxy", "none"])
        .current_dir(scratch.path("relay"));
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("GEMINI_") || name == "GOOGLE_API_KEY")
        {
            command.env_remove(name);
        }
    }
    let mut running = Running::start(command, &log)?;
    let address = until(STARTS, || {
        let said = fs::read_to_string(&log).ok()?;
        match said.split_once("listening on http://") {
            Some((_, rest)) => rest.split_whitespace().next()?.parse().ok().map(Ok),
            None if running.has_ended() => Some(Err(format!("the relay does not start: {said}"))),
            None => None,
        }
    })
    .ok_or("the relay does not say where it listens")??;
    Ok(Server { address, running })
}

/// nginx as a plain reverse proxy that keeps its connections.
///
/// It cannot be told to take any free port, so it is given one that was free a moment ago; should
/// somebody else be faster, another.
pub(crate) fn nginx(
    scratch: &Scratch,
    upstream: SocketAddr,
    cores: Cores,
    under: Option<&dyn Fn() -> Command>,
) -> Result<Server, String> {
    let log = scratch.path("nginx.log");
    for _ in 0..5 {
        let address = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|free| free.local_addr())
            .map_err(|error| format!("no free port: {error}"))?;
        let config = scratch.write(
            "nginx.conf",
            &nginx_conf(scratch.folder(), address, upstream),
        )?;
        let mut command = match under {
            Some(under) => under(),
            None => on_core(cores.proxy, Path::new("nginx")),
        };
        if under.is_some() {
            // One process: the one that is counted.
            command.args(["nginx", "-g", "master_process off;"]);
        }
        let mut running = Running::start(
            command
                .arg("-p")
                .arg(scratch.folder())
                .arg("-c")
                .arg(&config)
                .arg("-e")
                .arg(scratch.path("nginx-errors.log")),
            &log,
        )?;
        let up = until(STARTS, || {
            if running.has_ended() {
                return Some(false);
            }
            TcpStream::connect(address).ok().map(|_| true)
        });
        if up == Some(true) {
            return Ok(Server { address, running });
        }
    }
    Err(format!(
        "nginx does not start: {}",
        fs::read_to_string(scratch.path("nginx-errors.log")).unwrap_or_default()
    ))
}

fn nginx_conf(folder: &Path, listen: SocketAddr, upstream: SocketAddr) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| {
            let path: PathBuf = folder.join(format!("nginx-{kind}"));
            format!("  {kind}_temp_path {};\n", path.display())
        })
        .collect();
    format!(
        "daemon off;
worker_processes 1;
pid {pid};
events {{ worker_connections 1024; }}
http {{
  access_log {access};
{temporary}  tcp_nodelay on;
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  upstream google {{
    server {upstream};
    keepalive 256;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {listen};
    location / {{
      proxy_pass http://google;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_request_buffering off;
      # As a stream has to be passed on, and cheaper for small answers too.
      proxy_buffering off;
    }}
  }}
}}
",
        pid = folder.join("nginx.pid").display(),
        access = folder.join("nginx-access.log").display(),
    )
}

/// What the load shows the relay.
pub(crate) const TOKEN: &str = "made-up-benchmark-token-of-32-letters";

/// Ten keys in five projects: a pool as a person has it.
const KEYS: usize = 10;

/// Under valgrind starting takes seconds.
const STARTS: Duration = Duration::from_secs(30);
