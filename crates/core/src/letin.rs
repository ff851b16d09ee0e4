//! Who may use the relay.
//!
//! With client tokens: whoever shows one, wherever the client's library puts its API key. Without:
//! whoever can reach the relay, which on a loopback port includes every web page that the person has
//! open. A page can send requests there but cannot hide that it does: the browser adds `Origin` or
//! `Sec-Fetch-Site`, and a page that had its own host name pointed at 127.0.0.1 shows that name in
//! `Host`. So without tokens those are looked at, and anything foreign is refused.

use crate::facts::{ClientId, Kind, Surface};
use crate::host::{asked, is_loopback};
use crate::recognise::{CREDENTIAL_PARAMETERS, Recognised, decode_bytes, query_pairs};
use crate::refusal::Refusal;
use http::header::{self, AUTHORIZATION, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memmem::Finder;
use secrecy::{ExposeSecret, SecretString};
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use subtle::ConstantTimeEq;

/// The rules of the door.
#[derive(Clone, Debug, Default)]
pub struct Door {
    /// None means that no token is asked for.
    tokens: Vec<Token>,
    /// Bytes of the shortest of them: a value with fewer need not be looked at.
    shortest: usize,
    /// Whether anybody may come in without a token from anywhere: said in so many words.
    anonymous: bool,
    origins: Vec<String>,
    hosts: Vec<String>,
}

/// One client's token, to compare and to look for.
#[derive(Clone)]
struct Token {
    text: SecretString,
    finder: Finder<'static>,
}

impl Door {
    /// A door for these tokens, in order: the n-th token's client is `ClientId(n)`. `origins` and `hosts`
    /// are let in without a token.
    #[must_use]
    pub fn new<'a>(
        tokens: impl Iterator<Item = &'a str>,
        anonymous: bool,
        origins: Vec<String>,
        hosts: Vec<String>,
    ) -> Self {
        let tokens: Vec<Token> = tokens.map(Token::new).collect();
        let lengths = tokens.iter().map(|token| token.finder.needle().len());
        Self {
            shortest: lengths.min().unwrap_or_default(),
            tokens,
            anonymous,
            origins,
            hosts,
        }
    }

    /// Whether tokens are asked for.
    #[must_use]
    pub const fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Who is asking.
    ///
    /// # Errors
    /// The refusal, when the token is missing or wrong, or when a request without tokens comes from a web page of
    /// another origin or under a host name that is not the relay's.
    pub fn admit(&self, path_and_query: &str, headers: &HeaderMap) -> Result<ClientId, Refusal> {
        if self.tokens.is_empty() {
            return self
                .foreign(headers)
                .map_or(Ok(ClientId::ANONYMOUS), |why| Err(Refusal::Forbidden(why)));
        }
        let from_headers = [&API_KEY, &X_API_KEY]
            .into_iter()
            .filter_map(|name| headers.get(name))
            .chain(headers.get(AUTHORIZATION))
            .filter_map(bare);
        for shown in from_headers {
            if let Some(client) = self.client(shown) {
                return Ok(client);
            }
        }
        for (name, value) in query_pairs(path_and_query) {
            if CREDENTIAL_PARAMETERS.contains(&name.trim_start_matches('$'))
                && let Some(client) = self.client(value.as_bytes())
            {
                return Ok(client);
            }
        }
        Err(Refusal::Unauthorized)
    }

    /// Whether a client's token stands in a request's path, or for its model, as a name: there it would go to Google,
    /// and into the log. The answer to such a request is [`TOKEN_AS_NAME`].
    #[must_use]
    pub fn is_named(&self, found: &Recognised, model: Option<&str>) -> bool {
        // What is asked of a model has no other name in its path.
        let nameless = found.surface == Surface::Gemini && found.model.is_none();
        let path = (nameless || found.kind == Kind::Other).then(|| found.target.split('?').next());
        let names = model.into_iter().chain(path.flatten());
        names.into_iter().any(|name| self.names_token(name))
    }

    fn names_token(&self, text: &str) -> bool {
        if self.tokens.is_empty() {
            return false;
        }
        let (bytes, shortest) = (text.as_bytes(), self.shortest.max(1));
        let ends = |byte: &u8| matches!(byte, b'/' | b':');
        // A name that is long enough has one of these places in it.
        let mut at = shortest - 1;
        while let (Some(before), Some(after)) = (bytes.get(..at), bytes.get(at..))
            && !after.is_empty()
        {
            let from = before.iter().rposition(ends).map_or(0, |end| end + 1);
            let to = after
                .iter()
                .position(ends)
                .map_or(bytes.len(), |end| at + end);
            let name = bytes.get(from..to).unwrap_or_default();
            if name.len() >= shortest && self.client(&decode_bytes(name)).is_some() {
                return true;
            }
            at = to + shortest;
        }
        false
    }

    /// Takes off every further header that holds a client token's text, besides those that [`is_credential`]
    /// knows by name: what a client's address
    /// bar or a proxy in front made of `?key=` comes along as `Referer` or `X-Original-Url`.
    pub fn drop_tokens(&self, headers: &mut HeaderMap) {
        if self.tokens.is_empty() {
            return;
        }
        let holding: Vec<HeaderName> = headers
            .iter()
            .filter(|(name, value)| {
                // Decoding only makes it shorter, so most are done with here.
                value.len() >= self.shortest
                    && !is_plain(name)
                    && !is_credential(name)
                    && self.holds_token(value.as_bytes())
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in holding {
            headers.remove(name);
        }
    }

    /// A request's target without the query parameters that are a client token, whatever they are called;
    /// `None` if there are none.
    #[must_use]
    pub fn without_tokens(&self, target: &str) -> Option<String> {
        if self.tokens.is_empty() || target.len() < self.shortest {
            return None;
        }
        let at = memchr::memchr(b'?', target.as_bytes())?;
        let (path, query) = (target.get(..at)?, target.get(at + 1..)?);
        let is_token = |pair: &str| {
            query_pairs(&format!("?{pair}"))
                .any(|(_, value)| self.client(value.as_bytes()).is_some())
        };
        if query.len() < self.shortest || !query.split('&').any(is_token) {
            return None;
        }
        let rest: Vec<&str> = query.split('&').filter(|pair| !is_token(pair)).collect();
        Some(if rest.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{}", rest.join("&"))
        })
    }

    fn holds_token(&self, value: &[u8]) -> bool {
        let plain = decode_bytes(value);
        self.tokens.iter().any(|token| {
            token.is_in(value) || matches!(&plain, Cow::Owned(plain) if token.is_in(plain))
        })
    }

    /// Whether a request for the relay's own pages is let in without a token: from this machine, to this
    /// machine, and not passed on by a proxy.
    #[must_use]
    pub fn is_local(peer: IpAddr, headers: &HeaderMap) -> bool {
        let passed_on = [
            "forwarded",
            "x-forwarded-for",
            "x-real-ip",
            "cf-connecting-ip",
            "via",
        ];
        peer.to_canonical().is_loopback()
            && asked(headers).is_some_and(|host| is_loopback(&host))
            && !passed_on.iter().any(|name| headers.contains_key(*name))
    }

    /// The origin to name in CORS headers, if this request's is listed.
    #[must_use]
    pub fn listed_origin<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        if self.origins.is_empty() {
            return None;
        }
        let origin = headers.get(ORIGIN)?.to_str().ok()?;
        self.origins
            .iter()
            .any(|listed| listed == "*" || listed.eq_ignore_ascii_case(origin))
            .then_some(origin)
    }

    fn foreign(&self, headers: &HeaderMap) -> Option<&'static str> {
        if headers.contains_key(ORIGIN) && self.listed_origin(headers).is_none() {
            return Some(FOREIGN_PAGE);
        }
        let site = headers.get(&SEC_FETCH_SITE).map(HeaderValue::as_bytes);
        if matches!(site, Some(b"cross-site" | b"same-site"))
            && self.listed_origin(headers).is_none()
        {
            return Some("a web page of another site tried to use it.");
        }
        if self.anonymous && self.hosts.is_empty() {
            return None;
        }
        let known = asked(headers).is_some_and(|host| {
            is_loopback(&host)
                || self
                    .hosts
                    .iter()
                    .any(|listed| listed.eq_ignore_ascii_case(&host))
        });
        (!known).then_some(FOREIGN_HOST)
    }

    /// The client with this token. Every token is compared, in a time that does not depend on where
    /// two of the same length differ.
    fn client(&self, shown: &[u8]) -> Option<ClientId> {
        let mut found = None;
        for (at, token) in self.tokens.iter().enumerate() {
            if is_same(token.text.expose_secret().as_bytes(), shown) {
                found = u32::try_from(at).ok().map(ClientId);
            }
        }
        found
    }
}

/// Compares eight bytes at a time, since a team has many tokens.
fn is_same(token: &[u8], shown: &[u8]) -> bool {
    if token.len() != shown.len() {
        return false;
    }
    let (Some(last), Some(shown_last)) = (token.last_chunk(), shown.last_chunk()) else {
        return token.ct_eq(shown).into();
    };
    let same = |a: &[u8; 8], b: &[u8; 8]| u64::from_ne_bytes(*a).ct_eq(&u64::from_ne_bytes(*b));
    let words = token.as_chunks().0.iter().zip(shown.as_chunks().0);
    // The last eight may have been compared in part already.
    words
        .fold(same(last, shown_last), |so_far, (a, b)| so_far & same(a, b))
        .into()
}

/// Whether a header may hold a credential of the client's: Google answers two with 400, and none of
/// them is Google's business.
#[must_use]
pub fn is_credential(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "x-goog-api-key"
            | "x-api-key"
            | "api-key"
            | "x-original-authorization"
            | "authorization"
            | "cookie"
            | "proxy-authorization"
            | "x-goog-user-project"
            | "x-goog-iam-authorization-token"
    )
}

/// The token in a header's value; an empty one is none (gemini-cli sends one when it has no key).
fn bare(value: &HeaderValue) -> Option<&[u8]> {
    let value = value.as_bytes().trim_ascii();
    let token = match memchr::memchr(b' ', value).and_then(|at| value.split_at_checked(at)) {
        Some((scheme, token))
            if scheme.eq_ignore_ascii_case(b"bearer") || scheme.eq_ignore_ascii_case(b"token") =>
        {
            token.trim_ascii()
        }
        _ => value,
    };
    (!token.is_empty()).then_some(token)
}

/// Headers whose value the protocol itself gives, or which are set anew: no token is looked for in them.
fn is_plain(name: &HeaderName) -> bool {
    *name == header::ACCEPT
        || *name == header::USER_AGENT
        || *name == API_CLIENT
        || *name == header::ACCEPT_ENCODING
        || *name == header::CONNECTION
        || *name == header::CONTENT_LENGTH
        || *name == header::CONTENT_TYPE
        || *name == header::HOST
}

impl Token {
    fn new(text: &str) -> Self {
        Self {
            text: SecretString::from(text),
            finder: Finder::new(text).into_owned(),
        }
    }

    /// Whether a value holds it. A short one counts only where it stands by itself: one that is called
    /// `json` must not take `application/json` off.
    fn is_in(&self, value: &[u8]) -> bool {
        let length = self.finder.needle().len();
        let word = |at: Option<&u8>| at.is_some_and(u8::is_ascii_alphanumeric);
        value.len() >= length
            && self.finder.find_iter(value).any(|at| {
                length >= UNMISTAKABLE
                    || !word(at.checked_sub(1).and_then(|before| value.get(before)))
                        && !word(value.get(at + length))
            })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[token]")
    }
}

/// A text of so many letters is not in a header by chance.
const UNMISTAKABLE: usize = 12;

static API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
static X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
static API_CLIENT: HeaderName = HeaderName::from_static("x-goog-api-client");
static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

pub(crate) const FOREIGN_PAGE: &str = "a web page tried to use it, and its origin is not allowed. Allow it with --allow-origin (GEMINI_RELAY_ALLOW_ORIGIN), or use client tokens.";

pub(crate) const FOREIGN_HOST: &str = "the host name in this request is neither a loopback nor a listed one. Allow it with --allow-host (GEMINI_RELAY_ALLOW_HOST), or use client tokens.";

/// To a browser that asks before it sends what a web page wants.
pub const FOREIGN_ORIGIN: &str =
    "a web page's origin is not allowed. Allow it with --allow-origin (GEMINI_RELAY_ALLOW_ORIGIN).";

/// A token that somebody wrote where a model's name belongs.
pub const TOKEN_AS_NAME: Refusal = Refusal::BadRequest(
    "a client token stands where a name belongs, and is not sent on; write the model's name there.",
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognise::{Destination, recognise};
    use http::Method;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn door(tokens: &[&str]) -> Door {
        Door::new(
            tokens.iter().copied(),
            false,
            vec!["https://app.example".into()],
            vec!["relay.lan".into()],
        )
    }

    #[test]
    fn a_token_is_accepted_wherever_a_client_puts_its_key() {
        let door = door(&["first", "second"]);
        for (path, pairs) in [
            ("/", vec![("x-goog-api-key", "second")]),
            ("/", vec![("x-api-key", "second")]),
            ("/", vec![("authorization", "Bearer second")]),
            ("/", vec![("authorization", "token second")]),
            ("/?alt=sse&key=second", vec![]),
            ("/?%6Bey=s%65cond", vec![]),
            (
                "/",
                vec![("x-goog-api-key", ""), ("authorization", "Bearer second")],
            ),
            (
                "/",
                vec![
                    ("x-goog-api-key", "wrong"),
                    ("authorization", "Bearer second"),
                ],
            ),
        ] {
            assert_eq!(
                door.admit(path, &headers(&pairs)),
                Ok(ClientId(1)),
                "{path} {pairs:?}"
            );
        }
        for (path, pairs) in [
            ("/", vec![]),
            ("/?key=", vec![]),
            ("/", vec![("authorization", "Bearer ")]),
            ("/", vec![("x-goog-api-key", "secon")]),
        ] {
            assert_eq!(
                door.admit(path, &headers(&pairs)),
                Err(Refusal::Unauthorized),
                "{path} {pairs:?}"
            );
        }
    }

    #[test]
    fn a_token_in_the_path_is_not_sent_on() {
        let door = door(&["alices-own-token", "flash"]);
        let is_named = |path: &str, model: Option<&str>| {
            let none = HeaderMap::new();
            match recognise(&Method::POST, path, &none, "") {
                Destination::Upstream(found) => {
                    let model = model.map(str::to_owned);
                    let model = model.or_else(|| found.model.as_deref().map(str::to_owned));
                    door.is_named(&found, model.as_deref())
                }
                other => panic!("{other:?}"),
            }
        };
        for path in [
            "/v1beta/models/alices-own-token:generateContent",
            "/v1beta/models/alices%2Down-token:generateContent?alt=sse",
            "/v1beta/files/alices-own-token",
            "/v1beta/models/m/operations/alices-own-token",
            "/alices-own-token/v1beta/models/gemini-2.5-flash:generateContent",
        ] {
            assert!(is_named(path, None), "{path}");
        }
        let chat = "/v1/chat/completions";
        assert!(is_named(chat, Some("models/alices-own-token")));
        assert!(!is_named(chat, Some("gemini-2.5-flash")));
        assert!(!is_named(
            "/v1beta/models/gemini-2.5-flash:generateContent?key=x",
            None
        ));
    }

    #[test]
    fn without_tokens_a_web_page_is_refused() {
        let door = door(&[]);
        let local = ("host", "127.0.0.1:8787");
        for pairs in [
            vec![local, ("origin", "https://evil.example")],
            vec![local, ("origin", "null")],
            vec![local, ("origin", "http://localhost:3000")],
            vec![local, ("sec-fetch-site", "cross-site")],
            vec![("host", "evil.example:8787")],
            vec![("host", "127.0.0.1.evil.example")],
            vec![],
        ] {
            assert!(
                matches!(
                    door.admit("/", &headers(&pairs)),
                    Err(Refusal::Forbidden(_))
                ),
                "{pairs:?}"
            );
        }
        for pairs in [
            vec![local],
            vec![("host", "localhost")],
            vec![("host", "[::1]:8787")],
            vec![("host", "Relay.LAN:80")],
            vec![
                local,
                ("origin", "https://app.example"),
                ("sec-fetch-site", "cross-site"),
            ],
            vec![local, ("sec-fetch-mode", "cors")],
        ] {
            assert_eq!(
                door.admit("/", &headers(&pairs)),
                Ok(ClientId::ANONYMOUS),
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn local_means_from_here_to_here_and_not_through_a_proxy() {
        let here = "127.0.0.1".parse().unwrap();
        assert!(Door::is_local(here, &headers(&[("host", "localhost:1")])));
        assert!(!Door::is_local(
            "10.0.0.1".parse().unwrap(),
            &headers(&[("host", "localhost:1")])
        ));
        assert!(!Door::is_local(
            here,
            &headers(&[("host", "relay.example")])
        ));
        assert!(!Door::is_local(
            here,
            &headers(&[("host", "localhost:1"), ("x-forwarded-for", "10.0.0.1")])
        ));
    }

    #[test]
    fn a_token_goes_no_further_in_any_header() {
        let door = door(&["alices-own-token", "json", "bobs/own+token"]);
        let mut all = headers(&[
            ("referer", "https://app.example/?key=alices-own-token"),
            (
                "x-forwarded-uri",
                "/v1beta/models?key=bobs%2Fown%2Btoken&x=%ff",
            ),
            ("sec-websocket-protocol", "realtime, key.alices-own-token"),
            ("x-short", "a=json"),
            ("content-type", "application/json"),
            ("x-goog-api-client", "genai/jsonlike"),
            ("x-forwarded-for", "198.51.100.7"),
        ]);
        door.drop_tokens(&mut all);
        let mut rest: Vec<_> = all.keys().map(HeaderName::as_str).collect();
        rest.sort_unstable();
        assert_eq!(
            rest,
            ["content-type", "x-forwarded-for", "x-goog-api-client"]
        );
    }

    #[test]
    fn a_token_goes_no_further_in_the_query_whatever_it_is_called_there() {
        let door = door(&["alices-own-token", "bobs/own+token"]);
        for (target, rest) in [
            ("/m?alt=sse&api_key=alices-own-token", Some("/m?alt=sse")),
            ("/m?token=bobs%2Fown%2Btoken", Some("/m")),
            ("/m?apikey=alices-own-token&a=b", Some("/m?a=b")),
            ("/m?filter=not-alices-own-token", None),
            ("/alices-own-token", None),
            ("/m?alt=sse", None),
        ] {
            assert_eq!(door.without_tokens(target).as_deref(), rest, "{target}");
        }
    }

    #[test]
    fn every_credential_is_known() {
        let all = headers(&[
            ("x-goog-api-key", "a"),
            ("authorization", "b"),
            ("x-api-key", "c"),
            ("api-key", "f"),
            ("x-original-authorization", "g"),
            ("cookie", "d"),
            ("x-goog-user-project", "e"),
            ("accept", "*/*"),
        ]);
        let rest: Vec<_> = all.keys().filter(|name| !is_credential(name)).collect();
        assert_eq!(rest, ["accept"]);
    }
}
