//! From path, method and headers to surface, kind and model, and to the path that Google knows.
//!
//! Base URLs in the wild are sloppy: a Google SDK given `http://relay/v1beta` asks for
//! `/v1beta/v1beta/models/…` (googleapis/js-genai#1206), LiteLLM given the root asks for `/models/…`
//! without a version and with a trailing slash for `/v1beta//models/…`, Google's JavaScript Live
//! client asks for `//ws/…`. All of them mean one thing, so all of them work. A path that is not
//! known is passed on as it is: Google adds collections faster than relays are updated.

use crate::facts::{Kind, Repeat, Surface};
use http::{HeaderMap, HeaderName, Method};
use std::borrow::Cow;
use std::sync::Arc;
use xxhash_rust::xxh64::xxh64;

/// What a request line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recognised {
    /// The dialect.
    pub surface: Surface,
    /// What it asks of quota, before the body was seen.
    pub kind: Kind,
    /// Tells the methods of a surface apart: of the verb, or else of the collection.
    pub method: u32,
    /// The model, where the path names one.
    pub model: Option<Arc<str>>,
    /// Whether the path asks for a stream (on the OpenAI surface the body does).
    pub streams: bool,
    /// Whether that stream is a JSON array: errors then come as arrays too.
    pub array: bool,
    /// Whether it asks for a part of the answer only (`fields`), or for none in JSON (`alt=proto`): what says that it
    /// is at its end may be missing, or not be seen.
    pub partial: bool,
    /// Whether it may be repeated without having been refused.
    pub repeat: Repeat,
    /// Path and query for Google, every credential removed.
    pub target: String,
}

/// Where a request is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The relay itself: the path after `/-/`.
    Relay(String),
    /// Google.
    Upstream(Recognised),
    /// Not below the configured base path.
    Nowhere,
    /// A path with `.` or `..` in it, however written: here it would mean one thing and behind another, and
    /// which of the two was let in nobody could say.
    Crooked(Recognised),
}

/// Reads `path_and_query` as it stood in the request line.
#[must_use]
pub fn recognise(
    method: &Method,
    path_and_query: &str,
    headers: &HeaderMap,
    base_path: &str,
) -> Destination {
    let (path, query) = cut(path_and_query, b'?').unwrap_or((path_and_query, ""));
    if is_crooked(path) {
        return Destination::Crooked(upstream(method, path, query, headers));
    }
    let path = collapse_slashes(path);
    let Some(path) = below(&path, base_path) else {
        return Destination::Nowhere;
    };
    if let Some(rest) = path.strip_prefix("/-/") {
        return Destination::Relay(rest.to_owned());
    }
    if path == "/-" {
        return Destination::Relay(String::new());
    }
    Destination::Upstream(upstream(method, path, query, headers))
}

fn upstream(method: &Method, path: &str, query: &str, headers: &HeaderMap) -> Recognised {
    let query = without_credentials(query);
    let (version, rest) = split_version(path);
    if rest.starts_with("/ws/google.") {
        return plain(
            Surface::Live,
            Kind::Live,
            rest.to_owned(),
            query,
            Repeat::WhenRefused,
        );
    }
    let repeat = if method == Method::GET || method == Method::HEAD {
        Repeat::Freely
    } else {
        Repeat::WhenRefused
    };
    if let Some(rest) = openai_path(version, rest, headers, &query) {
        return openai(method, version, rest, query, repeat);
    }
    let version = version.unwrap_or("v1beta");
    // `/v1beta/upload/v1beta/files`: the version belongs after `/upload`.
    for prefix in ["/upload", "/resumable/upload"] {
        if let Some(inner) = rest.strip_prefix(prefix)
            && (inner.is_empty() || inner.starts_with('/'))
        {
            let (inner_version, inner) = split_version(inner);
            let target = format!("{prefix}/{}{inner}", inner_version.unwrap_or(version));
            return plain(Surface::Upload, Kind::Other, target, query, repeat);
        }
    }
    if rest.starts_with("/$discovery") {
        return plain(Surface::Gemini, Kind::Other, rest.to_owned(), query, repeat);
    }
    let target = joined("/", version, rest);
    if rest == "/interactions" || rest.starts_with("/interactions/") {
        let mut found = plain(Surface::Interactions, Kind::Other, target, query, repeat);
        if method == Method::POST && rest == "/interactions" {
            found.kind = Kind::Generate;
        }
        return found;
    }
    let mut found = plain(Surface::Gemini, Kind::Other, target, query, repeat);
    if let Some((collection, call)) = cut(rest.strip_prefix('/').unwrap_or(rest), b'/') {
        let (name, verb) = cut(call, b':').unwrap_or((call, ""));
        match collection {
            "models" if !name.is_empty() => found.model = Some(model_name(name)),
            "tunedModels" | "dynamic" if !verb.is_empty() => {
                found.model = Some(Arc::from(format!("{collection}/{}", decode(name))));
            }
            _ => {}
        }
        // A model may be there in one version and not in another. Whether it streams is no difference.
        found.method = hash(
            version,
            match verb {
                "" => collection,
                "streamGenerateContent" => "generateContent",
                verb => verb,
            },
        );
        describe(&mut found, verb);
        found.partial |= found.streams && headers.contains_key(FIELD_MASK);
    }
    found
}

/// What the verb after the colon asks for.
fn describe(found: &mut Recognised, verb: &str) {
    let (kind, repeat) = match verb {
        "generateContent"
        | "streamGenerateContent"
        | "generateAnswer"
        | "generateText"
        | "generateMessage" => (Kind::Generate, Repeat::Freely),
        "embedContent" | "batchEmbedContents" | "embedText" | "batchEmbedText" => {
            (Kind::Embed, Repeat::Freely)
        }
        "countTokens" | "countTextTokens" | "countMessageTokens" => (Kind::Count, Repeat::Freely),
        "batchGenerateContent" | "asyncBatchEmbedContent" => (Kind::Batch, Repeat::WhenRefused),
        "predict" | "predictLongRunning" => (Kind::Media, Repeat::WhenRefused),
        _ => return,
    };
    found.kind = kind;
    found.repeat = repeat;
    if verb == "streamGenerateContent" {
        found.streams = true;
        found.array = !query_pairs(&found.target)
            .any(|(name, value)| matches!(&*name, "alt" | "$alt") && value == "sse");
    }
}

fn openai(
    method: &Method,
    version: Option<&str>,
    rest: &str,
    query: String,
    repeat: Repeat,
) -> Recognised {
    // Google serves this surface on v1beta; `/v1/chat/completions` is how OpenAI's own base URL looks.
    let version = match version {
        Some(version) if version != "v1" => version,
        _ => "v1beta",
    };
    let mut found = plain(
        Surface::OpenAi,
        Kind::Other,
        format!("/{version}/openai{rest}"),
        query,
        repeat,
    );
    let below = rest.strip_prefix('/').unwrap_or(rest);
    found.method = hash(version, cut(below, b'/').map_or(below, |(first, _)| first));
    if method == Method::POST {
        let (kind, repeat) = match rest {
            "/chat/completions" | "/completions" => (Kind::Generate, Repeat::Freely),
            // What it makes, it keeps.
            "/responses" => (Kind::Generate, Repeat::WhenRefused),
            "/embeddings" => (Kind::Embed, Repeat::Freely),
            "/images/generations" | "/videos" => (Kind::Media, Repeat::WhenRefused),
            "/batches" => (Kind::Batch, Repeat::WhenRefused),
            _ => (Kind::Other, repeat),
        };
        found.kind = kind;
        found.repeat = repeat;
    } else if let Some(model) = rest.strip_prefix("/models/") {
        found.model = Some(model_name(model.strip_prefix("models/").unwrap_or(model)));
    }
    found
}

/// The path below `/openai`, when this is the OpenAI surface.
///
/// `/v1/models`, `/v1/files` and `/v1/batches` are in both APIs: they are OpenAI's only with a bearer
/// token and neither an `x-goog-*` header nor `?key=`, since Google's newest SDKs speak `/v1` too.
fn openai_path<'a>(
    version: Option<&str>,
    rest: &'a str,
    headers: &HeaderMap,
    query: &str,
) -> Option<&'a str> {
    if let Some(below) = rest.strip_prefix("/openai")
        && (below.is_empty() || below.starts_with('/'))
    {
        return Some(split_version(below).1);
    }
    let below = rest.strip_prefix('/').unwrap_or(rest);
    let first = cut(below, b'/').map_or(below, |(first, _)| first);
    if matches!(
        first,
        "chat" | "completions" | "embeddings" | "images" | "videos" | "audio" | "responses"
    ) {
        return Some(rest);
    }
    let shared = matches!(version, None | Some("v1"))
        && matches!(first, "models" | "files" | "batches")
        && !rest.contains(':');
    if !shared {
        return None;
    }
    let bearer = headers
        .get(http::header::AUTHORIZATION)
        .is_some_and(|value| {
            value
                .as_bytes()
                .get(..7)
                .is_some_and(|b| b.eq_ignore_ascii_case(b"bearer "))
        });
    let google = headers
        .keys()
        .any(|name| name.as_str().starts_with("x-goog-"));
    // `query` has lost its `key=` already; a client that sent one left a mark.
    let keyed = query.starts_with(KEYED);
    (bearer && !google && !keyed).then_some(rest)
}

fn hash(version: &str, method: &str) -> u32 {
    let version = version
        .bytes()
        .fold(0, |all, byte| all << 8 | u64::from(byte));
    (xxh64(method.as_bytes(), version) >> 32) as u32
}

/// What stands before and after the first `at`, an ASCII character.
fn cut(text: &str, at: u8) -> Option<(&str, &str)> {
    let found = memchr::memchr(at, text.as_bytes())?;
    Some((text.get(..found)?, text.get(found + 1..)?))
}

/// Three pieces as one text.
fn joined(first: &str, second: &str, third: &str) -> String {
    let mut out = String::with_capacity(first.len() + second.len() + third.len() + 8);
    for piece in [first, second, third] {
        out.push_str(piece);
    }
    out
}

fn plain(
    surface: Surface,
    kind: Kind,
    mut target: String,
    query: String,
    repeat: Repeat,
) -> Recognised {
    let query = query.strip_prefix(KEYED).unwrap_or(&query);
    let mut partial = false;
    if !query.is_empty() {
        target.push('?');
        target.push_str(query);
        partial = query_pairs(&target).any(|(name, value)| match &*name {
            "fields" | "$fields" => true,
            "alt" | "$alt" => matches!(&*value, "proto" | "media"),
            _ => false,
        });
    }
    Recognised {
        surface,
        kind,
        method: 0,
        model: None,
        streams: false,
        array: false,
        partial,
        repeat,
        target,
    }
}

/// Takes the version off the front, however often it stands there.
fn split_version(path: &str) -> (Option<&str>, &str) {
    let (mut version, mut rest) = (None, path);
    while let Some(inner) = rest.strip_prefix('/') {
        let (first, after) =
            memchr::memchr(b'/', inner.as_bytes()).map_or((inner, ""), |at| inner.split_at(at));
        if !is_version(first) {
            break;
        }
        version = Some(first);
        rest = after;
    }
    (version, rest)
}

/// `v1`, `v1beta`, `v1alpha`, `v1beta2`, `v2` …
fn is_version(segment: &str) -> bool {
    let mut bytes = segment.bytes();
    bytes.next() == Some(b'v')
        && bytes.next().is_some_and(|b| b.is_ascii_digit())
        && bytes.all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
        && segment.len() <= 16
}

fn collapse_slashes(path: &str) -> Cow<'_, str> {
    // A search would get ready for longer than this takes.
    if !path.as_bytes().windows(2).any(|two| two == b"//") {
        return Cow::Borrowed(path);
    }
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Whether any segment, as the most lenient server would read it, is `.` or `..`.
fn is_crooked(path: &str) -> bool {
    let bytes = path.as_bytes();
    // One look at what nearly always is straight.
    let suspicious = memchr::memchr3_iter(b'%', b'\\', b'.', bytes).any(|at| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        bytes.get(at) != Some(&b'.') || matches!(before, None | Some(b'/'))
    });
    if !suspicious {
        return false;
    }
    decode_bytes(bytes)
        .split(|byte| matches!(byte, b'/' | b'\\'))
        .any(|segment| matches!(segment, b"." | b".."))
}

fn below<'a>(path: &'a str, base_path: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(base_path.trim_end_matches('/'))?;
    if rest.is_empty() {
        Some("/")
    } else {
        rest.starts_with('/').then_some(rest)
    }
}

/// The query without what could be a credential, marked if there was a key in it.
fn without_credentials(query: &str) -> String {
    if query.is_empty() {
        return String::new();
    }
    let mut out = String::with_capacity(query.len());
    let mut keyed = false;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let name = decode(pair.split('=').next().unwrap_or_default());
        let name = name.trim_start_matches('$');
        if CREDENTIAL_PARAMETERS
            .iter()
            .any(|credential| credential.eq_ignore_ascii_case(name))
            // Whom to charge: no project of the pool's may be told to charge another; and headers, of any name.
            || name.eq_ignore_ascii_case("userProject")
            || name.eq_ignore_ascii_case("httpHeaders")
        {
            keyed = true;
        } else {
            if !out.is_empty() {
                out.push('&');
            }
            out.push_str(pair);
        }
    }
    if keyed { format!("{KEYED}{out}") } else { out }
}

/// The query's names and values, decoded.
pub(crate) fn query_pairs(
    path_and_query: &str,
) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let query = path_and_query
        .split_once('?')
        .map_or("", |(_, query)| query);
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
}

fn model_name(segment: &str) -> Arc<str> {
    Arc::from(&*decode(segment))
}

/// Undoes percent encoding; text that is not valid is left as it came.
fn decode(text: &str) -> Cow<'_, str> {
    match decode_bytes(text.as_bytes()) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        Cow::Owned(out) => String::from_utf8(out).map_or(Cow::Borrowed(text), Cow::Owned),
    }
}

/// The same for what need not be text.
pub(crate) fn decode_bytes(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'%', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut ahead = bytes.clone();
            let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
            if let (Some(high), Some(low)) = (hex(ahead.next()), hex(ahead.next())) {
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                bytes = ahead;
                continue;
            }
        }
        out.push(byte);
    }
    Cow::Owned(out)
}

/// Google's names for credentials in a query (<https://cloud.google.com/apis/docs/system-parameters>),
/// each also with a `$` before it.
pub(crate) const CREDENTIAL_PARAMETERS: [&str; 4] =
    ["key", "access_token", "oauth_token", "bearer_token"];

/// Stands before a query that had a credential in it; no query begins so by itself.
const KEYED: &str = "\u{1}";

/// Google's header for what `fields` says in the query.
const FIELD_MASK: HeaderName = HeaderName::from_static("x-goog-fieldmask");

#[cfg(test)]
mod tests {
    use super::*;

    fn see(method: Method, path: &str, headers: &[(&'static str, &'static str)]) -> Recognised {
        let headers = headers
            .iter()
            .map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap()))
            .collect();
        match recognise(&method, path, &headers, "") {
            Destination::Upstream(found) => found,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn check(path: &str, target: &str) -> Recognised {
        let found = see(Method::POST, path, &[]);
        assert_eq!(found.target, target, "{path}");
        found
    }

    #[test]
    fn methods_and_versions_are_told_apart() {
        let method = |path| see(Method::POST, path, &[]).method;
        let generate = method("/v1beta/models/m:generateContent");
        assert_eq!(generate, method("/models/n:streamGenerateContent?alt=sse"));
        for other in [
            "/v1beta/models/m:generateAnswer",
            "/v1/models/m:generateContent",
            "/v1beta/corpora",
            "/v1beta/openai/chat/completions",
        ] {
            assert_ne!(generate, method(other), "{other}");
        }
        let chat = method("/v1/chat/completions");
        assert_eq!(chat, method("/v1beta/openai/chat/completions"));
        assert_ne!(chat, method("/v1/responses"));
    }

    #[test]
    fn sloppy_base_urls_all_reach_the_same_method() {
        for path in [
            "/v1beta/models/gemini-2.5-flash:generateContent",
            "/models/gemini-2.5-flash:generateContent",
            "/v1beta/v1beta/models/gemini-2.5-flash:generateContent",
            "//v1beta//models/gemini-2.5-flash:generateContent",
            "/v1beta/models/gemini-2.5-flash:generateContent?key=some-token",
            "/v1/v1beta/models/gemini-2.5-flash:generateContent?%6bey=some-token&$access_token=x",
            "/v1beta/models/gemini-2.5-flash:generateContent?$userProject=other&userProject=another",
            "/v1beta/models/gemini-2.5-flash:generateContent?%24httpHeaders=x-goog-api-key%3Aother",
        ] {
            let found = check(path, "/v1beta/models/gemini-2.5-flash:generateContent");
            assert_eq!(
                (found.kind, found.model.as_deref()),
                (Kind::Generate, Some("gemini-2.5-flash"))
            );
        }
        check("/v1/models/m:countTokens", "/v1/models/m:countTokens");
        check(
            "/v1beta/upload/v1beta/files?upload_id=7",
            "/upload/v1beta/files?upload_id=7",
        );
        check("/upload/v1/files", "/upload/v1/files");
        check("/v2/somethingNew:frobnicate", "/v2/somethingNew:frobnicate");
        check(
            "//ws/google.ai.generativelanguage.v1beta.X",
            "/ws/google.ai.generativelanguage.v1beta.X",
        );
    }

    #[test]
    fn a_part_of_an_answer_may_lack_its_end() {
        let path = "/v1beta/models/m:streamGenerateContent";
        let partial =
            |query: &str, headers| see(Method::POST, &format!("{path}{query}"), headers).partial;
        assert!(!partial("", &[]) && !partial("?alt=sse&x=fields&nofields=1", &[]));
        assert!(!partial(
            "?alt=json&$alt=json%3Benum-encoding%3Dint&x=proto",
            &[]
        ));
        for query in [
            "?fields=candidates",
            "?alt=sse&%24fields=*",
            "?$fields=a",
            "?alt=proto",
            "?%24alt=proto&x=y",
        ] {
            assert!(partial(query, &[]), "{query}");
        }
        assert!(partial(
            "?alt=sse",
            &[("x-goog-fieldmask", "candidates.content")]
        ));
    }

    #[test]
    fn openai_paths_go_to_googles_openai_surface() {
        for path in [
            "/v1/chat/completions",
            "/chat/completions",
            "/v1beta/openai/chat/completions",
            "/v1beta/openai/v1/chat/completions",
            "/openai/chat/completions",
            "/v1beta/openai//chat/completions",
            "/v1beta/openai/chat/completions?key=t",
        ] {
            let found = check(path, "/v1beta/openai/chat/completions");
            assert_eq!(
                (found.surface, found.kind, found.repeat),
                (Surface::OpenAi, Kind::Generate, Repeat::Freely)
            );
        }
    }

    #[test]
    fn shared_v1_names_are_openais_only_with_a_bearer_token_alone() {
        let bearer = ("authorization", "Bearer t");
        assert_eq!(
            see(Method::GET, "/v1/models", &[bearer]).target,
            "/v1beta/openai/models"
        );
        assert_eq!(see(Method::GET, "/v1/models", &[]).target, "/v1/models");
        assert_eq!(
            see(
                Method::GET,
                "/v1/models",
                &[bearer, ("x-goog-api-key", "t")]
            )
            .target,
            "/v1/models"
        );
        assert_eq!(
            see(Method::GET, "/v1/models?key=t", &[bearer]).target,
            "/v1/models"
        );
        assert_eq!(
            see(Method::GET, "/v1beta/models", &[bearer]).target,
            "/v1beta/models"
        );
        assert_eq!(
            see(Method::POST, "/v1/models/m:generateContent", &[bearer]).surface,
            Surface::Gemini
        );
    }

    #[test]
    fn a_stream_is_an_array_unless_it_is_asked_for_as_events() {
        let sse = check(
            "/v1beta/models/m:streamGenerateContent?alt=sse",
            "/v1beta/models/m:streamGenerateContent?alt=sse",
        );
        assert!(sse.streams && !sse.array);
        let array = check(
            "/v1beta/models/m:streamGenerateContent",
            "/v1beta/models/m:streamGenerateContent",
        );
        assert!(array.streams && array.array);
    }

    #[test]
    fn what_creates_something_is_not_repeated_freely() {
        for path in [
            "/v1beta/models/m:predictLongRunning",
            "/v1beta/files",
            "/v1beta/cachedContents",
            "/v1/videos",
            "/v1beta/unknown",
        ] {
            assert_eq!(
                see(Method::POST, path, &[]).repeat,
                Repeat::WhenRefused,
                "{path}"
            );
        }
        assert_eq!(
            see(Method::GET, "/v1beta/files/x", &[]).repeat,
            Repeat::Freely
        );
    }

    #[test]
    fn a_base_path_is_taken_off_and_the_relays_own_paths_are_its_own() {
        let headers = HeaderMap::new();
        let at = |path: &str| recognise(&Method::GET, path, &headers, "/ai/gemini/");
        assert_eq!(at("/ai/gemini/-/ready"), Destination::Relay("ready".into()));
        assert_eq!(at("/ai/geminix/v1beta/models"), Destination::Nowhere);
        assert!(
            matches!(at("/ai/gemini/v1beta/models"), Destination::Upstream(found) if found.target == "/v1beta/models")
        );
    }

    #[test]
    fn a_path_with_dots_for_a_segment_is_none_however_it_is_written() {
        let crooked = |path: &str| {
            let at = recognise(&Method::POST, path, &HeaderMap::new(), "");
            matches!(at, Destination::Crooked(_))
        };
        for path in [
            "/v1beta/../-/metrics",
            "/-/../v1beta/models",
            "/v1beta/./models",
            "/v1beta/files/..",
            "/v1beta/%2e%2E/models",
            "/v1beta/.%2e/models?key=x",
            "/v1beta/files/..%2f..%2fmodels",
            "/v1beta/files/..%5Cmodels",
            "/v1beta/%ff/%2e%2e/models",
            "//../v1beta/models",
        ] {
            assert!(crooked(path), "{path}");
        }
        for path in [
            "/v1beta/models/gemini-2.5-flash:generateContent",
            "/.well-known/x",
            "/v1beta/files/...",
            "/v1beta/files/a..b",
            "/v1beta/files/%2e%2ea",
            "/v1beta/models?page=../x",
        ] {
            assert!(!crooked(path), "{path}");
        }
        let chat = recognise(
            &Method::POST,
            "/v1/chat/completions/..",
            &HeaderMap::new(),
            "",
        );
        assert!(
            matches!(chat, Destination::Crooked(found) if found.surface == Surface::OpenAi),
            "its refusal comes in its dialect"
        );
    }

    #[test]
    fn odd_paths_neither_panic_nor_smuggle_a_key() {
        for path in [
            "",
            "/",
            "?",
            "/%",
            "/%zz?%=%",
            "/v1beta/models/%F0%28:generateContent",
            "/models/",
            "/v1",
            "/v1beta/models/:x",
        ] {
            let found = see(Method::GET, path, &[]);
            assert!(!found.target.contains('\u{1}'), "{path}: {}", found.target);
        }
        assert!(
            !see(Method::GET, "/v1/models?a=b&KEY=secret&c", &[])
                .target
                .contains("secret")
        );
    }
}
