//! What Google says of a key, and of how it was sent.

use http::StatusCode;
use serde_json::json;

use super::{About, Refusal, SERVICE};
use crate::config::KeyState;

/// The refusal that a key's state earns it; `None`: the key is good, wherever Google takes it.
pub(crate) fn for_state(state: KeyState, about: &About) -> Option<Refusal> {
    Some(match state {
        KeyState::Alive | KeyState::BearerOnly => return None,
        KeyState::Invalid => dead_key("API key not valid. Please pass a valid API key."),
        KeyState::NotFound => dead_key("API Key not found. Please pass a valid API key."),
        KeyState::Expired => dead_key("API key expired. Please renew the API key."),
        KeyState::Leaked => {
            denied("Your API key was reported as leaked. Please use another API key.")
        }
        KeyState::Suspended => suspended(about),
        KeyState::ServiceDisabled => service_disabled(about),
        KeyState::ServiceBlocked => service_blocked(about),
        KeyState::ProjectDenied => {
            denied("Your project has been denied access. Please contact support.")
        }
        KeyState::RefererBlocked => referer_blocked(about),
        KeyState::TokenTypeUnsupported => token_type_unsupported(about),
    })
}

pub(super) fn denied(message: &str) -> Refusal {
    Refusal::new(403, "PERMISSION_DENIED", message)
}

fn dead_key(message: &str) -> Refusal {
    Refusal::invalid(message)
        .with(json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
            "metadata": {"service": SERVICE},
        }))
        .localized()
}

/// The one body that quotes the key, three times.
fn suspended(about: &About) -> Refusal {
    denied(&format!(
        "Permission denied: Consumer 'api_key:{}' has been suspended.",
        about.key
    ))
    .with(json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "CONSUMER_SUSPENDED",
        "domain": "googleapis.com",
        "metadata": {
            "consumer": format!("projects/{}", about.project_number),
            "service": SERVICE,
            "containerInfo": format!("api_key:{}", about.key),
        },
    }))
    .localized()
}

fn service_disabled(about: &About) -> Refusal {
    let number = about.project_number;
    let url = format!(
        "https://console.developers.google.com/apis/api/{SERVICE}/overview?project={number}"
    );
    denied(&format!(
        "Generative Language API has not been used in project {number} before or it is disabled. Enable it by visiting \
         {url} then retry. If you enabled this API recently, wait a few minutes for the action to propagate to our \
         systems and retry."
    ))
    .with(json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "SERVICE_DISABLED",
        "domain": "googleapis.com",
        "metadata": {
            "service": SERVICE,
            "serviceTitle": "Generative Language API",
            "consumer": format!("projects/{number}"),
            "containerInfo": number.to_string(),
            "activationUrl": url,
        },
    }))
    .localized()
    .with(json!({
        "@type": "type.googleapis.com/google.rpc.Help",
        "links": [{"description": "Google developers console API activation", "url": url}],
    }))
}

fn service_blocked(about: &About) -> Refusal {
    let method = about.grpc_method();
    denied(&format!(
        "Requests to this API {SERVICE} method {method} are blocked."
    ))
    .with(json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "API_KEY_SERVICE_BLOCKED",
        "domain": "googleapis.com",
        "metadata": {
            "consumer": format!("projects/{}", about.project_number),
            "service": SERVICE,
            "apiName": SERVICE,
            "methodName": method,
        },
    }))
    .localized()
}

fn referer_blocked(about: &About) -> Refusal {
    denied("Requests from referer <empty> are blocked.")
        .with(json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "API_KEY_HTTP_REFERRER_BLOCKED",
            "domain": "googleapis.com",
            "metadata": {
                "consumer": format!("projects/{}", about.project_number),
                "service": SERVICE,
                "httpReferrer": "<empty>",
            },
        }))
        .localized()
}

pub(crate) fn token_type_unsupported(about: &About) -> Refusal {
    expected_oauth().with(json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "ACCESS_TOKEN_TYPE_UNSUPPORTED",
        "metadata": {"service": SERVICE, "method": about.grpc_method()},
    }))
}

pub(crate) fn expected_oauth() -> Refusal {
    Refusal::new(
        401,
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid \
         authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
    )
}

pub(crate) fn missing_key() -> Refusal {
    denied(
        "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other \
         form of API consumer identity to call this API.",
    )
}

pub(crate) fn missing_authorization() -> Refusal {
    Refusal::invalid("Missing or invalid Authorization header.")
}

pub(crate) fn multiple_credentials() -> Refusal {
    Refusal::invalid("Multiple authentication credentials received. Please pass only one.")
}

/// What Google's front end shows an address that it takes for a robot's.
pub(super) fn robot_page() -> Refusal {
    Refusal::Page {
        http: StatusCode::FORBIDDEN,
        text: "<html><head><meta http-equiv=\"content-type\" content=\"text/html; charset=utf-8\"/>\
               <title>Sorry...</title></head><body><h1>We're sorry...</h1><p>Sorry... We're sorry but your computer or \
               network may be sending automated queries. To protect our users, we can't process your request right \
               now.</p></body></html>\n"
            .to_owned(),
    }
}
