//! What a person sees when it has started: where it listens, how to point clients at it, and what is
//! insecure about how it was started.
//!
//! The last part is only said when it is so: a warning that is always there is read by nobody. For
//! programs (`--log-format json`) the same is one record of the log.

use crate::config::{Access, Config, LogFormat, Origins, Tls};
use crate::files;
use crate::keys::{self, Sources};
use crate::logging;
use gemini_relay_core::{KeySpec, options};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// Says it, once the sockets are open: `bound` are the addresses they got.
pub(crate) fn announce(config: &Config, keys: &[KeySpec], sources: &Sources, bound: &[SocketAddr]) {
    let urls = urls(config, bound);
    let warnings = warnings(config, sources);
    if config.log.format == LogFormat::Json {
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            urls = urls.join(" "),
            keys = keys.len(),
            projects = keys::projects(keys),
            access = ?config.access,
            "listening"
        );
        for warning in &warnings {
            tracing::warn!("insecure: {warning}");
        }
        return;
    }
    let text = text(config, keys, &urls, &warnings, logging::colour());
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

fn text(
    config: &Config,
    keys: &[KeySpec],
    urls: &[String],
    warnings: &[String],
    colour: bool,
) -> String {
    let (bold, yellow, plain) = if colour {
        ("\x1b[1m", "\x1b[33m", "\x1b[0m")
    } else {
        ("", "", "")
    };
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let everywhere = if config
        .listen
        .iter()
        .any(|l| l.address.ip().is_unspecified())
    {
        " and every other address of this machine"
    } else {
        ""
    };
    let mut text = String::new();
    let _ = writeln!(
        text,
        "gemini-relay {} listening on {bold}{}{plain}{everywhere}",
        env!("CARGO_PKG_VERSION"),
        urls.join(" and ")
    );
    let _ = write!(
        text,
        "{} in {}",
        count(keys.len(), "key"),
        count(keys::projects(keys), "project")
    );
    let disabled = keys.iter().filter(|k| !k.enabled).count();
    if disabled > 0 {
        let _ = write!(text, ", {disabled} disabled");
    }
    if keys.iter().all(|k| k.project.is_none()) && keys.len() > 1 {
        text.push_str(" (no projects given: each key counts as its own; quota is per project)");
    }
    text.push('\n');
    match &config.greeting {
        Some(greeting) => {
            text.push_str(&greeting.replace("{url}", urls.first().map_or("", String::as_str)))
        }
        None => text.push_str(&pointing(config, urls)),
    }
    if let Tls::SelfSigned { ca_file } = &config.tls {
        let _ = writeln!(
            text,
            "\nClients must trust {} (for example SSL_CERT_FILE={0}, NODE_EXTRA_CA_CERTS={0})",
            std::path::absolute(ca_file)
                .as_deref()
                .unwrap_or(ca_file)
                .display()
        );
    }
    for (index, warning) in warnings.iter().enumerate() {
        let _ = writeln!(
            text,
            "{}{yellow}insecure:{plain} {warning}",
            if index == 0 { "\n" } else { "" }
        );
    }
    text
}

fn pointing(config: &Config, urls: &[String]) -> String {
    let url = urls.first().map_or("", String::as_str);
    let (key, value) = match config.access {
        Access::Tokens => ("a client token", "TOKEN"),
        Access::OpenOnLoopback | Access::OpenToAll => ("any text", "any"),
    };
    let mut text = format!(
        "\nPoint clients here, with {key} as their API key:\n\
         \x20 Google SDKs, gemini-cli  GOOGLE_GEMINI_BASE_URL={url} GEMINI_API_KEY={value}\n\
         \x20 Cline, Roo Code          provider Google Gemini, \"Use custom base URL\": {url}\n\
         \x20 OpenAI SDKs              OPENAI_BASE_URL={url}/v1beta/openai/ OPENAI_API_KEY={value}\n\
         \x20 LiteLLM                  GEMINI_API_BASE={url} GEMINI_API_KEY={value} (or api_base=\"{url}\")\n"
    );
    if config.access == Access::OpenOnLoopback {
        text.push_str("Open to every program on this machine; GEMINI_RELAY_TOKENS=name=SECRET asks for a token.\n");
    }
    text
}

/// What can be written into a client: `0.0.0.0` is no address to connect to.
fn urls(config: &Config, bound: &[SocketAddr]) -> Vec<String> {
    let scheme = if config.tls == Tls::Off {
        "http"
    } else {
        "https"
    };
    let reachable = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => {
            SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port())
        }
        IpAddr::V6(ip) if ip.is_unspecified() => {
            SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port())
        }
        _ => address,
    };
    bound
        .iter()
        .map(|a| format!("{scheme}://{}{}", reachable(*a), config.base_path))
        .collect()
}

fn warnings(config: &Config, sources: &Sources) -> Vec<String> {
    let mut warnings = Vec::new();
    let open = config
        .listen
        .iter()
        .map(|l| l.address)
        .find(|a| !a.ip().is_loopback());
    match config.access {
        // Said with how to point clients here, since it is so by default.
        Access::Tokens | Access::OpenOnLoopback => {}
        Access::OpenToAll => {
            warnings.push("no client tokens, so whoever can reach this machine can spend the keys (allow-anonymous)".to_owned());
        }
    }
    if let (Some(open), Tls::Off) = (open, &config.tls) {
        warnings.push(format!(
            "{open} has no TLS, so tokens, prompts and answers can be read on the way (tls)"
        ));
    }
    if config.origins == Origins::Any && config.access != Access::Tokens {
        warnings.push(
            "any web page in a browser on this machine can spend the keys (allow-origin *)"
                .to_owned(),
        );
    }
    if !config.upstream.is_https() && !is_loopback(config.upstream.authority.host()) {
        warnings.push("keys travel to the upstream unencrypted (upstream)".to_owned());
    }
    for file in sources
        .files()
        .chain(config.secret_files.iter().map(PathBuf::as_path))
        .filter(|file| files::readable_by_others(file))
    {
        warnings.push(format!(
            "other users of this machine can read {}; chmod 600 it",
            file.display()
        ));
    }
    for token in config
        .tokens
        .iter()
        .filter(|t| options::is_short(&t.secret))
    {
        warnings.push(format!(
            "the client token {} is short and can be guessed",
            token.name
        ));
    }
    warnings
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::layers;
    use std::ffi::OsString;

    fn said(variables: &[(&str, &str)], keys: &str) -> String {
        let mut all: Vec<_> = variables
            .iter()
            .map(|(n, v)| (OsString::from(n), OsString::from(v)))
            .collect();
        all.push(("GEMINI_API_KEYS".into(), keys.into()));
        let given = layers::resolve([layers::from_variables(&all).unwrap()]);
        let config = crate::config::check(&given, &all).unwrap();
        let sources = Sources::new(&config, &all);
        let pool = sources.load().unwrap();
        let bound: Vec<_> = config.listen.iter().map(|l| l.address).collect();
        text(
            &config,
            &pool.keys,
            &urls(&config, &bound),
            &warnings(&config, &sources),
            false,
        )
    }

    #[test]
    fn the_usual_start_says_where_how_many_and_how_to_point_clients_here() {
        let said = said(&[], "made-up-1,made-up-2");
        assert!(
            said.contains("listening on http://127.0.0.1:8787 and http://[::1]:8787\n"),
            "{said}"
        );
        assert!(said.contains("2 keys in 2 projects"), "{said}");
        assert!(
            said.contains("GOOGLE_GEMINI_BASE_URL=http://127.0.0.1:8787 GEMINI_API_KEY=any"),
            "{said}"
        );
        assert!(!said.contains("made-up"), "{said}");
    }

    #[test]
    fn the_file_to_trust_is_named_so_that_it_is_found_from_elsewhere() {
        let said = said(
            &[
                ("GEMINI_RELAY_TLS", "self-signed"),
                ("GEMINI_RELAY_TLS_CA_FILE", "my-ca.pem"),
            ],
            "made-up-1",
        );
        let absolute = std::env::current_dir().unwrap().join("my-ca.pem");
        let line = format!("SSL_CERT_FILE={},", absolute.display());
        assert!(said.contains(&line), "{said}");
    }

    #[test]
    fn with_good_tokens_on_loopback_nothing_is_insecure() {
        let token = "alice=made-up-token-long-enough";
        let said = said(&[("GEMINI_RELAY_TOKENS", token)], "made-up-1");
        assert!(
            !said.contains("insecure") && !said.contains("made-up"),
            "{said}"
        );
        assert!(said.contains("1 key in 1 project\n"), "{said}");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_of_options_that_others_can_read_is_insecure_if_there_are_secrets_in_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gemini-relay.toml");
        for (text, mode, warned) in [
            (
                "tokens = [\"alice=made-up-token-long-enough\"]",
                0o644,
                true,
            ),
            (
                "tokens = [\"alice=made-up-token-long-enough\"]",
                0o600,
                false,
            ),
            ("proxy = \"http://me:made-up@proxy.example:1\"", 0o644, true),
            ("proxy = \"http://proxy.example:1\"", 0o644, false),
        ] {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let file = layers::from_file(&layers::OptionsFile {
                path: path.clone(),
                text: text.to_owned(),
            });
            let config = crate::config::check(&layers::resolve([file.unwrap()]), &[]).unwrap();
            let said = warnings(&config, &Sources::new(&config, &[])).join("\n");
            assert_eq!(
                said.contains("gemini-relay.toml; chmod 600"),
                warned,
                "{said}"
            );
            assert!(!said.contains("made-up"), "{said}");
        }
    }

    #[test]
    fn what_is_insecure_is_said() {
        let said = said(
            &[
                ("GEMINI_RELAY_LISTEN", "0.0.0.0:8787"),
                ("GEMINI_RELAY_ALLOW_ANONYMOUS", "on"),
                ("GEMINI_RELAY_ALLOW_ORIGIN", "*"),
                ("GEMINI_RELAY_UPSTREAM", "http://gemini.example"),
            ],
            "made-up-1",
        );
        for words in [
            "whoever can reach",
            "has no TLS",
            "any web page",
            "unencrypted",
        ] {
            assert!(said.contains(words), "{said}");
        }
    }
}
