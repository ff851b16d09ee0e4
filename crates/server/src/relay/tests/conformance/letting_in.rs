//! Who is let in, under which paths, and what an answer says of the way it came.

use super::{RunsOn, Target};
use crate::relay::tests::client::{Ask, MODEL, contents};
use crate::relay::tests::stand::key;
use serde_json::json;

const TOKEN: &str = "a-clients-own-token";

pub(super) async fn a_token_is_taken_wherever_clients_put_it_and_never_passed_on(target: &Target) {
    let bearer = format!("Bearer {TOKEN}");
    let path = format!("/v1beta/models/{MODEL}:generateContent");
    let asks = [
        Ask::generate("x").header("x-goog-api-key", TOKEN),
        Ask::generate("x").header("authorization", &bearer),
        Ask::generate("x").header("x-api-key", TOKEN),
        Ask::post(format!("{path}?key={TOKEN}"), &contents("x")),
        Ask::post(format!("{path}?%24alt=json&key={TOKEN}"), &contents("x")),
        Ask::chat("x", false).header("authorization", &bearer),
        Ask::chat("x", false).header("x-api-key", TOKEN),
        // gemini-cli can send two of them.
        Ask::generate("x")
            .header("x-goog-api-key", TOKEN)
            .header("authorization", &bearer),
        // Parameters that Google does not know, and would log.
        Ask::post(
            format!("{path}?api_key={TOKEN}&token={TOKEN}"),
            &contents("x"),
        )
        .header("x-goog-api-key", TOKEN),
        // What browsers and proxies make of a key in the URL.
        Ask::generate("x")
            .header("x-goog-api-key", TOKEN)
            .header("referer", &format!("https://app.example/?key={TOKEN}"))
            .header("x-original-url", &format!("{path}?key={TOKEN}"))
            .header("x-forwarded-uri", "/?key=another%2Dclients%2Dtoken")
            .header("sec-websocket-protocol", TOKEN),
    ];
    for ask in asks {
        ask.whole(&target.base_url).await.is(200);
    }
    for request in target.emulator.requests() {
        let shown = format!("{:?} {}", request.headers, request.query);
        assert!(
            !shown.contains(TOKEN) && !shown.contains("another%2D"),
            "{shown}"
        );
        assert_eq!(request.credentials.len(), 1, "{shown}");
        assert_eq!(request.credentials[0].value, key(0));
        let carrier = if request.path.contains("openai") {
            "bearer"
        } else {
            "x-goog-api-key"
        };
        assert_eq!(request.credentials[0].carrier, carrier);
    }
}

pub(super) async fn a_wrong_token_is_401_in_each_dialect(target: &Target) {
    let asks = [
        (Ask::generate("x"), false),
        (Ask::generate("x").header("x-goog-api-key", "wrong"), false),
        (Ask::events("x").header("x-goog-api-key", ""), false),
        (Ask::array("x"), true),
        (
            Ask::chat("x", false).header("authorization", "Bearer wrong"),
            true,
        ),
    ];
    for (ask, array) in asks {
        let answer = ask.whole(&target.base_url).await.is(401);
        assert_eq!(answer.text().starts_with('['), array, "{}", answer.text());
        assert_eq!(answer.json()["error"]["status"], "UNAUTHENTICATED");
        assert_eq!(answer.json()["error"]["code"], 401);
    }
    let ask = Ask::post(
        "/v1beta/interactions",
        &json!({"model": MODEL, "input": "x"}),
    );
    let answer = ask.whole(&target.base_url).await.is(401);
    assert_eq!(answer.json()["error"]["code"], "authentication");
    assert_eq!(target.received(), 0);
}

pub(super) async fn a_token_where_a_models_name_belongs_is_400(target: &Target) {
    let token = "a-clients-own-token";
    let asks = [
        Ask::post(
            format!("/v1beta/models/{token}:generateContent"),
            &json!({"contents": [{"parts": [{"text": "x"}]}]}),
        ),
        Ask::post(
            "/v1beta/openai/chat/completions",
            &json!({"model": token, "messages": [{"role": "user", "content": "x"}]}),
        ),
    ];
    for ask in asks {
        let ask = ask.header("x-goog-api-key", token);
        let answer = ask.whole(&target.base_url).await.is(400);
        assert!(!answer.text().contains(token), "{}", answer.text());
    }
    assert_eq!(target.received(), 0);
}

pub(super) async fn sloppy_paths_all_mean_one_thing(target: &Target) {
    let call = format!("models/{MODEL}:generateContent");
    for before in [
        "/v1beta/",
        "/v1/",
        "/",
        "/v1beta/v1beta/",
        "//v1beta/",
        "/v1beta//",
    ] {
        let ask = Ask::post(format!("{before}{call}"), &contents("x"));
        ask.whole(&target.base_url).await.is(200);
    }
    for path in [
        "/v1beta/openai/chat/completions",
        "/v1/chat/completions",
        "/chat/completions",
        "/v1beta/openai//chat/completions",
        "/openai/v1/chat/completions",
    ] {
        let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "x"}]});
        let ask = Ask::post(path, &body).header("authorization", "Bearer anything");
        let answer = ask.whole(&target.base_url).await.is(200);
        assert!(answer.json()["choices"].is_array(), "{path}");
    }
}

pub(super) async fn a_path_with_dots_is_400_in_each_dialect(target: &Target) {
    for (path, array) in [
        (
            format!("/v1beta/../v1beta/models/{MODEL}:generateContent"),
            false,
        ),
        ("/v1beta/models/%2e%2e/files".to_owned(), false),
        ("/-/../v1beta/models".to_owned(), false),
        ("/v1beta/openai/./chat/completions".to_owned(), true),
    ] {
        let answer = Ask::post(&path, &contents("x"))
            .whole(&target.base_url)
            .await;
        if target.runs_on == RunsOn::Workerd {
            // What is let in and what is sent on is the path without them.
            continue;
        }
        let answer = answer.is(400);
        assert_eq!(answer.text().starts_with('['), array, "{}", answer.text());
        assert_eq!(answer.json()["error"]["status"], "INVALID_ARGUMENT");
    }
    for request in target.emulator.requests() {
        assert!(
            target.runs_on == RunsOn::Workerd && !request.path.contains("/."),
            "{}",
            request.path
        );
    }
}

pub(super) async fn a_base_path_is_taken_off(target: &Target) {
    assert!(target.base_url.ends_with("/deep/er"));
    Ask::generate("x").whole(&target.base_url).await.is(200);
    Ask::get("/-/healthy").whole(&target.base_url).await.is(200);
    let above = target.base_url.trim_end_matches("/deep/er");
    Ask::generate("x").whole(above).await.is(404);
    assert_eq!(
        target.emulator.requests()[0].path,
        format!("/v1beta/models/{MODEL}:generateContent")
    );
    assert_eq!(target.received(), 1);
}

pub(super) async fn answers_say_which_key_and_how_often(target: &Target) {
    let first = Ask::generate("x").whole(&target.base_url).await.is(200);
    let second = Ask::events("x").whole(&target.base_url).await.is(200);
    assert_eq!(first.header("x-gemini-relay-key"), "key_0");
    assert_eq!(second.header("x-gemini-relay-key"), "key_1");
    assert_eq!(first.header("x-gemini-relay-attempts"), "1");
    let ids = [&first, &second].map(|answer| answer.header("x-gemini-relay-request-id"));
    assert!(!ids[0].is_empty() && ids[0] != ids[1], "{ids:?}");
}

pub(super) async fn answers_say_nothing_when_told_not_to(target: &Target) {
    for ask in [
        Ask::generate("x"),
        Ask::post("/v1beta/models/none:generateContent", &contents("x")),
    ] {
        let answer = ask.whole(&target.base_url).await;
        let said = answer
            .headers
            .keys()
            .find(|name| name.as_str().starts_with("x-gemini-relay"));
        assert_eq!(said, None);
    }
}

pub(super) async fn a_method_that_echoes_headers_is_not_passed_on(target: &Target) {
    let path = "/v1beta/models/gemini-2.5-flash:generateContent";
    let ask = Ask::trace(path);
    ask.whole(&target.base_url).await.is(400);
    assert_eq!(target.received(), 0);
}
