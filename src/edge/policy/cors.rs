//! CORS: which other origins' scripts may read answers, with the headers that pluginserver sent.
//!
//! Runs on the I/O threads. Origins must match exactly, as browsers send them; `null` is allowed only if it is listed.
//! `*` allows any origin, but without credentials, because every site could use a visitor's cookies otherwise. Caveat:
//! CORS does not protect the server; it only lets browsers know which answers scripts may read.

use std::borrow::Cow;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Response};

use crate::edge::config::settings::cors::CorsSettings;
use crate::edge::http::request::MethodSet;
use crate::edge::http::rescue::Rejection;
use crate::edge::http::response::Body;
use crate::edge::http::vary;

const TRUE: HeaderValue = HeaderValue::from_static("true");
const ANY: HeaderValue = HeaderValue::from_static("*");
const VARY_ORIGIN: HeaderValue = HeaderValue::from_static("Origin");

/// Headers of the answer to a preflight, and of all responses.
const PREFLIGHT_HEADERS: usize = 8;

/// The policy of section `[cors]`, or of a plugin that has other origins.
#[derive(Clone, Debug)]
pub(crate) struct Cors {
    origins: Vec<HeaderValue>,
    any: bool,
    /// Request headers that a script may set, in upper case.
    allowed: Vec<HeaderValue>,
    /// Whether it may set others, too.
    any_header: bool,
    /// The response headers that a script may read.
    exposed: Option<HeaderValue>,
    max_age: HeaderValue,
    credentials: bool,
}

impl Cors {
    /// An origin that no header can hold is left out: no browser can send it.
    pub(crate) fn new(settings: &CorsSettings) -> Self {
        let listed = settings.origins.iter().filter(|origin| *origin != "*");
        let named = settings.allow_headers.iter().filter(|name| *name != "*");
        let exposed = Some(settings.expose_headers.join(",")).filter(|names| !names.is_empty());
        Self {
            origins: listed.filter_map(|origin| HeaderValue::from_str(origin).ok()).collect(),
            any: settings.origins.iter().any(|origin| origin == "*"),
            allowed: named.filter_map(|name| HeaderValue::try_from(name.to_ascii_uppercase()).ok()).collect(),
            any_header: settings.allow_headers.iter().any(|name| name == "*"),
            exposed: exposed.and_then(|names| HeaderValue::try_from(names).ok()),
            max_age: HeaderValue::from(settings.max_age.as_secs()),
            credentials: settings.credentials,
        }
    }

    /// Whether `origin` is named in the list, and not only meant by `*`.
    pub(crate) fn names(&self, origin: &HeaderValue) -> bool {
        self.origins.contains(origin)
    }

    /// Adds what the answer to a script of `origin` needs, be it a plugin's answer or a refusal. Takes the place of
    /// headers of the same names that a plugin set.
    pub(crate) fn decorate(&self, origin: Option<&HeaderValue>, response: &mut HeaderMap) {
        // Caches must not give one origin's answer to another.
        vary::add(response, VARY_ORIGIN);
        if let Some(origin) = origin
            && self.allow(origin, response)
        {
            match &self.exposed {
                Some(names) => response.insert(ACCESS_CONTROL_EXPOSE_HEADERS, names.clone()),
                None => response.remove(ACCESS_CONTROL_EXPOSE_HEADERS),
            };
        }
    }

    /// Answers a preflight for a route with `methods`.
    ///
    /// # Errors
    /// [`Rejection::PreflightRefused`] with the reason: origin, method or a header is not allowed.
    pub(crate) fn preflight(&self, asked: &Preflight<'_>, methods: MethodSet) -> Result<Response<Body>, Rejection> {
        let refused = |reason: String| Err(Rejection::PreflightRefused(reason));
        let mut response = Response::new(Body::default());
        let headers = response.headers_mut();
        // Those of a preflight, and what all responses get: to make room later costs more.
        headers.reserve(PREFLIGHT_HEADERS);
        // First, where it is found at once later.
        headers.insert(VARY, VARY_ORIGIN);
        if !self.allow(asked.origin, headers) {
            return refused(format!("origin {} is not allowed", shown(asked.origin)));
        }
        if !Method::from_bytes(asked.method.as_bytes()).is_ok_and(|method| methods.contains(&method)) {
            let method = shown(asked.method);
            return refused(format!("method {method} is not allowed here; allowed are {methods}"));
        }
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, asked.method.clone());
        if let Some(names) = asked.headers(self)? {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        Ok(response)
    }

    /// Names the allowed origin in `response`, or says that `origin` is not allowed.
    fn allow(&self, origin: &HeaderValue, response: &mut HeaderMap) -> bool {
        let is_listed = self.names(origin);
        if is_listed {
            response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        } else if self.any {
            response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
        }
        if is_listed && self.credentials {
            response.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        } else if is_listed || self.any {
            response.remove(ACCESS_CONTROL_ALLOW_CREDENTIALS);
        }
        is_listed || self.any
    }
}

/// A request of OPTIONS that asks for permission instead of an answer.
pub(crate) struct Preflight<'a> {
    origin: &'a HeaderValue,
    method: &'a HeaderValue,
    request: &'a HeaderMap,
}

impl<'a> Preflight<'a> {
    /// The preflight that a request of OPTIONS with these headers is, if it is one.
    pub(crate) fn of(request: &'a HeaderMap) -> Option<Self> {
        // In one pass, since to look each up takes longer.
        let (mut origin, mut method) = (None, None);
        for (name, value) in request {
            if *name == ORIGIN {
                origin.get_or_insert(value);
            } else if *name == ACCESS_CONTROL_REQUEST_METHOD {
                method.get_or_insert(value);
            }
        }
        Some(Self { origin: origin?, method: method?, request })
    }

    /// The headers asked for, in upper case and without repetition, once `cors` is found to allow all of them.
    fn headers(&self, cors: &Cors) -> Result<Option<HeaderValue>, Rejection> {
        let mut granted: Vec<Cow<'_, HeaderValue>> = Vec::new();
        let lines = self.request.iter().filter(|(name, _)| **name == ACCESS_CONTROL_REQUEST_HEADERS);
        let names = lines.flat_map(|(_, line)| line.as_bytes().split(|&byte| byte == b','));
        for name in names.map(<[u8]>::trim_ascii).filter(|name| !name.is_empty()) {
            let listed = cors.allowed.iter().find(|allowed| allowed.as_bytes().eq_ignore_ascii_case(name));
            let other = || HeaderValue::try_from(name.escape_ascii().to_string().to_ascii_uppercase()).ok();
            let granting = listed.map(Cow::Borrowed).or_else(|| other().filter(|_| cors.any_header).map(Cow::Owned));
            let Some(name) = granting else {
                return Err(Rejection::PreflightRefused(format!("header {} is not allowed", name.escape_ascii())));
            };
            if !granted.contains(&name) {
                granted.push(name);
            }
        }
        // Most ask for one.
        if let [one] = &*granted {
            return Ok(Some(one.clone().into_owned()));
        }
        let names: Vec<_> = granted.iter().map(|name| name.as_bytes()).collect();
        Ok(if names.is_empty() { None } else { HeaderValue::from_bytes(&names.join(&b","[..])).ok() })
    }
}

/// Whether a browser made the request for a page of another site. Browsers say so in a header that pages cannot set;
/// other clients do not send it.
pub(crate) fn is_cross_site(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site")
}

fn shown(value: &HeaderValue) -> impl std::fmt::Display {
    value.as_bytes().escape_ascii()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ORIGIN_URL: &str = "https://a.example";

    fn cors(origins: &[&str]) -> Cors {
        Cors::new(&CorsSettings { origins: texts(origins), ..CorsSettings::default() })
    }

    fn texts(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    fn request(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    fn decorated(cors: &Cors, origin: &'static str) -> HeaderMap {
        let mut response = HeaderMap::new();
        cors.decorate(Some(&HeaderValue::from_static(origin)), &mut response);
        response
    }

    fn preflight(origin: &'static str, method: &'static str, headers: &'static str) -> Result<HeaderMap, String> {
        preflight_to(&cors(&[ORIGIN_URL]), origin, method, headers)
    }

    fn preflight_to(
        cors: &Cors,
        origin: &'static str,
        method: &'static str,
        headers: &'static str,
    ) -> Result<HeaderMap, String> {
        let lines = [
            ("origin", origin),
            ("access-control-request-method", method),
            ("access-control-request-headers", headers),
        ];
        let headers = request(&lines);
        let asked = Preflight::of(&headers).expect("it is one");
        match cors.preflight(&asked, MethodSet::DEFAULT) {
            Ok(response) => {
                assert_eq!(response.status(), 200);
                Ok(response.headers().clone())
            }
            Err(Rejection::PreflightRefused(reason)) => Err(reason),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_allowed_origin_gets_the_headers_of_pluginserver() {
        let response = decorated(&cors(&["https://b.example", ORIGIN_URL]), ORIGIN_URL);
        assert_eq!(response["access-control-allow-origin"], ORIGIN_URL);
        assert_eq!(response["access-control-allow-credentials"], "true");
        let exposed = "X-Custom-Header,Content-Length,X-Request-Id,Retry-After,ETag,Location";
        assert_eq!(response["access-control-expose-headers"], exposed);
        assert_eq!(response["vary"], "Origin");
    }

    #[test]
    fn another_origin_gets_only_vary() {
        for origin in
            ["https://A.example", "https://a.example:443", "http://a.example", "null", "https://a.example.evil"]
        {
            let response = decorated(&cors(&[ORIGIN_URL]), origin);
            assert_eq!((response.len(), &response["vary"]), (1, &VARY_ORIGIN), "{origin}");
        }
    }

    #[test]
    fn a_request_without_origin_gets_only_vary() {
        let mut response = HeaderMap::new();
        cors(&["*"]).decorate(None, &mut response);
        assert_eq!((response.len(), &response["vary"]), (1, &VARY_ORIGIN));
    }

    #[test]
    fn null_is_allowed_when_it_is_listed() {
        assert_eq!(decorated(&cors(&["null"]), "null")["access-control-allow-origin"], "null");
    }

    #[test]
    fn a_star_allows_any_origin_without_credentials() {
        let response = decorated(&cors(&["*"]), "https://any.example");
        assert_eq!(response["access-control-allow-origin"], "*");
        assert!(!response.contains_key("access-control-allow-credentials"));
    }

    #[test]
    fn an_origin_listed_beside_a_star_keeps_its_credentials() {
        let response = decorated(&cors(&["*", ORIGIN_URL]), ORIGIN_URL);
        assert_eq!(response["access-control-allow-origin"], ORIGIN_URL);
        assert_eq!(response["access-control-allow-credentials"], "true");
    }

    #[test]
    fn what_a_plugin_varies_by_is_kept_and_origin_is_named_once() {
        let mut response = request(&[("vary", "Accept")]);
        cors(&[]).decorate(None, &mut response);
        cors(&[]).decorate(None, &mut response);
        assert_eq!(response.get_all("vary").iter().collect::<Vec<_>>(), ["Accept, Origin"]);
    }

    #[test]
    fn headers_that_a_plugin_set_are_replaced() {
        let mut response = request(&[
            ("access-control-allow-origin", "https://other.example"),
            ("access-control-allow-credentials", "true"),
        ]);
        cors(&["*"]).decorate(Some(&HeaderValue::from_static(ORIGIN_URL)), &mut response);
        assert_eq!(response["access-control-allow-origin"], "*");
        assert!(!response.contains_key("access-control-allow-credentials"));
    }

    #[test]
    fn a_preflight_is_granted_as_pluginserver_did() {
        let response = preflight(ORIGIN_URL, "POST", "content-type, x-custom-auth,, Content-Type").unwrap();
        assert_eq!(response["access-control-allow-origin"], ORIGIN_URL);
        assert_eq!(response["access-control-allow-credentials"], "true");
        assert_eq!(response["access-control-allow-methods"], "POST");
        assert_eq!(response["access-control-allow-headers"], "CONTENT-TYPE,X-CUSTOM-AUTH");
        assert_eq!(response["access-control-max-age"], "3600");
        assert_eq!(response["vary"], "Origin");
    }

    #[test]
    fn a_preflight_that_asks_for_no_headers_is_granted_none() {
        assert!(!preflight(ORIGIN_URL, "GET", "").unwrap().contains_key("access-control-allow-headers"));
    }

    #[test]
    fn a_refused_preflight_names_what_is_not_allowed() {
        assert!(preflight("https://b.example", "GET", "").unwrap_err().contains("https://b.example"));
        assert!(preflight(ORIGIN_URL, "PUT", "").unwrap_err().contains("PUT"));
        assert!(preflight(ORIGIN_URL, "get", "").unwrap_err().contains("get"));
        assert!(preflight(ORIGIN_URL, "GET", "accept, x-odd").unwrap_err().contains("x-odd"));
    }

    #[test]
    fn scripts_may_trace_requests_and_ask_for_changes() {
        let granted = preflight(ORIGIN_URL, "GET", "traceparent, if-none-match").unwrap();
        assert_eq!(granted["access-control-allow-headers"], "TRACEPARENT,IF-NONE-MATCH");
    }

    #[test]
    fn headers_age_and_credentials_are_as_configured() {
        let settings = CorsSettings {
            origins: texts(&[ORIGIN_URL]),
            allow_headers: texts(&["X-Odd"]),
            expose_headers: texts(&["X-A", "X-B"]),
            max_age: Duration::from_secs(60),
            credentials: false,
        };
        let odd = Cors::new(&settings);
        let granted = preflight_to(&odd, ORIGIN_URL, "GET", "x-odd").unwrap();
        assert_eq!(granted["access-control-allow-headers"], "X-ODD");
        assert_eq!(granted["access-control-max-age"], "60");
        assert!(!granted.contains_key("access-control-allow-credentials"));
        assert!(preflight_to(&odd, ORIGIN_URL, "GET", "content-type").unwrap_err().contains("content-type"));
        let response = decorated(&odd, ORIGIN_URL);
        assert_eq!(response["access-control-expose-headers"], "X-A,X-B");
        assert!(!response.contains_key("access-control-allow-credentials"));
        let none = Cors::new(&CorsSettings { expose_headers: Vec::new(), ..settings });
        assert!(!decorated(&none, ORIGIN_URL).contains_key("access-control-expose-headers"));
    }

    #[test]
    fn a_star_allows_every_header_by_its_name() {
        let settings = CorsSettings { origins: texts(&["*"]), allow_headers: texts(&["*"]), ..CorsSettings::default() };
        let granted =
            preflight_to(&Cors::new(&settings), "https://any.example", "GET", "x-odd, X-Odd, accept").unwrap();
        assert_eq!(granted["access-control-allow-headers"], "X-ODD,ACCEPT");
    }

    #[test]
    fn only_what_has_origin_and_method_is_a_preflight() {
        let is_preflight = |lines: &[_]| Preflight::of(&request(lines)).is_some();
        assert!(is_preflight(&[("access-control-request-method", "GET"), ("origin", ORIGIN_URL)]));
        assert!(!is_preflight(&[("access-control-request-method", "GET")]));
        assert!(!is_preflight(&[("origin", ORIGIN_URL), ("access-control-request-headers", "accept")]));
    }

    #[test]
    fn of_repeated_headers_the_first_counts_and_all_that_are_asked_for_do() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (ORIGIN, ORIGIN_URL),
            (ORIGIN, "https://b.example"),
            (ACCESS_CONTROL_REQUEST_METHOD, "GET"),
            (ACCESS_CONTROL_REQUEST_METHOD, "PUT"),
            (ACCESS_CONTROL_REQUEST_HEADERS, "accept"),
            (ACCESS_CONTROL_REQUEST_HEADERS, "authorization"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let granted = cors(&[ORIGIN_URL]).preflight(&Preflight::of(&headers).unwrap(), MethodSet::DEFAULT).unwrap();
        assert_eq!(granted.headers()["access-control-allow-headers"], "ACCEPT,AUTHORIZATION");
    }
}
