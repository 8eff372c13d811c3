//! Typos in the parameters of a plugin that would leave it open.
//!
//! Runs on the Python thread. Promise: parameters that look as if they should ask for a key, and do not, are found,
//! with what to write instead; the plugin is refused rather than run open. Caveat: a plugin that is open and has such a
//! parameter of its own needs `auth_type=none`.

use crate::edge::config::schema::nearest;

/// The host's own words: what asks for a key, and what leads to other parameters.
const WORDS: [&str; 4] = ["auth_type", "apikey", "route_path", "json"];

/// What asks for a key; the second is an older name of the first.
const ASKING: [&str; 2] = ["auth_type", "auth"];

/// What is wrong with the parameter string `text`, besides which a parameter file has the names `typed`; `None` if
/// nothing is, or if it asks for a key after all.
pub(crate) fn slip(text: &str, typed: &[String]) -> Option<String> {
    let parts: Vec<_> = text.split('&').filter(|part| !part.trim().is_empty()).map(Part::new).collect();
    let asks =
        |part: &Part| ASKING.contains(&part.name.as_str()) && part.value.as_deref().is_some_and(|v| !v.is_empty());
    if parts.iter().any(asks) || typed.iter().any(|name| ASKING.contains(&name.as_str())) {
        return None;
    }
    let typed = typed.iter().map(|name| Part { name: name.clone(), value: Some(String::new()) });
    let wrong = parts.iter().find_map(Part::wrong).or_else(|| typed.into_iter().find_map(|part| part.wrong()))?;
    Some(format!(
        "{wrong}; write auth_type=global or auth_type=plugin&apikey=… for a key, auth_type=none if it is open"
    ))
}

/// `name=value`, or a name alone.
struct Part {
    name: String,
    value: Option<String>,
}

impl Part {
    fn new(text: &str) -> Self {
        if let Some(file) = text.strip_prefix("json:") {
            return Self { name: "json".to_owned(), value: Some(file.to_owned()) };
        }
        let (name, value) = form_urlencoded::parse(text.as_bytes()).next().unwrap_or_default();
        Self { name: name.into_owned(), value: text.contains('=').then(|| value.into_owned()) }
    }

    fn wrong(&self) -> Option<String> {
        let Self { name, value } = self;
        let Some(value) = value else { return Some(format!("{name:?} stands alone, without a value")) };
        if ASKING.contains(&name.as_str()) {
            return Some(format!("{name} has no value"));
        }
        if name == "apikey" {
            return Some("apikey counts only with auth_type=plugin".to_owned());
        }
        if WORDS.contains(&name.as_str()) {
            return None;
        }
        let plain = plain(name);
        let value = value.trim().to_lowercase();
        let near = WORDS.into_iter().find(|word| is_slip(&plain, word)).or_else(|| {
            // Of these values it is as good as sure what was meant.
            let means_key = ["global", "plugin", "key"].contains(&value.as_str());
            (means_key && (plain.contains("auth") || nearest(name, ["auth_type"], 3).is_some())).then_some("auth_type")
        })?;
        Some(format!("is {near} meant by {name:?}?"))
    }
}

/// A name without what is easily written otherwise: capitals, dashes, blanks.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Whether one slip, or the way of writing, makes the difference: a letter more, less or other, or two swapped.
fn is_slip(word: &str, meant: &str) -> bool {
    strsim::osa_distance(word, &plain(meant)) <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asks_for_a_key_or_for_nothing_is_right() {
        for text in [
            "",
            "a=1&b=",
            "auth_type=global",
            "auth=global&x",
            "route_path=a&json=p.json",
            "json:p.json",
            "auth_type=global&api_key=theirs&word",
            "auth_type=none&apikey=theirs",
            "auth_token=t&user=plugin",
            "&&",
        ] {
            assert_eq!(slip(text, &[]), None, "{text}");
        }
        assert_eq!(slip("json=p.json&apikey=k", &["auth_type".to_owned()]), None);
    }

    #[test]
    fn what_only_looks_like_it_is_found() {
        for (text, told) in [
            ("auth_typ=global", "is auth_type meant by \"auth_typ\"?"),
            ("authtype=global", "is auth_type meant"),
            ("auth_tpye=x", "is auth_type meant"),
            ("Auth-Type=global", "is auth_type meant"),
            ("auth_type =global", "is auth_type meant"),
            ("auth_kind=plugin", "is auth_type meant"),
            ("auht_tyep=global", "is auth_type meant"),
            ("auth_type:global", "\"auth_type:global\" stands alone"),
            ("global", "\"global\" stands alone"),
            ("a=1&verbose", "\"verbose\" stands alone"),
            ("auth_type=", "auth_type has no value"),
            ("apikey=abc", "apikey counts only with auth_type=plugin"),
            ("apikey=", "apikey counts only"),
            ("api_key=abc", "is apikey meant"),
            ("apikye=abc", "is apikey meant"),
            ("jsno=p.json", "is json meant"),
            ("routepath=x", "is route_path meant"),
        ] {
            let found = slip(text, &[]).unwrap_or_default();
            assert!(found.starts_with(told) && found.contains("auth_type=none"), "{text}: {found}");
        }
        assert!(slip("json=p.json", &["authtype".to_owned()]).is_some());
        assert!(slip("json=p.json", &["apikey".to_owned()]).is_some());
    }
}
