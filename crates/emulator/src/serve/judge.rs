//! Whether a request is served, and with what: every check that Google makes, in its order.

use std::time::Duration;

use http::HeaderMap;
use serde_json::{Value, json};

use super::{Asked, Body, MOST_BODY, Reply};
use crate::answer::{Answer, Framing, Piece, embedding, native, openai};
use crate::catalog::Model;
use crate::credentials::{check_key, the_one};
use crate::errors::{self, About, Refusal};
use crate::kind::Kind;
use crate::ledger::Use;
use crate::route::{Surface, Target, query_pairs};
use crate::signature;
use crate::world::World;

pub(super) fn judge(
    world: &mut World,
    asked: &Asked,
    about: &About,
    seq: u64,
) -> Result<Reply, Refusal> {
    if asked.route.target == Target::Nothing {
        return Err(Refusal::no_such_path(&asked.path));
    }
    let one = the_one(&asked.credentials, asked.route.surface)?;
    let key = world.key(&one.value);
    check_key(one, key.map(|(_, state)| state), asked.route.surface, about)?;
    // A key that Google does not know was refused above.
    let Some((project, _)) = key else {
        return Err(errors::missing_key());
    };
    check_query(asked)?;
    check_deadline(&asked.headers)?;
    match &asked.route.target {
        Target::ListModels => list_models(world, project, asked),
        Target::GetModel(name) => match world.model(project, name) {
            Some(model) => Ok(json_reply(&model.describe())),
            None => Err(no_such_model(name, about)),
        },
        Target::OpenAiModels => {
            let data: Vec<Value> = world.models_of(project).map(openai_model).collect();
            Ok(compact_reply(&json!({"object": "list", "data": data})))
        }
        Target::OpenAiModel(name) => match world.model(project, name) {
            Some(model) => Ok(compact_reply(&openai_model(model))),
            None => Err(no_such_model(name, about)),
        },
        Target::Interactions => Err(Refusal::new(
            404,
            "NOT_FOUND",
            "Requested entity was not found.",
        )),
        Target::Verb { .. } | Target::Chat | Target::OpenAiEmbeddings => {
            generate(world, project, asked, about, seq)
        }
        Target::Nothing => Err(Refusal::no_such_path(&asked.path)),
    }
}

/// What a model does: it needs a body in order, the model, and quota.
fn generate(
    world: &mut World,
    project: usize,
    asked: &Asked,
    about: &About,
    seq: u64,
) -> Result<Reply, Refusal> {
    let body = match &asked.body {
        Body::Json(json) if json.is_object() => json,
        Body::Json(_) => {
            return Err(Refusal::invalid(
                "Invalid JSON payload received. Root element must be a message.",
            ));
        }
        Body::Broken(why) => {
            return Err(Refusal::invalid(format!(
                "Invalid JSON payload received. Unexpected token.\n{why}"
            )));
        }
        Body::TooLarge => return Err(errors::payload_too_large(MOST_BODY)),
        Body::None => &Value::Null,
    };
    let verb = asked.route.verb();
    let streams = asked.streams();
    let needed = match (verb, asked.route.surface, streams) {
        ("generateContent", Surface::OpenAi, true) => "streamGenerateContent",
        // Google's own batch of embeddings stands behind OpenAI's.
        ("embedContent", Surface::OpenAi, _) => "batchEmbedContents",
        _ => verb,
    };
    let name = asked.model.as_deref().unwrap_or_default();
    let model = world
        .model(project, name)
        .filter(|model| model.methods.iter().any(|method| method == needed));
    let Some(model) = model.cloned() else {
        return Err(errors::model_not_found(about));
    };
    check_form(asked, body)?;
    if world.config.signatures {
        check_signatures(&world.projects[project].name, asked)?;
    }
    let uses = Use {
        model: name,
        kind: asked.kind,
        requests: asked.prompt.items,
        tokens: asked.prompt.tokens,
    };
    let now = world.now();
    world
        .spend(project, uses)
        .map_err(|violations| errors::quota_exceeded(name, asked.kind, &violations, now))?;
    // After the quota: Google counts a request that was too long.
    let generates = matches!(asked.kind, Kind::Generate | Kind::Grounded);
    if generates && asked.prompt.tokens > model.input_token_limit {
        return Err(errors::token_count(model.input_token_limit));
    }
    Ok(match (verb, asked.route.surface) {
        ("countTokens", _) => Reply::Whole(vec![Piece::Bytes(native::count(asked.prompt.tokens))]),
        ("embedContent" | "batchEmbedContents", Surface::OpenAi) => compact_reply(
            &embedding::openai(body, name, asked.prompt.tokens, model.dimensions),
        ),
        ("embedContent" | "batchEmbedContents", _) => {
            json_reply(&embedding::native(body, model.dimensions))
        }
        _ => say(world, project, asked, body, seq),
    })
}

fn say(world: &World, project: usize, asked: &Asked, body: &Value, seq: u64) -> Reply {
    let name = asked.model.as_deref().unwrap_or_default();
    let mut answer = Answer::to(&asked.prompt, name);
    answer.id = response_id(world.now(), seq);
    answer.created = world.now() / 1_000;
    answer.signature = world
        .config
        .signatures
        .then(|| signature::sign(&world.projects[project].name, seq));
    let markers = &asked.prompt.markers;
    let count = markers.chunks.unwrap_or(world.config.chunks);
    let words = world.config.words_per_chunk;
    let pause = markers
        .delay
        .unwrap_or(Duration::from_millis(world.config.chunk_delay_ms));
    let usage = body
        .pointer("/stream_options/include_usage")
        .is_some_and(|usage| usage == true);
    match (asked.route.surface, asked.streams()) {
        (Surface::OpenAi, false) => Reply::Whole(openai::whole(&answer)),
        (Surface::OpenAi, true) => Reply::Stream {
            events: openai::events(&answer, count, words, usage),
            framing: Framing::OpenAi,
            pause,
        },
        (_, false) => Reply::Whole(native::whole(&answer)),
        (_, true) => {
            let framing = if asked.route.sse(&asked.query) {
                Framing::Sse
            } else {
                Framing::Array
            };
            Reply::Stream {
                events: native::events(&answer, count, words),
                framing,
                pause,
            }
        }
    }
}

/// Google binds query parameters to fields, and knows all of its own.
fn check_query(asked: &Asked) -> Result<(), Refusal> {
    let listing = asked.route.target == Target::ListModels;
    for (name, _) in query_pairs(&asked.query) {
        let known = name.starts_with('$')
            || SYSTEM_PARAMETERS.contains(&name.as_str())
            || (listing && LIST_PARAMETERS.contains(&name.as_str()))
            || asked.route.surface != Surface::Gemini;
        if !known {
            let message = format!(
                "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query parameter. Field '{name}' \
                 could not be found in request message."
            );
            return Err(Refusal::invalid(message.clone()).with(json!({
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"description": message}],
            })));
        }
    }
    Ok(())
}

/// How long the client gives the server.
pub(super) fn deadline(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers
        .get("x-server-timeout")?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn check_deadline(headers: &HeaderMap) -> Result<(), Refusal> {
    match deadline(headers) {
        Some(deadline) if deadline < LEAST_DEADLINE => Err(errors::deadline_too_short(
            &deadline.as_secs_f64().to_string(),
        )),
        _ => Ok(()),
    }
}

fn check_form(asked: &Asked, body: &Value) -> Result<(), Refusal> {
    let missing = |what: &str| Err(Refusal::invalid(format!("* {what}\n")));
    match (asked.route.verb(), asked.route.surface) {
        ("generateContent", Surface::OpenAi) => match body.get("messages") {
            Some(Value::Array(messages)) if !messages.is_empty() => Ok(()),
            _ => missing("GenerateContentRequest.contents: contents is not specified"),
        },
        ("generateContent" | "streamGenerateContent", _) => {
            let contents = match body.get("contents") {
                Some(Value::Array(contents)) if !contents.is_empty() => contents.as_slice(),
                Some(one @ Value::Object(_)) => std::slice::from_ref(one),
                _ => return missing("GenerateContentRequest.contents: contents is not specified"),
            };
            let role = |content: &Value| {
                content
                    .get("role")
                    .and_then(Value::as_str)
                    .map(str::to_owned)
            };
            if contents
                .iter()
                .filter_map(role)
                .any(|role| !ROLES.contains(&role.as_str()))
            {
                return Err(Refusal::invalid("Please use a valid role: user, model."));
            }
            Ok(())
        }
        ("embedContent", Surface::OpenAi) if body.get("input").is_none() => {
            missing("EmbedContentRequest.content: required")
        }
        ("embedContent", Surface::Gemini) if body.get("content").is_none() => {
            missing("EmbedContentRequest.content: required")
        }
        ("batchEmbedContents", _) if asked.prompt.items == 0 => {
            missing("BatchEmbedContentsRequest.requests: required")
        }
        _ => Ok(()),
    }
}

fn check_signatures(project: &str, asked: &Asked) -> Result<(), Refusal> {
    if asked
        .prompt
        .signatures
        .iter()
        .any(|signature| !signature::opens(project, signature))
    {
        return Err(errors::corrupted_signature());
    }
    let strict = asked
        .model
        .as_deref()
        .is_some_and(|model| model.starts_with("gemini-3"));
    if strict && asked.prompt.unsigned_call {
        return Err(errors::missing_signature());
    }
    Ok(())
}

fn list_models(world: &World, project: usize, asked: &Asked) -> Result<Reply, Refusal> {
    let parameter = |names: [&str; 2]| {
        query_pairs(&asked.query)
            .find(|(name, _)| names.contains(&name.as_str()))
            .map(|(_, value)| value)
    };
    let size = match parameter(["pageSize", "page_size"]) {
        Some(text) => text
            .parse::<usize>()
            .map_err(|_| Refusal::invalid(format!("Invalid value at 'page_size': {text:?}")))?,
        None => 0,
    };
    let size = if size == 0 {
        USUAL_PAGE
    } else {
        size.min(MOST_PAGE)
    };
    let start = match parameter(["pageToken", "page_token"]) {
        Some(text) if !text.is_empty() => text
            .strip_prefix(PAGE)
            .and_then(|number| number.parse::<usize>().ok())
            .ok_or_else(|| Refusal::invalid("Request contains an invalid argument."))?,
        _ => 0,
    };
    let models: Vec<Value> = world
        .models_of(project)
        .skip(start)
        .take(size)
        .map(Model::describe)
        .collect();
    let mut page = json!({"models": models});
    if world.models_of(project).count() > start + size {
        page["nextPageToken"] = json!(format!("{PAGE}{}", start + size));
    }
    Ok(json_reply(&page))
}

fn openai_model(model: &Model) -> Value {
    json!({"id": format!("models/{}", model.name), "object": "model", "owned_by": "google"})
}

fn no_such_model(name: &str, about: &About) -> Refusal {
    Refusal::new(
        404,
        "NOT_FOUND",
        format!(
            "Model is not found: models/{name} for api version {}",
            about.version
        ),
    )
}

fn json_reply(value: &Value) -> Reply {
    Reply::Whole(vec![Piece::Bytes(native::pretty(value))])
}

fn compact_reply(value: &Value) -> Reply {
    Reply::Whole(vec![Piece::Bytes(openai::compact(value))])
}

/// As long as Google's, and different for each answer.
fn response_id(now: u64, seq: u64) -> String {
    let mut bytes = now.to_be_bytes()[2..].to_vec();
    bytes.extend(seq.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    crate::base64::encode(&bytes)
        .replace('+', "-")
        .replace('/', "_")
        .trim_end_matches('=')
        .to_owned()
}

const LEAST_DEADLINE: Duration = Duration::from_secs(10);

/// `function` is what older SDKs call a tool's result.
const ROLES: &[&str] = &["user", "model", "function", ""];

/// What every Google API takes.
const SYSTEM_PARAMETERS: &[&str] = &[
    "key",
    "alt",
    "access_token",
    "callback",
    "fields",
    "oauth_token",
    "prettyPrint",
    "quotaUser",
    "upload_protocol",
    "uploadType",
];
const LIST_PARAMETERS: &[&str] = &["pageSize", "page_size", "pageToken", "page_token"];

/// Google documents 50 models a page, and at most 1000.
const USUAL_PAGE: usize = 50;
const MOST_PAGE: usize = 1_000;
const PAGE: &str = "page-";
