//! The models there are.
//!
//! The built-in list holds what the common clients ask for by default, so that they work with no
//! configuration. It is not a record of what Google offers today.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One model.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Its name, without `models/`.
    pub name: String,
    /// What it can do, by Google's method names.
    #[serde(default = "generating")]
    pub methods: Vec<String>,
    /// The most tokens a request may have; above, it is refused and counted all the same.
    #[serde(default = "a_million")]
    pub input_token_limit: u64,
    /// Numbers in an embedding, when the request does not say.
    #[serde(default = "usual_dimensions")]
    pub dimensions: usize,
}

impl Model {
    fn built_in(name: &str, methods: &[&str], input_token_limit: u64, dimensions: usize) -> Model {
        Model {
            name: name.to_owned(),
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
            input_token_limit,
            dimensions,
        }
    }

    /// As `GET /v1beta/models/NAME` shows it.
    pub(crate) fn describe(&self) -> Value {
        let mut title = String::new();
        for word in self.name.split('-') {
            let mut letters = word.chars();
            if !title.is_empty() {
                title.push(' ');
            }
            title.extend(letters.next().map(|first| first.to_ascii_uppercase()));
            title.push_str(letters.as_str());
        }
        json!({
            "name": format!("models/{}", self.name),
            "version": "001",
            "displayName": title,
            "description": "A model that runs nowhere and answers at once.",
            "inputTokenLimit": self.input_token_limit,
            "outputTokenLimit": 65_536,
            "supportedGenerationMethods": self.methods,
            "temperature": 1,
            "topP": 0.95,
            "topK": 64,
            "maxTemperature": 2,
        })
    }
}

/// The built-in models, then `more`; one of the same name replaces.
pub(crate) fn all(more: &[Model]) -> Vec<Model> {
    let mut models: Vec<Model> = GENERATING
        .iter()
        .map(|name| Model::built_in(name, GENERATES, A_MILLION, DIMENSIONS))
        .chain(
            EMBEDDING
                .iter()
                .map(|(name, dimensions)| Model::built_in(name, EMBEDS, 2_048, *dimensions)),
        )
        .collect();
    for model in more {
        match models.iter_mut().find(|there| there.name == model.name) {
            Some(there) => there.clone_from(model),
            None => models.push(model.clone()),
        }
    }
    models
}

fn generating() -> Vec<String> {
    GENERATES
        .iter()
        .map(|method| (*method).to_owned())
        .collect()
}

fn a_million() -> u64 {
    A_MILLION
}

fn usual_dimensions() -> usize {
    DIMENSIONS
}

const GENERATING: &[&str] = &[
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-2.5-flash-image",
    "gemini-2.0-flash",
    "gemini-2.0-flash-lite",
    "gemini-3-pro-preview",
    "gemini-3-flash-preview",
    "gemini-3-pro-image-preview",
    "gemini-3.1-pro-preview",
    "gemini-3.1-flash-lite",
    "gemini-3.1-flash-lite-preview",
    "gemini-3.5-flash",
    "gemini-flash-latest",
    "gemini-flash-lite-latest",
    "gemini-pro-latest",
    "gemma-3-27b-it",
];

const EMBEDDING: &[(&str, usize)] = &[
    ("gemini-embedding-001", 3_072),
    ("gemini-embedding-2", 3_072),
    ("text-embedding-004", 768),
];

const GENERATES: &[&str] = &["generateContent", "streamGenerateContent", "countTokens"];
const EMBEDS: &[&str] = &["embedContent", "batchEmbedContents", "countTokens"];

/// The limit that Google's own message names.
const A_MILLION: u64 = 1_048_576;
const DIMENSIONS: usize = 768;
