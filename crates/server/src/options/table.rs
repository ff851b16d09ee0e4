//! The table of options, in the order in which people are shown them.

use super::{Kind, OptionSpec, Places};

/// Finds an option by its name.
pub(crate) fn find(name: &str) -> Option<&'static OptionSpec> {
    OPTIONS.iter().find(|spec| spec.name == name)
}

const LISTENING: &str = "Listening";
const KEYS: &str = "Keys";
const CLIENTS: &str = "Clients";
const GOOGLE: &str = "Google";
const CHOOSING: &str = "Choosing and waiting";
const MEMORY: &str = "Memory";
const SAYING: &str = "Saying";
const STOPPING: &str = "Starting and stopping";

const PLAIN: OptionSpec = OptionSpec {
    name: "",
    kind: Kind::Path,
    many: false,
    default: "",
    otherwise: "",
    value: "FILE",
    group: "",
    places: Places::All,
    help: "",
    why: "",
};

pub(crate) const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "listen",
        kind: Kind::Listen,
        many: true,
        default: "8787",
        otherwise: "127.0.0.1:8787 and [::1]:8787",
        value: "ADDRESS:PORT",
        group: LISTENING,
        help: "Where clients connect. A port alone is that port of both loopback addresses; :PORT is every address of the machine",
        why: "Loopback, because somebody who tries the relay on a laptop has not decided to lend their keys to the network. \
              Both families, because `localhost` is ::1 for some clients and 127.0.0.1 for others.",
        ..PLAIN
    },
    OptionSpec {
        name: "base-path",
        kind: Kind::BasePath,
        otherwise: "none",
        value: "/PATH",
        group: LISTENING,
        help: "A path in front of everything, where a reverse proxy passes it on",
        why: "Several clients lose a base URL's path on some of their calls, so the root is the safest place to be.",
        ..PLAIN
    },
    OptionSpec {
        name: "tls",
        kind: Kind::Choice(&["off", "self-signed"]),
        default: "off",
        value: "off|self-signed",
        group: LISTENING,
        help: "`self-signed` makes a certificate authority of its own and a certificate for this machine, and says which file clients must trust",
        why: "On loopback nobody listens in, and no client trusts a fresh certificate by itself. Google's Python and Go libraries \
              insist on TLS for Live.",
        ..PLAIN
    },
    OptionSpec {
        name: "tls-cert",
        otherwise: "none",
        group: LISTENING,
        help: "A certificate chain in PEM; turns TLS on together with tls-key",
        why: "As for `tls`.",
        ..PLAIN
    },
    OptionSpec {
        name: "tls-key",
        otherwise: "none",
        group: LISTENING,
        help: "The certificate's private key in PEM",
        why: "As for `tls`.",
        ..PLAIN
    },
    OptionSpec {
        name: "tls-ca-file",
        otherwise: "gemini-relay/ca.pem in the user's data folder",
        group: LISTENING,
        help: "Where `tls = self-signed` keeps the certificate to trust; its private key lies beside it, readable by the owner alone",
        why: "It has to outlast the folder the relay happens to be started in, or clients would have to be told to trust a new one.",
        ..PLAIN
    },
    OptionSpec {
        name: "workers",
        kind: Kind::Count,
        default: "auto",
        value: "N",
        group: LISTENING,
        help: "How many threads serve; `auto` is one for each processor core this process may use",
        why: "Each thread has its own listener and its own connections to Google and waits for nobody, so one for each core \
              is all the machine can give; a container's processor limit is respected.",
        ..PLAIN
    },
    OptionSpec {
        name: "max-connections",
        kind: Kind::Count,
        default: "10000",
        value: "N",
        group: LISTENING,
        help: "How many connections of clients are served at once; the next one waits",
        why: "More than a team's clients ever open, and few enough to do no harm: an idle one holds some tens of kilobytes. Each may need \
              another one to Google, so the limit on open files is raised to fit; where that is not allowed, fewer are served, and the log says so if it is less than half.",
        ..PLAIN
    },
    OptionSpec {
        name: "body-timeout",
        kind: Kind::Duration,
        default: "60s",
        value: "TIME",
        group: LISTENING,
        help: "The longest pause inside a request's body; then it is answered with 408 and its connection closed",
        why: "What came of a body is kept in memory until the rest is there. Clients send without pausing, and a network that loses \
              packets has recovered well within a minute, which is also what nginx allows.",
        ..PLAIN
    },
    OptionSpec {
        name: "keys",
        many: true,
        otherwise: "./gemini-keys.json and ./gemini.keys, if there",
        group: KEYS,
        help: "A file of API keys (JSON, or one a line). GEMINI_RELAY_KEYS_FILE names it too. Keys also come from GEMINI_API_KEYS, and add up",
        why: "Files, because a file has an owner and a mode, can be watched for changes and does not show in a process list. \
              Only when nothing else gives a key are GEMINI_API_KEY and GOOGLE_API_KEY looked at: the same shell often holds \
              there the token that its clients show this very relay.",
        ..PLAIN
    },
    OptionSpec {
        name: "tokens-file",
        otherwise: "none",
        group: CLIENTS,
        help: "A file of client tokens, one a line: name=SECRET, or the secret alone",
        why: "Without tokens the relay serves whoever reaches it, which on loopback is you.",
        ..PLAIN
    },
    OptionSpec {
        name: "tokens",
        kind: Kind::Tokens,
        many: true,
        otherwise: "none",
        value: "name=SECRET",
        group: CLIENTS,
        places: Places::NotAsFlag,
        help: "Client tokens, separated by commas or spaces. Not a flag, since arguments are seen by everybody on the machine",
        why: "As for `tokens-file`.",
        ..PLAIN
    },
    OptionSpec {
        name: "allow-anonymous",
        kind: Kind::Switch,
        default: "off",
        value: "on|off",
        group: CLIENTS,
        help: "Serve without client tokens on addresses that others can reach",
        why: "A relay that others can reach without a token gives your keys away, so that must be said in so many words.",
        ..PLAIN
    },
    OptionSpec {
        name: "allow-origin",
        kind: Kind::Origin,
        many: true,
        otherwise: "none",
        value: "ORIGIN",
        group: CLIENTS,
        help: "A web page's origin, such as https://app.example, that may call the relay from a browser and gets the CORS headers for it; * is any",
        why: "Any page in any browser can reach a loopback port. Programs send no Origin, so none is needed until a page is to be served.",
        ..PLAIN
    },
    OptionSpec {
        name: "allow-host",
        kind: Kind::Host,
        many: true,
        otherwise: "loopback names only, while there are no client tokens",
        value: "NAME",
        group: CLIENTS,
        help: "A further name under which clients may call the relay while there are no client tokens",
        why: "A page can point a name of its own at 127.0.0.1; the Host header then gives it away.",
        ..PLAIN
    },
    OptionSpec {
        name: "upstream",
        kind: Kind::Upstream,
        default: "https://generativelanguage.googleapis.com",
        value: "URL",
        group: GOOGLE,
        help: "Where requests go",
        why: "It is the Gemini API.",
        ..PLAIN
    },
    OptionSpec {
        name: "proxy",
        kind: Kind::Proxy,
        otherwise: "HTTPS_PROXY, ALL_PROXY and NO_PROXY, as other programs read them",
        value: "URL|none",
        group: GOOGLE,
        help: "The proxy on the way to Google, http://HOST:PORT or socks5://HOST:PORT; `none` goes straight whatever the variables say",
        why: "Where a proxy is needed, the usual variables are already set.",
        ..PLAIN
    },
    OptionSpec {
        name: "ca",
        kind: Kind::PathOr(&["system"]),
        many: true,
        otherwise: "the bundled authorities, and SSL_CERT_FILE if set",
        value: "FILE|system",
        group: GOOGLE,
        help: "Further certificate authorities to trust towards Google: a file in PEM, or `system` for the machine's own",
        why: "The bundled list (Mozilla's) makes a container without any certificates work. A company proxy that opens TLS needs its own on top.",
        ..PLAIN
    },
    OptionSpec {
        name: "connect-timeout",
        kind: Kind::Duration,
        default: "10s",
        value: "TIME",
        group: GOOGLE,
        help: "The longest that connecting to Google may take, with TLS and proxy",
        why: "A connection takes well under a second; ten leave room for a lost packet or two on a bad line, and then another address is tried.",
        ..PLAIN
    },
    OptionSpec {
        name: "first-byte-timeout",
        kind: Kind::Duration,
        default: "10m",
        value: "TIME",
        group: GOOGLE,
        help: "The longest silence before an answer begins; it is never tried again",
        why: "Thinking models say nothing for minutes, and Google itself gives a unary call ten.",
        ..PLAIN
    },
    OptionSpec {
        name: "idle-timeout",
        kind: Kind::Duration,
        default: "10m",
        value: "TIME",
        group: GOOGLE,
        help: "The longest silence inside an answer before it is cut",
        why: "A stream pauses while the model thinks or a tool runs, as long as before its first byte. A connection that is dead, \
              and not silent, is noticed much earlier by TCP keep-alive.",
        ..PLAIN
    },
    OptionSpec {
        name: "strategy",
        kind: Kind::Choice(&["round-robin", "fill-first", "least-loaded"]),
        default: "round-robin",
        value: "NAME",
        group: CHOOSING,
        help: "How the next project is chosen: round-robin (each in turn), fill-first (the first until it is out) or least-loaded (the one with the fewest requests in flight)",
        why: "Quotas are counted by the minute: in turn, each project is asked least in any minute.",
        ..PLAIN
    },
    OptionSpec {
        name: "affinity",
        kind: Kind::OnOff,
        default: "on",
        value: "on|off",
        group: CHOOSING,
        help: "Whether a conversation's later turns go to the project that served its earlier ones",
        why: "Prompt caches and thought signatures live in a project: switching costs money and sometimes an error.",
        ..PLAIN
    },
    OptionSpec {
        name: "max-wait",
        kind: Kind::Duration,
        default: "30s",
        value: "TIME",
        group: CHOOSING,
        help: "The longest a request waits for quota to come back before it is refused; 0 refuses at once",
        why: "Half of a per-minute window, so that half of what meets a dry minute is served after all; a longer silence looks like a hang.",
        ..PLAIN
    },
    OptionSpec {
        name: "max-waiting",
        kind: Kind::Count,
        default: "1024",
        value: "N",
        group: CHOOSING,
        help: "How many requests may wait at once; the next is refused at once",
        why: "A waiting request holds a connection and its body. Far more wait than any quota could serve in `max-wait`, so a longer line only delays bad news.",
        ..PLAIN
    },
    OptionSpec {
        name: "attempts",
        kind: Kind::Count,
        default: "all",
        value: "N",
        group: CHOOSING,
        help: "The most keys one request is tried with; `all` is as many as there are",
        why: "No client gets an error that another key would have spared it. Errors that no other key can help end the walk by themselves.",
        ..PLAIN
    },
    OptionSpec {
        name: "replay-limit",
        kind: Kind::Size,
        default: "100MB",
        value: "SIZE",
        group: MEMORY,
        help: "The largest request body kept to be sent again with another key; a larger one passes through once",
        why: "It is the most that Google takes in one request, so everything that can be answered can be tried again.",
        ..PLAIN
    },
    OptionSpec {
        name: "replay-total",
        kind: Kind::Size,
        default: "256MB",
        value: "SIZE",
        group: MEMORY,
        help: "The most memory for all kept bodies together; beyond it bodies pass through once",
        why: "It bounds what clients can make the relay hold. Usual bodies are a few kilobytes and are let go when the answer begins; \
              in a container with less memory set it to a third of that.",
        ..PLAIN
    },
    OptionSpec {
        name: "response-headers",
        kind: Kind::OnOff,
        default: "on",
        value: "on|off",
        group: SAYING,
        help: "Whether answers carry x-gemini-relay-key (the label), -attempts and -request-id",
        why: "Which key served and how often it was tried is the first thing asked when something is odd. Labels are not secret.",
        ..PLAIN
    },
    OptionSpec {
        name: "log-level",
        kind: Kind::Choice(&["off", "error", "warn", "info", "debug", "trace"]),
        default: "info",
        value: "LEVEL",
        group: SAYING,
        help: "How much is logged: info is one line a request. Never a key or a body, at any level",
        why: "One line a request shows that it works; more is for finding out why not.",
        ..PLAIN
    },
    OptionSpec {
        name: "log-format",
        kind: Kind::Choice(&["pretty", "json"]),
        default: "pretty",
        value: "pretty|json",
        group: SAYING,
        help: "For people (coloured on a terminal, unless NO_COLOR is set) or one JSON object a line",
        why: "Whoever starts it by hand reads it by eye; what collects logs can say so.",
        ..PLAIN
    },
    OptionSpec {
        name: "drain-delay",
        kind: Kind::Duration,
        default: "0s",
        value: "TIME",
        group: STOPPING,
        help: "How long connections are still accepted after a stop was asked for, while /-/ready already says 503",
        why: "On a laptop Ctrl-C should not wait. Behind a load balancer set it to the time that takes to notice (Kubernetes: 5s).",
        ..PLAIN
    },
    OptionSpec {
        name: "drain-limit",
        kind: Kind::Duration,
        default: "25s",
        value: "TIME",
        group: STOPPING,
        help: "How long requests may finish after that; a second signal stops at once",
        why: "Kubernetes kills 30 seconds after it asks; this leaves five for the end itself. Raise both for streams that run for an hour.",
        ..PLAIN
    },
    OptionSpec {
        name: "config",
        otherwise: "./gemini-relay.toml, if there",
        group: STOPPING,
        places: Places::NotInFile,
        help: "The file of options",
        why: "Beside the keys file, in the folder the relay is started in.",
        ..PLAIN
    },
];
