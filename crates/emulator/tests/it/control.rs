//! The control API over HTTP.

use gemini_emulator::{Config, Metric, Project, Quota};
use serde_json::{Value, json};

use crate::support::{ALPHA, Ask, BETA, FLASH, start, two_projects, until};

async fn call(
    emulator: &gemini_emulator::Emulator,
    method: &str,
    path: &str,
    body: Value,
) -> (u16, Value) {
    let ask = Ask::new(method, &format!("/_emulator/{path}"));
    let answer = if body.is_null() { ask } else { ask.json(&body) }
        .send(emulator)
        .await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn what_was_received_can_be_read() {
    let emulator = start(two_projects()).await;
    Ask::say(&format!("{FLASH}?key={ALPHA}"), "remember me")
        .header("x-api-key", "left-behind")
        .send(&emulator)
        .await
        .assert_ok();
    Ask::say(FLASH, "hi").send(&emulator).await;
    until("both ends", || emulator.stats().open_requests == 0).await;
    let (_, answer) = call(&emulator, "GET", "requests", Value::Null).await;
    assert_eq!(answer["dropped"], 0);
    let (first, second) = (&answer["requests"][0], &answer["requests"][1]);
    assert_eq!(
        (&first["seq"], &first["method"], &first["path"]),
        (&json!(1), &json!("POST"), &json!(FLASH))
    );
    assert_eq!(first["query"], format!("key={ALPHA}"));
    assert_eq!(
        first["credentials"],
        json!([{"carrier": "key", "value": ALPHA}, {"carrier": "x-api-key", "value": "left-behind"}])
    );
    assert_eq!(
        (&first["project"], &first["model"]),
        (&json!("alpha"), &json!("gemini-2.5-flash"))
    );
    assert_eq!(
        (&first["kind"], &first["status"], &first["outcome"]),
        (&json!("generate"), &json!(200), &json!("served"))
    );
    assert!(first["body"].as_str().unwrap().contains("remember me"));
    assert_eq!(
        first["body_bytes"].as_u64().unwrap(),
        first["body"].as_str().unwrap().len() as u64
    );
    assert!(
        first["headers"]
            .as_array()
            .unwrap()
            .contains(&json!(["content-type", "application/json"]))
    );
    assert_eq!(
        (&second["project"], &second["outcome"]),
        (&Value::Null, &json!("refused"))
    );

    let (_, stats) = call(&emulator, "GET", "stats", Value::Null).await;
    assert_eq!(
        (&stats["served"], &stats["refused"], &stats["connections"]),
        (&json!(1), &json!(1), &json!(2))
    );
    assert_eq!(
        stats["by_key"][ALPHA],
        json!({"requests": 1, "served": 1, "refused": 0})
    );
    call(&emulator, "DELETE", "requests", Value::Null).await;
    let (_, answer) = call(&emulator, "GET", "requests", Value::Null).await;
    assert_eq!(answer["requests"], json!([]));
}

#[tokio::test]
async fn long_bodies_are_kept_in_part() {
    let emulator = start(two_projects()).await;
    Ask::say(FLASH, &"x".repeat(100_000))
        .key(ALPHA)
        .send(&emulator)
        .await
        .assert_ok();
    let request = &emulator.requests()[0];
    assert_eq!(request.body.len(), 64 << 10);
    assert!(request.body_bytes > 100_000);
}

#[tokio::test]
async fn keys_change_while_it_runs() {
    let emulator = start(two_projects()).await;
    let say = |key: &str| Ask::say(FLASH, "hi").key(key);
    assert_eq!(
        call(
            &emulator,
            "POST",
            "keys",
            json!({"value": "made-up-new", "project": "beta"})
        )
        .await
        .0,
        200
    );
    say("made-up-new").send(&emulator).await.assert_ok();
    assert_eq!(
        call(
            &emulator,
            "POST",
            "keys",
            json!({"value": ALPHA, "state": "leaked"})
        )
        .await
        .0,
        200
    );
    say(ALPHA).send(&emulator).await.assert_error(403, "leaked");
    let (_, state) = call(&emulator, "GET", "state", Value::Null).await;
    assert_eq!(
        state["projects"][0]["keys"],
        json!([{"value": ALPHA, "state": "leaked"}])
    );
    let (status, why) = call(
        &emulator,
        "POST",
        "keys",
        json!({"value": "x", "project": "gamma"}),
    )
    .await;
    assert_eq!(
        (status, why["error"].as_str().unwrap()),
        (400, "there is no project \"gamma\"")
    );
    assert_eq!(
        call(
            &emulator,
            "POST",
            "keys",
            json!({"value": ALPHA, "state": "tired"})
        )
        .await
        .0,
        400
    );
}

#[tokio::test]
async fn the_clock_moves_and_use_is_shown() {
    let quota = Quota::new("*", Metric::RequestsPerMinute, 5);
    let projects = vec![Project::new("alpha", [ALPHA]).quota(quota)];
    let emulator = start(Config {
        projects,
        ..Config::default()
    })
    .await;
    Ask::say(FLASH, "hi")
        .key(ALPHA)
        .send(&emulator)
        .await
        .assert_ok();
    let used = async || {
        call(&emulator, "GET", "state", Value::Null).await.1["projects"][0]["quotas"][0]["used"]
            .clone()
    };
    assert_eq!(used().await, json!({"gemini-2.5-flash": 1}));
    let before = emulator.now_ms();
    let (_, clock) = call(&emulator, "POST", "clock", json!({"advance_ms": 60_000})).await;
    assert!(clock["clock_ms"].as_u64().unwrap() >= before + 60_000);
    assert_eq!(used().await, json!({"gemini-2.5-flash": 0}));
}

#[tokio::test]
async fn faults_are_set_and_forgotten() {
    let emulator = start(two_projects()).await;
    let fault = json!({"match": {"key": BETA}, "count": 2, "fault": {"error": "high_demand"}});
    let (status, answer) = call(&emulator, "POST", "faults", fault.clone()).await;
    assert_eq!((status, &answer["id"]), (200, &json!(1)));
    Ask::say(FLASH, "hi")
        .key(ALPHA)
        .send(&emulator)
        .await
        .assert_ok();
    Ask::say(FLASH, "hi")
        .key(BETA)
        .send(&emulator)
        .await
        .assert_error(503, "high demand");
    assert_eq!(
        call(&emulator, "GET", "state", Value::Null).await.1["faults"],
        json!([{"id": 1, "count": 1}])
    );
    call(&emulator, "DELETE", "faults", Value::Null).await;
    Ask::say(FLASH, "hi")
        .key(BETA)
        .send(&emulator)
        .await
        .assert_ok();
    let (status, why) = call(
        &emulator,
        "POST",
        "faults",
        json!({"fault": {"error": "nothing_like_it"}}),
    )
    .await;
    assert!(
        status == 400 && why["error"].as_str().unwrap().contains("overloaded"),
        "{why}"
    );
    assert_eq!(
        call(
            &emulator,
            "POST",
            "faults",
            json!({"match": {"colour": "red"}, "fault": {"empty": true}})
        )
        .await
        .0,
        400
    );
}

#[tokio::test]
async fn the_configuration_is_replaced_as_toml_or_as_json() {
    let emulator = start(two_projects()).await;
    let put = |body: String| Ask::new("PUT", "/_emulator/config").body(body);
    let toml = "chunks = 3\n[[projects]]\nname = \"gamma\"\nkeys = [\"made-up-gamma\"]\n";
    put(toml.to_owned()).send(&emulator).await.assert_ok();
    Ask::say(FLASH, "hi")
        .key("made-up-gamma")
        .send(&emulator)
        .await
        .assert_ok();
    Ask::say(FLASH, "hi")
        .key(ALPHA)
        .send(&emulator)
        .await
        .assert_error(400, "API key not valid");
    put(json!({"projects": [{"name": "delta", "keys": ["made-up-delta"]}]}).to_string())
        .send(&emulator)
        .await
        .assert_ok();
    Ask::say(FLASH, "hi")
        .key("made-up-delta")
        .send(&emulator)
        .await
        .assert_ok();
    let bad = put("chunks = 0".to_owned()).send(&emulator).await;
    assert_eq!(
        (bad.status, &bad.json()["error"]),
        (400, &json!("chunks and words_per_chunk are at least 1"))
    );
    Ask::say(FLASH, "hi")
        .key("made-up-delta")
        .send(&emulator)
        .await
        .assert_ok();
}

#[tokio::test]
async fn a_call_that_is_not_there_says_which_are() {
    let emulator = start(two_projects()).await;
    let (status, why) = call(&emulator, "GET", "config", Value::Null).await;
    assert!(
        status == 404 && why["error"].as_str().unwrap().contains("PUT config"),
        "{why}"
    );
}
