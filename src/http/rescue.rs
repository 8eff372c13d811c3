//! http::rescue
