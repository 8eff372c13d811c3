//! http::request
