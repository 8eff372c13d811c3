//! The depth limit of both directions. Pure data.

/// How many arrays and objects may be open at once, when writing and when reading.
///
/// CPython's own encoder and decoder stop near the recursion limit, which is 1000 unless a program changed it. The
/// decoder does not recurse and the encoder only to a small depth, so the limit exists to detect a cycle early; it
/// costs next to no stack.
pub(crate) const MAX_DEPTH: usize = 1000;
