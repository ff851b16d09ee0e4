//! Where requests go out when Google does not serve the place where this runs.

use super::*;

const NOWHERE: &str = r#"{"error":{"code":400,"message":"User location is not supported for the API use.","status":"FAILED_PRECONDITION"}}"#;

#[test]
fn another_region_is_tried_before_a_key_and_each_only_once() {
    let mut stand = Stand::new(r#","GEMINI_RELAY_EGRESS_REGION":"wnam weur""#);
    let (handle, mut said) = stand.sent(PATH);
    let mut went = Vec::new();
    while let Said::Send {
        region, headers, ..
    } = &said
    {
        went.push((
            region.clone().unwrap_or_default(),
            headers["x-goog-api-key"].to_str().unwrap().to_owned(),
        ));
        stand.engine.answered(handle, 400, "", NOW);
        said = stand.engine.error(handle, NOWHERE.into(), true, NOW);
    }
    let regions: Vec<&str> = went.iter().map(|(region, _)| &**region).collect();
    assert_eq!(regions, ["", "wnam", "weur"]);
    assert!(went.iter().all(|(_, key)| key == "made-up-key-0"));
    assert_eq!(answer(said).0.as_u16(), 400);
    assert_eq!(
        stand.engine.waiting(SOON),
        0,
        "nothing is held against a key"
    );
}

#[test]
fn a_region_that_another_request_found_is_tried_before_giving_up() {
    let mut stand = Stand::new(r#","GEMINI_RELAY_EGRESS_REGION":"wnam weur""#);
    let handles: Vec<u32> = (0..5).map(|_| stand.sent(PATH).0).collect();
    let region = |said: &Said| match said {
        Said::Send { region, .. } => region.clone(),
        said => panic!("{said:?}"),
    };
    // All were sent from here and all are refused; only the first region serves.
    for handle in handles {
        stand.engine.answered(handle, 400, "", NOW);
        let said = stand.engine.error(handle, NOWHERE.into(), true, NOW);
        assert_eq!(region(&said).as_deref(), Some("wnam"));
    }
}

#[test]
fn regions_of_which_none_is_served_are_named_once_and_left_alone_for_a_minute() {
    let mut stand = Stand::new(r#","GEMINI_RELAY_EGRESS_REGION":"wnam weur""#);
    let mut asked = |now: Time| {
        let (handle, mut said) = stand.sent(PATH);
        // The stand's clock does not move; the answers' does.
        let mut regions = Vec::new();
        while let Said::Send { region, .. } = &said {
            regions.push(region.clone().unwrap_or_default());
            stand.engine.answered(handle, 400, "", now);
            said = stand.engine.error(handle, NOWHERE.into(), true, now);
        }
        (regions, stand.lines())
    };
    let (regions, lines) = asked(NOW);
    assert_eq!(regions, ["", "wnam", "weur"]);
    assert!(lines.contains("nor wnam, weur,"), "{lines}");
    let (regions, lines) = asked(SOON);
    assert_eq!(regions, [""]);
    assert!(
        !lines.contains("ERROR") && !lines.contains("go out from"),
        "{lines}"
    );
    let (regions, lines) = asked(NOW + Duration::from_secs(61));
    assert_eq!(regions, ["", "wnam", "weur"]);
    assert!(lines.contains("nor wnam, weur,"), "{lines}");
}

#[test]
fn a_body_that_can_be_sent_once_leaves_the_next_region_to_others() {
    let mut stand = Stand::new(r#","GEMINI_RELAY_EGRESS_REGION":"wnam""#);
    let handle = stand.begin(PATH);
    stand
        .engine
        .body(handle, HELLO.as_bytes(), HELLO.len(), false, NOW);
    stand.engine.planned(handle, "", NOW);
    stand.engine.answered(handle, 400, "", NOW);
    answer(stand.engine.error(handle, NOWHERE.into(), true, NOW));
    let lines = stand.lines();
    assert!(
        lines.contains("region=wnam") && !lines.contains("ERROR"),
        "{lines}"
    );
    let (_, said) = stand.sent(PATH);
    assert!(
        matches!(&said, Said::Send { region, .. } if region.as_deref() == Some("wnam")),
        "{said:?}"
    );
}
