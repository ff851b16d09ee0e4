//! Gemini's own dialect.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Answer, IMAGE, PNG, Piece, with_image};
use crate::prompt::tokens_of;

/// `GenerateContentResponse`, its fields in Google's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    candidates: [Value; 1],
    usage_metadata: Value,
    model_version: &'a str,
    response_id: &'a str,
}

/// The whole answer in one, laid out over many lines as Google does.
pub(crate) fn whole(answer: &Answer) -> Vec<Piece> {
    let mut parts = vec![match &answer.call {
        Some((name, arguments)) => json!({"functionCall": {"name": name, "args": arguments}}),
        None => json!({"text": answer.text}),
    }];
    if answer.image.is_some() {
        parts.push(picture());
    }
    sign(&mut parts, answer);
    let response = answer.response(json!(parts), Some("STOP"), answer.answer_tokens());
    let text = serde_json::to_string_pretty(&response).unwrap_or_default() + "\n";
    with_image(&unescaped(text), answer.image)
}

/// The answer's events, each an object by itself.
pub(crate) fn events(answer: &Answer, count: usize, words_per_event: usize) -> Vec<Vec<Piece>> {
    let texts = answer.pieces(count, words_per_event);
    let mut so_far = 0;
    let event = |(index, text): (usize, &String)| {
        let last = index + 1 == count;
        so_far += tokens_of(text);
        let mut parts = Vec::new();
        match &answer.call {
            // A call comes whole, in the last event.
            Some((name, arguments)) if last => {
                parts.push(json!({"functionCall": {"name": name, "args": arguments}}))
            }
            Some(_) => parts.push(json!({"text": ""})),
            None => parts.push(json!({"text": text})),
        }
        if index == 0 && answer.image.is_some() {
            parts.push(picture());
        }
        if last {
            sign(&mut parts, answer);
        }
        let tokens = if last { answer.answer_tokens() } else { so_far };
        let response = answer.response(json!(parts), last.then_some("STOP"), tokens);
        with_image(
            &unescaped(serde_json::to_string(&response).unwrap_or_default()),
            answer.image,
        )
    };
    texts.iter().enumerate().map(event).collect()
}

/// The answer to `countTokens`.
pub(crate) fn count(tokens: u64) -> Bytes {
    pretty(&json!({
        "totalTokens": tokens,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}],
    }))
}

pub(crate) fn pretty(value: &Value) -> Bytes {
    Bytes::from(serde_json::to_string_pretty(value).unwrap_or_default() + "\n")
}

impl Answer {
    fn response(&self, parts: Value, finish: Option<&str>, tokens: u64) -> Response<'_> {
        let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
        if let Some(reason) = finish {
            candidate["finishReason"] = json!(reason);
        }
        Response {
            candidates: [candidate],
            usage_metadata: json!({
                "promptTokenCount": self.prompt_tokens,
                "candidatesTokenCount": tokens,
                "totalTokenCount": self.prompt_tokens + tokens,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": self.prompt_tokens}],
            }),
            model_version: &self.model,
            response_id: &self.id,
        }
    }
}

fn sign(parts: &mut [Value], answer: &Answer) {
    if let (Some(part), Some(signature)) = (parts.first_mut(), &answer.signature) {
        part["thoughtSignature"] = json!(signature);
    }
}

fn picture() -> Value {
    json!({"inlineData": {"mimeType": "image/png", "data": format!("{PNG}{IMAGE}")}})
}

/// The mark of a picture as it was before JSON escaped it. A prompt's own control characters stay
/// escaped: they never stand after the picture's first bytes.
fn unescaped(json: String) -> String {
    json.replacen(
        &format!("{PNG}\\u0001image\\u0001"),
        &format!("{PNG}{IMAGE}"),
        1,
    )
}
