//! Status, headers and body of every error.

use http::HeaderValue;
use http::StatusCode;
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER};

use super::*;
use crate::edge::http::request::MethodSet;
use crate::edge::http::request_id::X_REQUEST_ID;
use crate::edge::http::response::tests::text;
use crate::edge::http::response::to_json;

fn id(text: &'static str) -> HeaderValue {
    HeaderValue::from_static(text)
}

fn all_rejections() -> Vec<(Rejection, u16)> {
    vec![
        (Rejection::BadRequest("why".into()), 400),
        (Rejection::Unauthorized(Realm::Control), 403),
        (Rejection::Unauthorized(Realm::Plugin), 403),
        (Rejection::KeyRequired, 401),
        (Rejection::ControlRefused, 403),
        (Rejection::PreflightRefused("why".into()), 403),
        (Rejection::Unreadable, 403),
        (Rejection::NotFound, 404),
        (Rejection::MethodNotAllowed { allow: MethodSet::DEFAULT }, 405),
        (Rejection::BodyTimeout, 408),
        (Rejection::PreconditionFailed, 412),
        (Rejection::BodyTooLarge { limit: 10 }, 413),
        (Rejection::UnsupportedCoding, 415),
        (Rejection::RangeNotSatisfiable { size: 3 }, 416),
        (Rejection::RateExceeded { policy: "client", quota: 10, window: 1, retry_after: 1 }, 429),
        (Rejection::TooManyWrongKeys { retry_after: 60 }, 429),
        (Rejection::Misdirected, 421),
        (Rejection::FileUnavailable, 503),
        (Rejection::Overloaded, 503),
        (Rejection::ShuttingDown, 503),
    ]
}

#[test]
fn every_rejection_has_its_status_a_content_type_the_request_id_and_an_error_text() {
    for (rejection, status) in all_rejections() {
        let response = rejection.respond(id("id-1"), false);
        assert_eq!(response.status(), status, "{rejection:?}");
        assert_eq!(response.headers()[X_REQUEST_ID], "id-1");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json; charset=utf-8");
        let spelled = to_json(&serde_json::json!({ "error": rejection.to_string() })).unwrap();
        assert_eq!(text(response).as_bytes(), spelled);
    }
}

#[test]
fn a_missing_key_has_the_body_of_pluginserver() {
    assert_eq!(text(Rejection::Unauthorized(Realm::Plugin).respond(id("i"), false)), r#"{"error": "unauthorized"}"#);
}

#[test]
fn a_wrong_method_is_told_the_right_ones() {
    let response = Rejection::MethodNotAllowed { allow: MethodSet::DEFAULT }.respond(id("i"), false);
    assert_eq!(response.headers()[ALLOW], "GET, HEAD, POST, OPTIONS");
}

#[test]
fn a_refusal_for_lack_of_room_says_when_to_come_again() {
    for rejection in [Rejection::Overloaded, Rejection::ShuttingDown, Rejection::FileUnavailable] {
        assert_eq!(rejection.respond(id("i"), false).headers()[RETRY_AFTER], "1");
    }
}

#[test]
fn a_refusal_for_a_rate_names_the_rate_and_when_to_come_again() {
    let response =
        Rejection::RateExceeded { policy: "key", quota: 600, window: 60, retry_after: 7 }.respond(id("i"), false);
    assert_eq!(response.headers()[RETRY_AFTER], "7");
    assert_eq!(response.headers()["ratelimit"], "\"key\";r=0;t=7");
    assert_eq!(response.headers()["ratelimit-policy"], "\"key\";q=600;w=60");
    let response = Rejection::TooManyWrongKeys { retry_after: 60 }.respond(id("i"), false);
    assert_eq!(response.headers()[RETRY_AFTER], "60");
}

#[test]
fn a_challenge_asks_for_a_bearer_token() {
    assert_eq!(Rejection::KeyRequired.respond(id("i"), true).headers()["www-authenticate"], "Bearer");
}

#[test]
fn a_range_behind_the_end_is_told_the_size() {
    let response = Rejection::RangeNotSatisfiable { size: 3 }.respond(id("i"), false);
    assert_eq!(response.headers()[CONTENT_RANGE], "bytes */3");
}

#[test]
fn an_unknown_coding_is_told_the_known_ones() {
    assert_eq!(
        Rejection::UnsupportedCoding.respond(id("i"), false).headers()[ACCEPT_ENCODING],
        "gzip, deflate, br, zstd"
    );
}

#[test]
fn an_exception_keeps_the_body_of_pluginserver_and_names_the_request() {
    let failure = Failure::Exception { type_name: "ValueError".into(), message: "é".into() };
    let response = failure.respond(id("id-1"), false);
    assert_eq!(response.status(), 500);
    assert_eq!(
        text(response),
        concat!(
            r#"{"status": "exception", "type": "ValueError", "#,
            r#""message": "ValueError exception handling request: \u00e9", "request_id": "id-1"}"#
        )
    );
}

#[test]
fn a_bad_result_and_a_missing_handler_name_the_request() {
    let shown = text(Failure::BadResult { reason: "no".into() }.respond(id("i"), false));
    assert_eq!(shown, r#"{"error": "the plugin's answer cannot be sent: no", "request_id": "i"}"#);
    let response = Failure::NoHandler { hint: "define one".into() }.respond(id("i"), false);
    assert_eq!((response.status().as_u16(), response.headers()[X_REQUEST_ID].as_bytes()), (500, &b"i"[..]));
}

#[test]
fn a_body_that_json_cannot_express_is_a_500_that_names_the_request() {
    let odd = std::collections::BTreeMap::from([(vec![1], 1)]);
    let response = answer::answer(StatusCode::OK, &odd, id("id-1"));
    assert_eq!((response.status().as_u16(), &response.headers()[X_REQUEST_ID]), (500, &id("id-1")));
    assert_eq!(text(response), r#"{"error": "the server cannot express its answer as JSON"}"#);
}

#[test]
fn legacy_status_is_200_only_where_pluginserver_answered_200() {
    for (rejection, status) in all_rejections() {
        let legacy = if rejection == Rejection::Unauthorized(Realm::Plugin) { 200 } else { status };
        assert_eq!(rejection.respond(id("i"), true).status(), legacy, "{rejection:?}");
    }
    let exception = Failure::Exception { type_name: "E".into(), message: String::new() };
    assert_eq!(exception.respond(id("i"), true).status(), 200);
    assert_eq!(Failure::NoHandler { hint: String::new() }.respond(id("i"), true).status(), 200);
    assert_eq!(Failure::BadResult { reason: String::new() }.respond(id("i"), true).status(), 500);
}

#[test]
fn an_endpoint_of_the_server_that_fails_names_the_request() {
    let plugin = Some("a");
    for (error, status, body) in [
        (ControlError::UnknownPlugin("a"), 404, r#"{"error": "Plugin \"a\" not found"}"#),
        (
            ControlError::ReloadFailed { plugin, reasons: &["why".to_owned()], loaded_plugins: &["b".to_owned()] },
            500,
            r#"{"error": "Failed to reload plugin a", "reasons": ["why"], "loaded_plugins": ["b"]}"#,
        ),
        (ControlError::ReloadInterrupted, 503, r#"{"error": "the server is shutting down"}"#),
        (
            ControlError::UpgradeUnderWay,
            503,
            r#"{"error": "a new process is taking over; reload again when it serves"}"#,
        ),
        (
            ControlError::UpgradeFailed { reasons: &["why".to_owned()] },
            500,
            r#"{"error": "the upgrade failed; the server goes on as before", "reasons": ["why"]}"#,
        ),
        (ControlError::NotReady, 503, r#"{"status": "stopping"}"#),
    ] {
        let response = error.respond(id("id-1"));
        assert_eq!((response.status().as_u16(), &response.headers()[X_REQUEST_ID]), (status, &id("id-1")));
        assert_eq!(response.headers().contains_key(RETRY_AFTER), status == 503, "{error:?}");
        assert_eq!(text(response), body);
    }
}
