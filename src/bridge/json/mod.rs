//! JSON between Python objects and bytes: [`encode`] writes what `json.dumps(value)` gives, byte for byte, and
//! [`decode_into`] reads what `json.loads` accepts, at a fraction of their cost on the one Python thread.
//!
//! Both need the interpreter lock, so they belong on the Python thread; the signatures ask for a `Bound` to prove it.
//! Neither lets go of the lock by itself, and neither can be made to crash: what is too deep or contains itself is an
//! error, and a value that plugin code changes under the walk is an error or is seen as changed.
//! Caveat: the walk reads CPython's structures directly and leans on the lock for it, so a free-threaded build is
//! refused when compiling.

mod build_text;
mod decode;
mod encode;
mod fault;
mod number;
mod scan;
mod text;

#[cfg(test)]
mod tests;

pub use decode::{DecodeError, decode_into};
pub use encode::encode;
pub use fault::EncodeError;

#[cfg(Py_GIL_DISABLED)]
compile_error!("the JSON encoder relies on the interpreter lock; build against a Python that has it");

/// How many arrays and objects may be open at once, in either direction.
///
/// CPython's own encoder and decoder stop near the recursion limit, which is 1000 unless someone changed it. Neither of
/// ours recurses, so the limit is about being told of a cycle soon, and costs no stack.
pub const MAX_DEPTH: usize = 1000;
