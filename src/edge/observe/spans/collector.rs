//! A collector: spans go there by OTLP, which is protobuf over HTTP.
//!
//! Runs on the exporter's thread, and blocks. Promise: a request ends within its time limit; redirects are not
//! followed. The certificate of a collector by TLS is verified by the authorities of the system, or those in the file
//! that `SSL_CERT_FILE` names. Caveat: bodies are not compressed, and gRPC is not spoken.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind as Kind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Sent, Status};
use prost::Message;
use rustls::crypto::ring;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::delivery::SendError;
use super::params::ExporterParams;
use super::span::{Parent, Span, SpanKind, Value};

/// How long a connection waits for the next request. Collectors wait longer, so that none ends just when it is used.
const IDLE_TIME: Duration = Duration::from_secs(3);

/// The longest response that is read.
const MAX_RESPONSE: u64 = 64 * 1024;

/// The flag of a trace that is recorded.
const SAMPLED: u32 = 1;
/// The flag that it is known whether the parent is elsewhere.
const IS_PARENT_KNOWN: u32 = 0x100;
/// The flag that the parent is elsewhere.
const IS_PARENT_REMOTE: u32 = 0x200;

/// Where the attributes' names come from.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";

/// A collector, and what is said of this server there.
pub(super) struct Collector {
    agent: Agent,
    url: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    resource: Resource,
}

impl Collector {
    /// The collector that `params` name.
    pub(super) fn new(params: &ExporterParams) -> Self {
        let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()));
        if params.endpoint.scheme_str() == Some("https") {
            let found = rustls_native_certs::load_native_certs();
            if found.certs.is_empty() {
                tracing::warn!("no certificate authorities are found, so {} is not trusted", params.endpoint);
            }
            let authorities = found.certs.iter().map(|one| Certificate::from_der(one).to_owned());
            tls = tls.root_certs(RootCerts::from(authorities));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .max_idle_age(IDLE_TIME)
            .user_agent(concat!("plugincore/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls.build());
        let (url, headers) = (params.endpoint.to_string(), params.headers.clone());
        Self { agent: config.build().into(), url, headers, resource: resource(&params.service) }
    }

    /// Sends spans; returns how many of them the collector has not taken.
    ///
    /// # Errors
    /// When it has taken none.
    pub(super) fn send(&self, spans: &[Span], timeout: Duration) -> Result<usize, SendError> {
        let body = self.message(spans).encode_to_vec();
        let mut request = self.agent.post(&self.url).header(CONTENT_TYPE, "application/x-protobuf");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.config().timeout_global(Some(timeout)).build();
        let failed = |error: ureq::Error| SendError { reason: error.to_string(), may_recover: true, pause: None };
        let (parts, mut body) = request.send(&body[..]).map_err(failed)?.into_parts();
        let body = body.with_config().limit(MAX_RESPONSE).read_to_vec().map_err(failed)?;
        if !parts.status.is_success() {
            return Err(SendError {
                reason: format!("it answers {}", parts.status),
                may_recover: may_recover(parts.status),
                pause: parts.headers.get(RETRY_AFTER).and_then(seconds),
            });
        }
        let partial = ExportTraceServiceResponse::decode(&body[..]).ok().and_then(|response| response.partial_success);
        Ok(partial.and_then(|partial| usize::try_from(partial.rejected_spans).ok()).unwrap_or_default())
    }

    fn message(&self, spans: &[Span]) -> ExportTraceServiceRequest {
        let scope = InstrumentationScope {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let spans =
            ScopeSpans { scope: Some(scope), spans: spans.iter().map(sent).collect(), schema_url: SCHEMA.to_owned() };
        let resource = ResourceSpans {
            resource: Some(self.resource.clone()),
            scope_spans: vec![spans],
            schema_url: SCHEMA.to_owned(),
        };
        ExportTraceServiceRequest { resource_spans: vec![resource] }
    }
}

/// Whether the same spans may be taken later, as OTLP has it.
fn may_recover(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

fn seconds(value: &HeaderValue) -> Option<Duration> {
    value.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// What is said of this server.
fn resource(service: &str) -> Resource {
    let host = sysinfo::System::host_name().unwrap_or_default();
    let attributes = [
        ("service.name", Value::from(service.to_owned())),
        ("service.version", env!("CARGO_PKG_VERSION").into()),
        ("service.instance.id", format!("{host}:{}", std::process::id()).into()),
        ("host.name", host.into()),
        ("process.pid", Value::Number(std::process::id().into())),
    ];
    Resource { attributes: attributes.iter().map(attribute).collect(), ..Resource::default() }
}

fn attribute((name, value): &(&'static str, Value)) -> KeyValue {
    KeyValue { key: (*name).to_owned(), value: Some(any(value)), ..KeyValue::default() }
}

fn any(value: &Value) -> AnyValue {
    let text = |text: &str| Any::StringValue(text.to_owned());
    let value = match value {
        Value::Text(one) => text(one),
        Value::Number(number) => Any::IntValue(*number),
        Value::Texts(texts) => {
            let values = texts.iter().map(|one| AnyValue { value: Some(text(one)) }).collect();
            Any::ArrayValue(ArrayValue { values })
        }
    };
    AnyValue { value: Some(value) }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A span as it is sent.
fn sent(span: &Span) -> Sent {
    let (parent, flags) = match span.parent {
        None => (None, 0),
        Some(Parent::Local(id)) => (Some(id), IS_PARENT_KNOWN),
        Some(Parent::Remote(id)) => (Some(id), IS_PARENT_KNOWN | IS_PARENT_REMOTE),
    };
    let kind = match span.kind {
        SpanKind::Internal => Kind::Internal,
        SpanKind::Server => Kind::Server,
    };
    let status = span.error.as_ref().map(|message| Status { message: message.clone(), code: SpanStatus::Error.into() });
    Sent {
        trace_id: span.trace_id.to_be_bytes().to_vec(),
        span_id: span.id.to_be_bytes().to_vec(),
        parent_span_id: parent.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default(),
        flags: SAMPLED | flags,
        name: span.name.clone().into_owned(),
        kind: kind.into(),
        start_time_unix_nano: nanoseconds(span.begun),
        end_time_unix_nano: nanoseconds(span.ended),
        attributes: span.attributes.iter().map(attribute).collect(),
        status,
        ..Sent::default()
    }
}
