//! What is wrong with the values of a request, as its client gets it.
//!
//! Pure functions, called on the I/O threads. Promise: places are JSON pointers, and texts name what is wanted, never
//! what came. Caveat: there may be more errors than are listed.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

use crate::edge::http::rescue::InvalidValue;

/// Most errors in one refusal.
const MAX_ERRORS: usize = 20;

/// The errors, in the order of the schema.
pub(super) fn of<'a>(errors: impl Iterator<Item = ValidationError<'a>>) -> Box<[InvalidValue]> {
    let mut found = Vec::new();
    for error in errors {
        add(&error, "", &mut found);
        if found.len() >= MAX_ERRORS {
            break;
        }
    }
    found.truncate(MAX_ERRORS);
    found.into_boxed_slice()
}

/// Adds what `error`, whose place is below `base`, says.
fn add(error: &ValidationError<'_>, base: &str, found: &mut Vec<InvalidValue>) {
    let pointer = format!("{base}{}", error.instance_path().as_str());
    match error.kind() {
        ValidationErrorKind::Required { property: Value::String(name) } => {
            let name = name.replace('~', "~0").replace('/', "~1");
            found.push(InvalidValue { pointer: format!("{pointer}/{name}"), detail: "a value is required".to_owned() });
        }
        ValidationErrorKind::AnyOf { context } => {
            // Of a value that is of the type of one choice alone, it tells most what is wrong by that one.
            let is_of_type = |errors: &&Vec<ValidationError<'_>>| {
                !errors.iter().any(|one| {
                    matches!(one.kind(), ValidationErrorKind::Type { .. })
                        && one.instance_path() == error.instance_path()
                })
            };
            let mut possible = context.iter().filter(is_of_type);
            match (possible.next(), possible.next()) {
                (Some(errors), None) => errors.iter().for_each(|error| add(error, base, found)),
                _ => {
                    found
                        .push(InvalidValue { pointer, detail: "the value is none of what is allowed here".to_owned() });
                }
            }
        }
        _ => found.push(InvalidValue { pointer, detail: error.masked_with("the value").to_string() }),
    }
}
