//! What a request's body asks: its text, its weight, its tools, and the markers in it.
//!
//! Both dialects come down to the same [`Prompt`], so that the answers need not know which one was
//! spoken. Markers (`[[chunks:20]]` and so on) let a test shape one answer through any client,
//! with no control call and no fault that another request could catch instead.

mod markers;

use serde_json::Value;

pub(crate) use markers::Markers;
use markers::found;

/// A request's body, understood.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prompt {
    /// The last text of the last turn that a person wrote. gemini-cli puts pages of context before
    /// what was typed, in the same turn.
    pub(crate) text: String,
    /// What it counts as, in input tokens.
    pub(crate) tokens: u64,
    /// How often it counts as a request: a batch embedding counts every item.
    pub(crate) items: u64,
    /// Whether it has a search or maps tool.
    pub(crate) grounded: bool,
    pub(crate) markers: Markers,
    /// The functions it declares: name and parameters.
    pub(crate) functions: Vec<(String, Value)>,
    /// What the answer's JSON must look like, when it must be JSON.
    pub(crate) schema: Option<Value>,
    /// Every thought signature in it.
    pub(crate) signatures: Vec<String>,
    /// Whether a function call of the current turn lacks one.
    pub(crate) unsigned_call: bool,
}

impl Prompt {
    pub(crate) fn native(body: &Value) -> Prompt {
        // countTokens may wrap what it counts.
        let body = field(body, "generateContentRequest").unwrap_or(body);
        let contents: Vec<&Value> = match field(body, "contents") {
            Some(Value::Array(contents)) => contents.iter().collect(),
            Some(one) => vec![one],
            None => Vec::new(),
        };
        let mut weigh = Weigh::default();
        let mut prompt = Prompt {
            items: 1,
            ..Prompt::default()
        };
        for content in contents
            .iter()
            .copied()
            .chain(field(body, "systemInstruction"))
        {
            weigh.content(content);
        }
        match field(body, "requests") {
            Some(Value::Array(requests)) => {
                prompt.items = requests.len() as u64;
                requests
                    .iter()
                    .filter_map(|request| field(request, "content"))
                    .for_each(|content| weigh.content(content));
            }
            _ => field(body, "content")
                .into_iter()
                .for_each(|content| weigh.content(content)),
        }
        prompt.tokens = weigh.tokens();
        let is_user = |content: &Value| content.get("role").is_none_or(|role| role != "model");
        let asked = contents
            .iter()
            .rposition(|content| is_user(content) && !text_of(content).is_empty());
        if let Some(index) = asked {
            prompt.text = last_text(contents[index]);
            prompt.markers = Markers::read(&text_of(contents[index]));
            if index + 1 < contents.len() {
                // The call was made already: what comes last is its result.
                prompt.markers.call = None;
            }
        }
        for (index, content) in contents.iter().enumerate() {
            let mut calls = 0;
            for part in parts(content) {
                let signature = field(part, "thoughtSignature").and_then(Value::as_str);
                prompt.signatures.extend(signature.map(str::to_owned));
                if field(part, "functionCall").is_some() {
                    calls += 1;
                    let current = asked.is_none_or(|asked| index > asked);
                    // Of parallel calls only the first is signed.
                    prompt.unsigned_call |= calls == 1 && current && signature.is_none();
                }
            }
        }
        for tool in field(body, "tools")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            prompt.grounded |= GROUNDING.iter().any(|name| tool.get(*name).is_some());
            for function in field(tool, "functionDeclarations")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let parameters = field(function, "parameters")
                    .or_else(|| field(function, "parametersJsonSchema"));
                prompt
                    .functions
                    .push((name_of(function), parameters.cloned().unwrap_or_default()));
            }
        }
        if let Some(generation) = field(body, "generationConfig")
            && field(generation, "responseMimeType").is_some_and(|kind| kind == "application/json")
        {
            let schema = field(generation, "responseSchema")
                .or_else(|| field(generation, "responseJsonSchema"));
            prompt.schema = Some(schema.cloned().unwrap_or_default());
        }
        prompt
    }

    pub(crate) fn openai(body: &Value) -> Prompt {
        let mut weigh = Weigh::default();
        let mut prompt = Prompt {
            items: 1,
            ..Prompt::default()
        };
        let messages = body
            .get("messages")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        for message in messages {
            weigh.content(message);
            for call in message
                .get("tool_calls")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let signature = call
                    .pointer("/extra_content/google/thought_signature")
                    .and_then(Value::as_str);
                prompt.signatures.extend(signature.map(str::to_owned));
            }
        }
        match body.get("input") {
            Some(Value::Array(inputs)) if inputs.iter().all(Value::is_string) => {
                prompt.items = inputs.len() as u64;
                inputs
                    .iter()
                    .filter_map(Value::as_str)
                    .for_each(|text| weigh.text(text));
            }
            Some(Value::String(text)) => weigh.text(text),
            _ => {}
        }
        prompt.tokens = weigh.tokens();
        let asked = messages
            .iter()
            .rposition(|message| message.get("role").is_some_and(|role| role == "user"));
        if let Some(index) = asked {
            prompt.text = last_text(&messages[index]);
            prompt.markers = Markers::read(&text_of(&messages[index]));
            if index + 1 < messages.len() {
                prompt.markers.call = None;
            }
        }
        for tool in body
            .get("tools")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            prompt.grounded |= GROUNDING.iter().any(|name| tool.get(*name).is_some());
            if let Some(function) = tool.get("function") {
                prompt.functions.push((
                    name_of(function),
                    function.get("parameters").cloned().unwrap_or_default(),
                ));
            }
        }
        match body
            .pointer("/response_format/type")
            .and_then(Value::as_str)
        {
            Some("json_schema") => {
                prompt.schema = body.pointer("/response_format/json_schema/schema").cloned()
            }
            Some("json_object") => prompt.schema = Some(Value::Null),
            _ => {}
        }
        prompt
    }
}

/// Input tokens: a quarter of the letters, or what the markers say.
#[derive(Default)]
struct Weigh {
    letters: u64,
    media: u64,
    said: Option<u64>,
}

impl Weigh {
    fn content(&mut self, content: &Value) {
        for part in parts(content) {
            if let Some(text) = part
                .as_str()
                .or_else(|| part.get("text").and_then(Value::as_str))
            {
                self.text(text);
            } else if MEDIA.iter().any(|name| part.get(*name).is_some()) {
                self.media += 1;
            } else {
                // A function's call or result.
                self.letters += part.to_string().len() as u64;
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.letters += text.chars().count() as u64;
        for (name, value) in found(text) {
            if let ("tokens", Ok(tokens)) = (name, value.parse::<u64>()) {
                self.said = Some(self.said.unwrap_or(0).saturating_add(tokens));
            }
        }
    }

    fn tokens(&self) -> u64 {
        // 258: what Google counts for a picture.
        self.said
            .unwrap_or_else(|| self.letters.div_ceil(4) + 258 * self.media)
    }
}

/// Tokens of an answer's text.
pub(crate) fn tokens_of(text: &str) -> u64 {
    (text.chars().count() as u64).div_ceil(4)
}

/// A field by its JSON name or its proto name: Google reads both.
pub(crate) fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name).or_else(|| {
        let mut snake = String::with_capacity(name.len() + 4);
        for letter in name.chars() {
            if letter.is_ascii_uppercase() {
                snake.push('_');
            }
            snake.push(letter.to_ascii_lowercase());
        }
        value.get(snake.as_str())
    })
}

/// The text of one turn, in either dialect.
pub(crate) fn text_of(content: &Value) -> String {
    texts(content).collect::<Vec<_>>().join("\n")
}

fn last_text(content: &Value) -> String {
    texts(content).last().unwrap_or_default().to_owned()
}

fn texts(content: &Value) -> impl Iterator<Item = &str> {
    parts(content).filter_map(|part| part.as_str().or_else(|| part.get("text")?.as_str()))
}

/// Parts of a native content, or of an OpenAI message.
fn parts(content: &Value) -> impl Iterator<Item = &Value> {
    let parts = content.get("parts").or_else(|| content.get("content"));
    let (many, one) = match parts {
        Some(Value::Array(many)) => (many.as_slice(), None),
        Some(one) if !one.is_null() => (&[] as &[Value], Some(one)),
        _ => (&[] as &[Value], None),
    };
    many.iter().chain(one)
}

fn name_of(function: &Value) -> String {
    function
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

const GROUNDING: &[&str] = &[
    "googleSearch",
    "google_search",
    "googleMaps",
    "google_maps",
    "googleSearchRetrieval",
    "google_search_retrieval",
];

const MEDIA: &[&str] = &[
    "inlineData",
    "inline_data",
    "fileData",
    "file_data",
    "image_url",
    "input_audio",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_dialects_say_the_same() {
        let native = Prompt::native(&json!({
            "contents": [
                {"role": "user", "parts": [{"text": "first"}]},
                {"role": "model", "parts": [{"text": "answer"}]},
                {"role": "user", "parts": [{"text": "then [[chunks:7]] [[delay:50ms]]"}]},
            ],
            "tools": [{"functionDeclarations": [{"name": "look", "parameters": {"type": "OBJECT"}}]}, {"google_search": {}}],
        }));
        let openai = Prompt::openai(&json!({
            "messages": [
                {"role": "user", "content": "first"},
                {"role": "assistant", "content": "answer"},
                {"role": "user", "content": [{"type": "text", "text": "then [[chunks:7]] [[delay:50ms]]"}]},
            ],
            "tools": [{"type": "function", "function": {"name": "look"}}, {"google_search": {}}],
        }));
        assert_eq!(native.text, openai.text);
        assert_eq!(native.tokens, openai.tokens);
        assert_eq!(native.markers, openai.markers);
        assert_eq!(native.functions[0].0, openai.functions[0].0);
        assert!(native.grounded && openai.grounded);
    }

    #[test]
    fn tokens_are_a_quarter_of_the_letters_or_what_the_text_says() {
        let tokens =
            |text: &str| Prompt::native(&json!({"contents": [{"parts": [{"text": text}]}]})).tokens;
        assert_eq!(tokens("12345678"), 2);
        assert_eq!(tokens("[[tokens:100000]]"), 100_000);
    }

    #[test]
    fn what_was_typed_is_quoted_and_markers_may_stand_anywhere_in_the_turn() {
        let prompt = Prompt::native(&json!({"contents": [
            {"role": "user", "parts": [{"text": "context [[chunks:2]]"}, {"text": "typed"}]},
        ]}));
        assert_eq!(
            (prompt.text.as_str(), prompt.markers.chunks),
            ("typed", Some(2))
        );
    }

    #[test]
    fn a_call_that_was_answered_is_not_made_again() {
        let prompt = Prompt::native(&json!({"contents": [
            {"role": "user", "parts": [{"text": "[[call]]"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]},
        ]}));
        assert_eq!(prompt.markers.call, None);
        assert!(prompt.unsigned_call);
    }
}
