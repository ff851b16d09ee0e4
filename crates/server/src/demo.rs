//! The relay in front of an emulated Gemini API: to see what it does without keys or a network.
//!
//! It is the real relay with the real policy; only where Google would be there is
//! [`gemini_emulator`], in this process, with a minute of fifteen seconds, so that nobody waits long
//! to see a quota come back. Variables and files are left alone: whatever keys a person has in this
//! shell are none of the demo's business.

use crate::cli::Flags;
use crate::config::{self, Config, Tls};
use crate::keys::Sources;
use crate::options::layers;
use crate::options::{ConfigError, Given, Origin, table};
use gemini_emulator::Emulator;
use gemini_relay_core::keylist;
use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc;
use tokio::sync::oneshot;

/// What [`crate::relay`] is to be run with, and the emulator behind it.
pub(crate) struct Demo {
    pub(crate) config: Config,
    pub(crate) sources: Sources,
    pub(crate) emulator: Running,
}

/// The emulator, until it is dropped.
pub(crate) struct Running {
    url: String,
    _until: oneshot::Sender<()>,
}

/// Starts the emulator, and makes the configuration for the relay before it.
pub(crate) fn start(flags: Flags) -> Result<Demo, ConfigError> {
    let emulator =
        emulate().map_err(|e| ConfigError(format!("the demo's emulator cannot start: {e}")))?;
    let mut given = layers::from_flags(flags);
    for name in ["keys", "upstream", "proxy"] {
        if given.contains_key(name) {
            return Err(ConfigError(format!(
                "--{name}: the demo has an upstream and keys of its own; leave it out"
            )));
        }
    }
    for (name, text) in [("upstream", emulator.url.as_str()), ("proxy", "none")] {
        set(&mut given, name, text);
    }
    if !given.contains_key("listen") {
        set(&mut given, "listen", usual_port_or_any());
    }
    // Of the variables only where a user's files are: the demo is the same in every shell.
    let folders: Vec<(OsString, OsString)> = std::env::vars_os()
        .filter(|(name, _)| FOLDERS.iter().any(|folder| name == folder))
        .collect();
    let mut config = config::check(&layers::resolve([given]), &folders)?;
    config.greeting = Some(greeting(&emulator.url, &config.tls));
    let keys = keylist::parse(KEYS.as_bytes())
        .map_err(|e| ConfigError(format!("the demo's keys: {e}")))?;
    Ok(Demo {
        config,
        sources: Sources::fixed("demo", keys),
        emulator,
    })
}

fn set(given: &mut layers::Layer, name: &'static str, text: &str) {
    if let Some(spec) = table::find(name) {
        given.insert(
            spec.name,
            vec![Given {
                text: text.to_owned(),
                origin: Origin::Flag("demo"),
            }],
        );
    }
}

/// On a thread of its own, beside whatever runtimes the relay makes.
fn emulate() -> Result<Running, String> {
    let config = gemini_emulator::Config::from_toml(PROJECTS).map_err(|e| e.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let (until, ended) = oneshot::channel::<()>();
    let (started, start) = mpsc::channel();
    let serve = async move {
        let emulator = Emulator::start(config, (Ipv4Addr::LOCALHOST, 0).into()).await;
        let _ = started.send(
            emulator
                .as_ref()
                .map(Emulator::url)
                .map_err(ToString::to_string),
        );
        if let Ok(emulator) = emulator {
            let _ = ended.await;
            emulator.shutdown().await;
        }
    };
    std::thread::Builder::new()
        .name("emulator".to_owned())
        .spawn(move || runtime.block_on(serve))
        .map_err(|e| e.to_string())?;
    let url = start.recv().map_err(|e| e.to_string())??;
    Ok(Running { url, _until: until })
}

/// A relay that is already running should not be in the demo's way.
fn usual_port_or_any() -> &'static str {
    match TcpListener::bind(USUAL) {
        Ok(_) => USUAL,
        Err(_) => "127.0.0.1:0",
    }
}

fn greeting(emulator: &str, tls: &Tls) -> String {
    let text = GREETING.replace("{emulator}", emulator);
    match tls {
        Tls::SelfSigned { ca_file } => text.replace(
            "curl -",
            &format!("curl --cacert '{}' -", ca_file.display()),
        ),
        Tls::Files { .. } | Tls::Off => text,
    }
}

/// Where the authority for `--tls self-signed` is kept.
const FOLDERS: [&str; 3] = ["HOME", "XDG_DATA_HOME", "LOCALAPPDATA"];

const USUAL: &str = "127.0.0.1:8787";

/// The quotas are small enough to be used up by hand.
const PROJECTS: &str = r#"
minute_seconds = 15
signatures = true

[[projects]]
name = "red"
keys = ["demo-key-red-1", "demo-key-red-2"]
quotas = [{ model = "*", metric = "requests_per_minute", limit = 4 }]

[[projects]]
name = "green"
keys = ["demo-key-green-1"]
quotas = [{ model = "*", metric = "requests_per_minute", limit = 4 }]

[[projects]]
name = "blue"
keys = [{ value = "demo-key-blue-1", state = "expired" }]

[[projects]]
name = "violet"
keys = ["demo-key-violet-1"]
quotas = [{ model = "*", metric = "requests_per_minute", limit = 2 }]
"#;

const KEYS: &str = r#"[
  {"label": "red-1", "value": "demo-key-red-1", "project": "red"},
  {"label": "red-2", "value": "demo-key-red-2", "project": "red"},
  {"label": "green-1", "value": "demo-key-green-1", "project": "green"},
  {"label": "blue-1", "value": "demo-key-blue-1", "project": "blue"},
  {"label": "violet-1", "value": "demo-key-violet-1", "project": "violet"}
]"#;

/// `{url}` is the relay's, put in when it is known.
const GREETING: &str = r#"
A demo: behind it is an emulated Gemini API with four projects, and nothing leaves this machine.
Its minute has 15 seconds. In each, red (two keys) and green serve 4 requests and violet 2; the one
key of blue has expired, which the relay does not know yet. In another terminal:

  U={url}/v1beta/models/gemini-2.5-flash:generateContent
  B='{"contents":[{"parts":[{"text":"Hello"}]}]}'
  J='content-type: application/json'

1. One request. The API key a client shows may be anything; the headers say which key served.
  curl -si "$U" -H "$J" -d "$B"

2. Rotation: project by project. Whoever meets blue's dead key is served by another (attempts: 2).
  for i in 1 2 3 4 5; do curl -si "$U" -H "$J" -d "$B" | grep -iE 'relay-(key|attempts)'; done

3. The dead key was found out: Google was asked once with it, and never since.
  curl -s {emulator}/_emulator/stats

4. Quotas running dry: full projects are passed over, and when all are dry requests wait and are
   served when the minute is over. No client sees a 429.
  for i in $(seq 14); do curl -s -o /dev/null -w '%{http_code} after %{time_total}s\n' "$U" -H "$J" -d "$B"; done

5. The same through OpenAI's dialect, and as a stream.
  curl -s {url}/v1/chat/completions -H 'authorization: Bearer any' -H "$J" -d '{"model":"gemini-2.5-flash","messages":[{"role":"user","content":"Hello"}]}'
  curl -sN "{url}/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse" -H "$J" -d "$B"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_demo_has_of_its_own_cannot_be_given() {
        for name in ["keys", "upstream"] {
            let flags = vec![(table::find(name).unwrap(), "x".to_owned())];
            let Err(error) = start(flags) else {
                panic!("{name} was taken");
            };
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn the_demos_calls_trust_the_authority_that_the_demo_made() {
        let tls = Tls::SelfSigned {
            ca_file: "/home/me/ca.pem".into(),
        };
        let text = greeting("http://127.0.0.1:1", &tls);
        assert!(
            text.contains("curl --cacert '/home/me/ca.pem' -si \"$U\""),
            "{text}"
        );
    }

    #[test]
    fn the_demo_needs_neither_keys_nor_a_network() {
        let demo = start(Vec::new()).unwrap();
        let pool = demo.sources.load().unwrap();
        assert_eq!((pool.keys.len(), crate::keys::projects(&pool.keys)), (5, 4));
        assert!(demo.emulator.url.starts_with("http://127.0.0.1:"));
        assert!(
            demo.config
                .upstream
                .authority
                .as_str()
                .starts_with("127.0.0.1:")
        );
        assert!(
            demo.config
                .greeting
                .unwrap()
                .contains(&format!("{}/_emulator/stats", demo.emulator.url))
        );
    }
}
