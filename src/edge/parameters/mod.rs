//! What a plugin with typed parameters takes: its JSON schema, by which each request is checked.
//!
//! Made on the Python thread when a plugin is loaded, used on the I/O threads. Promise: what does not fit the schema is
//! refused before the interpreter has any part in it, and nothing of the request's values stands in the refusal.
//! Caveat: variables that are no parameters of the plugin are not looked at; they reach it as they came.

mod errors;
mod text;

use jiter::{JsonArray, JsonObject, JsonValue};
use jsonschema::Validator;
use serde_json::{Map, Number, Value};

use self::text::TextForm;
use crate::edge::http::request::{BodyData, Variables};
use crate::edge::http::rescue::{InvalidValue, Rejection};

/// The parameters of one plugin.
#[derive(Debug)]
pub(crate) struct Parameters {
    schema: Value,
    validator: Validator,
    fields: Vec<Field>,
}

/// A parameter that is checked.
#[derive(Debug)]
struct Field {
    name: String,
    /// As what a text of a query or a form is read.
    form: TextForm,
}

/// Values of a request that came as text, as JSON has them, with the numbers of their parameters.
pub(crate) type TextValues = Box<[(usize, Value)]>;

/// Where the values of a request come from.
pub(crate) struct Sources<'a> {
    /// The variables of its query, which win.
    pub query: &'a Variables,
    /// Those of its body.
    pub body: &'a BodyData,
    /// Whether there is a body that says it is JSON.
    pub is_json: bool,
}

impl Parameters {
    /// Parameters by `schema`, of which each property is one.
    ///
    /// # Errors
    /// When it cannot be checked by, with the reason.
    pub(crate) fn new(schema: Value) -> Result<Self, String> {
        // Only what is in the schema itself is looked up: nothing is fetched.
        let options = jsonschema::draft202012::options().should_validate_formats(true);
        let validator = options.build(&schema).map_err(|error| error.masked().to_string())?;
        let properties = schema.get("properties").and_then(Value::as_object);
        let fields = properties
            .into_iter()
            .flatten()
            .map(|(name, property)| Field { name: name.clone(), form: TextForm::of(property, &schema) });
        let fields = fields.collect();
        Ok(Self { schema, validator, fields })
    }

    /// The schema.
    pub(crate) fn schema(&self) -> &Value {
        &self.schema
    }

    /// The number of the parameter `name`, if there is one.
    pub(crate) fn number(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// The names of the parameters, by their numbers.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.name.as_str())
    }

    /// Checks a request, and gives those of its values that came as text. An empty text counts as absent.
    ///
    /// # Errors
    /// [`Rejection::Invalid`] with all that does not fit.
    pub(crate) fn check(&self, sources: &Sources<'_>) -> Result<TextValues, Rejection> {
        let mut values = Map::new();
        let mut texts: Vec<(usize, Value)> = Vec::new();
        match sources.body {
            BodyData::None if sources.is_json => return Err(unreadable("the body is not a JSON object")),
            BodyData::None => {}
            BodyData::Json(body) => {
                let Ok(JsonValue::Object(object)) = JsonValue::parse(body, true) else {
                    return Err(unreadable("the body cannot be read as JSON"));
                };
                // Of a name that is repeated, the last value counts, as in Python.
                for (name, value) in object.iter().filter(|(name, _)| self.number(name).is_some()) {
                    values.insert(name.to_string(), to_json(value));
                }
            }
            BodyData::Form(fields) => self.read_texts(fields.iter(), &mut texts),
            BodyData::Multipart(form) => self.read_texts(form.fields(), &mut texts),
        }
        self.read_texts(sources.query.iter(), &mut texts);
        for (number, value) in &texts {
            values.insert(self.fields[*number].name.clone(), value.clone());
        }
        let values = Value::Object(values);
        if self.validator.is_valid(&values) {
            return Ok(texts.into_boxed_slice());
        }
        Err(Rejection::Invalid(errors::of(self.validator.iter_errors(&values))))
    }

    /// Adds the parameters among `variables` to `texts`, in the place of those that are there.
    fn read_texts<'a>(
        &self,
        variables: impl Iterator<Item = (&'a str, impl AsRef<str>)>,
        texts: &mut Vec<(usize, Value)>,
    ) {
        let mut found: Vec<Vec<String>> = Vec::new();
        for (name, text) in variables.filter(|(_, text)| !text.as_ref().is_empty()) {
            if let Some(number) = self.number(name) {
                found.resize_with(found.len().max(number + 1), Vec::new);
                found[number].push(text.as_ref().to_owned());
            }
        }
        for (number, given) in found.into_iter().enumerate().filter(|(_, given)| !given.is_empty()) {
            texts.retain(|(known, _)| *known != number);
            texts.push((number, self.fields[number].form.read(&given)));
        }
    }
}

/// The refusal of a body as a whole.
fn unreadable(detail: &str) -> Rejection {
    Rejection::Invalid(Box::from([InvalidValue { pointer: String::new(), detail: detail.to_owned() }]))
}

/// A value as the schema is checked with it. Numbers that JSON does not have are null, which is no number, either.
fn to_json(value: &JsonValue<'_>) -> Value {
    match value {
        JsonValue::Null => Value::Null,
        JsonValue::Bool(value) => Value::Bool(*value),
        JsonValue::Int(value) => Value::Number(Number::from(*value)),
        // Beyond 64 bits the bounds are compared with the nearest float.
        JsonValue::BigInt(value) => number(value.to_string().parse().unwrap_or(f64::MAX)),
        JsonValue::Float(value) => number(*value),
        JsonValue::Str(value) => Value::String(value.to_string()),
        JsonValue::Array(items) => array(items),
        JsonValue::Object(object) => map(object),
    }
}

fn number(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

fn array(items: &JsonArray<'_>) -> Value {
    Value::Array(items.iter().map(to_json).collect())
}

fn map(object: &JsonObject<'_>) -> Value {
    Value::Object(object.iter().map(|(name, value)| (name.to_string(), to_json(value))).collect())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    fn parameters() -> Parameters {
        let schema = json!({
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer", "minimum": 1, "maximum": 14},
                "tags": {"type": "array", "items": {"type": "integer"}},
                "when": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
            },
            "required": ["city"],
        });
        Parameters::new(schema).unwrap()
    }

    fn check(query: &str, body: BodyData) -> Result<Vec<(usize, Value)>, String> {
        let sources = Sources { query: &Variables::from_query(query), body: &body, is_json: false };
        match parameters().check(&sources) {
            Ok(texts) => Ok(texts.into_vec()),
            Err(Rejection::Invalid(errors)) => Err(errors
                .iter()
                .map(|error| format!("{} {}", error.pointer, error.detail))
                .collect::<Vec<_>>()
                .join("; ")),
            Err(other) => Err(format!("{other:?}")),
        }
    }

    fn body(text: &'static str) -> BodyData {
        BodyData::Json(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn texts_are_read_by_the_type_of_their_parameter() {
        let texts = check("city=5&days=3&tags=1&tags=2&free=x", BodyData::None).unwrap();
        assert_eq!(texts, [(0, json!("5")), (1, json!(3)), (2, json!([1, 2]))]);
    }

    #[test]
    fn the_query_wins_over_the_body_and_its_empty_values_are_absent() {
        assert_eq!(check("days=2&city=", body(r#"{"city": "Ulm", "days": 99}"#)).unwrap(), [(1, json!(2))]);
        assert_eq!(check("city=", BodyData::None).unwrap_err(), "/city a value is required");
    }

    #[test]
    fn what_does_not_fit_is_named_without_its_value() {
        assert_eq!(
            check("city=Ulm&days=15&tags=1&tags=secret", BodyData::None).unwrap_err(),
            "/days the value is greater than the maximum of 14; /tags/1 the value is not of type \"integer\""
        );
        assert_eq!(check("city=Ulm&when=secret", BodyData::None).unwrap_err(), "/when the value is not a \"date\"");
    }

    #[test]
    fn json_keeps_its_types_and_may_hold_numbers_that_json_does_not_have() {
        assert!(check("", body(r#"{"city": "Ulm", "days": 3.0, "free": NaN}"#)).unwrap().is_empty());
        assert_eq!(check("", body(r#"{"city": 5}"#)).unwrap_err(), "/city the value is not of type \"string\"");
        assert_eq!(
            check("", body(r#"{"city": "Ulm", "days": NaN}"#)).unwrap_err(),
            "/days the value is not of type \"integer\""
        );
        let big = body(r#"{"city": "Ulm", "days": 123456789012345678901234567890}"#);
        assert_eq!(check("", big).unwrap_err(), "/days the value is greater than the maximum of 14");
        assert_eq!(check("", body("{\"city\": ")).unwrap_err(), " the body cannot be read as JSON");
    }

    #[test]
    fn a_schema_that_cannot_be_checked_by_is_an_error() {
        assert!(Parameters::new(json!({"properties": {"a": {"pattern": "("}}})).is_err());
        assert!(Parameters::new(json!({"properties": {"a": {"$ref": "http://example.com/x"}}})).is_err());
    }
}
