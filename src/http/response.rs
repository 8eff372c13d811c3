//! http::response
