//! Answers of the server as a person reads them.
//!
//! Pure functions. Caveat: what is missing in an answer, which may come from another version, is left out.

use std::fmt::Write;

use serde_json::Value;

/// A table of the plugins, and below it why those could not be loaded that could not.
pub(super) fn plugins(answer: &Value) -> String {
    const HEAD: [&str; 8] = ["ID", "STATE", "GENERATION", "REQUESTS", "ERRORS", "IN FLIGHT", "TASKS", "FILE"];
    let plugins = answer["plugins"].as_array().map_or(&[][..], Vec::as_slice);
    let mut rows = vec![HEAD.map(str::to_owned)];
    for plugin in plugins {
        let counters = &plugin["counters"];
        rows.push([
            word(&plugin["id"]),
            word(&plugin["state"]),
            word(&plugin["generation"]),
            word(&counters["requests"]),
            word(&counters["errors"]),
            word(&counters["in_flight"]),
            word(&plugin["tasks"]),
            word(&plugin["file"]),
        ]);
    }
    let mut text = table(&rows);
    for plugin in plugins {
        let error = &plugin["last_error"];
        if error.is_null() {
            continue;
        }
        let line = error["line"].as_u64().map_or_else(String::new, |line| format!(":{line}"));
        // Writing to a text cannot fail.
        let _ = write!(text, "\n{}{line}: {}", word(&error["file"]), word(&error["message"]));
    }
    text
}

/// Rows of cells, each column as wide as its widest cell.
pub(in crate::cli) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// One line for each key.
pub(super) fn pairs(answer: &Value) -> String {
    let entries = answer.as_object().into_iter().flatten();
    entries.map(|(key, value)| format!("{}: {}", key.replace('_', " "), word(value))).collect::<Vec<_>>().join("\n")
}

/// What was done, in one line, and what went wrong besides.
pub(super) fn done(answer: &Value) -> String {
    let failed = list(&answer["failed"]).into_iter().map(|reason| format!("failed: {reason}"));
    let what = if let Some(plugin) = answer["reloaded"].as_str() {
        format!("reloaded {plugin}")
    } else if let Some(level) = answer["log_level"].as_str() {
        format!("the log level is {level}")
    } else if let (Some(plugin), Some(state)) = (answer["id"].as_str(), answer["state"].as_str()) {
        format!("{plugin} is {state}")
    } else {
        word(&answer["status"])
    };
    std::iter::once(what).chain(failed).collect::<Vec<_>>().join("\n")
}

/// Why the server did not do it.
pub(in crate::cli) fn refusal(answer: &Value, status: u16) -> String {
    let error = answer["error"].as_str().map_or_else(|| format!("the server answers {status}"), str::to_owned);
    let reasons = list(&answer["reasons"]);
    std::iter::once(error).chain(reasons).collect::<Vec<_>>().join("\n")
}

fn list(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(word).collect()
}

/// A value on one line.
pub(in crate::cli) fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        // Nothing that a plugin is called may move the cursor of a terminal.
        Value::String(text) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        Value::Object(entries) if entries.is_empty() => "none".to_owned(),
        Value::Object(entries) => {
            entries.iter().map(|(key, value)| format!("{} {key}", word(value))).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plugins_are_a_table_with_their_errors_below() {
        let counters = json!({"requests": 1000, "errors": 1, "in_flight": 0});
        let error = json!({"message": "RuntimeError: x", "file": "plugins/b.py", "line": 3});
        let shown = plugins(&json!({"plugins": [
            {"id": "greet", "state": "serving", "generation": 2, "counters": counters, "tasks": 0, "file": "plugins/greet.py"},
            {"id": "b", "state": "failed", "generation": 0, "file": "plugins/b.py", "last_error": error},
        ]}));
        let expected = "\
ID     STATE    GENERATION  REQUESTS  ERRORS  IN FLIGHT  TASKS  FILE
greet  serving  2           1000      1       0          0      plugins/greet.py
b      failed   0           -         -       -          -      plugins/b.py
plugins/b.py:3: RuntimeError: x";
        assert_eq!(expected, shown);
    }

    #[test]
    fn results_and_refusals_are_short() {
        assert_eq!("reloaded a", done(&json!({"reloaded": "a", "success": true})));
        assert_eq!(
            "All plugins reloaded\nfailed: x",
            done(&json!({"status": "All plugins reloaded", "failed": ["x"]}))
        );
        assert_eq!("no\nwhy", refusal(&json!({"error": "no", "reasons": ["why"]}), 500));
        assert_eq!("the server answers 418", refusal(&json!({}), 418));
        assert_eq!("plugins: 2 serving, 1 failed", pairs(&json!({"plugins": {"serving": 2, "failed": 1}})));
    }

    #[test]
    fn no_name_can_control_the_terminal() {
        assert_eq!("a\u{fffd}[2J", word(&json!("a\u{1b}[2J")));
    }
}
