//! Embeddings: numbers that depend on the text and on nothing else, so that a test can compare.

use serde_json::{Value, json};

use crate::base64;
use crate::prompt::{field, text_of};

/// The answer to `embedContent`, or, for many `requests`, to `batchEmbedContents`.
pub(crate) fn native(body: &Value, usual_dimensions: usize) -> Value {
    let one = |request: &Value| {
        let text = field(request, "content").map(text_of).unwrap_or_default();
        let wanted = field(request, "outputDimensionality").and_then(Value::as_u64);
        json!({"values": vector(&text, dimensions(wanted, usual_dimensions))})
    };
    match field(body, "requests").and_then(Value::as_array) {
        Some(requests) => json!({"embeddings": requests.iter().map(one).collect::<Vec<_>>()}),
        None => json!({"embedding": one(body)}),
    }
}

/// The answer to OpenAI's `embeddings`.
pub(crate) fn openai(body: &Value, model: &str, tokens: u64, usual_dimensions: usize) -> Value {
    let inputs: Vec<&str> = match body.get("input") {
        Some(Value::Array(inputs)) => inputs.iter().filter_map(Value::as_str).collect(),
        Some(one) => one.as_str().into_iter().collect(),
        None => Vec::new(),
    };
    let count = dimensions(
        body.get("dimensions").and_then(Value::as_u64),
        usual_dimensions,
    );
    // OpenAI's SDKs ask for base64 unless told otherwise, and the one for Node reads nothing else.
    let base64 = body
        .get("encoding_format")
        .is_some_and(|format| format == "base64");
    let one = |(index, text): (usize, &&str)| {
        let values = vector(text, count);
        let embedding = if base64 {
            json!(base64::encode(
                &values
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect::<Vec<u8>>()
            ))
        } else {
            json!(values)
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    };
    json!({
        "object": "list",
        "data": inputs.iter().enumerate().map(one).collect::<Vec<_>>(),
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    })
}

fn dimensions(wanted: Option<u64>, usual: usize) -> usize {
    wanted
        .and_then(|wanted| usize::try_from(wanted).ok())
        .filter(|wanted| (1..=MOST).contains(wanted))
        .unwrap_or(usual)
}

/// A vector of length one.
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    // FNV-1a for the text, then xorshift for the numbers: steady over versions of everything.
    let mut state = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }) | 1;
    let raw: Vec<f32> = (0..dimensions)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
        })
        .collect();
    let length = raw
        .iter()
        .map(|value| value * value)
        .sum::<f32>()
        .sqrt()
        .max(f32::MIN_POSITIVE);
    raw.iter().map(|value| value / length).collect()
}

/// More than any model has.
const MOST: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_vector_of_the_length_asked_for() {
        let body = json!({"requests": [
            {"content": {"parts": [{"text": "a"}]}, "outputDimensionality": 3},
            {"content": {"parts": [{"text": "b"}]}},
            {"content": {"parts": [{"text": "a"}]}, "output_dimensionality": 3},
        ]});
        let answer = native(&body, 5);
        let values = |index: usize| answer["embeddings"][index]["values"].as_array().unwrap();
        assert_eq!((values(0).len(), values(1).len()), (3, 5));
        assert_eq!(values(0), values(2));
    }

    #[test]
    fn openai_gets_base64_when_it_asks() {
        let plain = openai(&json!({"input": ["x"], "dimensions": 4}), "m", 1, 8);
        let packed = openai(
            &json!({"input": "x", "dimensions": 4, "encoding_format": "base64"}),
            "m",
            1,
            8,
        );
        let bytes = base64::decode(packed["data"][0]["embedding"].as_str().unwrap()).unwrap();
        let first = f32::from_le_bytes(bytes[..4].try_into().unwrap());
        assert_eq!(bytes.len(), 16);
        assert!(
            (f64::from(first) - plain["data"][0]["embedding"][0].as_f64().unwrap()).abs() < 1e-6
        );
    }
}
