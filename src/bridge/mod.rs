//! The only meeting point of tokio and asyncio.

pub mod json;
pub mod request_data;
