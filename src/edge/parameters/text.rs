//! How a text of a query or a form becomes a value of JSON: by the type of its parameter.
//!
//! Pure functions. Promise: a text that is of none of the types stays a text, which the schema then refuses. Caveat:
//! integers of texts have at most 64 bits, as have those that the schema is checked with.

use serde_json::{Number, Value};

/// How deep schemas are looked into for what a text may be; one that holds itself has no end.
const MAX_DEPTH: usize = 8;

/// The types that a text may be read as.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are the types of JSON, any of which may be allowed")]
pub(super) struct TextForm {
    null: bool,
    boolean: bool,
    integer: bool,
    number: bool,
    string: bool,
    object: bool,
    /// Texts that are meant to the letter.
    choices: Vec<String>,
    /// What an array has as its items.
    items: Option<Box<Self>>,
}

impl TextForm {
    /// What texts may be by `schema`, a part of `whole`.
    pub(super) fn of(schema: &Value, whole: &Value) -> Self {
        let mut form = Self::default();
        form.add(schema, whole, MAX_DEPTH);
        form
    }

    fn add(&mut self, schema: &Value, whole: &Value, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else { return };
        if let Some(definition) = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix('#')) {
            whole.pointer(definition).into_iter().for_each(|schema| self.add(schema, whole, depth));
        }
        for keyword in ["anyOf", "oneOf", "allOf"] {
            for one in schema.get(keyword).and_then(Value::as_array).into_iter().flatten() {
                self.add(one, whole, depth);
            }
        }
        for choice in schema.get("enum").and_then(Value::as_array).into_iter().flatten().chain(schema.get("const")) {
            match choice {
                Value::Null => self.null = true,
                Value::Bool(_) => self.boolean = true,
                Value::Number(number) if number.is_f64() => self.number = true,
                Value::Number(_) => self.integer = true,
                Value::String(text) => self.choices.push(text.clone()),
                Value::Array(_) | Value::Object(_) => {}
            }
        }
        let names = match schema.get("type") {
            Some(Value::Array(names)) => names.as_slice(),
            Some(name) => std::slice::from_ref(name),
            None => &[],
        };
        for name in names {
            match name.as_str().unwrap_or_default() {
                "null" => self.null = true,
                "boolean" => self.boolean = true,
                "integer" => self.integer = true,
                "number" => self.number = true,
                "string" => self.string = true,
                "object" => self.object = true,
                "array" => {
                    let mut items = Self::default();
                    let first = schema.get("prefixItems").and_then(Value::as_array).into_iter().flatten();
                    schema.get("items").into_iter().chain(first).for_each(|one| items.add(one, whole, depth));
                    self.items = Some(Box::new(items));
                }
                _ => {}
            }
        }
    }

    /// The value of the texts that a variable has, of which there is one at least. All of them are the items of an
    /// array; else the first counts.
    pub(super) fn read(&self, texts: &[String]) -> Value {
        let first = texts.first().map(String::as_str).unwrap_or_default();
        match &self.items {
            Some(items) if items.object && first.starts_with('[') && texts.len() == 1 => {
                serde_json::from_str(first).unwrap_or_else(|_| Value::Array(vec![Value::String(first.to_owned())]))
            }
            Some(items) => Value::Array(texts.iter().map(|text| items.read_one(text)).collect()),
            None => self.read_one(first),
        }
    }

    fn read_one(&self, text: &str) -> Value {
        let is_free = self.string || self.choices.iter().any(|choice| choice == text);
        let value = match text {
            _ if self.choices.iter().any(|choice| choice == text) => None,
            "null" if self.null && !is_free => Some(Value::Null),
            "true" | "True" | "on" if self.boolean => Some(Value::Bool(true)),
            "false" | "False" | "off" if self.boolean => Some(Value::Bool(false)),
            _ if self.integer && is_decimal(text) => integer(text).map(Value::Number),
            _ => None,
        };
        let float = || self.number.then(|| text.parse::<f64>().ok()).flatten().filter(|_| is_numeric(text));
        value
            .or_else(|| float().and_then(Number::from_f64).map(Value::Number))
            .or_else(|| (self.boolean && text == "1").then_some(Value::Bool(true)))
            .or_else(|| (self.boolean && text == "0").then_some(Value::Bool(false)))
            .or_else(|| (self.object && text.starts_with('{')).then(|| serde_json::from_str(text).ok()).flatten())
            .unwrap_or_else(|| Value::String(text.to_owned()))
    }
}

fn integer(text: &str) -> Option<Number> {
    text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from)).ok()
}

/// Whether `text` is an integer in ASCII.
fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a text that is a float to Rust is one to others: not an infinity or the like.
fn is_numeric(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(schema: &Value, text: &str) -> Value {
        TextForm::of(schema, &json!({"$defs": {"Size": {"enum": ["s", 1, true]}}})).read(&[text.to_owned()])
    }

    #[test]
    fn a_text_becomes_what_its_type_allows() {
        for (kind, text, expected) in [
            ("integer", "7", json!(7)),
            ("integer", "-7", json!(-7)),
            ("integer", "007", json!(7)),
            ("integer", "+7", json!("+7")),
            ("integer", "7.0", json!("7.0")),
            ("integer", "٧", json!("٧")),
            ("integer", "123456789012345678901", json!("123456789012345678901")),
            ("number", "7", json!(7.0)),
            ("number", "1e3", json!(1000.0)),
            ("number", "inf", json!("inf")),
            ("boolean", "true", json!(true)),
            ("boolean", "0", json!(false)),
            ("boolean", "2", json!("2")),
            ("string", "7", json!("7")),
            ("null", "null", json!(null)),
            ("object", "{\"a\": 1}", json!({"a": 1})),
            ("array", "7", json!(["7"])),
            ("array", "[7]", json!(["[7]"])),
        ] {
            assert_eq!(read(&json!({ "type": kind }), text), expected, "{kind} {text}");
        }
    }

    #[test]
    fn a_choice_of_types_takes_the_first_that_fits() {
        assert_eq!(read(&json!({"type": ["integer", "string"]}), "7"), json!(7));
        assert_eq!(read(&json!({"anyOf": [{"type": "string"}, {"type": "null"}]}), "null"), json!("null"));
        let size = json!({"$ref": "#/$defs/Size"});
        assert_eq!([read(&size, "s"), read(&size, "1"), read(&size, "true")], [json!("s"), json!(1), json!(true)]);
    }

    #[test]
    fn objects_in_an_array_are_texts_of_their_own_or_one_for_all() {
        let lines = json!({"type": "array", "items": {"type": "object"}});
        assert_eq!(read(&lines, "[{\"a\": 1}]"), json!([{"a": 1}]));
        assert_eq!(read(&lines, "{\"a\": 1}"), json!([{"a": 1}]));
        assert_eq!(read(&lines, "["), json!(["["]));
    }

    #[test]
    fn a_schema_that_holds_itself_has_an_end() {
        let whole = json!({"$defs": {"Tree": {"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "integer"}]}}});
        let form = TextForm::of(&json!({"$ref": "#/$defs/Tree"}), &whole);
        assert_eq!(form.read(&["7".to_owned()]), json!(7));
    }
}
