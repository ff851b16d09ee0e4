//! What any relay must do, whatever it runs on.
//!
//! A scenario gets a [`Target`]: a base URL, and the emulator behind it. It knows nothing of this
//! process, so the same list can be run against a relay somewhere else, started with the same keys and
//! options. Each is run against a fresh [`Subject`]: this binary's relay, or the Worker.

mod bodies;
mod choosing;
mod errors;
mod hanging_up;
mod letting_in;
mod samples;
mod streams;
mod subject;
mod trouble;

use super::stand::{RunsOn, Target, projects};
use gemini_emulator::{Config, Metric, Project, Quota};
use subject::Subject;

/// `scenario: the pool, the options`.
macro_rules! scenarios {
    ($($module:ident::$name:ident: $pool:expr, $options:expr;)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                let options: &[(&str, &str)] = $options;
                let subject = Subject::start($pool, options).await;
                $module::$name(&subject.target).await;
            }
        )*
    };
}

scenarios! {
    choosing::rotation_is_even_over_projects_and_then_over_their_keys: uneven(), &[];
    choosing::rotation_is_even_when_many_ask_at_once: projects(3), &[];
    choosing::a_conversation_stays_with_its_project: projects(3), &[];
    choosing::a_suspended_key_is_found_out_once_and_never_quoted: projects(3), &[];
    letting_in::a_method_that_echoes_headers_is_not_passed_on: projects(1), &[];
    trouble::a_header_of_a_good_answer_quotes_no_key: projects(1), &[];
    choosing::every_kind_of_dead_key_is_walked_past: dead_ends(), &[];
    choosing::a_model_that_one_project_lacks_is_served_by_another: one_lacks_a_model(), &[];
    choosing::a_key_of_the_bearer_kind_is_served_and_its_carrier_remembered: projects(1), &[];

    errors::a_dry_minute_is_waited_for: short_minute(), &[];
    errors::those_who_wait_are_all_served: short_minute(), &[];
    errors::a_dry_pool_says_when_it_is_back: quota_of(2, Metric::RequestsPerMinute, 1), IMPATIENT;
    errors::a_dry_day_says_so_to_every_dialect: quota_of(2, Metric::RequestsPerDay, 1), IMPATIENT;
    errors::one_more_than_may_wait_is_told_at_once: quota_of(1, Metric::RequestsPerMinute, 1), &[("MAX_WAIT", "5m"), ("MAX_WAITING", "2")];
    errors::a_request_walks_no_further_than_it_may: projects(5), &[("ATTEMPTS", "2")];
    errors::a_pool_of_dead_keys_is_503_and_counts_them: projects(3), &[];
    errors::a_model_nobody_has_a_tier_for_is_429_with_limit_zero: quota_of(2, Metric::RequestsPerDay, 0), IMPATIENT;
    errors::a_clients_own_mistake_comes_back_as_it_came_and_costs_no_key: projects(3), &[];
    errors::a_refusal_stands_if_whoever_is_asked_next_has_no_say: projects(3), IMPATIENT;
    errors::a_refusal_at_the_beginning_of_a_stream_stands_too: projects(2), IMPATIENT;
    errors::words_that_google_quotes_back_harm_no_key: projects(2), IMPATIENT;
    errors::a_compressed_error_is_judged_and_passed_on_plain: projects(2), IMPATIENT;

    streams::events_are_the_bytes_that_google_sent: projects(2), &[];
    streams::an_array_is_the_bytes_that_google_sent: projects(2), &[];
    streams::an_openai_stream_is_the_bytes_that_google_sent: projects(2), &[];
    streams::an_answer_is_the_bytes_that_google_sent: projects(2), &[];
    streams::an_event_arrives_while_google_still_speaks: projects(1), &[];
    streams::a_picture_of_forty_megabytes_goes_through: projects(1), &[];

    trouble::an_error_at_the_beginning_of_a_stream_is_tried_again: projects(2), &[];
    trouble::an_error_inside_a_stream_is_passed_on_and_not_repeated: projects(2), &[];
    trouble::a_suspension_inside_a_stream_quotes_no_key: projects(2), &[];
    trouble::a_suspension_at_the_beginning_of_the_only_keys_stream_quotes_no_key: projects(1), IMPATIENT;
    trouble::a_stream_that_stops_short_is_cut: projects(2), &[];
    trouble::a_short_stream_without_an_end_is_asked_for_once_more: projects(2), &[];
    trouble::no_other_pages_may_read_an_answer_than_the_relays: projects(1), &[];
    trouble::a_reset_before_the_answer_is_tried_again: projects(2), &[];
    trouble::a_reset_after_an_unknown_post_is_not: projects(2), &[];
    trouble::a_reset_inside_a_stream_cuts_the_client: projects(2), &[];
    trouble::an_empty_answer_is_asked_for_once_more: projects(2), &[];
    trouble::an_overloaded_model_is_not_walked_through_the_pool: projects(8), &[];
    trouble::an_egress_ban_costs_no_key_and_no_walk: projects(8), IMPATIENT;

    hanging_up::a_client_that_leaves_a_stream_ends_it_upstream: projects(1), &[];
    hanging_up::a_client_that_leaves_in_silence_ends_it_upstream: projects(1), &[];
    hanging_up::a_client_that_leaves_the_queue_is_never_sent: quota_of(1, Metric::RequestsPerMinute, 1), &[("MAX_WAIT", "5m")];

    letting_in::a_token_is_taken_wherever_clients_put_it_and_never_passed_on: projects(1), TOKENS;
    letting_in::a_wrong_token_is_401_in_each_dialect: projects(1), TOKENS;
    letting_in::a_token_where_a_models_name_belongs_is_400: projects(1), TOKENS;
    letting_in::sloppy_paths_all_mean_one_thing: projects(1), &[];
    letting_in::a_path_with_dots_is_400_in_each_dialect: projects(1), &[];
    letting_in::a_base_path_is_taken_off: projects(1), &[("BASE_PATH", "/deep/er")];
    letting_in::answers_say_which_key_and_how_often: projects(2), &[];
    letting_in::answers_say_nothing_when_told_not_to: projects(2), &[("RESPONSE_HEADERS", "off")];

    bodies::embeddings_counts_and_lists_go_through: projects(2), &[];
    bodies::a_path_nobody_knows_is_passed_on: projects(1), &[];
    bodies::a_body_without_a_length_is_sent_again_whole: projects(2), &[];
}

const IMPATIENT: &[(&str, &str)] = &[("MAX_WAIT", "0")];

const TOKENS: &[(&str, &str)] = &[(
    "TOKENS",
    "alice=a-clients-own-token bob=another-clients-token",
)];

fn uneven() -> Config {
    Config {
        projects: vec![
            Project::new("alpha", ["made-up-key-a1", "made-up-key-a2"]),
            Project::new("beta", ["made-up-key-b1"]),
            Project::new("gamma", ["made-up-key-c1"]),
        ],
        ..Config::default()
    }
}

fn dead_ends() -> Config {
    use gemini_emulator::KeyState::*;
    let states = [
        Invalid,
        NotFound,
        Expired,
        Leaked,
        Suspended,
        ServiceDisabled,
        ServiceBlocked,
        ProjectDenied,
        RefererBlocked,
        TokenTypeUnsupported,
        Alive,
    ];
    Config {
        projects: states
            .into_iter()
            .enumerate()
            .map(|(at, state)| {
                let key = super::stand::key(at);
                Project::new(&format!("project-{at}"), [(key.as_str(), state)])
            })
            .collect(),
        ..Config::default()
    }
}

fn one_lacks_a_model() -> Config {
    let mut config = projects(2);
    config.projects[0].models = Some(vec!["gemini-2.0-flash".into()]);
    config
}

fn quota_of(count: usize, metric: Metric, limit: u64) -> Config {
    let mut config = projects(count);
    for project in &mut config.projects {
        project.quotas.push(Quota::new("*", metric, limit));
    }
    config
}

fn short_minute() -> Config {
    Config {
        minute_seconds: 1.0,
        ..quota_of(1, Metric::RequestsPerMinute, 2)
    }
}
