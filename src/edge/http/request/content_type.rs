//! The `Content-Type` of a body or of a part of one.
//!
//! Pure functions. Promise: nothing that a client declares is an error here; what cannot be parsed is absent.

/// A `Content-Type` as it was sent; read leniently, since white space around `;` is legal and common.
#[derive(Clone, Copy)]
pub(super) struct ContentType<'a>(pub(super) &'a str);

impl<'a> ContentType<'a> {
    fn essence(self) -> &'a str {
        self.0.split(';').next().unwrap_or_default().trim()
    }

    /// True if it is `essence`, in any case and with any parameters.
    pub(super) fn is(self, essence: &str) -> bool {
        self.essence().eq_ignore_ascii_case(essence)
    }

    /// True for `application/json`, and for what is built upon it, such as `application/ld+json`.
    pub(super) fn is_json(self) -> bool {
        let essence = self.essence().to_ascii_lowercase();
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
    }

    /// True for all of `text/*`.
    pub(super) fn is_text(self) -> bool {
        self.essence().get(..5).is_some_and(|kind| kind.eq_ignore_ascii_case("text/"))
    }

    /// The charset it declares.
    pub(super) fn charset(self) -> Option<&'a str> {
        self.param("charset")
    }

    /// A parameter's value, unless it is empty.
    pub(super) fn param(self, name: &str) -> Option<&'a str> {
        let values = self.0.split(';').skip(1).filter_map(|param| {
            let (key, value) = param.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').trim())
        });
        values.take(1).find(|value| !value.is_empty())
    }
}
