//! How answers are written: unary, events, arrays, pictures, compressed.

use std::time::{Duration, Instant};

use gemini_emulator::{Config, Emulator};
use serde_json::{Value, json};

use crate::support::{ALPHA, Answer, Ask, FLASH, STREAM, prompt, start, two_projects};

const ARRAY: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent";

async fn say(emulator: &Emulator, path: &str, text: &str) -> Answer {
    let answer = Ask::say(path, text).key(ALPHA).send(emulator).await;
    answer.assert_ok();
    answer
}

fn text_of(responses: &[Value]) -> String {
    responses
        .iter()
        .map(|response| {
            response["candidates"][0]["content"]["parts"][0]["text"]
                .as_str()
                .unwrap()
        })
        .collect()
}

#[tokio::test]
async fn a_whole_answer_has_what_clients_read() {
    let emulator = start(two_projects()).await;
    let answer = say(&emulator, FLASH, "how are you").await;
    assert_eq!(
        answer.header("content-type"),
        "application/json; charset=UTF-8"
    );
    assert_eq!(
        answer.header("content-length"),
        answer.bytes().len().to_string()
    );
    let json = answer.json();
    assert_eq!(
        json["candidates"][0]["content"]["parts"][0]["text"],
        "Hello from the emulator. You said: how are you"
    );
    assert_eq!(json["candidates"][0]["content"]["role"], "model");
    assert_eq!(json["candidates"][0]["finishReason"], "STOP");
    assert_eq!(json["modelVersion"], "gemini-2.5-flash");
    let usage = &json["usageMetadata"];
    let count = |name: &str| usage[name].as_u64().unwrap();
    assert_eq!(
        count("totalTokenCount"),
        count("promptTokenCount") + count("candidatesTokenCount")
    );
    let other = say(&emulator, FLASH, "how are you").await.json();
    assert_ne!(json["responseId"], other["responseId"]);
}

#[tokio::test]
async fn server_sent_events_are_framed_as_google_frames_them() {
    let emulator = start(two_projects()).await;
    let answer = say(&emulator, STREAM, "tell me a story").await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    let text = answer.text();
    assert!(
        text.starts_with("data: {\"candidates\"") && text.ends_with("}\r\n\r\n"),
        "{text}"
    );
    assert_eq!(text.matches("data: ").count(), 5);
    assert_eq!(text.matches('\n').count(), 10);
    let events = answer.events();
    assert_eq!(
        text_of(&events),
        "Hello from the emulator. You said: tell me a story"
    );
    let finish: Vec<_> = events
        .iter()
        .map(|event| event["candidates"][0].get("finishReason").is_some())
        .collect();
    assert_eq!(finish, [false, false, false, false, true]);
    let whole = say(&emulator, FLASH, "tell me a story").await.json();
    assert_eq!(events[4]["usageMetadata"], whole["usageMetadata"]);
}

#[tokio::test]
async fn without_sse_a_stream_is_an_array() {
    let emulator = start(two_projects()).await;
    let answer = say(&emulator, ARRAY, "[[chunks:3]]").await;
    assert_eq!(
        answer.header("content-type"),
        "application/json; charset=UTF-8"
    );
    assert!(
        answer.text().starts_with("[{\"candidates\"") && answer.text().contains("},\n{"),
        "{}",
        answer.text()
    );
    let events = answer.json();
    assert_eq!(
        text_of(events.as_array().unwrap()),
        "Hello from the emulator. You said: [[chunks:3]]"
    );
}

#[tokio::test]
async fn the_openai_surface_streams_and_says_when_it_is_done() {
    let emulator = start(two_projects()).await;
    let whole = Ask::chat("hello", false)
        .bearer(ALPHA)
        .send(&emulator)
        .await
        .json();
    assert_eq!(
        whole["choices"][0]["message"]["content"],
        "Hello from the emulator. You said: hello"
    );
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");
    let answer = Ask::chat("hello", true).bearer(ALPHA).send(&emulator).await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    let text = answer.text();
    let events = text.strip_suffix("data: [DONE]\n\n").unwrap();
    let chunks: Vec<Value> = events
        .split("\n\n")
        .filter(|event| !event.is_empty())
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect();
    assert_eq!(chunks.len(), 6);
    let said: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(said, "Hello from the emulator. You said: hello");
    assert_eq!(chunks[4]["choices"][0]["finish_reason"], "stop");
    assert_eq!(
        (&chunks[5]["choices"], &chunks[5]["usage"]),
        (&json!([]), &whole["usage"])
    );
}

#[tokio::test]
async fn the_openai_surface_embeds_lists_models_and_calls_tools() {
    let emulator = start(two_projects()).await;
    let embed = json!({"model": "gemini-embedding-001", "input": ["a", "b"], "dimensions": 4});
    let answer = Ask::new("POST", "/v1beta/openai/embeddings")
        .json(&embed)
        .bearer(ALPHA)
        .send(&emulator)
        .await
        .json();
    assert_eq!(answer["data"][1]["embedding"].as_array().unwrap().len(), 4);
    let list = Ask::new("GET", "/v1beta/openai/models")
        .bearer(ALPHA)
        .send(&emulator)
        .await
        .json();
    assert!(
        list["data"]
            .as_array()
            .unwrap()
            .iter()
            .any(|model| model["id"] == "models/gemini-2.5-flash")
    );
    let one = Ask::new("GET", "/v1beta/openai/models/gemini-2.5-flash")
        .bearer(ALPHA)
        .send(&emulator)
        .await
        .json();
    assert_eq!(one["object"], "model");
    for stream in [false, true] {
        let body = json!({
            "model": "gemini-2.5-flash",
            "messages": [{"role": "user", "content": "[[call:look]]"}],
            "tools": [{"type": "function", "function": {"name": "other"}}, {"type": "function", "function": {"name": "look"}}],
            "stream": stream,
        });
        let answer = Ask::new("POST", crate::support::CHAT)
            .json(&body)
            .bearer(ALPHA)
            .send(&emulator)
            .await;
        assert!(
            answer
                .text()
                .contains(r#""function":{"arguments":"{}","name":"look"}"#),
            "{}",
            answer.text()
        );
        assert!(
            answer.text().contains(r#""finish_reason":"tool_calls""#),
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn models_are_listed_page_by_page() {
    let emulator = start(two_projects()).await;
    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1beta/models?pageSize=7&pageToken={token}");
        let page = Ask::new("GET", &path)
            .key(ALPHA)
            .send(&emulator)
            .await
            .json();
        let models = page["models"].as_array().unwrap();
        assert!(models.len() <= 7);
        names.extend(
            models
                .iter()
                .map(|model| model["name"].as_str().unwrap().to_owned()),
        );
        match page["nextPageToken"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    let all = Ask::new("GET", "/v1/models")
        .key(ALPHA)
        .send(&emulator)
        .await
        .json();
    assert_eq!(names.len(), all["models"].as_array().unwrap().len());
    assert!(names.contains(&"models/gemini-3-pro-preview".to_owned()));
}

#[tokio::test]
async fn a_prompt_shapes_its_answer() {
    let emulator = start(two_projects()).await;
    assert_eq!(
        say(&emulator, STREAM, "[[chunks:20]]").await.events().len(),
        20
    );
    let echo = "please [[echo]] this: \u{2028} \"quoted\"";
    assert_eq!(text_of(&say(&emulator, STREAM, echo).await.events()), echo);
    let long = say(&emulator, FLASH, "[[text:2KB]]").await.json();
    assert_eq!(
        long["candidates"][0]["content"]["parts"][0]["text"]
            .as_str()
            .unwrap()
            .len(),
        2_048
    );
    let counted = say(&emulator, FLASH, "[[tokens:1234]]").await.json();
    assert_eq!(counted["usageMetadata"]["promptTokenCount"], 1_234);
    let mut body = prompt("in JSON, please");
    body["generationConfig"] = json!({
        "responseMimeType": "application/json",
        "responseSchema": {"type": "OBJECT", "properties": {"mood": {"type": "STRING", "enum": ["calm"]}}},
    });
    let answer = Ask::new("POST", FLASH)
        .json(&body)
        .key(ALPHA)
        .send(&emulator)
        .await
        .json();
    assert_eq!(
        answer["candidates"][0]["content"]["parts"][0]["text"],
        "{\"mood\":\"calm\"}"
    );
}

#[tokio::test]
async fn events_are_paced_and_each_comes_by_itself() {
    let emulator = start(Config {
        chunk_delay_ms: 20,
        first_byte_delay_ms: 50,
        ..two_projects()
    })
    .await;
    let begun = Instant::now();
    let answer = say(&emulator, STREAM, "slowly").await;
    assert!(
        begun.elapsed() >= Duration::from_millis(130),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(answer.frames.len(), 5);
    let begun = Instant::now();
    assert_eq!(
        say(&emulator, STREAM, "[[delay:1ms]] [[chunks:2]]")
            .await
            .frames
            .len(),
        2
    );
    assert!(
        begun.elapsed() >= Duration::from_millis(51),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_picture_of_forty_megabytes_is_one_part() {
    let emulator = start(two_projects()).await;
    for path in [FLASH, STREAM] {
        let answer = say(&emulator, path, "[[image:40MB]] [[chunks:2]]").await;
        let first = if path == STREAM {
            answer.events().swap_remove(0)
        } else {
            answer.json()
        };
        let image = &first["candidates"][0]["content"]["parts"][1]["inlineData"];
        assert_eq!(image["mimeType"], "image/png");
        let data = image["data"].as_str().unwrap();
        assert!(data.starts_with("iVBORw0KGgoA"));
        assert_eq!(data.len(), (40 << 20) / 3 * 4);
    }
}

#[tokio::test]
async fn answers_are_compressed_for_clients_that_accept_it() {
    let emulator = start(two_projects()).await;
    let ask =
        |path: &str, text: &str| Ask::say(path, text).header("accept-encoding", "gzip, deflate");
    let long = ask(FLASH, "[[text:2KB]]").key(ALPHA).send(&emulator).await;
    assert_eq!(long.header("content-encoding"), "gzip");
    assert_eq!(long.header("transfer-encoding"), "chunked");
    assert!(long.json()["candidates"].is_array());
    let short = ask(FLASH, "hi").key(ALPHA).send(&emulator).await;
    assert_eq!(short.header("content-encoding"), "");
    let refused = ask(FLASH, "hi").send(&emulator).await;
    assert_eq!(
        (
            refused.header("content-encoding"),
            refused.header("content-length")
        ),
        ("gzip", "")
    );
    refused.assert_error(403, "unregistered callers");
    let plain = Ask::say(FLASH, "hi")
        .header("accept-encoding", "deflate, gzip;q=0")
        .send(&emulator)
        .await;
    assert_eq!(plain.header("content-encoding"), "");
}

#[tokio::test]
async fn compressed_streams_can_be_read_event_by_event() {
    let emulator = start(Config {
        gzip_streams: true,
        chunk_delay_ms: 10,
        ..two_projects()
    })
    .await;
    let answer = Ask::say(STREAM, "hi")
        .header("accept-encoding", "gzip")
        .key(ALPHA)
        .send(&emulator)
        .await;
    assert_eq!(answer.header("content-encoding"), "gzip");
    assert!(answer.frames.len() >= 5);
    let mut first = Vec::new();
    let _ = std::io::Read::read_to_end(
        &mut flate2::read::GzDecoder::new(&answer.frames[0][..]),
        &mut first,
    );
    assert!(first.starts_with(b"data: ") && first.ends_with(b"}\r\n\r\n"));
    assert_eq!(answer.events().len(), 5);
}

#[tokio::test]
async fn a_compressed_request_is_read() {
    let emulator = start(two_projects()).await;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, prompt("packed").to_string().as_bytes()).unwrap();
    let ask = Ask::new("POST", FLASH)
        .key(ALPHA)
        .header("content-encoding", "gzip")
        .body(packed.finish().unwrap());
    assert!(
        ask.send(&emulator)
            .await
            .text()
            .contains("You said: packed")
    );
}
