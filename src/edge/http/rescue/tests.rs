//! Status, headers and body of every error.

use http::header::{ACCEPT, ACCEPT_ENCODING, ALLOW, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;

use super::*;
use crate::edge::http::request::MethodSet;
use crate::edge::http::request_id::{RequestId, X_REQUEST_ID};
use crate::edge::http::response::tests::text;
use crate::edge::http::response::to_json;

fn format(id: &'static str) -> ErrorFormat {
    let headers = HeaderMap::from_iter([(X_REQUEST_ID, HeaderValue::from_static(id))]);
    ErrorFormat::of(&RequestId::from_headers(&headers), &headers)
}

fn problem() -> ErrorFormat {
    let headers = [(X_REQUEST_ID, "id-1"), (ACCEPT, "application/problem+json")];
    let headers = HeaderMap::from_iter(headers.map(|(name, value)| (name, HeaderValue::from_static(value))));
    ErrorFormat::of(&RequestId::from_headers(&headers), &headers)
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
        let response = rejection.respond(&format("id-1"), false);
        assert_eq!(response.status(), status, "{rejection:?}");
        assert_eq!(response.headers()[X_REQUEST_ID], "id-1");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json; charset=utf-8");
        let (error, code) = (rejection.to_string(), rejection.code().as_str());
        let spelled = to_json(&json!({ "error": error, "code": code, "request_id": "id-1" })).unwrap();
        assert_eq!(text(response).as_bytes(), spelled);
    }
}

#[test]
fn a_missing_key_has_the_error_of_pluginserver() {
    assert_eq!(
        text(Rejection::Unauthorized(Realm::Plugin).respond(&format("i"), false)),
        r#"{"error": "unauthorized", "code": "unauthorized", "request_id": "i"}"#
    );
}

#[test]
fn a_wrong_method_is_told_the_right_ones() {
    let response = Rejection::MethodNotAllowed { allow: MethodSet::DEFAULT }.respond(&format("i"), false);
    assert_eq!(response.headers()[ALLOW], "GET, HEAD, POST, OPTIONS");
}

#[test]
fn a_refusal_for_lack_of_room_says_when_to_come_again() {
    for rejection in [Rejection::Overloaded, Rejection::ShuttingDown, Rejection::FileUnavailable] {
        assert_eq!(rejection.respond(&format("i"), false).headers()[RETRY_AFTER], "1");
    }
}

#[test]
fn a_refusal_for_a_rate_names_the_rate_and_when_to_come_again() {
    let response =
        Rejection::RateExceeded { policy: "key", quota: 600, window: 60, retry_after: 7 }.respond(&format("i"), false);
    assert_eq!(response.headers()[RETRY_AFTER], "7");
    assert_eq!(response.headers()["ratelimit"], "\"key\";r=0;t=7");
    assert_eq!(response.headers()["ratelimit-policy"], "\"key\";q=600;w=60");
    let response = Rejection::TooManyWrongKeys { retry_after: 60 }.respond(&format("i"), false);
    assert_eq!(response.headers()[RETRY_AFTER], "60");
}

#[test]
fn a_challenge_asks_for_a_bearer_token() {
    assert_eq!(Rejection::KeyRequired.respond(&format("i"), true).headers()["www-authenticate"], "Bearer");
}

#[test]
fn a_range_behind_the_end_is_told_the_size() {
    let response = Rejection::RangeNotSatisfiable { size: 3 }.respond(&format("i"), false);
    assert_eq!(response.headers()[CONTENT_RANGE], "bytes */3");
}

#[test]
fn an_unknown_coding_is_told_the_known_ones() {
    assert_eq!(
        Rejection::UnsupportedCoding.respond(&format("i"), false).headers()[ACCEPT_ENCODING],
        "gzip, deflate, br, zstd"
    );
}

#[test]
fn an_exception_keeps_the_body_of_pluginserver_and_names_the_request() {
    let failure = Failure::Exception { type_name: "ValueError".into(), message: "é".into() };
    let response = failure.respond(&format("id-1"), false, true);
    assert_eq!(response.status(), 500);
    assert_eq!(
        text(response),
        concat!(
            r#"{"status": "exception", "type": "ValueError", "#,
            r#""message": "ValueError exception handling request: \u00e9", "#,
            r#""error": "ValueError exception handling request: \u00e9", "code": "exception", "request_id": "id-1"}"#
        )
    );
}

#[test]
fn a_bad_result_and_a_missing_handler_name_the_request() {
    let shown = text(Failure::BadResult { reason: "no".into() }.respond(&format("i"), false, true));
    assert_eq!(
        shown,
        r#"{"error": "the plugin's answer cannot be sent: no", "code": "bad_result", "request_id": "i"}"#
    );
    let response = Failure::NoHandler { hint: "define one".into() }.respond(&format("i"), false, true);
    assert_eq!((response.status().as_u16(), response.headers()[X_REQUEST_ID].as_bytes()), (500, &b"i"[..]));
}

#[test]
fn a_body_that_json_cannot_express_is_a_500_that_names_the_request() {
    let error = to_json(&std::collections::BTreeMap::from([(vec![1], 1)])).unwrap_err();
    let response = unwritable(&error, &format("id-1"));
    assert_eq!((response.status().as_u16(), response.headers()[X_REQUEST_ID].as_bytes()), (500, &b"id-1"[..]));
    assert_eq!(
        text(response),
        concat!(
            r#"{"error": "the server cannot express its answer as JSON", "#,
            r#""code": "unwritable_answer", "request_id": "id-1"}"#
        )
    );
}

#[test]
fn a_client_that_accepts_problems_gets_one_with_all_members_of_an_error() {
    for (rejection, status) in all_rejections() {
        let response = rejection.respond(&problem(), false);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let body: serde_json::Value = serde_json::from_str(&text(response)).unwrap();
        assert_eq!((&body["type"], &body["status"]), (&"about:blank".into(), &status.into()));
        assert_eq!((&body["detail"], &body["error"]), (&body["error"], &rejection.to_string().into()));
        assert_eq!((&body["code"], &body["request_id"]), (&rejection.code().as_str().into(), &"id-1".into()));
    }
    let failure = Failure::Exception { type_name: "KeyError".into(), message: "'id'".into() };
    let body: serde_json::Value = serde_json::from_str(&text(failure.respond(&problem(), false, true))).unwrap();
    assert_eq!((&body["status"], &body["exception"]), (&500.into(), &"KeyError".into()));
}

#[test]
fn a_client_from_which_details_are_kept_gets_neither_class_nor_message_of_an_exception() {
    let secret = || "hunter2".to_owned();
    for failure in [
        Failure::Exception { type_name: secret(), message: secret() },
        Failure::BadResult { reason: secret() },
        Failure::NoHandler { hint: secret() },
    ] {
        assert!(text(failure.respond(&format("i"), false, true)).contains("hunter2"));
        for format in [format("i"), problem()] {
            assert!(!text(failure.respond(&format, false, false)).contains("hunter2"), "{failure:?}");
        }
    }
}

#[test]
fn an_error_that_a_handler_raises_has_its_status_text_word_and_headers() {
    let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("9"))]);
    let (error, status) = ("no such lamp".to_owned(), StatusCode::NOT_FOUND);
    for (code, word) in [(Some("no_lamp".to_owned()), "no_lamp"), (None, "not_found")] {
        let failure =
            Failure::Raised(Box::new(RaisedError { status, error: error.clone(), code, headers: headers.clone() }));
        let response = failure.respond(&format("i"), true, false);
        assert_eq!((response.status(), &response.headers()[RETRY_AFTER]), (status, &HeaderValue::from_static("9")));
        assert_eq!(text(response), format!(r#"{{"error": "no such lamp", "code": "{word}", "request_id": "i"}}"#));
    }
}

#[test]
fn legacy_status_is_200_only_where_pluginserver_answered_200() {
    for (rejection, status) in all_rejections() {
        let legacy = if rejection == Rejection::Unauthorized(Realm::Plugin) { 200 } else { status };
        assert_eq!(rejection.respond(&format("i"), true).status(), legacy, "{rejection:?}");
    }
    let exception = Failure::Exception { type_name: "E".into(), message: String::new() };
    assert_eq!(exception.respond(&format("i"), true, true).status(), 200);
    assert_eq!(Failure::NoHandler { hint: String::new() }.respond(&format("i"), true, true).status(), 200);
    assert_eq!(Failure::BadResult { reason: String::new() }.respond(&format("i"), true, true).status(), 500);
}

#[test]
fn an_endpoint_of_the_server_that_fails_names_the_request() {
    let plugin = Some("a");
    for (error, status, members) in [
        (ControlError::UnknownPlugin("a"), 404, json!({"error": "Plugin \"a\" not found", "code": "unknown_plugin"})),
        (
            ControlError::ReloadFailed { plugin, reasons: &["why".to_owned()], loaded_plugins: &["b".to_owned()] },
            500,
            json!({
                "error": "Failed to reload plugin a",
                "reasons": ["why"],
                "loaded_plugins": ["b"],
                "code": "reload_failed",
            }),
        ),
        (
            ControlError::ReloadInterrupted,
            503,
            json!({"error": "the server is shutting down", "code": "shutting_down"}),
        ),
        (
            ControlError::UpgradeFailed { reasons: &["why".to_owned()] },
            500,
            json!({
                "error": "the upgrade failed; the server goes on as before",
                "reasons": ["why"],
                "code": "upgrade_failed",
            }),
        ),
        (
            ControlError::NotReady,
            503,
            json!({"status": "stopping", "error": ControlError::NotReady.to_string(), "code": "not_ready"}),
        ),
    ] {
        let response = error.respond(&format("id-1"));
        assert_eq!((response.status().as_u16(), response.headers()[X_REQUEST_ID].as_bytes()), (status, &b"id-1"[..]));
        assert_eq!(response.headers().contains_key(RETRY_AFTER), status == 503, "{error:?}");
        let mut expected = members;
        expected["request_id"] = json!("id-1");
        assert_eq!(text(response).as_bytes(), to_json(&expected).unwrap());
    }
}
