//! Texts into values, one option after the other, and then what they mean together.

use super::upstream::Upstream;
use super::{Access, CaSource, Config, Log, LogFormat, Origins, Proxy, Tls};
use crate::files;
use crate::options::value::{self, Listen, Remedy};
use crate::options::{ConfigError, Given, OptionSpec, Origin, Resolved, table};
use crate::tokens;
use gemini_relay_core::options::{self, attempts, base_path, host, some_time, strategy};
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use tracing::level_filters::LevelFilter;

/// Makes the configuration of what was given. Reads the file of client tokens, and nothing else.
pub(crate) fn check(
    given: &Resolved,
    variables: &[(OsString, OsString)],
) -> Result<Config, ConfigError> {
    let read = Reader { given };
    let listen: Vec<Listen> = read
        .many("listen", value::listen)?
        .into_iter()
        .flatten()
        .collect();
    let tokens = tokens::load(given)?;
    let upstream = read.must("upstream", Upstream::parse)?;
    if upstream.is_one_of(&listen) {
        return Err(read.refuse(
            "upstream",
            "that is this relay itself; write the URL of the Gemini API, or listen on another port",
        ));
    }
    let access = access(&read, &listen, !tokens.is_empty())?;
    Ok(Config {
        base_path: read.maybe("base-path", base_path)?.unwrap_or_default(),
        tls: tls(&read, variables)?,
        workers: read.must("workers", workers)?,
        access,
        tokens,
        secret_files: secret_files(given),
        origins: origins(read.many("allow-origin", origin)?),
        allow_host: read.many("allow-host", host)?,
        proxy: match read.maybe("proxy", proxy)? {
            Some(said) => said,
            None => usual_proxy(&upstream, variables)?,
        },
        upstream,
        ca: ca(&read, variables)?,
        connect_timeout: read.must("connect-timeout", some_time)?,
        first_byte_timeout: read.must("first-byte-timeout", some_time)?,
        body_timeout: read.must("body-timeout", some_time)?,
        max_connections: read.must("max-connections", connections)?,
        idle_timeout: read.must("idle-timeout", some_time)?,
        strategy: read.must("strategy", strategy)?,
        affinity: read.must("affinity", value::on_off)?,
        max_wait: read.must("max-wait", value::duration)?,
        max_waiting: read.must("max-waiting", options::max_waiting)?,
        attempts: read.must("attempts", attempts)?,
        replay_limit: read.must("replay-limit", value::size)?,
        replay_total: read.must("replay-total", value::size)?,
        response_headers: read.must("response-headers", value::on_off)?,
        log: Log {
            level: read.must("log-level", |t| {
                t.parse::<LevelFilter>()
                    .map_err(|_| "write off, error, warn, info, debug or trace")
            })?,
            format: read.must("log-format", log_format)?,
        },
        drain_delay: read.must("drain-delay", value::duration)?,
        drain_limit: read.must("drain-limit", value::duration)?,
        key_files: read.many("keys", file)?,
        greeting: None,
        listen,
    })
}

struct Reader<'a> {
    given: &'a Resolved,
}

impl Reader<'_> {
    fn many<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Remedy>,
    ) -> Result<Vec<T>, ConfigError> {
        self.given
            .all(name)
            .iter()
            .map(|given| Self::parsed(name, given, &parse))
            .collect()
    }

    fn maybe<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Remedy>,
    ) -> Result<Option<T>, ConfigError> {
        self.given
            .one(name)
            .map(|given| Self::parsed(name, given, parse))
            .transpose()
    }

    fn must<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Remedy>,
    ) -> Result<T, ConfigError> {
        self.maybe(name, parse)?
            .ok_or_else(|| ConfigError(format!("{name}: it has no value")))
    }

    fn parsed<T>(
        name: &'static str,
        given: &Given,
        parse: impl Fn(&str) -> Result<T, Remedy>,
    ) -> Result<T, ConfigError> {
        parse(&given.text).map_err(|remedy| ConfigError::value(spec(name), given, remedy))
    }

    /// An error about a value that is right by itself.
    fn refuse(&self, name: &'static str, remedy: &str) -> ConfigError {
        self.given.one(name).map_or_else(
            || ConfigError(format!("{name}: {remedy}")),
            |given| ConfigError::value(spec(name), given, remedy),
        )
    }
}

fn spec(name: &'static str) -> &'static OptionSpec {
    // Every name in this file is in the table; the first row stands in for one that is not.
    table::find(name).unwrap_or(&table::OPTIONS[0])
}

fn secret_files(given: &Resolved) -> BTreeSet<PathBuf> {
    let tokens = given.all("tokens").iter();
    let passwords = given.all("proxy").iter().filter(|g| g.text.contains('@'));
    let options = tokens.chain(passwords).filter_map(|g| match &g.origin {
        Origin::File { path, .. } => Some(path.clone()),
        _ => None,
    });
    let tokens_file = given.one("tokens-file").map(|g| PathBuf::from(&g.text));
    options.chain(tokens_file).collect()
}

fn access(read: &Reader<'_>, listen: &[Listen], tokens: bool) -> Result<Access, ConfigError> {
    let anonymous = read.must("allow-anonymous", value::on_off)?;
    if tokens {
        if anonymous {
            return Err(read.refuse(
                "allow-anonymous",
                "client tokens are set too; remove one of the two",
            ));
        }
        return Ok(Access::Tokens);
    }
    match listen.iter().find(|l| !l.address.ip().is_loopback()) {
        None => Ok(Access::OpenOnLoopback),
        Some(_) if anonymous => Ok(Access::OpenToAll),
        Some(open) => Err(ConfigError(format!(
            "others can reach {} and no client tokens are set, so anybody could spend your keys.\n\
             Set tokens (GEMINI_RELAY_TOKENS=name=SECRET, or --tokens-file FILE),\n\
             or listen on loopback only (--listen {}),\n\
             or, if something else keeps strangers out, say --allow-anonymous.",
            open.address,
            open.address.port(),
        ))),
    }
}

fn tls(read: &Reader<'_>, variables: &[(OsString, OsString)]) -> Result<Tls, ConfigError> {
    let self_signed = read.must("tls", |text| match text {
        "off" => Ok(false),
        "self-signed" => Ok(true),
        _ => Err(
            "write off or self-signed; for a certificate of your own use --tls-cert and --tls-key",
        ),
    })?;
    let (cert, key) = (read.maybe("tls-cert", file)?, read.maybe("tls-key", file)?);
    match (self_signed, cert, key) {
        (false, None, None) => Ok(Tls::Off),
        (false, Some(cert), Some(key)) => Ok(Tls::Files { cert, key }),
        (true, None, None) => {
            let ca_file = read
                .maybe("tls-ca-file", file)?
                .unwrap_or_else(|| files::data_folder(variables).join("ca.pem"));
            Ok(Tls::SelfSigned { ca_file })
        }
        (true, ..) => Err(read.refuse(
            "tls",
            "tls-cert or tls-key is set too; remove one of the two",
        )),
        (false, Some(_), None) => {
            Err(read.refuse("tls-cert", "its private key is missing; add tls-key"))
        }
        (false, None, Some(_)) => {
            Err(read.refuse("tls-key", "its certificate is missing; add tls-cert"))
        }
    }
}

/// Where other programs find further authorities.
const SSL_CERT_FILE: &str = "SSL_CERT_FILE";

fn ca(read: &Reader<'_>, variables: &[(OsString, OsString)]) -> Result<Vec<CaSource>, ConfigError> {
    let mut sources = read.many("ca", |text| match text {
        "system" => Ok(CaSource::System),
        _ => file(text).map(|path| CaSource::File(path, "ca")),
    })?;
    let usual = variables
        .iter()
        .find(|(name, value)| name == SSL_CERT_FILE && !value.is_empty());
    sources.extend(usual.map(|(_, value)| CaSource::File(PathBuf::from(value), SSL_CERT_FILE)));
    Ok(sources)
}

fn origins(listed: Vec<Option<HeaderValue>>) -> Origins {
    listed
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .map_or(Origins::Any, Origins::Listed)
}

/// `None` is `*`.
fn origin(text: &str) -> Result<Option<HeaderValue>, Remedy> {
    match options::origin(text)?.as_str() {
        "*" => Ok(None),
        text => HeaderValue::from_str(text)
            .map(Some)
            .map_err(|_| "write it as browsers send it, such as https://app.example"),
    }
}

/// `None` is straight.
fn proxy(text: &str) -> Result<Option<Proxy>, Remedy> {
    const REMEDY: Remedy = "write http://HOST:PORT, socks5://HOST:PORT or none";
    if text == "none" {
        return Ok(None);
    }
    let uri: Uri = text.parse().map_err(|_| REMEDY)?;
    let known = matches!(uri.scheme_str(), Some("http" | "socks5" | "socks5h"));
    // What is no number is let by as a port, and would be none.
    let somewhere = uri.authority().is_some_and(|to| {
        let host = to.host();
        !host.is_empty() && (to.port_u16().is_some() || to.as_str().ends_with(host))
    });
    if !known || !somewhere {
        return Err(REMEDY);
    }
    Ok(Some(Proxy {
        url: text.to_owned(),
        variable: None,
    }))
}

/// What other programs' variables say of the way to the upstream. Somebody who set one has a reason not to go
/// straight, so one that cannot be used is an error and not passed over.
fn usual_proxy(
    upstream: &Upstream,
    variables: &[(OsString, OsString)],
) -> Result<Option<Proxy>, ConfigError> {
    // What is empty is not set.
    let first = |names: &[&'static str]| {
        names.iter().find_map(|name| {
            let (_, value) = variables.iter().find(|(n, v)| n == name && !v.is_empty())?;
            Some((*name, value.to_string_lossy().into_owned()))
        })
    };
    let names = if upstream.is_https() {
        ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
    } else {
        ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]
    };
    let Some((variable, text)) = first(&names) else {
        return Ok(None);
    };
    let (_, not_for) = first(&["NO_PROXY", "no_proxy"]).unwrap_or_default();
    let any = Matcher::builder().all("http://any").no(not_for).build();
    if any.intercept(&upstream.destination()).is_none() {
        return Ok(None);
    }
    // Other programs take a bare HOST:PORT for one that speaks HTTP.
    let url = if text.contains("://") {
        text.clone()
    } else {
        format!("http://{text}")
    };
    match proxy(&url) {
        Ok(Some(proxy)) => Ok(Some(Proxy {
            variable: Some(variable),
            ..proxy
        })),
        _ => Err(ConfigError::value(
            spec("proxy"),
            &Given {
                text,
                origin: Origin::Variable(variable.to_owned()),
            },
            "the relay speaks to proxies as http://HOST:PORT and socks5://HOST:PORT; write one of these, or set --proxy, \
             which wins over the variable (none goes straight)",
        )),
    }
}

fn workers(text: &str) -> Result<NonZeroUsize, Remedy> {
    match text {
        "auto" => Ok(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)),
        _ => text
            .parse::<NonZeroUsize>()
            .ok()
            .filter(|n| n.get() <= MOST_WORKERS)
            .ok_or("write a number from 1 to 1024, or auto"),
    }
}

fn connections(text: &str) -> Result<NonZeroUsize, Remedy> {
    text.parse::<NonZeroUsize>()
        .ok()
        .filter(|n| n.get() <= MOST_CONNECTIONS)
        .ok_or("write a number from 1 to 1000000, such as 10000")
}

fn log_format(text: &str) -> Result<LogFormat, Remedy> {
    match text {
        "pretty" => Ok(LogFormat::Pretty),
        "json" => Ok(LogFormat::Json),
        _ => Err("write pretty or json"),
    }
}

fn file(text: &str) -> Result<PathBuf, Remedy> {
    if text.trim().is_empty() {
        Err("write the name of a file")
    } else {
        Ok(PathBuf::from(text))
    }
}

/// A machine's memory and ports end before.
const MOST_CONNECTIONS: usize = 1_000_000;

/// More than any machine has cores; a slip of the keyboard should not start a million threads.
const MOST_WORKERS: usize = 1024;
