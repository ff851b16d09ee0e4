//! What Google refuses, and in which words and shape.

use gemini_emulator::{Config, KeyState, Model, Project};
use serde_json::{Value, json};

use crate::support::{ALPHA, Ask, BETA, CHAT, FLASH, STREAM, start, two_projects};

async fn check_state(state: KeyState, status: u16, message: &str, reason: Option<&str>) {
    let project = Project {
        number: 895_908_428_397,
        ..Project::new("alpha", [("made-up-key", state)])
    };
    let emulator = start(Config {
        projects: vec![project],
        ..Config::default()
    })
    .await;
    let answer = Ask::say(FLASH, "hi")
        .key("made-up-key")
        .send(&emulator)
        .await;
    answer.assert_error(status, message);
    assert_eq!(
        answer.json()["error"]["details"][0]["reason"].as_str(),
        reason
    );
    // The same on the OpenAI surface, in an array.
    let answer = Ask::chat("hi", false)
        .bearer("made-up-key")
        .send(&emulator)
        .await;
    if state != KeyState::BearerOnly {
        assert!(answer.json().is_array());
        answer.assert_error(status, message);
    }
}

#[tokio::test]
async fn each_state_of_a_key_is_refused_in_googles_words() {
    let invalid = Some("API_KEY_INVALID");
    check_state(
        KeyState::Invalid,
        400,
        "API key not valid. Please pass a valid API key.",
        invalid,
    )
    .await;
    check_state(
        KeyState::NotFound,
        400,
        "API Key not found. Please pass a valid API key.",
        invalid,
    )
    .await;
    check_state(
        KeyState::Expired,
        400,
        "API key expired. Please renew the API key.",
        invalid,
    )
    .await;
    check_state(
        KeyState::Leaked,
        403,
        "Your API key was reported as leaked.",
        None,
    )
    .await;
    check_state(
        KeyState::Suspended,
        403,
        "Consumer 'api_key:made-up-key' has been suspended.",
        Some("CONSUMER_SUSPENDED"),
    )
    .await;
    check_state(
        KeyState::ServiceDisabled,
        403,
        "has not been used in project 895908428397",
        Some("SERVICE_DISABLED"),
    )
    .await;
    check_state(
        KeyState::ServiceBlocked,
        403,
        "are blocked.",
        Some("API_KEY_SERVICE_BLOCKED"),
    )
    .await;
    check_state(
        KeyState::ProjectDenied,
        403,
        "Your project has been denied access.",
        None,
    )
    .await;
    check_state(
        KeyState::RefererBlocked,
        403,
        "Requests from referer <empty> are blocked.",
        Some("API_KEY_HTTP_REFERRER_BLOCKED"),
    )
    .await;
    let unsupported = Some("ACCESS_TOKEN_TYPE_UNSUPPORTED");
    check_state(
        KeyState::TokenTypeUnsupported,
        401,
        "Expected OAuth 2 access token",
        unsupported,
    )
    .await;
    check_state(
        KeyState::BearerOnly,
        401,
        "Expected OAuth 2 access token",
        unsupported,
    )
    .await;
}

#[tokio::test]
async fn a_suspended_keys_text_stands_in_the_body_three_times() {
    let project = Project::new("alpha", [("made-up-suspended", KeyState::Suspended)]);
    let emulator = start(Config {
        projects: vec![project],
        ..Config::default()
    })
    .await;
    let answer = Ask::say(FLASH, "hi")
        .key("made-up-suspended")
        .send(&emulator)
        .await;
    assert_eq!(answer.text().matches("made-up-suspended").count(), 3);
}

#[tokio::test]
async fn exactly_one_credential_is_taken_and_only_where_it_belongs() {
    let emulator = start(two_projects()).await;
    let say = || Ask::say(FLASH, "hi");
    say().key(ALPHA).send(&emulator).await.assert_ok();
    Ask::say(&format!("{FLASH}?key={ALPHA}"), "hi")
        .send(&emulator)
        .await
        .assert_ok();
    say()
        .send(&emulator)
        .await
        .assert_error(403, "Method doesn't allow unregistered callers");
    say()
        .key("")
        .send(&emulator)
        .await
        .assert_error(403, "Method doesn't allow unregistered callers");
    say()
        .key("nobody-knows-it")
        .send(&emulator)
        .await
        .assert_error(400, "API key not valid");
    let two = "Multiple authentication credentials received. Please pass only one.";
    say()
        .key(ALPHA)
        .bearer(ALPHA)
        .send(&emulator)
        .await
        .assert_error(400, two);
    say()
        .key(ALPHA)
        .key(BETA)
        .send(&emulator)
        .await
        .assert_error(400, two);
    Ask::say(&format!("{FLASH}?key={ALPHA}"), "hi")
        .key(ALPHA)
        .send(&emulator)
        .await
        .assert_error(400, two);
    let bearer = say().bearer(ALPHA).send(&emulator).await;
    bearer.assert_error(
        401,
        "Request had invalid authentication credentials. Expected OAuth 2 access token",
    );
    assert_eq!(bearer.json()["error"].get("details"), None);
}

#[tokio::test]
async fn the_openai_surface_takes_a_bearer_and_nothing_else() {
    let emulator = start(two_projects()).await;
    let chat = || Ask::chat("hi", false);
    chat().bearer(ALPHA).send(&emulator).await.assert_ok();
    for refused in [chat(), chat().key(ALPHA)] {
        let answer = refused.send(&emulator).await;
        assert!(answer.json().is_array());
        answer.assert_error(400, "Missing or invalid Authorization header.");
    }
    chat()
        .key(ALPHA)
        .bearer(ALPHA)
        .send(&emulator)
        .await
        .assert_error(400, "Multiple authentication credentials");
    chat()
        .bearer("nobody-knows-it")
        .send(&emulator)
        .await
        .assert_error(400, "API key not valid");
}

#[tokio::test]
async fn a_bearer_only_key_works_as_a_bearer_on_every_surface() {
    let project = Project::new("alpha", [("AQ.made-up", KeyState::BearerOnly)]);
    let emulator = start(Config {
        projects: vec![project],
        ..Config::default()
    })
    .await;
    Ask::say(FLASH, "hi")
        .bearer("AQ.made-up")
        .send(&emulator)
        .await
        .assert_ok();
    Ask::chat("hi", false)
        .bearer("AQ.made-up")
        .send(&emulator)
        .await
        .assert_ok();
    Ask::say(&format!("{FLASH}?key=AQ.made-up"), "hi")
        .send(&emulator)
        .await
        .assert_error(401, "OAuth 2");
}

#[tokio::test]
async fn sloppy_paths_are_not_found_and_the_answer_is_a_page() {
    let emulator = start(two_projects()).await;
    for path in [
        "/models/gemini-2.5-flash:generateContent",
        "//v1beta/models/gemini-2.5-flash:generateContent",
        "/v1beta//models/gemini-2.5-flash:generateContent",
        "/v1beta/v1beta/models/gemini-2.5-flash:generateContent",
        "/v1beta/files",
        "/chat/completions",
        "/v1/chat/completions",
        "/",
    ] {
        let answer = Ask::say(path, "hi").key(ALPHA).send(&emulator).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (404, "text/html; charset=UTF-8"),
            "{path}"
        );
        assert!(answer.text().contains("That\u{2019}s all we know."));
    }
}

#[tokio::test]
async fn every_version_of_the_api_is_served() {
    let emulator = start(two_projects()).await;
    for version in ["v1", "v1beta", "v1alpha"] {
        let path = format!("/{version}/models/gemini-2.5-flash:generateContent");
        Ask::say(&path, "hi")
            .key(ALPHA)
            .send(&emulator)
            .await
            .assert_ok();
    }
}

#[tokio::test]
async fn a_model_that_is_not_there_is_not_found_and_some_projects_lack_some() {
    let config = Config {
        projects: vec![
            Project::new("alpha", [ALPHA]).models(&["gemini-2.5-flash"]),
            Project::new("beta", [BETA]).models(&["gemini-2.5-flash", "made-up-model"]),
        ],
        models: vec![serde_json::from_value::<Model>(json!({"name": "made-up-model"})).unwrap()],
        ..Config::default()
    };
    let emulator = start(config).await;
    let path = "/v1beta/models/made-up-model:generateContent";
    Ask::say(path, "hi")
        .key(BETA)
        .send(&emulator)
        .await
        .assert_ok();
    Ask::say(path, "hi").key(ALPHA).send(&emulator).await.assert_error(
        404,
        "models/made-up-model is not found for API version v1beta, or is not supported for generateContent. Call \
         ListModels to see the list of available models and their supported methods.",
    );
    let embed = "/v1beta/models/gemini-2.5-flash:embedContent";
    Ask::say(embed, "hi")
        .key(ALPHA)
        .send(&emulator)
        .await
        .assert_error(404, "not supported for embedContent");
    let chat = Ask::new("POST", CHAT).json(
        &json!({"model": "models/made-up-model", "messages": [{"role": "user", "content": "x"}]}),
    );
    chat.bearer(BETA).send(&emulator).await.assert_ok();
    let get = |key: &str| Ask::new("GET", "/v1beta/models/made-up-model").key(key);
    assert_eq!(
        get(BETA).send(&emulator).await.json()["name"],
        "models/made-up-model"
    );
    get(ALPHA).send(&emulator).await.assert_error(
        404,
        "Model is not found: models/made-up-model for api version v1beta",
    );
}

#[tokio::test]
async fn a_deadline_under_ten_seconds_is_refused() {
    let emulator = start(two_projects()).await;
    let say = |seconds: &str| {
        Ask::say(FLASH, "hi")
            .key(ALPHA)
            .header("x-server-timeout", seconds)
    };
    let short = "Manually set deadline 8s is too short. Minimum allowed deadline is 10s.";
    say("8").send(&emulator).await.assert_error(400, short);
    say("10").send(&emulator).await.assert_ok();
    say("600").send(&emulator).await.assert_ok();
}

#[tokio::test]
async fn what_is_no_request_is_refused_as_the_clients_mistake() {
    let emulator = start(two_projects()).await;
    let post = |body: &str| Ask::new("POST", FLASH).key(ALPHA).body(body.to_owned());
    post("{")
        .send(&emulator)
        .await
        .assert_error(400, "Invalid JSON payload received.");
    post("[]")
        .send(&emulator)
        .await
        .assert_error(400, "Invalid JSON payload received.");
    post("{}")
        .send(&emulator)
        .await
        .assert_error(400, "contents is not specified");
    post("")
        .send(&emulator)
        .await
        .assert_error(400, "contents is not specified");
    let role = post(r#"{"contents":[{"role":"assistant","parts":[{"text":"hi"}]}]}"#);
    role.send(&emulator)
        .await
        .assert_error(400, "Please use a valid role: user, model.");
    let query = Ask::say(&format!("{FLASH}?relay=1"), "hi").key(ALPHA);
    query
        .send(&emulator)
        .await
        .assert_error(400, "Unknown name \"relay\": Cannot bind query parameter.");
    let odd = Ask::say(&format!("{FLASH}?$alt=json;enum-encoding=int"), "hi").key(ALPHA);
    odd.send(&emulator).await.assert_ok();
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_refused() {
    let emulator = start(two_projects()).await;
    let answer = Ask::say(FLASH, "[[tokens:1048577]]")
        .key(ALPHA)
        .send(&emulator)
        .await;
    answer.assert_error(
        400,
        "The input token count exceeds the maximum number of tokens allowed 1048576.",
    );
}

#[tokio::test]
async fn refusals_have_the_shape_of_their_surface() {
    let emulator = start(two_projects()).await;
    let object = Ask::say(STREAM, "hi").send(&emulator).await;
    assert!(
        object
            .text()
            .starts_with("{\n  \"error\": {\n    \"code\": 403,\n    \"message\""),
        "{}",
        object.text()
    );
    let array = Ask::say(STREAM.trim_end_matches("?alt=sse"), "hi")
        .send(&emulator)
        .await;
    assert!(
        array.text().starts_with("[\n  {\n    \"error\""),
        "{}",
        array.text()
    );
    let interactions = Ask::new("POST", "/v1beta/interactions")
        .json(&json!({}))
        .send(&emulator)
        .await;
    assert_eq!(
        (interactions.status, &interactions.json()["error"]["code"]),
        (403, &json!("permission_denied"))
    );
    let interactions = Ask::new("GET", "/v1beta/interactions/x")
        .key(ALPHA)
        .send(&emulator)
        .await;
    assert_eq!(
        (interactions.status, &interactions.json()["error"]["code"]),
        (404, &json!("not_found"))
    );
}

#[tokio::test]
async fn a_thought_signature_opens_for_its_own_project_only() {
    let emulator = start(Config {
        signatures: true,
        ..two_projects()
    })
    .await;
    let model = "/v1beta/models/gemini-3-pro-preview:generateContent";
    let tools = json!([{"functionDeclarations": [{"name": "look", "parameters": {"type": "OBJECT", "properties": {"where": {"type": "STRING"}}}}]}]);
    let mut body =
        json!({"contents": [{"role": "user", "parts": [{"text": "[[call]]"}]}], "tools": tools});
    let first = Ask::new("POST", model)
        .key(ALPHA)
        .json(&body)
        .send(&emulator)
        .await
        .json();
    let content = &first["candidates"][0]["content"];
    assert_eq!(
        content["parts"][0]["functionCall"],
        json!({"name": "look", "args": {"where": "emulated"}})
    );
    let turns = body["contents"].as_array_mut().unwrap();
    turns.push(content.clone());
    turns.push(json!({"role": "user", "parts": [{"functionResponse": {"name": "look", "response": {"seen": 1}}}]}));
    let again = |body: &Value, key: &str| Ask::new("POST", model).key(key).json(body);
    again(&body, ALPHA).send(&emulator).await.assert_ok();
    again(&body, BETA)
        .send(&emulator)
        .await
        .assert_error(400, "Corrupted thought signature.");
    body["contents"][1]["parts"][0]["thoughtSignature"] = json!("skip_thought_signature_validator");
    again(&body, BETA).send(&emulator).await.assert_ok();
    body["contents"][1]["parts"][0]
        .as_object_mut()
        .unwrap()
        .remove("thoughtSignature");
    again(&body, ALPHA)
        .send(&emulator)
        .await
        .assert_error(400, "Function call is missing a thought_signature");
}
