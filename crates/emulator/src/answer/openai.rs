//! OpenAI's dialect, as Google speaks it.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Answer, Piece};

/// `chat.completion`.
pub(crate) fn whole(answer: &Answer) -> Vec<Piece> {
    let mut message = json!({"role": "assistant"});
    match &answer.call {
        Some(_) => message["tool_calls"] = tool_calls(answer),
        None => message["content"] = json!(answer.text),
    }
    let body = json!({
        "id": answer.id,
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish(answer)}],
        "usage": usage(answer),
    });
    vec![Piece::Bytes(Bytes::from(body.to_string()))]
}

/// The `chat.completion.chunk`s; with `include_usage`, one more that has nothing but the usage.
pub(crate) fn events(
    answer: &Answer,
    count: usize,
    words_per_event: usize,
    include_usage: bool,
) -> Vec<Vec<Piece>> {
    let chunk = |choices: Value, usage: Option<Value>| {
        let mut body = json!({
            "id": answer.id,
            "object": "chat.completion.chunk",
            "created": answer.created,
            "model": answer.model,
            "choices": choices,
        });
        if let Some(usage) = usage {
            body["usage"] = usage;
        }
        vec![Piece::Bytes(Bytes::from(body.to_string()))]
    };
    let mut events = Vec::with_capacity(count + 1);
    for (index, text) in answer.pieces(count, words_per_event).iter().enumerate() {
        let last = index + 1 == count;
        let delta = match &answer.call {
            Some(_) if last => json!({"role": "assistant", "tool_calls": tool_calls(answer)}),
            Some(_) => json!({"role": "assistant", "content": ""}),
            None => json!({"role": "assistant", "content": text}),
        };
        let mut choice = json!({"index": 0, "delta": delta});
        if last {
            choice["finish_reason"] = json!(finish(answer));
        }
        events.push(chunk(json!([choice]), None));
    }
    if include_usage {
        events.push(chunk(json!([]), Some(usage(answer))));
    }
    events
}

pub(crate) fn compact(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

fn finish(answer: &Answer) -> &'static str {
    if answer.call.is_some() {
        "tool_calls"
    } else {
        "stop"
    }
}

fn usage(answer: &Answer) -> Value {
    json!({
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.answer_tokens(),
        "total_tokens": answer.prompt_tokens + answer.answer_tokens(),
    })
}

fn tool_calls(answer: &Answer) -> Value {
    let Some((name, arguments)) = &answer.call else {
        return json!([]);
    };
    let mut call = json!({
        "index": 0,
        "id": format!("function-call-{}", answer.id),
        "type": "function",
        "function": {"name": name, "arguments": arguments.to_string()},
    });
    if let Some(signature) = &answer.signature {
        call["extra_content"] = json!({"google": {"thought_signature": signature}});
    }
    json!([call])
}
