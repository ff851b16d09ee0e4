//! The name that was perhaps meant.

use super::table::OPTIONS;
use gemini_relay_core::options::nearest;

/// The option nearest to an unknown name, by what other programs call it or by its letters.
pub(crate) fn option(unknown: &str) -> Option<&'static str> {
    let unknown = unknown
        .trim_start_matches('-')
        .to_ascii_lowercase()
        .replace('_', "-");
    let by_use = match unknown.as_str() {
        "port" | "host" | "bind" | "addr" | "address" => Some("listen"),
        "key" | "keys-file" | "keyfile" | "api-key" | "api-keys" => Some("keys"),
        "token" | "auth" | "client-tokens" | "password" => Some("tokens-file"),
        "no-auth" | "anonymous" | "open" => Some("allow-anonymous"),
        "base-url" | "url" | "api-base" | "target" => Some("upstream"),
        "cors" | "cors-origin" => Some("allow-origin"),
        "threads" | "cores" => Some("workers"),
        "retries" | "max-retries" | "max-attempts" => Some("attempts"),
        "connections" | "max-conns" | "max-clients" => Some("max-connections"),
        "timeout" => Some("first-byte-timeout"),
        "verbose" | "log" => Some("log-level"),
        _ => None,
    };
    by_use.or_else(|| nearest(&unknown, OPTIONS.iter().map(|spec| spec.name)))
}
