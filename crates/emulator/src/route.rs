//! Which method of the API a request's path and verb name.
//!
//! Google forgives nothing here: a doubled slash, a version written twice or left out, a verb it
//! does not know are all "not found", as a page and not as JSON. A relay in front is there to
//! clean such paths, and a test sees from this module whether it did.
//!
//! A collection that the emulator does not serve ends up in [`Target::Nothing`]; to add one, give
//! it a target here and an answer in `crate::serve`.

use http::Method;

use crate::errors::Shape;
use crate::kind::Kind;

/// A path, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) surface: Surface,
    pub(crate) version: String,
    pub(crate) target: Target,
}

/// Whose dialect the path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surface {
    Gemini,
    OpenAi,
    Interactions,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// `POST /v1beta/models/MODEL:VERB`
    Verb {
        model: String,
        verb: String,
    },
    ListModels,
    GetModel(String),
    Chat,
    OpenAiEmbeddings,
    OpenAiModels,
    OpenAiModel(String),
    Interactions,
    Nothing,
}

impl Route {
    pub(crate) fn of(method: &Method, path: &str) -> Route {
        let decoded = percent_decode(path);
        let segments: Vec<&str> = decoded.split('/').skip(1).collect();
        let (version, rest) = match segments.split_first() {
            Some((version, rest)) if VERSIONS.contains(version) => (*version, rest),
            _ => ("", &[] as &[&str]),
        };
        let (surface, target) = match (method.as_str(), rest) {
            ("POST", ["openai", "chat", "completions"]) => (Surface::OpenAi, Target::Chat),
            ("POST", ["openai", "embeddings"]) => (Surface::OpenAi, Target::OpenAiEmbeddings),
            ("GET", ["openai", "models"]) => (Surface::OpenAi, Target::OpenAiModels),
            ("GET", ["openai", "models", name] | ["openai", "models", "models", name])
                if !name.is_empty() =>
            {
                (Surface::OpenAi, Target::OpenAiModel((*name).to_owned()))
            }
            (_, ["openai", ..]) => (Surface::OpenAi, Target::Nothing),
            (_, ["interactions", ..]) => (Surface::Interactions, Target::Interactions),
            ("GET", ["models"]) => (Surface::Gemini, Target::ListModels),
            ("GET", ["models", name]) if !name.is_empty() && !name.contains(':') => {
                (Surface::Gemini, Target::GetModel((*name).to_owned()))
            }
            ("POST", ["models", last]) => (Surface::Gemini, verb(last)),
            _ => (Surface::Gemini, Target::Nothing),
        };
        Route {
            surface,
            version: version.to_owned(),
            target,
        }
    }

    /// The model in the path; on the OpenAI surface it is in the body.
    pub(crate) fn model(&self) -> Option<&str> {
        match &self.target {
            Target::Verb { model, .. } | Target::GetModel(model) | Target::OpenAiModel(model) => {
                Some(model)
            }
            _ => None,
        }
    }

    /// What is asked of quota, as far as the path tells: a search tool in the body makes
    /// generating [`Kind::Grounded`].
    pub(crate) fn kind(&self) -> Kind {
        match &self.target {
            Target::Chat => Kind::Generate,
            Target::OpenAiEmbeddings => Kind::Embed,
            Target::Verb { verb, .. } => match verb.as_str() {
                "generateContent" | "streamGenerateContent" | "generateAnswer" => Kind::Generate,
                "countTokens" => Kind::Count,
                "embedContent" | "batchEmbedContents" => Kind::Embed,
                "batchGenerateContent" | "asyncBatchEmbedContent" => Kind::Batch,
                "predict" | "predictLongRunning" => Kind::Media,
                _ => Kind::Other,
            },
            _ => Kind::Other,
        }
    }

    /// Google's name for the method.
    pub(crate) fn verb(&self) -> &str {
        match &self.target {
            Target::Verb { verb, .. } => verb,
            Target::Chat => "generateContent",
            Target::OpenAiEmbeddings => "embedContent",
            Target::ListModels | Target::OpenAiModels => "listModels",
            Target::GetModel(_) | Target::OpenAiModel(_) => "getModel",
            Target::Interactions => "createInteraction",
            Target::Nothing => "",
        }
    }

    /// Whether a native stream is one of server-sent events, by its query.
    pub(crate) fn sse(&self, query: &str) -> bool {
        query_pairs(query)
            .any(|(name, value)| matches!(name.as_str(), "alt" | "$alt") && value == "sse")
    }

    pub(crate) fn shape(&self, query: &str) -> Shape {
        match self.surface {
            Surface::OpenAi => Shape::Array,
            Surface::Interactions => Shape::Interactions,
            Surface::Gemini if self.verb() == "streamGenerateContent" && !self.sse(query) => {
                Shape::Array
            }
            Surface::Gemini => Shape::Object,
        }
    }
}

fn verb(last: &str) -> Target {
    match last.split_once(':') {
        Some((model, verb)) if !model.is_empty() && VERBS.contains(&verb) => Target::Verb {
            model: model.to_owned(),
            verb: verb.to_owned(),
        },
        _ => Target::Nothing,
    }
}

/// The names and values of a query, decoded.
pub(crate) fn query_pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (
                percent_decode(name),
                percent_decode(&value.replace('+', " ")),
            )
        })
}

pub(crate) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digit = |offset: usize| {
            char::from(*bytes.get(at + offset)?)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        if byte == b'%'
            && let (Some(high), Some(low)) = (digit(1), digit(2))
        {
            out.push(high * 16 + low);
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

const VERSIONS: &[&str] = &["v1", "v1beta", "v1alpha"];

/// The verbs Google knows on a model. Any other is a path that is not there; one of these on a
/// model that lacks it is an error about the model.
const VERBS: &[&str] = &[
    "generateContent",
    "streamGenerateContent",
    "countTokens",
    "embedContent",
    "batchEmbedContents",
    "asyncBatchEmbedContent",
    "batchGenerateContent",
    "predict",
    "predictLongRunning",
    "generateAnswer",
    "generateText",
    "generateMessage",
    "embedText",
    "batchEmbedText",
    "countTextTokens",
    "countMessageTokens",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: Method, path: &str, surface: Surface, target: Target) {
        let route = Route::of(&method, path);
        assert_eq!((route.surface, route.target), (surface, target), "{path}");
    }

    fn verb_of(model: &str, verb: &str) -> Target {
        Target::Verb {
            model: model.to_owned(),
            verb: verb.to_owned(),
        }
    }

    #[test]
    fn paths_are_known_in_each_version() {
        for version in ["v1", "v1beta", "v1alpha"] {
            let path = format!("/{version}/models/gemini-2.5-flash:generateContent");
            check(
                Method::POST,
                &path,
                Surface::Gemini,
                verb_of("gemini-2.5-flash", "generateContent"),
            );
        }
        check(
            Method::GET,
            "/v1beta/models",
            Surface::Gemini,
            Target::ListModels,
        );
        check(
            Method::GET,
            "/v1/models/x",
            Surface::Gemini,
            Target::GetModel("x".to_owned()),
        );
        check(
            Method::POST,
            "/v1beta/openai/chat/completions",
            Surface::OpenAi,
            Target::Chat,
        );
        check(
            Method::GET,
            "/v1beta/openai/models/models/x",
            Surface::OpenAi,
            Target::OpenAiModel("x".to_owned()),
        );
        check(
            Method::POST,
            "/v1beta/models/x%3AcountTokens",
            Surface::Gemini,
            verb_of("x", "countTokens"),
        );
    }

    #[test]
    fn sloppy_paths_lead_nowhere() {
        for path in [
            "/models/gemini-2.5-flash:generateContent",
            "//v1beta/models/gemini-2.5-flash:generateContent",
            "/v1beta//models/gemini-2.5-flash:generateContent",
            "/v1beta/v1beta/models/gemini-2.5-flash:generateContent",
            "/v1beta/models/gemini-2.5-flash:generateContent/",
            "/v1beta/models/gemini-2.5-flash:improveContent",
            "/v2/models/gemini-2.5-flash:generateContent",
            "/v1beta/files",
            "/",
        ] {
            check(Method::POST, path, Surface::Gemini, Target::Nothing);
        }
        check(
            Method::POST,
            "/v1beta/openai//chat/completions",
            Surface::OpenAi,
            Target::Nothing,
        );
        check(
            Method::GET,
            "/v1beta/models/x:generateContent",
            Surface::Gemini,
            Target::Nothing,
        );
    }

    #[test]
    fn queries_are_decoded() {
        let pairs: Vec<_> = query_pairs("alt=sse&key=a%2Fb&x&p=%zz").collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            pairs,
            [
                pair("alt", "sse"),
                pair("key", "a/b"),
                pair("x", ""),
                pair("p", "%zz")
            ]
        );
    }
}
