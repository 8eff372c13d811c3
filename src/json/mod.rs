//! JSON between Python objects and bytes: [`encode()`] writes what `json.dumps(value)` gives, byte for byte, and
//! some objects that it refuses; [`decode_into`] reads what `json.loads` accepts, at a fraction of their cost.
//!
//! Runs on the Python thread: both directions need the interpreter lock, which the `Bound` in their signatures proves,
//! and neither releases it by itself. No value and no body can crash them: a value that is nested too deep or contains
//! itself is an error, and a container that plugin code changes during the walk is an error or is seen as changed.
//! Caveat: the walk reads CPython's structures directly under the protection of the lock, so a free-threaded build is
//! refused at compile time.

mod block;
mod borrowed;
mod cursor;
mod decode;
mod encode;
mod error;
mod frame;
mod function;
mod layout;
mod limits;
pub(crate) mod missing_await;
mod new_string;
mod number;
mod plain;
mod replacement;
mod scan;
mod text;

#[cfg(test)]
mod tests;

pub use decode::decode_into;
pub use encode::encode;
pub(crate) use error::EncodeError;
pub(crate) use function::encode_json;
pub(crate) use layout::check as check_layout;
pub(crate) use limits::MAX_DEPTH;

#[cfg(Py_GIL_DISABLED)]
compile_error!("the JSON encoder relies on the interpreter lock; build against a Python that has it");
